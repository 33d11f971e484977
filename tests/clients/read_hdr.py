"""Merges the intervals of each tag in an interval log, and prints the count and percentiles as JSON. The arguments are the log
and the percentiles."""

import json
import sys

from hdrh.histogram import HdrHistogram
from hdrh.log import HistogramLogReader

path, percentiles = sys.argv[1], [float(percentile) for percentile in sys.argv[2:]]
reader = HistogramLogReader(path, HdrHistogram(1, 2**53, 3))
merged = {}
while (interval := reader.get_next_interval_histogram()) is not None:
    # The reach of each interval is that of its values.
    merged.setdefault(interval.get_tag(), HdrHistogram(1, 2**53, interval.significant_figures)).add(interval)
print(json.dumps({
    tag: {
        "count": histogram.get_total_count(),
        "max": histogram.get_max_value(),
        "percentiles": [histogram.get_value_at_percentile(percentile) for percentile in percentiles],
    }
    for tag, histogram in merged.items()
}))
