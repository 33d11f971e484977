# Sends with Debian's ruby-statsd, the gem statsd-ruby, what tests/programs/clients.rs expects: send_statsd_ruby.rb PORT
require 'statsd'

client = Statsd.new('127.0.0.1', Integer(ARGV[0]))
client.namespace = 'shop'

# Sampled calls are always drawn: their lines say the rate, and the total is known.
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
# Meant as a value; it has no changes of gauges.
client.gauge('balance', 3)
client.gauge('balance', -7.25)

# Packed into datagrams of ten lines.
client.batch do |batch|
  100.times { |number| batch.count('packed', number) }
end
