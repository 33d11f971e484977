#!/usr/bin/env bash
# Sends with bash alone what tests/clients.rs expects: send_bash.sh PORT
set -euo pipefail
shop=/dev/udp/127.0.0.1/$1

for order in {0..99}; do
    echo "shop.orders:1|c" >"$shop"
    echo "shop.customers:customer-$((order % 25))|s" >"$shop"
done
echo -n "shop.stock:40|g" >"$shop"
echo "shop.stock:-15|g" >"$shop"

# One socket for many lines.
exec 3>"$shop"
for order in {0..99}; do
    printf 'shop.checkout:%d|ms|#region:eu\nshop.basket:0.5|h\n' "$order" >&3
done
