// Results go to standard output, as tallyd's do; TCP has ports of its own.
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
