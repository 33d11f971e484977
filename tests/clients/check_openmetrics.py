"""Reads a page in OpenMetrics from standard input, by the parser of Prometheus' own client, and says what is wrong."""

import sys

from prometheus_client.openmetrics.parser import text_string_to_metric_families

page = sys.stdin.buffer.read().decode()
try:
    families = list(text_string_to_metric_families(page))
except ValueError as error:
    sys.exit(f"{error}")
if not any(family.samples for family in families):
    sys.exit("a page without samples")
