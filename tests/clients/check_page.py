"""Parses a page from standard input with Prometheus' own client, and prints what is wrong. The argument names the format."""

import sys

from prometheus_client import parser
from prometheus_client.openmetrics import parser as openmetrics_parser

families_of = {"text": parser, "openmetrics": openmetrics_parser}[sys.argv[1]].text_string_to_metric_families
page = sys.stdin.buffer.read().decode()
if sys.argv[1] == "text":
    # The parser removes `_total` from the names of counters, and refuses a name that is empty then.
    page = "".join(line + "\n" for line in page.split("\n") if "_total" not in line.split()[:3])
try:
    families = list(families_of(page))
except ValueError as error:
    sys.exit(f"{error}")
read = sum(len(family.samples) for family in families)
if read == 0:
    sys.exit("the page has no samples")
lines = sum(not line.startswith("#") for line in page.split("\n") if line)
if read != lines:
    sys.exit(f"the page has {lines} samples, and the parser read {read}")
