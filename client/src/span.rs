//! What `#[timed]` puts into a function.

use std::thread;
use std::time::Instant;

use crate::metrics::global;
use crate::outcome::Outcome;
use crate::sample::{Sample, Tags, Value};
use crate::{Number, Tag};

/// What is said of a function in its attribute.
#[derive(Debug)]
pub struct Site {
    /// Of the metric.
    pub name: &'static str,
    /// Besides that of the outcome.
    pub tags: &'static [Tag<'static>],
    /// The share of calls that are taken.
    pub sample_rate: f64,
    /// Whether how it ended is a tag.
    pub tells_outcome: bool,
}

/// One call of a function that is timed; it is recorded when this is dropped.
#[derive(Debug)]
#[must_use]
pub struct Span {
    site: &'static Site,
    /// A type's name with its path, or a name that was given.
    component: &'static str,
    /// And the rate of its sample; `None` where nothing would become of it.
    started: Option<(Instant, f64)>,
    /// Of a function that came to its end.
    outcome: Option<Outcome>,
}

impl Span {
    /// The call begins.
    #[inline]
    pub fn start(site: &'static Site, component: &'static str) -> Self {
        let taken = global().and_then(|metrics| metrics.take(site.sample_rate));
        let started = taken.map(|rate| (Instant::now(), rate));
        Self { site, component, started, outcome: None }
    }

    /// The call has come to its end, by whichever way but a panic.
    #[inline]
    pub fn end(mut self, outcome: Outcome) {
        self.outcome = Some(outcome);
    }

    #[inline(never)]
    fn record(&self, started: Instant, rate: f64) {
        let elapsed = started.elapsed();
        let Some(metrics) = global() else { return };
        let Site { name, tags, tells_outcome, .. } = *self.site;
        let outcome = [("outcome", self.outcome().name())];
        metrics.record(Sample {
            component: short(self.component),
            name,
            value: Value::Timing(elapsed.number()),
            tags: [
                Tags::NONE,
                Tags::NONE,
                Tags::Given(tags),
                Tags::Given(if tells_outcome { &outcome } else { &[] }),
            ],
            rate,
        });
    }

    fn outcome(&self) -> Outcome {
        match self.outcome {
            Some(outcome) => outcome,
            None if thread::panicking() => Outcome::Panic,
            None => Outcome::Dropped,
        }
    }
}

impl Drop for Span {
    #[inline]
    fn drop(&mut self) {
        if let Some((started, rate)) = self.started {
            self.record(started, rate);
        }
    }
}

/// A type's name without its path and its parameters: `Parser` of `resume::parse::Parser<alloc::string::String>`.
fn short(name: &'static str) -> &'static str {
    let name = name.strip_prefix("dyn ").unwrap_or(name).trim_start_matches('&');
    let name = name.split_once('<').map_or(name, |(name, _)| name);
    name.rsplit_once("::").map_or(name, |(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_component_is_the_last_part_of_a_types_name() {
        let cases = [
            ("resume::parse::Parser", "Parser"),
            ("Parser", "Parser"),
            ("a::Parser<alloc::string::String>", "Parser"),
            ("a::Parser<b::C<d::E>>", "Parser"),
            ("dyn a::Parse", "Parse"),
            ("&a::Parser", "Parser"),
        ];
        for (name, expected) in cases {
            assert_eq!(short(name), expected);
        }
    }
}
