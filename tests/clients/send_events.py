"""Sends the events and checks that tests/programs/clients.rs expects, with PyPI's datadog.

Usage: send_events.py PORT|URL
"""

import sys

from datadog.dogstatsd.base import DogStatsd

address = sys.argv[1]
if address.isdigit():
    to = {"host": "127.0.0.1", "port": int(address)}
else:
    to = {"socket_path": address, "socket_timeout": None}

for packing in [{}, {"disable_buffering": False}]:
    client = DogStatsd(**to, constant_tags=["env:test"], disable_telemetry=True, **packing)
    client.event("Café 🎈", "zwei\nZeilen | ein Strich")
    client.event(
        "deploy",
        "v1.2",
        alert_type="success",
        aggregation_key="release",
        source_type_name="ci",
        date_happened=1463746133,
        priority="low",
        tags=["region:eu"],
        hostname="web-1",
    )
    client.service_check("db.up", DogStatsd.OK)
    client.service_check("db.up", DogStatsd.WARNING)
    client.service_check(
        "db.up",
        DogStatsd.CRITICAL,
        tags=["region:eu"],
        timestamp=1463746133,
        hostname="web-1",
        message="nothing\nm: über 5 s",
    )
    client.stop()
