//! Describes the reasons and notes of the protocol, and the steps of shaping, in words.

use crate::mapping::{Rule, Step};
use crate::protocol::{Note, RejectReason};
use crate::resolve::RefuseReason;
use crate::text::visible::visible;

/// Returns the requirement that a line violates if tallyd rejects it for this reason.
pub(super) fn rejected(reason: RejectReason) -> &'static str {
    match reason {
        RejectReason::EmptyName => "the name is missing; a line is name:value|type",
        RejectReason::BadName => "a name is UTF-8 without control characters",
        RejectReason::MissingType => "the type is missing; a line is name:value|type",
        RejectReason::UnknownType => "a type is c, g, ms, h, d or s (or m for c, kv for g)",
        RejectReason::BadValue => "a value is a finite decimal number after a colon, such as 5, -0.5 or 1e3",
        RejectReason::BadRate => "a sample rate is a number from 1e-9 to 1",
        RejectReason::MixedTags => {
            "the name has tags in two dialects, or in addition to a tag section; use one"
        }
        RejectReason::BadEvent => {
            "an event is _e{length of title,length of text}:title|text; lengths are in bytes, and the title is not empty"
        }
        RejectReason::BadServiceCheck => {
            "a service check is _sc|name|status; the name follows the rules of metric names, and the status is 0, 1, 2 or 3"
        }
        RejectReason::LineTooLong => "the line is longer than listeners.tcp.max_line",
    }
}

/// Returns what is odd about a line with this note, and how tallyd handles it.
pub(super) fn noted(note: Note) -> &'static str {
    match note {
        Note::EmptyValue => "an empty value among several is skipped",
        Note::PackedCounter => {
            "several values of a counter or gauge; if the first is a port, the name ends before it"
        }
        Note::EmptySection => "an empty section is skipped",
        Note::UnknownSection => "an unknown section is skipped",
        Note::RepeatedSection => "a section appears twice; the later one counts",
        Note::RateIgnored => "a sample rate has no effect on a gauge or a set",
        Note::Timestamp => "the sample counts in the current interval, whatever its timestamp",
        Note::TimestampIgnored => {
            "a timestamp is skipped, because it is not a number of seconds above 0 or the type takes none"
        }
        Note::TagWithoutKey => "a tag without a key is skipped",
        Note::TagNotUtf8 => "a tag has bytes that are not UTF-8, which are replaced by U+FFFD",
        Note::TextNotUtf8 => "the text has bytes that are not UTF-8, which are replaced by U+FFFD",
        Note::FieldIgnored => {
            "a field is skipped; a priority is normal or low, an alert type info, success, warning or error"
        }
        Note::Message => "no exporter shows the message of a service check",
    }
}

/// Returns the reason why tallyd does not record a sample.
pub(super) fn refused(reason: RefuseReason) -> &'static str {
    match reason {
        RefuseReason::MaxSeries => "there are as many series as aggregation.max_series allows",
        RefuseReason::MaxSeriesBytes => {
            "names and tags take as much memory as aggregation.max_series_bytes allows"
        }
        RefuseReason::Memory => "the memory for its series or value is used up; see memory.max",
        RefuseReason::NameTooLong => "the name is longer than aggregation.max_name",
        RefuseReason::ReservedName => "names that begin with tallyd. are reserved for tallyd's own series",
        RefuseReason::MappingDrop => "the rule drops the sample",
        RefuseReason::MappingEmptyName => "the rule leaves an empty name",
    }
}

/// Returns a field and its value for a step in which a series changed.
pub(super) fn step(step: Step<'_>) -> (&'static str, String) {
    match step {
        Step::Tags => ("shaping", "the tags of all series".to_owned()),
        Step::Rule(Rule { index, spec, .. }) => {
            ("rule", format!("{}, {}", index + 1, visible(&spec.pattern)))
        }
        Step::Additions => ("shaping", "the prefix and the tags that all series get".to_owned()),
    }
}
