//! Declares the arguments of `tallyd merge`.

use std::path::PathBuf;

use clap::Args;

use crate::model::Percentile;

/// The arguments of `tallyd merge`.
#[derive(Debug, Clone, Args)]
pub(in crate::app) struct MergeArgs {
    /// Interval logs of HdrHistogram, for example one of each host.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Merge only series with this name; `*` stands for any text.
    #[arg(long = "match", value_name = "PATTERN", default_value = "*")]
    pub pattern: String,
    /// Merge only series with this tag. May be repeated.
    #[arg(long = "tag", value_name = "KEY:VALUE", value_parser = parse_tag)]
    pub tags: Vec<(String, Option<String>)>,
    /// Merge the series of a metric that have the same value of this tag. By default, each series has a row of its own.
    #[arg(long, value_name = "KEY")]
    pub by: Option<String>,
    /// Merge only intervals that begin at this time or later: RFC 3339, or seconds since 1970.
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub from: Option<f64>,
    /// Merge only intervals that begin before this time.
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub to: Option<f64>,
    /// The percentiles to print.
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_values_t = DEFAULT, value_parser = parse_percentile)]
    pub percentiles: Vec<f64>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
    /// Merge all selected series into one, and print its percentiles as HdrHistogram's plotter reads them.
    #[arg(long, conflicts_with_all = ["json", "by", "percentiles"])]
    pub hgrm: bool,
}

/// The percentiles that tallyd shows by default.
const DEFAULT: [f64; 5] = [50.0, 90.0, 95.0, 99.0, 99.9];

fn parse_tag(text: &str) -> Result<(String, Option<String>), String> {
    match text.split_once(':') {
        Some(("", _)) => Err("write KEY:VALUE".to_owned()),
        Some((key, value)) => Ok((key.to_owned(), Some(value.to_owned()))),
        None => Ok((text.to_owned(), None)),
    }
}

fn parse_time(text: &str) -> Result<f64, String> {
    if let Ok(seconds) = text.parse::<f64>()
        && seconds.is_finite()
    {
        return Ok(seconds);
    }
    let time = humantime::parse_rfc3339_weak(text);
    let since_1970 = time.ok().and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
    since_1970
        .map(|since| since.as_secs_f64())
        .ok_or_else(|| "give a time such as \"2026-12-01T11:00:00Z\", or seconds since 1970".to_owned())
}

fn parse_percentile(text: &str) -> Result<f64, String> {
    let percentile = text.trim().parse().ok().and_then(Percentile::new);
    percentile.map(Percentile::percent).ok_or_else(|| "give numbers above 0 and at most 100".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rfc_3339_or_seconds() {
        assert_eq!(parse_time("2026-12-01T00:00:00Z"), Ok(1_796_083_200.0));
        assert_eq!(parse_time("2026-12-01T00:00:00.5Z"), Ok(1_796_083_200.5));
        assert_eq!(parse_time("1796083200.25"), Ok(1_796_083_200.25));
        for wrong in ["", "yesterday", "nan", "2026-12-01T00:00:00+01:00"] {
            assert!(parse_time(wrong).is_err(), "{wrong}");
        }
    }
}
