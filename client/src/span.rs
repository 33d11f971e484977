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
    /// What stands before that, if it was given.
    pub component: Option<&'static str>,
    /// Besides that of the outcome.
    pub tags: &'static [Tag<'static>],
    /// The share of calls that are sent.
    pub sample_rate: f64,
    /// Whether how it ended is a tag.
    pub tells_outcome: bool,
}

/// One call of a function that is timed; it is recorded when this is dropped.
#[derive(Debug)]
#[must_use]
pub struct Span {
    site: &'static Site,
    /// The name of the function's type or module, with its path: of a generic type, `site` cannot know it.
    place: &'static str,
    /// And the rate of its sample; `None` where nothing would become of it.
    started: Option<(Instant, f64)>,
    /// Of a function that came to its end.
    outcome: Option<Outcome>,
}

impl Span {
    /// The call begins.
    #[inline]
    pub fn start(site: &'static Site, place: &'static str) -> Self {
        let taken = global().and_then(|metrics| metrics.take(site.sample_rate));
        let started = taken.map(|rate| (Instant::now(), rate));
        Self { site, place, started, outcome: None }
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
        let Site { name, component, tags, tells_outcome, .. } = *self.site;
        let outcome = [("outcome", self.outcome().name())];
        metrics.record(Sample {
            component: component.unwrap_or_else(|| short(self.place)),
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

/// A type's name without its path, its parameters and its bounds: `Parser` of `resume::Parser<u8>`, `Parse` of
/// `dyn resume::Parse + core::marker::Send`; or a module's.
fn short(name: &'static str) -> &'static str {
    let name = name.split_once(" + ").map_or(name, |(name, _)| name);
    let parts = without_parameters(name).rsplit(|c: char| !(c.is_alphanumeric() || c == '_'));
    parts
        .filter(|part| !part.starts_with(|c: char| c.is_ascii_digit()))
        .find(|part| !part.is_empty())
        .unwrap_or(name)
}

/// What stands before the parameters at the end: `a::B` of `a::B<c::D<e>>`.
fn without_parameters(name: &str) -> &str {
    let mut depth = 0;
    for (place, character) in name.char_indices().rev() {
        match character {
            '>' => depth += 1,
            '<' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return &name[..place + if character == '<' { 0 } else { character.len_utf8() }];
        }
    }
    name
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
            ("&a::Parser", "Parser"),
            ("&mut a::Parser", "Parser"),
            ("&str", "str"),
            ("dyn a::Parse", "Parse"),
            ("&dyn a::Parse", "Parse"),
            ("dyn a::Parse + core::marker::Send", "Parse"),
            ("dyn a::Parse<'_> + core::marker::Send", "Parse"),
            ("dyn a::Parse<Output = b::C> + core::marker::Send", "Parse"),
            ("a::r#type", "type"),
            ("(u8, alloc::string::String)", "String"),
            ("[alloc::string::String; 2]", "String"),
            ("<a::Parser<u8> as a::Parse>::parse::Local", "Local"),
        ];
        for (name, expected) in cases {
            assert_eq!(short(name), expected);
        }
    }
}
