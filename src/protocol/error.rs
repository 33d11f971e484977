//! Why a line was rejected: a closed list of reasons, and where in the line.

use enum_map::Enum;
use strum::{IntoStaticStr, VariantArray};

use std::fmt;

/// Why a line does not count. The names are an interface: telemetry and tools show them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum RejectReason {
    /// Nothing stands before the first colon.
    EmptyName,
    /// The name holds a control byte or is not UTF-8.
    BadName,
    /// No `|`, or nothing after it.
    MissingType,
    /// The type is not one of those in the protocol.
    UnknownType,
    /// The value is not a finite decimal number (or, for a set, is empty).
    BadValue,
    /// The sample rate is not a number in `(0, 1]`.
    BadRate,
    /// Tags of two dialects in one line.
    MixedTags,
    /// An event whose lengths do not fit, or without title.
    BadEvent,
    /// A service check without name, with one that holds a control byte or is not UTF-8, or whose status is not 0, 1, 2
    /// or 3.
    BadServiceCheck,
    /// Longer than a stream's lines may be.
    LineTooLong,
}

impl RejectReason {
    /// All reasons, in the order of their discriminants.
    pub const ALL: [RejectReason; 10] = [
        RejectReason::EmptyName,
        RejectReason::BadName,
        RejectReason::MissingType,
        RejectReason::UnknownType,
        RejectReason::BadValue,
        RejectReason::BadRate,
        RejectReason::MixedTags,
        RejectReason::BadEvent,
        RejectReason::BadServiceCheck,
        RejectReason::LineTooLong,
    ];

    /// The name by which telemetry counts it, for example `bad_value`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            RejectReason::EmptyName => "empty_name",
            RejectReason::BadName => "bad_name",
            RejectReason::MissingType => "missing_type",
            RejectReason::UnknownType => "unknown_type",
            RejectReason::BadValue => "bad_value",
            RejectReason::BadRate => "bad_rate",
            RejectReason::MixedTags => "mixed_tags",
            RejectReason::BadEvent => "bad_event",
            RejectReason::BadServiceCheck => "bad_service_check",
            RejectReason::LineTooLong => "line_too_long",
        }
    }
}

/// A rejected line: the reason, and the byte at which it shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParseError {
    reason: RejectReason,
    offset: u32,
}

impl ParseError {
    fn new(reason: RejectReason, offset: usize) -> Self {
        Self { reason, offset: u32::try_from(offset).unwrap_or(u32::MAX) }
    }

    /// Why the line was rejected.
    #[must_use]
    pub fn reason(self) -> RejectReason {
        self.reason
    }

    /// The offending byte, counted from 0; equal to the length of the line where something is missing at its end.
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

/// A rejection on its way up: the reason, and what was left to read.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Failure<'a> {
    rest: &'a [u8],
    reason: RejectReason,
}

impl Failure<'_> {
    pub(super) fn reason(self) -> RejectReason {
        self.reason
    }

    /// The line ends where what was left to read ends.
    pub(super) fn located(self, line: &[u8]) -> ParseError {
        ParseError::new(self.reason, line.len() - self.rest.len())
    }
}

pub(super) fn fail<T>(rest: &[u8], reason: RejectReason) -> Result<T, Failure<'_>> {
    Err(Failure { rest, reason })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_listed_in_the_order_of_their_discriminants() {
        for (index, reason) in RejectReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index);
        }
    }
}
