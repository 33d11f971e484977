//! One parsed measurement and its parts.

use crate::model::Kind;

/// The probability with which a client sent a sample: in `(0, 1]`, and such that its inverse is finite.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SampleRate(f64);

impl SampleRate {
    /// Every sample was sent.
    pub const ONE: SampleRate = SampleRate(1.0);

    /// `None` outside `(0, 1]`, and for rates so small that `1 / rate` is infinite.
    #[must_use]
    pub fn new(rate: f64) -> Option<Self> {
        (rate > 0.0 && rate <= 1.0 && (1.0 / rate).is_finite()).then_some(Self(rate))
    }

    /// The rate itself.
    #[must_use]
    pub fn get(self) -> f64 {
        self.0
    }

    /// How many occurrences one sample stands for: `1 / rate`, at least 1.
    #[must_use]
    pub fn weight(self) -> f64 {
        1.0 / self.0
    }
}

/// What was measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum SampleValue<'a> {
    /// A finite number.
    Number(f64),
    /// A gauge's value written with a sign: a change, unless configured otherwise.
    Signed(f64),
    /// A set's member, as sent: any bytes but `|` and line feed, at least one.
    Member(&'a [u8]),
}

/// One measurement of a [`Metric`](super::Metric), whose name and tags it shares.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample<'a> {
    /// What it counts as.
    pub kind: Kind,
    /// What was measured.
    pub value: SampleValue<'a>,
    /// How often such a sample was sent; 1 for gauges and sets.
    pub rate: SampleRate,
}
