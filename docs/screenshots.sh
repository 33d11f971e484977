#!/bin/sh
# Makes the screenshots of the live page in docs/images. Needs chromium. Takes two minutes.
set -eu
cd "$(dirname "$0")/.."
TALLYD_SCREENSHOTS="$PWD/docs/images" cargo test --test programs -- --ignored --exact \
    live_page::screenshots::screenshots_of_the_documents_can_be_made
