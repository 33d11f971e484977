//! Maps the peers' names for statistics to tallyd's statistics.

use serde_json::Value as Json;

use super::row::{Class, Fact, Row, Subject};
use super::statistic::Part;
use super::statistic::Statistic::{
    self, AtLeast, AtMost, Between, Count, Datagrams, Highest, Lines, Lowest, Max, Mean, Min, PerSecond,
    Percentile, Rejected, Samples, Scalar, Series, Stddev, Sum, SumOfSquares, Variance,
};

/// Returns the statistic that a field names, or `None` if tallyd has nothing with that meaning.
pub(super) fn statistic(row: &Row, fact: &Fact) -> Option<Statistic> {
    let field = &*fact.field;
    let (class, name) = match &fact.subject {
        Subject::Series { class, name, .. } => (*class, &**name),
        Subject::Report => return (field == "series").then_some(Series),
        Subject::Traffic => return of_traffic(field),
    };
    match class {
        Class::Counter if fact.peer == "datadog-agent" && field.starts_with("points[") => {
            Some(per_second(Scalar))
        }
        // bioyino's rate counts samples, and so does statsite's legacy count.
        Class::Counter => match field {
            "rate" if fact.peer == "bioyino" => None,
            "count" if is_older_count(row) => None,
            "rate" => Some(per_second(Scalar)),
            "count" | "value" => Some(Scalar),
            "updates" => Some(Samples),
            _ => None,
        },
        Class::Gauge => match element(field).map_or(field, |(list, _)| list) {
            "value" | "values_after_each" | "points" => Some(Scalar),
            "updates" => Some(Samples),
            _ => None,
        },
        Class::Set => match field {
            "count" => Some(Scalar),
            "count_min" => Some(AtLeast),
            "count_max" => Some(AtMost),
            _ => None,
        },
        Class::Values => of_values(&fact.peer, field)
            .or_else(|| of_sorted_values(fact))
            .or_else(|| of_part(field))
            .or_else(|| of_buckets(row, fact, name)),
    }
}

fn per_second(inner: Statistic) -> Statistic {
    PerSecond(Box::new(inner))
}

fn of_traffic(field: &str) -> Option<Statistic> {
    let (counter, unit) = field.split_once('.')?;
    let statistic = match counter {
        "bad_lines_seen" => Rejected,
        "packets_received" => Datagrams,
        "metrics_received" => Lines,
        _ => return None,
    };
    Some(if unit == "rate" { per_second(statistic) } else { statistic })
}

fn is_older_count(row: &Row) -> bool {
    row.config["extended_counters"] == true && row.config["legacy_extended_counters"] != false
}

fn of_values(peer: &str, field: &str) -> Option<Statistic> {
    match field {
        // The Datadog agent reports samples per second.
        "count" if peer == "datadog-agent" => return Some(per_second(Count)),
        "rate" if peer == "statsite" => return Some(per_second(Sum)),
        // `values` is the name of a fact only if the list of values is empty, so tallyd must report no row.
        "count" | "sampled_count" | "weights" | "values" => return Some(Count),
        "count_ps" | "sample_rate" | "rate" => return Some(per_second(Count)),
        "updates" => return Some(Samples),
        "sum" => return Some(Sum),
        "sum_squares" | "sum_sq" => return Some(SumOfSquares),
        // telegraf passes on each value of a distribution. Each case has one value.
        "mean" | "avg" | "value" => return Some(Mean),
        "std" | "stddev" | "stdev" => return Some(Stddev),
        "variance" => return Some(Variance),
        "lower" | "min" | "q0" | "0_percentile" => return Some(Min),
        "upper" | "max" => return Some(Max),
        "median" => return Some(Percentile(50.0)),
        // brubeck uses this name for 99.9.
        "percentile.999" => return Some(Percentile(99.9)),
        _ => {}
    }
    let patterns =
        [("upper_", ""), ("", "_percentile"), ("", "percentile"), ("percentile.", ""), ("q", ""), ("p", "")];
    patterns
        .into_iter()
        .find_map(|(before, after)| decimal(field.strip_prefix(before)?.strip_suffix(after)?).map(Percentile))
}

/// Returns the percentile for one value of a sorted list. The third smallest of four values is percentile 75.
fn of_sorted_values(fact: &Fact) -> Option<Statistic> {
    let (list @ ("points" | "values"), index) = element(&fact.field)? else { return None };
    let count = fact.siblings[list].as_array()?.len() as f64;
    Some(Percentile((index + 1.0) * 100.0 / count))
}

/// Returns statsd's results for the values up to a percentile, or for the highest values.
fn of_part(field: &str) -> Option<Statistic> {
    let names = [
        ("count_", Part::Count),
        ("sum_squares_", Part::SumOfSquares),
        ("sum_", Part::Sum),
        ("mean_", Part::Mean),
        ("lower_", Part::Least),
    ];
    names.into_iter().find_map(|(name, part)| {
        let rest = field.strip_prefix(name)?;
        match rest.strip_prefix("top") {
            Some(rest) => Some(Highest(decimal(rest)?, part)),
            None => Some(Lowest(decimal(rest)?, part)),
        }
    })
}

/// Parses a percentile or a bound. statsd writes 99.9 as `99_9`.
fn decimal(text: &str) -> Option<f64> {
    text.replace('_', ".").parse().ok()
}

/// Returns the count of a histogram bucket, in the layout of the peer.
fn of_buckets(row: &Row, fact: &Fact, name: &str) -> Option<Statistic> {
    let Fact { field, siblings, .. } = fact;
    if let Some(bin) = field.strip_prefix("histogram.bin_") {
        return statsd_bin(&row.config, name, bin);
    }
    if let Some(bound) = field.strip_prefix("le.") {
        let bound = if bound == "+Inf" { f64::INFINITY } else { bound.parse().ok()? };
        return Some(Between(f64::NEG_INFINITY, bound));
    }
    if field == "zero_count" {
        // A bound closer to zero would become 0 in seconds.
        return Some(Between(-f64::MIN_POSITIVE, 0.0));
    }
    match element(field)? {
        ("bin", index) => statsite_bin(&row.config, name, index),
        ("bucket_counts", index) => Some(between(&numbers(&siblings["bounds"]), index as usize)),
        (list @ ("positive" | "negative"), index) => exponential_bucket(siblings, list, index),
        _ => None,
    }
}

/// Returns statsd's bin with this upper bound, such as `2_5` or `inf`.
fn statsd_bin(config: &Json, name: &str, bin: &str) -> Option<Statistic> {
    // The first entry whose text is part of the name applies.
    let entries = config["histogram"].as_array()?;
    let entry = entries.iter().find(|entry| name.contains(entry["metric"].as_str().unwrap_or("\0")))?;
    let bounds = numbers(&entry["bins"]);
    let bound = if bin == "inf" { f64::INFINITY } else { decimal(bin)? };
    Some(between(&bounds, bounds.iter().position(|&other| other == bound)?))
}

/// Returns statsite's bin. It has a bin below the least bound, bins of equal width, and a bin above the largest bound.
fn statsite_bin(config: &Json, name: &str, index: f64) -> Option<Statistic> {
    let entries = config["histograms"].as_array()?;
    let entry = entries.iter().find(|entry| entry["prefix"].as_str() == Some(name))?;
    let [min, max, width] = ["min", "max", "width"].map(|key| entry[key].as_f64().unwrap());
    let bound = |index: f64| min + width * index;
    let above = if index == 0.0 { f64::NEG_INFINITY } else { bound(index - 1.0) };
    Some(Between(above, if above >= max { f64::INFINITY } else { bound(index) }))
}

/// Returns an exponential bucket of OpenTelemetry. It extends from one power of 2^(2^-scale), exclusive, to the next.
fn exponential_bucket(siblings: &Json, list: &str, index: f64) -> Option<Statistic> {
    let scale = siblings["scale"].as_f64().unwrap_or(20.0);
    let offset = siblings[format!("{list}_offset")].as_f64()?;
    let power = |index: f64| ((offset + index) * (-scale).exp2()).exp2();
    let [low, high] = [power(index), power(index + 1.0)];
    Some(if list == "positive" {
        Between(low, high)
    } else {
        Between((-high).next_down(), (-low).next_down())
    })
}

/// Returns the weight of the values up to the bound at `index`, and above the bound before it.
fn between(bounds: &[f64], index: usize) -> Statistic {
    let above = index.checked_sub(1).map_or(f64::NEG_INFINITY, |before| bounds[before]);
    Between(above, bounds.get(index).copied().unwrap_or(f64::INFINITY))
}

/// Reads bounds. A bound that is no number is infinite.
fn numbers(list: &Json) -> Vec<f64> {
    let bounds = list.as_array().into_iter().flatten();
    bounds.map(|bound| bound.as_f64().unwrap_or(f64::INFINITY)).collect()
}

/// Splits `points[3]` into `points` and 3.
fn element(field: &str) -> Option<(&str, f64)> {
    let (list, index) = field.strip_suffix(']')?.split_once('[')?;
    Some((list, index.parse().ok()?))
}
