# Sends the samples that tests/programs/clients.rs expects, with Debian's libnet-statsd-perl.
# Usage: send_net_statsd.pl PORT
use strict;
use warnings;

# The client draws every sampled call, so the total is known. Its line still has the rate.
BEGIN { *CORE::GLOBAL::rand = sub { 0 } }
use Net::Statsd;

$Net::Statsd::HOST = '127.0.0.1';
$Net::Statsd::PORT = $ARGV[0];

for my $order (0 .. 99) {
    Net::Statsd::increment('shop.orders');
    Net::Statsd::update_stats('shop.items', $order % 5);
    # The client truncates timings to whole milliseconds.
    Net::Statsd::timing('shop.checkout', $order + 0.75);
}
Net::Statsd::decrement([ 'shop.orders', 'shop.left' ]);

for (1 .. 10) {
    Net::Statsd::increment('shop.views', 0.1);
    Net::Statsd::timing('shop.render', 10, 0.5);
}

# The client sends both lines in one datagram.
Net::Statsd::gauge('shop.stock' => 40, 'shop.stock' => 27.5);
