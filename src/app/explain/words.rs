//! Reasons and notes in words.

use crate::protocol::{Note, RejectReason};
use crate::resolve::RefuseReason;

/// What is wrong, and what would be right.
pub(super) fn of_reason(reason: RejectReason) -> &'static str {
    match reason {
        RejectReason::EmptyName => "nothing stands before the colon; a line is name:value|type",
        RejectReason::BadName => "a name holds no control characters, and is UTF-8",
        RejectReason::MissingType => "the type is missing; a line is name:value|type",
        RejectReason::UnknownType => "a type is c, g, ms, h, d or s (or m for c, kv for g)",
        RejectReason::BadValue => {
            "a value is a decimal number that is finite, such as 5, -0.5 or 1e3, and behind a colon"
        }
        RejectReason::BadRate => "a sample rate is a number above 0 and up to 1",
        RejectReason::MixedTags => {
            "tags stand both in the name and in a section, or in the name in two ways; use one"
        }
        RejectReason::BadEvent => {
            "an event is _e{length of title,length of text}:title|text, lengths in bytes, with a title that is not empty"
        }
        RejectReason::BadServiceCheck => {
            "a service check is _sc|name|status, with a name like a metric's and a status of 0, 1, 2 or 3"
        }
        RejectReason::LineTooLong => {
            "the line is longer than lines of a stream may be (listeners.tcp.max_line)"
        }
    }
}

/// What is odd, and what becomes of it.
pub(super) fn of_note(note: Note) -> &'static str {
    match note {
        Note::EmptyValue => "an empty value among several is skipped",
        Note::EmptySection => "an empty section is skipped",
        Note::UnknownSection => "a section that is not known is skipped",
        Note::RepeatedSection => "a section stands twice; the later one counts",
        Note::RateIgnored => "a sample rate has no effect on a gauge or a set",
        Note::Timestamp => "it counts in the present interval, whatever its own time",
        Note::TimestampIgnored => {
            "a timestamp is skipped: not a number of seconds above 0, or on a type that has no time"
        }
        Note::TagNotUtf8 => "bytes of a tag are not UTF-8; U+FFFD is shown in their place",
        Note::TextNotUtf8 => "bytes of the text are not UTF-8; U+FFFD is shown in their place",
        Note::FieldIgnored => {
            "a priority is normal or low, an alert type info, success, warning or error; another is skipped"
        }
        Note::Message => "the message of a service check is shown by no exporter",
    }
}

/// Why a sample is not recorded.
pub(super) fn of_refusal(refusal: RefuseReason) -> &'static str {
    match refusal {
        RefuseReason::MaxSeries => "max_series: there are as many series as may be",
        RefuseReason::MaxSeriesBytes => "max_series_bytes: names and tags take as much memory as they may",
        RefuseReason::ReservedName => "reserved_name: names that begin with tallyd. are tallyd's own",
        RefuseReason::MappingDrop => "mapping_drop: the rule drops it",
        RefuseReason::MappingEmptyName => "mapping_empty_name: the rule leaves nothing of the name",
    }
}
