# Sends the samples that tests/programs/clients.rs expects, with Debian's ruby-statsd, which is the gem statsd-ruby.
# Usage: send_statsd_ruby.rb PORT
require 'statsd'

client = Statsd.new('127.0.0.1', Integer(ARGV[0]))
client.namespace = 'shop'

# The client draws every sampled call, so the total is known. Its line still has the rate.
client.define_singleton_method(:rand) { 0.0 }

100.times do |order|
  client.increment('orders')
  client.count('items', order % 5)
  client.set('customers', "customer-#{order % 25}")
  client.timing('checkout', order)
end
client.decrement('orders')

10.times do
  client.increment('views', 0.1)
  client.timing('render', 10, 0.5)
  client.time('timed') { sleep 0.002 }
end

client.gauge('stock', 40)
client.gauge('stock', 27.5)
# The client means a value. It has no call for changes.
client.gauge('balance', 3)
client.gauge('balance', -7.25)

# Packs ten lines into each datagram.
client.batch do |batch|
  100.times { |number| batch.count('packed', number) }
end
