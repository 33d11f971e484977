#!/usr/bin/env bash
# Sends the samples that tests/programs/clients.rs expects, with bash alone. Usage: send_bash.sh udp|tcp PORT
set -euo pipefail
shop=/dev/$1/127.0.0.1/$2

for order in {0..99}; do
    echo -n "shop.orders:1|c" >"$shop"
    echo "shop.customers:customer-$((order % 25))|s" >"$shop"
done

# One socket for many lines keeps the lines in order, over TCP too.
exec 3>"$shop"
echo "shop.stock:40|g" >&3
echo "shop.stock:-15|g" >&3
for order in {0..99}; do
    printf 'shop.checkout:%d|ms|#region:eu\nshop.basket:0.5|h\n' "$order" >&3
done
