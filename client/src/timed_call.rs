//! The guard that `#[timed]` puts into a function. It records the duration of the call.

use std::thread;
use std::time::Instant;

use crate::global::global;
use crate::number::Number;
use crate::outcome::Outcome;
use crate::sample::{Rate, Sample, Tag, Tags, Value};

/// The arguments of a function's attribute.
#[derive(Debug)]
pub struct TimedFunction {
    /// The name of the metric, without the component.
    pub metric_name: &'static str,
    /// The component, if the attribute names one.
    pub component: Option<&'static str>,
    /// The tags that the attribute lists.
    pub tags: &'static [Tag<'static>],
    /// The share of calls to send, above 0 and at most 1.
    pub sample_rate: f64,
    /// True if each sample gets the `outcome` tag.
    pub has_outcome: bool,
}

/// One call of a timed function. It records the timing when it is dropped.
#[derive(Debug)]
#[must_use]
pub struct TimedCall {
    function: &'static TimedFunction,
    /// The path of the type or module to which the function belongs. It is not a part of `function`, because a static
    /// cannot name a generic type.
    type_or_module: &'static str,
    /// The start and the sample rate, or `None` if no exporter wants the timing.
    started: Option<(Instant, Rate)>,
    /// `None` until the function reaches its end.
    outcome: Option<Outcome>,
}

impl TimedCall {
    /// Starts to time a call.
    #[inline]
    pub fn start(function: &'static TimedFunction, type_or_module: &'static str) -> Self {
        let rate = global().and_then(|sink| sink.sample_call(function.sample_rate));
        let started = rate.map(|rate| (Instant::now(), rate));
        Self { function, type_or_module, started, outcome: None }
    }

    /// Ends a call that did not panic.
    #[inline]
    pub fn end(mut self, outcome: Outcome) {
        self.outcome = Some(outcome);
    }

    /// Records the timing. It is not inlined, so that timed functions stay small.
    #[inline(never)]
    fn record(&self, started: Instant, rate: Rate) {
        let elapsed = started.elapsed();
        let Some(sink) = global() else { return };
        let TimedFunction { metric_name, component, tags, has_outcome, .. } = *self.function;
        let outcome = [("outcome", self.outcome().name())];
        sink.record(&Sample {
            component: component.unwrap_or_else(|| last_part(self.type_or_module)),
            name: metric_name,
            value: Value::Timing(elapsed.number()),
            tags: [
                sink.tags(),
                Tags::NONE,
                Tags::Borrowed(tags),
                Tags::Borrowed(if has_outcome { &outcome } else { &[] }),
            ],
            rate,
            calls: 1,
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

impl Drop for TimedCall {
    #[inline]
    fn drop(&mut self) {
        if let Some((started, rate)) = self.started {
            self.record(started, rate);
        }
    }
}

/// Returns the name of a type or a module without its path, its generic arguments and its bounds. `resume::Parser<u8>`
/// becomes `Parser`, and `dyn resume::Parse + core::marker::Send` becomes `Parse`.
fn last_part(path: &'static str) -> &'static str {
    let path = path.split_once(" + ").map_or(path, |(path, _)| path);
    let parts = without_generic_arguments(path).rsplit(|c: char| !(c.is_alphanumeric() || c == '_'));
    parts
        .filter(|part| !part.starts_with(|c: char| c.is_ascii_digit()))
        .find(|part| !part.is_empty())
        .unwrap_or(path)
}

/// Removes the generic arguments at the end. For example, `a::B<c::D<e>>` becomes `a::B`.
fn without_generic_arguments(path: &str) -> &str {
    let mut depth = 0;
    for (index, character) in path.char_indices().rev() {
        match character {
            '>' => depth += 1,
            '<' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return &path[..index + if character == '<' { 0 } else { character.len_utf8() }];
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn component_is_the_last_part_of_the_type_name() {
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
        for (path, expected) in cases {
            assert_eq!(last_part(path), expected);
        }
    }
}
