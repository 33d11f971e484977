# Sends with Debian's libnet-statsd-perl what tests/programs/clients.rs expects: send_net_statsd.pl PORT
use strict;
use warnings;

# Sampled calls are always drawn: their lines say the rate, and the total is known.
BEGIN { *CORE::GLOBAL::rand = sub { 0 } }
use Net::Statsd;

$Net::Statsd::HOST = '127.0.0.1';
$Net::Statsd::PORT = $ARGV[0];

for my $order (0 .. 99) {
    Net::Statsd::increment('shop.orders');
    Net::Statsd::update_stats('shop.items', $order % 5);
    # Whole milliseconds: what is below is cut off.
    Net::Statsd::timing('shop.checkout', $order + 0.75);
}
Net::Statsd::decrement([ 'shop.orders', 'shop.left' ]);

for (1 .. 10) {
    Net::Statsd::increment('shop.views', 0.1);
    Net::Statsd::timing('shop.render', 10, 0.5);
}

# Two lines in one datagram.
Net::Statsd::gauge('shop.stock' => 40, 'shop.stock' => 27.5);
