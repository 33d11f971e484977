//! Explains a line for people: the line with its parts marked, then one field per row.

use std::fmt::Write as _;

use strum::VariantArray;

use super::drawing::Drawing;
use super::words;
use crate::aggregate::AggregationOptions;
use crate::export::prometheus::Naming;
use crate::mapping::{Mapping, Shaped};
use crate::model::{Event, Kind, Named, RELAY_PROBE, RESERVED_PREFIX, Series};
use crate::protocol::{
    self, Dialect, Line, Metric, Notes, Origin, RejectReason, Sample, SampleValue, ServiceCheck,
};
use crate::resolve::{self, IdentityBuilder, RefuseReason, lossy};
use crate::text::number::push_number;
use crate::text::visible::visible;

/// Returns the explanation of a rejected line. `number` is its position in the input, counted from 1.
pub(super) fn rejection(line: &[u8], reason: RejectReason, offset: usize, number: Option<u64>) -> String {
    let mut text = String::new();
    // A line that is too long would fill the screen.
    if reason != RejectReason::LineTooLong {
        let drawing = Drawing::new(line);
        text = format!("{}\n{}\n", drawing.text(), drawing.pointer(offset));
    }
    let (name, words, column) = (reason.name(), words::rejected(reason), offset + 1);
    let place = match number {
        Some(number) => format!("line {number}, column {column}"),
        None => format!("column {column}"),
    };
    push_field(&mut text, "rejected", &format!("{name} at {place}: {words}"));
    text
}

/// The settings that an explanation depends on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Describer<'a> {
    pub(super) options: &'a AggregationOptions,
    pub(super) mapping: &'a Mapping,
    pub(super) naming: Naming,
    pub(super) max_name: usize,
}

impl Describer<'_> {
    /// Returns the explanation of a parsed line.
    pub(super) fn describe(self, line: &[u8], parsed: &Line<'_>) -> String {
        let drawing = Drawing::new(line);
        let mut text = format!("{}\n", drawing.text());
        for row in drawing.labels(&protocol::tokens(line, parsed)) {
            text.extend([row.as_str(), "\n"]);
        }
        let notes = match parsed {
            Line::Metric(metric) => {
                self.push_metric(&mut text, metric);
                metric.notes()
            }
            Line::Event(event) => {
                self.push_event(&mut text, event);
                event.notes
            }
            Line::ServiceCheck(check) => {
                self.push_check(&mut text, check);
                check.notes
            }
        };
        push_notes(&mut text, notes);
        text
    }

    fn push_metric(self, text: &mut String, metric: &Metric<'_>) {
        push_field(text, "dialect", metric.dialect().map_or_else(|| section_dialect(metric), Dialect::name));
        let is_absolute = self.options.resolve.is_absolute(metric.name());
        let samples: Vec<_> = metric.samples().collect();
        for sample in &samples {
            push_field(text, sample.kind.name(), &measured(sample, is_absolute));
        }
        let mut identities = IdentityBuilder::new(self.options.resolve.container_id_tag);
        for &kind in Kind::VARIANTS.iter().filter(|&&kind| samples.iter().any(|sample| sample.kind == kind)) {
            let mut steps = Vec::new();
            let shaped = identities.identify(self.mapping, kind, metric, |step, draft| {
                steps.push((words::step(step), draft.to_string()));
            });
            let last = steps.len().saturating_sub(1);
            for (index, ((field, words), series)) in steps.iter().enumerate() {
                push_field(text, field, words);
                // The last series has a row of its own, with its type.
                if index < last {
                    push_field(text, "", &visible(series));
                }
            }
            match shaped {
                Ok(Shaped { scale, .. }) => {
                    if scale != 1.0 {
                        push_field(text, "scale", &scale.to_string());
                    }
                    let series = Series::from_identity(identities.identity());
                    self.push_series(text, &series);
                    if series.name().len() > self.max_name {
                        push_refusal(text, RefuseReason::NameTooLong);
                    }
                }
                Err(reason) => push_refusal(text, reason),
            }
        }
        if metric.name() == RELAY_PROBE {
            push_field(
                text,
                "probe",
                "counted in tallyd.relay_probes: a tallyd that relays looks for loops with it",
            );
        } else if metric.name().starts_with(RESERVED_PREFIX) {
            push_refusal(text, RefuseReason::ReservedName);
        }
    }

    fn push_event(self, text: &mut String, event: &protocol::Event<'_>) {
        let Event { title, text: words, alert_type, priority, tags, .. } =
            resolve::event(event, self.options.resolve.container_id_tag, self.mapping);
        push_field(text, "event", &visible(&title));
        if !words.is_empty() {
            push_field(text, "text", &visible(&words));
        }
        if !tags.is_empty() {
            let tag = |(key, value): (String, String)| {
                if value.is_empty() { key } else { format!("{key}:{value}") }
            };
            let tags: Vec<_> = tags.into_iter().map(tag).collect();
            push_field(text, "tags", &visible(&tags.join(",")));
        }
        let (alert_type, priority) = (alert_type.name(), priority.name());
        push_field(
            text,
            "counted as",
            &format!("tallyd.events{{alert_type:{alert_type},priority:{priority}}}"),
        );
    }

    fn push_check(self, text: &mut String, check: &ServiceCheck<'_>) {
        let (status, name) = (check.status as u8, check.status.name());
        push_field(text, "gauge", &format!("{status}, that is {name}"));
        let mut identities = IdentityBuilder::new(self.options.resolve.container_id_tag);
        identities.build_check(self.mapping, check);
        self.push_series(text, &Series::from_identity(identities.identity()));
    }

    fn push_series(self, text: &mut String, series: &Series) {
        push_field(text, "series", &visible(&format!("{series:?}")));
        push_field(text, "prometheus", &visible(&self.naming.exposed(series)));
    }
}

/// Returns the dialect of a line without tags in its name: `dogstatsd` if the line uses a feature that only DogStatsD
/// has, otherwise `statsd`.
fn section_dialect(metric: &Metric<'_>) -> &'static str {
    let has_sections = metric.tags().iter().next().is_some()
        || metric.timestamp().is_some()
        || metric.origin() != Origin::default();
    let has_types =
        metric.samples().any(|sample| matches!(sample.kind, Kind::Histogram | Kind::Distribution));
    if has_sections || has_types { "dogstatsd" } else { "statsd" }
}

fn measured(sample: &Sample<'_>, is_absolute: bool) -> String {
    let mut text = String::new();
    match sample.value {
        SampleValue::Member(member) => text.push_str(&visible(&lossy(member))),
        SampleValue::Signed(change) if !is_absolute => {
            text.push_str(if change.is_sign_negative() { "" } else { "+" });
            push_number(&mut text, change);
            text.push_str(", a change");
        }
        SampleValue::Number(value) | SampleValue::Signed(value) => push_number(&mut text, value),
    }
    if sample.kind == Kind::Timing {
        text.push_str(" ms");
    }
    let weight = sample.rate.weight();
    if weight > 1.0 {
        text.push_str(", counts as ");
        push_number(&mut text, weight);
    }
    text
}

fn push_notes(text: &mut String, notes: Notes) {
    for note in notes.iter() {
        push_field(text, "note", &format!("{}: {}", note.name(), words::noted(note)));
    }
}

fn push_refusal(text: &mut String, reason: RefuseReason) {
    push_field(text, "refused", &format!("{}: {}", reason.name(), words::refused(reason)));
}

fn push_field(text: &mut String, field: &str, value: &str) {
    // Writing to a string cannot fail.
    _ = writeln!(text, "  {field:<15} {value}");
}
