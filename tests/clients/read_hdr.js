// Merges the intervals of each tag in an interval log, and prints the count and percentiles as JSON. The arguments are the
// log and the percentiles.

const fs = require("fs");
const hdr = require("hdr-histogram-js");

const [path, ...percentiles] = process.argv.slice(2);
const reader = new hdr.HistogramLogReader(fs.readFileSync(path, "utf8"));
const merged = {};
for (let interval; (interval = reader.nextIntervalHistogram()) !== null; ) {
    merged[interval.tag] ??= hdr.build({
        highestTrackableValue: Number.MAX_SAFE_INTEGER,
        numberOfSignificantValueDigits: interval.numberOfSignificantValueDigits,
    });
    merged[interval.tag].add(interval);
}
const result = {};
for (const [tag, histogram] of Object.entries(merged)) {
    result[tag] = {
        count: histogram.totalCount,
        // This implementation has the lower end of the bucket as its maximum.
        max: histogram.highestEquivalentValue(histogram.maxValue),
        percentiles: percentiles.map((percentile) => histogram.getValueAtPercentile(Number(percentile))),
    };
}
console.log(JSON.stringify(result));
