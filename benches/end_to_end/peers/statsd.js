// statsd writes its results to standard output, like tallyd. TCP and UDP ports are separate, so both can use one number.
{
  address: "127.0.0.1",
  port: {port},
  mgmt_address: "127.0.0.1",
  mgmt_port: {port},
  flushInterval: 1000,
  percentThreshold: [50, 90, 95, 99, 99.9],
  backends: ["./backends/console"],
  console: { prettyprint: false }
}
