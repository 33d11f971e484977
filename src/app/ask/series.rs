//! `tallyd series`: prints series with their values, or the tags of a metric.

use std::io::Write;

use super::answers::{FoundSeries, Measured, MetricTags, TagCount};
use super::client::Client;
use super::error::AskError;
use super::options::Find;
use super::table::{Cell, Column, Table};
use super::units::{brief, seconds};
use crate::text::visible::{json_escaped, visible};

/// Prints the series that match a pattern.
pub(super) fn print_series(client: &Client, find: &Find, output: &mut impl Write) -> Result<(), AskError> {
    let Find { pattern, limit, json } = find;
    let limit = limit.to_string();
    let text = client.get_text("series", &[("match", pattern), ("limit", &limit)])?;
    let found: FoundSeries = client.parse(&text)?;
    if *json {
        return print_json(&text, output);
    }
    let row = |series: &Measured| {
        vec![
            Cell::text(&series.series_type),
            Cell::text(&series.shown()),
            Cell::known(series.total.or(series.value).or(series.count), brief),
            Cell::text(&statistics(series).join("  ")),
        ]
    };
    let columns = vec![
        Column::text("TYPE"),
        Column::text("SERIES"),
        Column::number("VALUE"),
        Column::text("STATISTICS"),
    ];
    let table = Table { columns, rows: found.series.iter().map(row).collect() };
    if !table.rows.is_empty() {
        write!(output, "{table}")?;
    }
    let more = found.matched.saturating_sub(table.rows.len() as u64);
    if more > 0 {
        writeln!(output, "and {more} more; --limit shows more of them")?;
    } else if table.rows.is_empty() {
        writeln!(output, "no series matches")?;
    }
    Ok(())
}

/// Prints the tags of a metric. Those with the most values are first.
pub(super) fn print_tags(
    client: &Client,
    name: &str,
    json: bool,
    output: &mut impl Write,
) -> Result<(), AskError> {
    let text = client.get_text("tags", &[("name", name)])?;
    let found: MetricTags = client.parse(&text)?;
    if json {
        return print_json(&text, output);
    }
    let row = |tag: &TagCount| {
        vec![Cell::text(&tag.key), Cell::number(tag.values, brief), Cell::number(tag.series, brief)]
    };
    let columns = vec![Column::text("TAG"), Column::number("VALUES"), Column::number("SERIES")];
    let table = Table { columns, rows: found.tags.iter().map(row).collect() };
    writeln!(output, "{}: {} series", visible(&found.name), brief(found.series))?;
    Ok(write!(output, "{table}")?)
}

/// Prints the JSON of an answer on one line, with hidden characters escaped.
pub(super) fn print_json(text: &str, output: &mut impl Write) -> Result<(), AskError> {
    Ok(writeln!(output, "{}", json_escaped(&text.replace(['\r', '\n'], "")))?)
}

/// Returns the statistics of a series in words, for example `mean 5ms`. Timings are in seconds.
pub(super) fn statistics(series: &Measured) -> Vec<String> {
    let write = if series.series_type == "timing" { seconds } else { brief };
    let named = [("sum", series.sum), ("mean", series.mean), ("max", series.max)];
    let mut words: Vec<_> =
        named.into_iter().filter_map(|(name, value)| Some(format!("{name} {}", write(value?)))).collect();
    words.extend(series.percentiles().iter().map(|(name, value)| format!("{name} {}", write(*value))));
    words
}
