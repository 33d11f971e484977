<?php
// Sends the samples that tests/programs/clients.rs expects, with PHP alone. Usage: send_php.php URL

$tallyd = stream_socket_client($argv[1]);
// The end of a datagram ends its last line. A stream needs a line feed.
$end = preg_match('/^ud[pg]:/', $argv[1]) ? '' : "\n";

for ($order = 0; $order < 100; $order++) {
    $customer = $order % 25;
    fwrite($tallyd, "shop.orders:1|c\n");
    fwrite($tallyd, "shop.customers:customer-$customer|s\nshop.checkout:$order|ms|#region:eu$end");
}
fwrite($tallyd, "shop.stock:40|g$end");
fwrite($tallyd, "shop.stock:-12.5|g$end");
