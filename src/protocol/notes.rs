//! What was odd about a line that counts all the same.

use enum_map::Enum;
use strum::{IntoStaticStr, VariantArray};

/// Something a line says that has no effect, or not the one its sender may have meant. The sample stands; the note is
/// counted. The names are an interface: telemetry shows them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Note {
    /// One value among several packed ones is empty and was skipped.
    EmptyValue,
    /// A section between two `|`, or after the last, is empty.
    EmptySection,
    /// A section that the protocol does not know.
    UnknownSection,
    /// A section that may stand once stands twice; the later one counts.
    RepeatedSection,
    /// A sample rate on a gauge or a set, where it has no effect and is not read.
    RateIgnored,
    /// The sample's own time was given; it counts in the present interval.
    Timestamp,
    /// A timestamp that is not a positive number of seconds, or on a type that has none.
    TimestampIgnored,
    /// Bytes of a tag are not UTF-8 and show as U+FFFD.
    TagNotUtf8,
    /// Likewise of an event's title, text, host, key or source, or of a service check's message or host.
    TextNotUtf8,
    /// An event's priority or alert type is none that there is.
    FieldIgnored,
    /// A service check has a message, which no exporter shows.
    Message,
}

impl Note {
    /// All notes, in the order of their discriminants.
    pub const ALL: [Note; 11] = [
        Note::EmptyValue,
        Note::EmptySection,
        Note::UnknownSection,
        Note::RepeatedSection,
        Note::RateIgnored,
        Note::Timestamp,
        Note::TimestampIgnored,
        Note::TagNotUtf8,
        Note::TextNotUtf8,
        Note::FieldIgnored,
        Note::Message,
    ];

    /// The name by which telemetry counts it, for example `unknown_section`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Note::EmptyValue => "empty_value",
            Note::EmptySection => "empty_section",
            Note::UnknownSection => "unknown_section",
            Note::RepeatedSection => "repeated_section",
            Note::RateIgnored => "rate_ignored",
            Note::Timestamp => "timestamp",
            Note::TimestampIgnored => "timestamp_ignored",
            Note::TagNotUtf8 => "tag_not_utf8",
            Note::TextNotUtf8 => "text_not_utf8",
            Note::FieldIgnored => "field_ignored",
            Note::Message => "message",
        }
    }
}

/// The notes of one line, each at most once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Notes(u16);

impl Notes {
    pub(super) fn add(&mut self, note: Note) {
        self.0 |= 1 << note as u16;
    }

    pub(super) fn add_if(&mut self, condition: bool, note: Note) {
        self.0 |= u16::from(condition) << note as u16;
    }

    pub(super) fn contains(self, note: Note) -> bool {
        self.0 & (1 << note as u16) != 0
    }

    /// Whether there is nothing to note.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The notes, in the order of [`Note::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Note> {
        Note::ALL.into_iter().filter(move |&note| self.contains(note))
    }
}
