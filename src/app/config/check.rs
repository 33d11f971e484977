//! Refuses values that would do harm, with what would be right.

use std::time::Duration;

use super::error::Problem;
use super::{Config, LogOutput, exporters, listeners};
use crate::model::Percentile;

/// The first harmful value, if there is one.
pub(super) fn problem(config: &Config) -> Option<Problem> {
    let problem = |key, text: &str| Some((key, text.to_owned()));
    let Config { flush, shutdown, mapping, aggregation, logging, .. } = config;
    let interval = flush.interval;
    if !(Duration::from_millis(100)..=Duration::from_hours(1)).contains(&interval.get()) {
        return Some(("flush.interval", format!("{interval} is not between \"100ms\" and \"1h\"")));
    }
    for (index, &percent) in flush.percentiles.iter().enumerate() {
        if Percentile::new(percent).is_none() {
            return Some(("flush.percentiles", format!("{percent} is not above 0 and up to 100")));
        }
        if flush.percentiles[..index].contains(&percent) {
            return Some(("flush.percentiles", format!("{percent} is given twice")));
        }
    }
    if shutdown.timeout.get() > Duration::from_mins(10) {
        return problem("shutdown.timeout", "a stop would take more than \"10m\"");
    }
    if let Some(problem) = listeners::problem(&config.listeners) {
        return Some(problem);
    }
    if !mapping.mapping_file.as_os_str().is_empty() && !mapping.mappings.is_empty() {
        return problem("mapping.mappings", "there is a mapping_file, too; put all rules into one of them");
    }
    if let Err(problem) = mapping.defaults.check_options() {
        return Some(("mapping.defaults", problem));
    }
    if let Err(error) = mapping.own_rules() {
        return Some(("mapping.mappings", error.problem));
    }
    if !(1..=100_000_000).contains(&aggregation.max_series) {
        return problem("aggregation.max_series", "not between 1 and 100_000_000");
    }
    if !(64 << 10..=1 << 40).contains(&aggregation.max_series_bytes.bytes()) {
        return problem("aggregation.max_series_bytes", "not between \"64KiB\" and \"1TiB\"");
    }
    if !(1..=4).contains(&aggregation.digits) {
        return problem(
            "aggregation.digits",
            "not between 1 and 4; 4 takes some 10 MB for a series with many values",
        );
    }
    if aggregation.exact_values > 1_000_000 {
        return problem("aggregation.exact_values", "more than 1_000_000 values of 8 bytes for each series");
    }
    if aggregation.exact_members > 1_000_000 {
        return problem(
            "aggregation.exact_members",
            "more than 1_000_000 members of 8 bytes for each series",
        );
    }
    if aggregation.event_buffer.bytes() > 1 << 30 {
        return problem("aggregation.event_buffer", "more than \"1GiB\" for each receiver");
    }
    let keys = ["counter", "gauge", "timing", "histogram", "distribution", "set"];
    for (kind, expire_after) in keys.into_iter().zip(aggregation.expire_after.by_kind()) {
        if expire_after < interval || expire_after.get() < Duration::from_secs(1) {
            let text = format!(
                "{kind} = \"{expire_after}\" is shorter than flush.interval ({interval}) or than \"1s\""
            );
            return Some(("aggregation.expire_after", text));
        }
    }
    if let Some(problem) = exporters::problem(&config.exporters) {
        return Some(problem);
    }
    if logging.output.contains(&LogOutput::File) && logging.file_path.as_os_str().is_empty() {
        return problem("logging.file_path", "empty, and logging.output has \"file\"");
    }
    None
}
