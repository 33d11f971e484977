//! Says what tallyd makes of a line, by the very code that receivers use.

mod drawing;
mod meaning;
mod words;

use std::fmt::Write as _;
use std::io::{self, Read, Write};

use crate::aggregate::AggregationOptions;
use crate::export::prometheus::Naming;
use crate::listen::{Deframer, End, Frame, Framing};
use crate::mapping::{Mapping, Rule};
use crate::model::{Kind, Named, RESERVED_PREFIX, Series};
use crate::protocol::{
    self, Dialect, Event, Line, Metric, Notes, Origin, RejectReason, Sample, SampleValue, ServiceCheck,
};
use crate::resolve::{IdentityBuilder, RefuseReason, lossy, map};
use crate::text::number::push_number;
use crate::text::visible::visible;
use drawing::Drawing;
use meaning::Meaning;

/// How lines are explained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people: the line, what stands where in it, and what becomes of it.
    Text,
    /// For programs: an object a line.
    Json,
}

/// Explains lines as a daemon with these settings would take them.
#[derive(Debug)]
pub struct Explainer {
    /// How lines are read.
    pub parameters: AggregationOptions,
    /// What other names series are given.
    pub mapping: Mapping,
    /// How Prometheus is shown the series.
    pub naming: Naming,
    /// Bytes of a line at most.
    pub max_line: usize,
    /// How it is told.
    pub format: Format,
}

/// What the shipped configuration says, for people.
impl Default for Explainer {
    fn default() -> Self {
        Self {
            parameters: AggregationOptions::default(),
            mapping: Mapping::default(),
            naming: Naming::Prometheus,
            max_line: 64 << 10,
            format: Format::Text,
        }
    }
}

impl Explainer {
    /// Explains what is read from `input`, line by line, as soon as it is read.
    ///
    /// # Errors
    ///
    /// If it cannot be read, or the explanation cannot be written.
    pub fn explain_all(&self, mut input: impl Read, mut output: impl Write) -> io::Result<()> {
        let mut deframer = Deframer::new(Framing::Lines, self.max_line);
        let mut buffer = vec![0; 64 << 10];
        let mut explanations = String::new();
        let push = |explanations: &mut String, frame: Frame<'_>| match frame {
            Frame::Lines(lines) => explanations.extend(protocol::lines(lines).map(|line| self.explain(line))),
            Frame::TooLong => {
                explanations.push_str(&self.reject(&[], RejectReason::LineTooLong, self.max_line));
            }
            Frame::Truncated => {}
        };
        loop {
            let read = input.read(&mut buffer)?;
            if read == 0 {
                deframer.end(End::Whole, |frame| push(&mut explanations, frame));
                output.write_all(explanations.as_bytes())?;
                return output.flush();
            }
            let pushed = deframer.push(&buffer[..read], |frame| push(&mut explanations, frame));
            pushed.map_err(io::Error::other)?;
            output.write_all(explanations.as_bytes())?;
            output.flush()?;
            explanations.clear();
        }
    }

    /// Explains one line: whole rows, each with its line feed.
    #[must_use]
    pub fn explain(&self, line: &[u8]) -> String {
        if line.len() > self.max_line {
            return self.reject(line, RejectReason::LineTooLong, self.max_line);
        }
        match protocol::parse(line, self.parameters.dialects) {
            Err(error) => self.reject(line, error.reason(), error.offset()),
            Ok(parsed) if self.format == Format::Json => {
                json(&Meaning::of(&parsed, &self.parameters, &self.mapping))
            }
            Ok(parsed) => self.describe(line, &parsed),
        }
    }

    fn reject(&self, line: &[u8], reason: RejectReason, offset: usize) -> String {
        match self.format {
            Format::Json => json(&Meaning::rejected(reason, offset)),
            Format::Text => rejection(line, reason, offset),
        }
    }

    fn describe(&self, line: &[u8], parsed: &Line<'_>) -> String {
        let drawing = Drawing::of(line);
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
                push_event(&mut text, event);
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

    fn push_metric(&self, text: &mut String, metric: &Metric<'_>) {
        push_field(text, "dialect", metric.dialect().map_or_else(|| section_dialect(metric), Dialect::name));
        let is_absolute = self.parameters.resolve.is_absolute(metric.name());
        let samples: Vec<_> = metric.samples().collect();
        for sample in &samples {
            push_field(text, sample.kind.name(), &measured(sample, is_absolute));
        }
        let mut identities = IdentityBuilder::new(self.parameters.resolve.container_id_tag);
        for kind in Kind::ALL.into_iter().filter(|&kind| samples.iter().any(|sample| sample.kind == kind)) {
            let mapped = map(&self.mapping, kind, metric);
            if let Some(Rule { index, spec, .. }) = mapped.as_ref().map(|mapped| mapped.rule) {
                push_field(text, "rule", &format!("{}, {}", index + 1, visible(&spec.pattern)));
            }
            match identities.identify(mapped.as_ref(), kind, metric) {
                Ok(scale) => {
                    if scale != 1.0 {
                        push_field(text, "scale", &scale.to_string());
                    }
                    self.push_series(text, &Series::from_identity(identities.identity()));
                }
                Err(refusal) => push_field(text, "refused", words::of_refusal(refusal)),
            }
        }
        if metric.name().starts_with(RESERVED_PREFIX) {
            push_field(text, "refused", words::of_refusal(RefuseReason::ReservedName));
        }
    }

    fn push_check(&self, text: &mut String, check: &ServiceCheck<'_>) {
        let (status, name) = (check.status as u8, check.status.name());
        push_field(text, "gauge", &format!("{status}, that is {name}"));
        let mut identities = IdentityBuilder::new(self.parameters.resolve.container_id_tag);
        identities.build_check(check);
        self.push_series(text, &Series::from_identity(identities.identity()));
    }

    fn push_series(&self, text: &mut String, series: &Series) {
        push_field(text, "series", &visible(&format!("{series:?}")));
        push_field(text, "prometheus", &visible(&self.naming.exposed(series)));
    }
}

/// The dialect of a line without tags in its name: StatsD's own, unless it has what DogStatsD alone has.
fn section_dialect(metric: &Metric<'_>) -> &'static str {
    let has_sections = metric.tags().iter().next().is_some()
        || metric.timestamp().is_some()
        || metric.origin() != Origin::default();
    let has_types =
        metric.samples().any(|sample| matches!(sample.kind, Kind::Histogram | Kind::Distribution));
    if has_sections || has_types { "dogstatsd" } else { "statsd" }
}

fn json(meaning: &Meaning) -> String {
    // All its keys are text, and all its numbers are finite.
    serde_json::to_string(meaning).unwrap_or_default() + "\n"
}

fn rejection(line: &[u8], reason: RejectReason, offset: usize) -> String {
    let mut text = String::new();
    // One that is too long would fill the screen.
    if reason != RejectReason::LineTooLong {
        let drawing = Drawing::of(line);
        text = format!("{}\n{}\n", drawing.text(), drawing.pointer(offset));
    }
    let (name, words, column) = (reason.name(), words::of_reason(reason), offset + 1);
    push_field(&mut text, "rejected", &format!("{name} at column {column}: {words}"));
    text
}

fn push_field(text: &mut String, field: &str, value: &str) {
    // Writing to a string cannot fail.
    _ = writeln!(text, "  {field:<15} {value}");
}

fn push_notes(text: &mut String, notes: Notes) {
    for note in notes.iter() {
        push_field(text, "note", &format!("{}: {}", note.name(), words::of_note(note)));
    }
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
        text.push_str(", which stands for ");
        push_number(&mut text, weight);
    }
    text
}

fn push_event(text: &mut String, event: &Event<'_>) {
    let Event { title, text: words, priority, alert_type, .. } = event;
    push_field(text, "event", &visible(&title.to_string()));
    if !words.raw().is_empty() {
        push_field(text, "text", &visible(&words.to_string()));
    }
    let (alert_type, priority) = (alert_type.name(), priority.name());
    push_field(text, "counted as", &format!("tallyd.events{{alert_type:{alert_type},priority:{priority}}}"));
}
