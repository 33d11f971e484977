# shellcheck shell=bash
# Functions of the tests of packages, which source this file.

fail() {
    printf '%s: %s\n' "$0" "$*" >&2
    exit 1
}

say() {
    printf '%s: %s\n' "$0" "$*"
}

# Fails if a program is missing. A test is never skipped.
need() {
    local advice=$1 program
    shift
    for program; do
        type -P "$program" >/dev/null || fail "$program is missing; run: $advice"
    done
}
