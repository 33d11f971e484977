"""Parses an OpenMetrics page from standard input with Prometheus' own client, and prints what is wrong."""

import sys

from prometheus_client.openmetrics.parser import text_string_to_metric_families

page = sys.stdin.buffer.read().decode()
try:
    families = list(text_string_to_metric_families(page))
except ValueError as error:
    sys.exit(f"{error}")
if not any(family.samples for family in families):
    sys.exit("the page has no samples")
