//! Defines one parsed measurement and its parts.

use crate::model::Kind;

/// The probability with which a client sends a sample: a number from [`SMALLEST`](Self::SMALLEST) to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SampleRate(f64);

impl SampleRate {
    /// The client sends every sample.
    pub(crate) const ONE: SampleRate = SampleRate(1.0);

    /// The smallest rate. Without this limit, a single line could freeze a running total for its whole life.
    pub const SMALLEST: f64 = 1e-9;

    /// Creates a rate. Returns `None` if `rate` is not from [`SMALLEST`](Self::SMALLEST) to 1.
    #[must_use]
    pub fn new(rate: f64) -> Option<Self> {
        ((Self::SMALLEST..=1.0).contains(&rate)).then_some(Self(rate))
    }

    /// Returns the rate itself.
    #[must_use]
    pub fn get(self) -> f64 {
        self.0
    }

    /// Returns how many occurrences one sample represents: `1 / rate`, at least 1.
    #[must_use]
    pub fn weight(self) -> f64 {
        1.0 / self.0
    }
}

/// The measured value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum SampleValue<'a> {
    /// A finite number.
    Number(f64),
    /// A gauge's value with a sign. It is a change unless the configuration makes such values absolute.
    Signed(f64),
    /// A member of a set as sent: one or more bytes other than `|` and line feed.
    Member(&'a [u8]),
}

/// One measurement of a [`Metric`](super::Metric), which holds its name and tags.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample<'a> {
    /// The type of the metric.
    pub kind: Kind,
    /// The measured value.
    pub value: SampleValue<'a>,
    /// The probability with which the client sent the sample. It is 1 for gauges and sets.
    pub rate: SampleRate,
}
