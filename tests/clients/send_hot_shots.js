// Sends the samples that tests/programs/clients.rs expects, with npm's hot-shots.
// Usage: send_hot_shots.js udp|tcp PORT MODE, or send_hot_shots.js uds PATH MODE. MODE is a key of `modes`.
'use strict';

const StatsD = require('hot-shots');

// The client draws every sampled call, so the total is known. Its line still has the rate.
Math.random = () => 0;

const modes = {
  // The defaults.
  direct: {},
  // Packs lines into datagrams. Each line has the fields that DogStatsD 1.4 to 1.6 may append.
  buffered: {
    maxBufferSize: 1000,
    datadog: true,
    includeDatadogTelemetry: false,
    containerID: 'ci-0123456789abcdef',
    cardinality: 'low',
  },
  // The client adds up counters, gauges and sets.
  aggregated: { maxBufferSize: 1000, aggregation: true },
  // InfluxDB tags in the name.
  telegraf: { telegraf: true },
};

const fail = (error) => {
  throw error;
};

const [, , protocol, address, mode] = process.argv;
const client = new StatsD({
  protocol,
  ...(protocol === 'uds' ? { path: address } : { host: '127.0.0.1', port: Number(address) }),
  prefix: 'shop',
  globalTags: { env: 'test' },
  errorHandler: fail,
  ...modes[mode],
});

async function main() {
  for (let order = 0; order < 100; order += 1) {
    const tags = { region: order % 4 === 0 ? 'eu' : 'us' };
    client.increment('orders', tags);
    client.increment('items', order % 5, ['canary']);
    client.set('customers', `customer-${order % 25}`);
    client.histogram('basket', order / 2);
    client.distribution('latency', order / 64, tags);
    client.timing('checkout', order);
  }
  client.decrement('orders', 3, { region: 'eu' });
  client.increment(['left', 'right'], 2);
  client.gauge('stock', 40);
  client.gaugeDelta('stock', -15);
  client.gaugeDelta('stock', 2.5);
  for (let view = 0; view < 10; view += 1) {
    client.increment('views', 1, 0.1);
    client.timing('render', 10, 0.5);
  }

  const work = client.timer(() => {
    // Waits in a loop, because a synchronous timer does not see a timeout.
    const start = process.hrtime.bigint();
    while (process.hrtime.bigint() - start < 2000000n);
  }, 'wrapped');
  const pause = client.asyncTimer(() => new Promise((resolve) => setTimeout(resolve, 3)), 'wrapped.async');
  for (let call = 0; call < 10; call += 1) {
    work();
    await pause();
  }

  client.close((error) => error && fail(error));
}

main();
