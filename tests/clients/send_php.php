<?php
// Sends with PHP alone what tests/programs/clients.rs expects: send_php.php URL

$tallyd = stream_socket_client($argv[1]);
// A datagram is the end of its line, a stream needs one.
$end = preg_match('/^ud[pg]:/', $argv[1]) ? '' : "\n";

for ($order = 0; $order < 100; $order++) {
    $customer = $order % 25;
    fwrite($tallyd, "shop.orders:1|c\n");
    fwrite($tallyd, "shop.customers:customer-$customer|s\nshop.checkout:$order|ms|#region:eu$end");
}
fwrite($tallyd, "shop.stock:40|g$end");
fwrite($tallyd, "shop.stock:-12.5|g$end");
