// Sends the events and checks that tests/programs/clients.rs expects, with npm's hot-shots.
// Usage: send_events.js udp|tcp PORT, or send_events.js uds PATH
'use strict';

const StatsD = require('hot-shots');

const fail = (error) => {
  throw error;
};

const [, , protocol, address] = process.argv;
const client = new StatsD({
  protocol,
  ...(protocol === 'uds' ? { path: address } : { host: '127.0.0.1', port: Number(address) }),
  prefix: 'shop',
  globalTags: { env: 'test' },
  errorHandler: fail,
});

// The client counts lengths in UTF-16 units: one for é, two for the balloon.
client.event('Café 🎈', 'zwei\nZeilen | ein Strich');
client.event(
  'deploy',
  'v1.2',
  {
    alert_type: 'success',
    aggregation_key: 'release',
    source_type_name: 'ci',
    date_happened: new Date(1463746133000),
    priority: 'low',
    hostname: 'web-1',
  },
  { region: 'eu' }
);
client.check('db.up', client.CHECKS.OK);
client.check('db.up', client.CHECKS.WARNING);
client.check(
  'db.up',
  client.CHECKS.CRITICAL,
  { date_happened: new Date(1463746133000), hostname: 'web-1', message: 'nothing: über 5 s' },
  { region: 'eu' }
);
client.close((error) => error && fail(error));
