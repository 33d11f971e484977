#!/usr/bin/env bash
# Sends the samples that tests/programs/clients.rs expects, with Debian's netcat-openbsd.
# Usage: send_netcat.sh ARGUMENT... The arguments are netcat's: -u 127.0.0.1 PORT, 127.0.0.1 PORT, -U -u PATH, or -U PATH.
set -euo pipefail

# -w0 sends input that is ready, but only over UDP.
wait=-q0
if [ "$1" = -u ]; then wait=-w0; fi

for order in {0..19}; do
    # -q0 waits for the end of the input. -w0 does not wait for any input, so it needs input that is ready.
    echo "shop.orders:1|c" | nc.openbsd -q0 "$@"
    nc.openbsd "$wait" "$@" <<<"shop.checkout:$order|ms|#region:eu"
done
printf 'shop.basket:%d|h\n' {0..99} | nc.openbsd -q0 "$@"
