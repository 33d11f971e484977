<?php
// Sends with PHP alone what tests/clients.rs expects: send_php.php PORT

$tallyd = stream_socket_client("udp://127.0.0.1:$argv[1]");

for ($order = 0; $order < 100; $order++) {
    $customer = $order % 25;
    fwrite($tallyd, "shop.orders:1|c\n");
    fwrite($tallyd, "shop.customers:customer-$customer|s\nshop.checkout:$order|ms|#region:eu");
}
fwrite($tallyd, 'shop.stock:40|g');
fwrite($tallyd, 'shop.stock:-12.5|g');
