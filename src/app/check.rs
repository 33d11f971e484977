//! `tallyd check --dry-run`: reports what would happen to lines, without receiving them.
//!
//! The daemon's own code parses and records the lines, ends the interval, and admits the series to a Prometheus page.
//! The report is the only output.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::io::{self, Read};
use std::time::{Duration, SystemTime};

use crate::aggregate::IngestCounts;
use crate::app::config::Config;
use crate::export::prometheus::Totals;
use crate::export::{MergeReason, QuarantineReason};
use crate::flush::{Aggregator, ReloadableSettings};
use crate::mapping::{Draft, Mapping, Step};
use crate::model::{Named, Origin, Telemetry, Value};
use crate::protocol::{self, Dialects, Line};
use crate::text::visible::visible;

/// The most rejected lines that a report names. More would hide the rest of the report.
const MOST_REJECTED: usize = 20;

/// The most characters of a rejected line that a report shows.
const SHOWN: usize = 100;

/// A report on lines.
pub(super) struct Report {
    /// The text for the user, with a line feed at the end of each line.
    pub(super) text: String,
    /// Whether tallyd would reject any of the lines.
    pub(super) is_any_rejected: bool,
}

/// Returns a report on the lines of `input`. It names the rejected lines, counts the uses of each rule, and lists the
/// names that no rule matches. It also lists the series that the Prometheus page leaves out or changes.
///
/// # Errors
///
/// Returns an error if the input cannot be read.
pub(super) fn report(config: &Config, mapping: Mapping, mut input: impl Read) -> io::Result<Report> {
    let mut lines = Vec::new();
    input.read_to_end(&mut lines)?;
    let settings = ReloadableSettings { telemetry: false, ..config.reloadable_settings(mapping) };
    let options = config.aggregation_options();
    let dialects = options.dialects;
    let mut aggregator = Aggregator::new(options, settings, Telemetry::default());
    let shard = aggregator.add_shard();
    shard.lock().record_lines(&lines, &Origin::default());
    let results = aggregator.end_interval(Duration::ZERO);
    let mut text = summary(&results.counts);
    let is_any_rejected = push_rejected(&mut text, &lines, dialects);
    let mut totals = Totals::new(config.exporters.prometheus.naming);
    let snapshot = results.into_snapshot(SystemTime::UNIX_EPOCH, Duration::from_secs(1));
    totals.add(&snapshot);

    let mapping = aggregator.mapping();
    let usage = RuleUsage::count(&lines, dialects, mapping);
    let patterns = mapping.rules().iter().map(|rule| &*rule.spec.pattern);
    push_table(&mut text, "rules", patterns.zip(usage.by_rule.iter().copied()));
    push_table(&mut text, "names without a rule", usage.unmatched());
    let mut kept_out: Vec<_> = totals.quarantined().collect();
    // A series with a negative increase has a place on the page. Only the increase is kept off it.
    let placed = kept_out.len();
    for row in snapshot.rows.iter().filter(|row| matches!(row.value, Value::Counter(sum) if *sum < 0.0)) {
        if !kept_out[..placed].iter().any(|(series, _)| *series == row.series) {
            kept_out.push((row.series, QuarantineReason::NegativeIncrease));
        }
    }
    let kept_out = kept_out.into_iter().map(|(series, reason)| (reason.name(), format!("{series:?}")));
    push_conflicts(&mut text, "kept off the Prometheus page", kept_out);
    let naming = config.exporters.prometheus.naming;
    let merged = totals.merged().map(|(series, merge)| {
        let what = match merge {
            MergeReason::Labels => "two tags, one label",
            MergeReason::Series => "added up",
        };
        (what, format!("{series:?} in {}", naming.exposed(series)))
    });
    push_conflicts(&mut text, "changed on the Prometheus page", merged);
    Ok(Report { text, is_any_rejected })
}

/// The number of samples that each rule matches, and the number of samples of each name that no rule matches.
struct RuleUsage {
    by_rule: Vec<u64>,
    by_unmatched_name: BTreeMap<String, u64>,
}

impl RuleUsage {
    fn count(lines: &[u8], dialects: Dialects, mapping: &Mapping) -> Self {
        // The rules are applied once per name and type, rather than once per sample.
        let mut samples = HashMap::<_, u64>::new();
        for line in protocol::lines(lines) {
            let Ok(Line::Metric(metric)) = protocol::parse(line, dialects) else { continue };
            for sample in metric.samples() {
                *samples.entry((metric.name().to_string(), sample.kind)).or_default() += 1;
            }
        }
        let mut usage = Self { by_rule: vec![0; mapping.rules().len()], by_unmatched_name: BTreeMap::new() };
        for ((name, kind), samples) in samples {
            let mut is_matched = false;
            // A series that rules leave out counts for them, too.
            _ = mapping.shape(kind, &mut Draft::named(&*name), |step, _| {
                if let Step::Rule(rule) = step {
                    is_matched = true;
                    usage.by_rule[rule.index] += samples;
                }
            });
            if !is_matched {
                *usage.by_unmatched_name.entry(name).or_default() += samples;
            }
        }
        usage
    }

    /// Returns the names that no rule matches, the most frequent first.
    fn unmatched(&self) -> impl Iterator<Item = (&str, u64)> {
        let mut names: Vec<_> =
            self.by_unmatched_name.iter().map(|(name, &samples)| (&**name, samples)).collect();
        names.sort_by_key(|&(_, samples)| Reverse(samples));
        names.into_iter()
    }
}

fn summary(counts: &IngestCounts) -> String {
    let mut text = format!("{} lines, {} samples", counts.lines, counts.samples.values().sum::<u64>());
    let rejected = counts.rejected.into_iter().map(|(reason, count)| (reason.name(), count));
    let refused = counts.refused.into_iter().map(|(reason, count)| (reason.name(), count));
    for (reason, count) in rejected.chain(refused).filter(|&(_, count)| count > 0) {
        // Writing to a string cannot fail.
        _ = write!(text, ", {count} {reason}");
    }
    text.push('\n');
    text
}

/// Appends the rejected lines by number, counted from 1. Returns true if there are any.
fn push_rejected(text: &mut String, lines: &[u8], dialects: Dialects) -> bool {
    let mut rejected = 0;
    for (index, line) in lines.split(|&byte| byte == b'\n').enumerate() {
        // Each piece holds one line, or none if it is empty.
        for line in protocol::lines(line) {
            let Err(error) = protocol::parse(line, dialects) else { continue };
            rejected += 1;
            if rejected == 1 {
                _ = writeln!(text, "\n{:>10}  rejected", "line");
            }
            if rejected <= MOST_REJECTED {
                let (reason, column) = (error.reason().name(), error.offset() + 1);
                let line = String::from_utf8_lossy(line);
                let shown: String = line.chars().take(SHOWN).collect();
                let end = if shown.len() < line.len() { "..." } else { "" };
                _ = writeln!(
                    text,
                    "{:>10}  {reason} at column {column}: {}{end}",
                    index + 1,
                    visible(&shown)
                );
            }
        }
    }
    if rejected > MOST_REJECTED {
        _ = writeln!(text, "{:>10}  and {} more", "", rejected - MOST_REJECTED);
    }
    rejected > 0
}

fn push_table<'a>(text: &mut String, title: &str, rows: impl Iterator<Item = (&'a str, u64)>) {
    let mut rows = rows.peekable();
    if rows.peek().is_some() {
        _ = writeln!(text, "\n{:>10}  {title}", "samples");
        rows.for_each(|(what, samples)| _ = writeln!(text, "{samples:>10}  {}", visible(what)));
    }
}

fn push_conflicts(text: &mut String, title: &str, rows: impl Iterator<Item = (&'static str, String)>) {
    let mut rows = rows.peekable();
    if rows.peek().is_some() {
        _ = writeln!(text, "\n{title}");
        rows.for_each(|(reason, series)| _ = writeln!(text, "{reason:>20}  {}", visible(&series)));
    }
}
