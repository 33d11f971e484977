"""Sends the samples that tests/programs/clients.rs expects, with PyPI's statsd.

Usage: send_statsd.py udp|tcp PORT, or send_statsd.py unix PATH
"""

import random
import sys
import time
from datetime import timedelta

from statsd import StatsClient, TCPStatsClient, UnixSocketStatsClient

# The client draws every sampled call, so the total is known. Its line still has the rate.
random.random = lambda: 0.0

protocol, address = sys.argv[1:]
if protocol == "unix":
    client = UnixSocketStatsClient(address, prefix="shop")
else:
    Client = {"udp": StatsClient, "tcp": TCPStatsClient}[protocol]
    client = Client("127.0.0.1", int(address), prefix="shop")

for order in range(100):
    client.incr("orders")
    client.incr("items", order % 5)
    client.set("customers", f"customer-{order % 25}")
    client.timing("checkout", order + 0.5)
client.decr("orders", 3)
client.timing("checkout", timedelta(seconds=2))

for _ in range(10):
    client.incr("views", rate=0.1)
    client.timing("render", 10, rate=0.5)

client.gauge("stock", 40)
client.gauge("stock", -15, delta=True)
client.gauge("stock", 2.5, delta=True)
# The client sends `0` and `-7.25` together. The second line is a change.
client.gauge("balance", -7.25)


@client.timer("decorated")
def work():
    time.sleep(0.002)


for _ in range(10):
    work()
    with client.timer("managed"):
        time.sleep(0.002)

# Packs lines into datagrams of up to 512 bytes, or into one write to a stream.
with client.pipeline() as pipe:
    for number in range(100):
        pipe.incr("piped")
        pipe.timing("piped.time", number)

client.close()
