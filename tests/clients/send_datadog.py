"""Sends the samples that tests/programs/clients.rs expects, with PyPI's datadog.

Usage: send_datadog.py PORT|URL direct|buffered|aggregated. URL names a Unix socket, as `socket_path` expects it.
"""

import sys
import time

from datadog.dogstatsd import base
from datadog.dogstatsd.base import DogStatsd

# The client draws every sampled call, so the total is known. Its line still has the rate.
base.random = lambda: 0.0

MODES = {
    # The defaults, except that the client sends its telemetry at once instead of after 10 s.
    "direct": {"telemetry_min_flush_interval": 0},
    # Packs lines into datagrams of up to 1432 bytes (8192 over a Unix socket). Each line has the fields that DogStatsD
    # 1.4 to 1.6 may append.
    "buffered": {
        "disable_buffering": False,
        "disable_telemetry": True,
        "container_id": "ci-0123456789abcdef",
        "cardinality": "low",
    },
    # The client adds up counters, gauges and sets, and packs the values of a distribution into one line.
    "aggregated": {
        "disable_buffering": False,
        "disable_aggregation": False,
        "disable_telemetry": True,
        "max_metric_samples_per_context": 1000,
    },
}

address, mode = sys.argv[1:]
if address.isdigit():
    to = {"host": "127.0.0.1", "port": int(address)}
else:
    # The client waits while tallyd is behind. By default, it drops what it cannot send at once.
    to = {"socket_path": address, "socket_timeout": None}
client = DogStatsd(**to, namespace="shop", constant_tags=["env:test", "canary"], **MODES[mode])

for order in range(100):
    region = ["region:eu"] if order % 4 == 0 else ["region:us"]
    client.increment("orders", tags=region)
    client.count("items", order % 5, tags=region, sample_rate=1)
    client.set("customers", f"customer-{order % 25}")
    client.histogram("basket", order / 2)
    client.distribution("latency", order / 64, tags=region)
    client.timing("checkout", order)
client.decrement("orders", 3, tags=["region:eu"])
client.gauge("stock", 40)
client.gauge("stock", 27.5)
client.gauge("stock", 12, tags=["url:http://shop.test:80/a"])

if mode != "aggregated":
    for _ in range(10):
        client.increment("views", sample_rate=0.1)
        client.histogram("render", 10, sample_rate=0.5)


# This client reports seconds by default.
@client.timed("decorated")
def work():
    time.sleep(0.002)


for _ in range(10):
    work()
    with client.timed("managed", use_ms=True):
        time.sleep(0.002)
    with client.distributed("managed.distribution"):
        time.sleep(0.002)

client.stop()
