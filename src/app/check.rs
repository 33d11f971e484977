//! `tallyd check --dry-run`: what would become of lines that were sent, without sending them.
//!
//! They are read, recorded, cut and admitted to a page of Prometheus by the code that does so in a daemon; nothing but a
//! report comes of it.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::io::{self, Read};
use std::time::{Duration, SystemTime};

use crate::aggregate::IngestCounts;
use crate::app::config::Config;
use crate::export::MergeReason;
use crate::export::prometheus::Totals;
use crate::flush::{Aggregator, ReloadableSettings};
use crate::mapping::Mapping;
use crate::model::{Named, Telemetry};
use crate::protocol::{self, Line};
use crate::text::visible::visible;

/// Says what becomes of the lines that are read from `input`: how often each rule was used, which names no rule matches,
/// and which series are kept off the page.
///
/// # Errors
///
/// If it cannot be read.
pub fn report(config: &Config, mapping: Mapping, mut input: impl Read) -> io::Result<String> {
    let mut lines = Vec::new();
    input.read_to_end(&mut lines)?;
    let settings = ReloadableSettings { telemetry: false, ..config.terms(mapping) };
    let mut aggregator = Aggregator::new(config.parameters(), settings, Telemetry::default());
    let shard = aggregator.add_shard();
    shard.lock().record_stream(&lines);
    let results = aggregator.end_interval(Duration::ZERO);
    let mut text = summary(&results.counts);
    let mut totals = Totals::new(config.exporters.prometheus.naming);
    totals.add(&results.into_snapshot(SystemTime::UNIX_EPOCH, Duration::from_secs(1)));

    let mapping = aggregator.mapping();
    let uses = Uses::of(&lines, config, mapping);
    let patterns = mapping.rules().iter().map(|rule| &*rule.spec.pattern);
    push_table(&mut text, "rules", patterns.zip(uses.of_rules.iter().copied()));
    push_table(&mut text, "names without a rule", uses.unmatched());
    let kept_out = totals.kept_out().map(|(series, reason)| (reason.name(), format!("{series:?}")));
    push_conflicts(&mut text, "kept off the page of Prometheus", kept_out);
    let naming = config.exporters.prometheus.naming;
    let merged = totals.merged().map(|(series, merge)| {
        let what = match merge {
            MergeReason::Labels => "two tags, one label",
            MergeReason::Series => "added up",
        };
        (what, format!("{series:?} in {}", naming.exposed(series)))
    });
    push_conflicts(&mut text, "on the page in another way than they were sent", merged);
    Ok(text)
}

/// How many samples each rule had, and each name without one.
struct Uses {
    of_rules: Vec<u64>,
    of_names: BTreeMap<String, u64>,
}

impl Uses {
    fn of(lines: &[u8], config: &Config, mapping: &Mapping) -> Self {
        let dialects = config.parameters().dialects;
        let mut samples = HashMap::<_, u64>::new();
        for line in protocol::lines(lines) {
            let Ok(Line::Metric(metric)) = protocol::parse(line, dialects) else { continue };
            for sample in metric.samples() {
                *samples.entry((metric.name().to_string(), sample.kind)).or_default() += 1;
            }
        }
        let mut uses = Self { of_rules: vec![0; mapping.rules().len()], of_names: BTreeMap::new() };
        for ((name, kind), samples) in samples {
            *match mapping.apply(&name, kind) {
                Some(mapped) => &mut uses.of_rules[mapped.rule.index],
                None => uses.of_names.entry(name).or_default(),
            } += samples;
        }
        uses
    }

    /// The most frequent first.
    fn unmatched(&self) -> impl Iterator<Item = (&str, u64)> {
        let mut names: Vec<_> = self.of_names.iter().map(|(name, &samples)| (&**name, samples)).collect();
        names.sort_by_key(|&(_, samples)| std::cmp::Reverse(samples));
        names.into_iter()
    }
}

fn summary(tally: &IngestCounts) -> String {
    let mut text = format!("{} lines, {} samples", tally.lines, tally.samples.values().sum::<u64>());
    let rejected = tally.rejected.into_iter().map(|(reason, count)| (reason.name(), count));
    let refused = tally.refused.into_iter().map(|(reason, count)| (reason.name(), count));
    for (reason, count) in rejected.chain(refused).filter(|&(_, count)| count > 0) {
        // Writing to a string cannot fail.
        _ = write!(text, ", {count} {reason}");
    }
    text.push('\n');
    text
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
