//! Describes accepted lines of which a part is odd.

use enum_map::Enum;
use strum::{IntoStaticStr, VariantArray};

/// A part of a line that has no effect, or another effect than its sender may expect. tallyd accepts the line and
/// counts the note. Telemetry shows the names of the notes, so they are an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Note {
    /// An empty value among several packed values is skipped.
    EmptyValue,
    /// A counter or a gauge has several values. More often than several counts, this is a port in a name:
    /// `svc.10_0_0_1:6800:1|c`.
    PackedCounter,
    /// A section between two `|`, or after the last, is empty.
    EmptySection,
    /// The protocol does not know a section.
    UnknownSection,
    /// A section that may occur once is repeated. The last one takes effect.
    RepeatedSection,
    /// A gauge or a set has a sample rate, which has no effect and is not checked.
    RateIgnored,
    /// The sample has its own timestamp, but it counts in the current interval.
    Timestamp,
    /// A timestamp is not a positive number of seconds, or the type does not allow one.
    TimestampIgnored,
    /// A tag has no key and is skipped.
    TagWithoutKey,
    /// Bytes of a tag are not UTF-8 and are shown as U+FFFD.
    TagNotUtf8,
    /// Bytes of a text are not UTF-8 and are shown as U+FFFD: an event's title, text, host, key or source, or a service
    /// check's message or host.
    TextNotUtf8,
    /// The priority or the alert type of an event is unknown.
    FieldIgnored,
    /// A service check has a message, which no exporter shows.
    Message,
}

/// The notes about one line. Each occurs at most once.
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

    /// Returns true if all notes are about the values of the line and not about its other bytes.
    pub(super) fn concern_only_values(self) -> bool {
        self.0 & !(1 << Note::PackedCounter as u16) == 0
    }

    /// Returns true if the line has no notes.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Iterates over the notes, in the order of the variants of [`Note`].
    pub fn iter(self) -> impl Iterator<Item = Note> {
        Note::VARIANTS.iter().copied().filter(move |&note| self.contains(note))
    }
}
