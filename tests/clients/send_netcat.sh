#!/usr/bin/env bash
# Sends with Debian's netcat-openbsd what tests/clients.rs expects: send_netcat.sh PORT
set -euo pipefail

for order in {0..19}; do
    # -q0 waits for the end of the input. -w0 does not wait for its beginning: only what is there already is sent.
    echo "shop.orders:1|c" | nc.openbsd -u -q0 127.0.0.1 "$1"
    nc.openbsd -u -w0 127.0.0.1 "$1" <<<"shop.checkout:$order|ms|#region:eu"
done
printf 'shop.basket:%d|h\n' {0..99} | nc.openbsd -u -q0 127.0.0.1 "$1"
