//! Describes rejected lines: the reason, and the offending byte.

use std::fmt;

use enum_map::Enum;
use strum::{IntoStaticStr, VariantArray};

use crate::model::Named;

/// The reason for rejecting a line. Telemetry and tools show the names of the reasons, so they are an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum RejectReason {
    /// Nothing precedes the first colon.
    EmptyName,
    /// The name contains a control byte or is not UTF-8.
    BadName,
    /// The line has no `|`, or nothing follows it.
    MissingType,
    /// The type is not in the protocol.
    UnknownType,
    /// The value is not a finite decimal number or, for a set, is empty.
    BadValue,
    /// The sample rate is not a number from 1e-9 to 1.
    BadRate,
    /// The line mixes the tags of two dialects.
    MixedTags,
    /// The lengths of the event do not match its text, or its title is empty.
    BadEvent,
    /// The name of the service check is empty, contains a control byte or is not UTF-8, or its status is not 0, 1, 2 or
    /// 3.
    BadServiceCheck,
    /// The line exceeds the length limit of streams. The receiver of the stream rejects it; the parser never does.
    LineTooLong,
}

/// A rejected line: the reason, and the offset of the offending byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParseError {
    reason: RejectReason,
    offset: u32,
}

impl ParseError {
    /// Returns the reason for the rejection.
    #[must_use]
    pub fn reason(self) -> RejectReason {
        self.reason
    }

    /// Returns the offset of the offending byte, or the length of the line if something is missing at its end.
    #[must_use]
    pub fn offset(self) -> usize {
        self.offset as usize
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at column {}", self.reason.name(), self.offset + 1)
    }
}

impl std::error::Error for ParseError {}

/// A rejection within the parser, which knows the rest of the line but not its beginning.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Rejection<'a> {
    /// The line from the offending byte to its end.
    rest: &'a [u8],
    reason: RejectReason,
}

impl Rejection<'_> {
    pub(super) fn reason(self) -> RejectReason {
        self.reason
    }

    /// Converts the rejection to an error about `line`, which must end with the rest.
    pub(super) fn in_line(self, line: &[u8]) -> ParseError {
        let offset = line.len() - self.rest.len();
        ParseError { reason: self.reason, offset: u32::try_from(offset).unwrap_or(u32::MAX) }
    }
}

/// Rejects a line whose offending byte is the first of `rest`.
pub(super) fn reject<T>(rest: &[u8], reason: RejectReason) -> Result<T, Rejection<'_>> {
    Err(Rejection { rest, reason })
}
