//! What is odd about a line that is accepted all the same.

use enum_map::Enum;
use strum::{IntoStaticStr, VariantArray};

/// Something in a line that has no effect, or not the effect that its sender may have meant. The line is accepted, and the
/// note is counted. Telemetry shows the names of the notes, so they are an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Note {
    /// An empty value among several packed values is skipped.
    EmptyValue,
    /// A section between two `|`, or after the last, is empty.
    EmptySection,
    /// The protocol does not know a section.
    UnknownSection,
    /// A section that may occur once occurs twice. The later one takes effect.
    RepeatedSection,
    /// A gauge or a set has a sample rate, which has no effect and is not read.
    RateIgnored,
    /// The sample has a time of its own. It counts in the present interval nevertheless.
    Timestamp,
    /// A timestamp is not a positive number of seconds, or the type takes none.
    TimestampIgnored,
    /// Bytes of a tag are not UTF-8 and are shown as U+FFFD.
    TagNotUtf8,
    /// Bytes of a text are not UTF-8 and are shown as U+FFFD: an event's title, text, host, key or source, or a service
    /// check's message or host.
    TextNotUtf8,
    /// The protocol does not know the priority or the alert type of an event.
    FieldIgnored,
    /// A service check has a message, which no exporter shows.
    Message,
}

/// The notes of one line: each occurs at most once.
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

    /// Returns true if nothing about the line is odd.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Iterates over the notes, in the order of the variants of [`Note`].
    pub fn iter(self) -> impl Iterator<Item = Note> {
        Note::VARIANTS.iter().copied().filter(move |&note| self.contains(note))
    }
}
