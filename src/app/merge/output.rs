//! Writes merged histograms as a table, as JSON, and for HdrHistogram's plotter.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::{Duration, UNIX_EPOCH};

use serde_json::{Map, Value, json};

use super::groups::{Group, Scale, Subject};
use crate::app::ask::table::{Cell, Column, Table};
use crate::app::ask::units::{brief, seconds};
use crate::model::{Named, Percentile, time_text};
use crate::text::number::push_number;
use crate::text::visible::json_escaped;

/// Writes a row for each group.
pub(super) fn write_table(
    groups: &BTreeMap<Subject, Group>,
    percentiles: &[Percentile],
    output: &mut impl Write,
) -> io::Result<()> {
    if groups.is_empty() {
        return writeln!(output, "no interval matches");
    }
    let mut columns =
        vec![Column::text("TYPE"), Column::text("SERIES"), Column::number("COUNT"), Column::number("MEAN")];
    let titles = percentiles.iter().map(|percentile| title(*percentile).to_uppercase());
    columns.extend(titles.map(Column::number_named));
    columns.push(Column::number("MAX"));
    let row = |(subject, group): (&Subject, &Group)| {
        let write = if group.scale.is_time { seconds } else { brief };
        let mut cells = vec![
            Cell::text(type_of(subject).unwrap_or("-")),
            Cell::text(&subject.to_string()),
            Cell::number(group.count() as f64, |count| format!("{count}")),
            Cell::number(group.mean(), write),
        ];
        cells.extend(group.percentiles(percentiles).into_iter().map(|value| Cell::number(value, write)));
        cells.push(Cell::number(group.max(), write));
        cells
    };
    let table = Table { columns, rows: groups.iter().map(row).collect() };
    write!(output, "{table}")
}

/// Writes all groups as one JSON object.
pub(super) fn write_json(
    groups: &BTreeMap<Subject, Group>,
    percentiles: &[Percentile],
    output: &mut impl Write,
) -> io::Result<()> {
    let object = |(subject, group): (&Subject, &Group)| {
        let values = percentiles.iter().zip(group.percentiles(percentiles));
        let values: Map<_, _> =
            values.map(|(percentile, value)| (title(*percentile), json!(value))).collect();
        let (name, tags) = match subject {
            Subject::Series(series) => {
                let tags = series.tags_as_sent().map(|(key, value)| (key.to_owned(), json!(value)));
                (series.name().to_owned(), tags.collect::<Map<_, _>>())
            }
            Subject::Other(_) | Subject::All => (subject.to_string(), Map::new()),
        };
        let Scale { per_unit, is_time } = group.scale;
        json!({
            "type": type_of(subject),
            "name": name,
            "tags": tags,
            "unit": if is_time { "s" } else { "" },
            "resolution": 1.0 / per_unit as f64,
            "digits": group.digits,
            "from": time(group.range.0),
            "to": time(group.range.1),
            "intervals": group.intervals,
            "count": group.count(),
            "mean": group.mean(),
            "max": group.max(),
            "percentiles": values,
        })
    };
    let groups: Vec<_> = groups.iter().map(object).collect();
    writeln!(output, "{}", json_escaped(&json!({ "series": groups }).to_string()))
}

/// The steps of the plotter's percentiles: five from one half of the distance to 100 % to the next, as in other
/// implementations.
const TICKS: u32 = 5;

/// Writes the only group for the plotter, in the format of Java's `outputPercentileDistribution`. Timings are in
/// milliseconds.
pub(super) fn write_hgrm(group: &Group, output: &mut impl Write) -> io::Result<()> {
    let histogram = group.histogram().ok_or_else(|| io::Error::other("the merged histogram is too large"))?;
    let unit = group.scale.per_unit as f64 / if group.scale.is_time { 1000.0 } else { 1.0 };
    // Enough decimals for each number of the log. Java always has as many as digits.
    let digits = unit.log10().ceil() as usize;
    writeln!(
        output,
        "{:>12} {:>14} {:>10} {:>14}\n",
        "Value", "Percentile", "TotalCount", "1/(1-Percentile)"
    )?;
    let mut count = 0;
    for step in histogram.iter_quantiles(TICKS) {
        count += step.count_since_last_iteration();
        let (value, quantile) = (step.value_iterated_to() as f64 / unit, step.quantile_iterated_to());
        write!(output, "{value:12.digits$} {quantile:2.12} {count:10}")?;
        if quantile < 1.0 {
            write!(output, " {:14.2}", 1.0 / (1.0 - quantile))?;
        }
        writeln!(output)?;
    }
    let (mean, stdev, max) =
        (histogram.mean() / unit, histogram.stdev() / unit, histogram.max() as f64 / unit);
    writeln!(output, "#[Mean    = {mean:12.digits$}, StdDeviation   = {stdev:12.digits$}]")?;
    writeln!(output, "#[Max     = {max:12.digits$}, Total count    = {:12}]", histogram.len())?;
    // The largest part of the range in which every number has its own count.
    let exact = (2 * 10_u64.pow(u32::from(group.digits))).next_power_of_two();
    writeln!(output, "#[Buckets = {:12}, SubBuckets     = {exact:12}]", histogram.buckets())
}

/// Returns the name of a percentile, for example `p99.9`.
fn title(percentile: Percentile) -> String {
    let mut title = "p".to_owned();
    push_number(&mut title, percentile.percent());
    title
}

/// Returns the name of the type of a series.
fn type_of(subject: &Subject) -> Option<&'static str> {
    match subject {
        Subject::Series(series) => Some(series.kind().name()),
        Subject::Other(_) | Subject::All => None,
    }
}

/// Returns a time as RFC 3339 writes it, or `None` if it is not a time since 1970.
fn time(seconds: f64) -> Option<Value> {
    // The log has milliseconds.
    let millis = (seconds * 1000.0).round();
    let time = (millis >= 0.0).then(|| UNIX_EPOCH.checked_add(Duration::from_millis(millis as u64)))?;
    time.map(|time| json!(time_text(time)))
}
