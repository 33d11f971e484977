"""Sends with PyPI's datadog what tests/programs/clients.rs expects: send_datadog.py PORT|URL direct|buffered|aggregated

A URL is that of a Unix socket, as `socket_path` takes it.
"""

import sys
import time

from datadog.dogstatsd import base
from datadog.dogstatsd.base import DogStatsd

# Sampled calls are always drawn: their lines say the rate, and the total is known.
base.random = lambda: 0.0

MODES = {
    # As it is without options; its own telemetry, sent along, is asked for at once instead of after 10 s.
    "direct": {"telemetry_min_flush_interval": 0},
    # Lines packed into datagrams of up to 1432 bytes (8192 over a Unix socket), with all that DogStatsD 1.4 to 1.6 may append to them.
    "buffered": {
        "disable_buffering": False,
        "disable_telemetry": True,
        "container_id": "ci-0123456789abcdef",
        "cardinality": "low",
    },
    # Counters, gauges and sets added up by the client, and the values of distributions packed into one line.
    "aggregated": {
        "disable_buffering": False,
        "disable_aggregation": False,
        "disable_telemetry": True,
        "max_metric_samples_per_context": 1000,
    },
}

place, mode = sys.argv[1:]
if place.isdigit():
    to = {"host": "127.0.0.1", "port": int(place)}
else:
    # To wait while tallyd is behind; by default the client drops what cannot be sent at once.
    to = {"socket_path": place, "socket_timeout": None}
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


# Reported in seconds, as this client does unless it is told otherwise.
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
