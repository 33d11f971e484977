//! Encodes the state that outlives the process, and decodes it. The types of the state are those of its owners.

use std::fmt;
use std::mem;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Exposition, NativeHistogram, NativeSettings, Percentile, Policies, Policy, Share, Statistics};

/// The number of restored series whose slots in hash tables are touched before the first of them is inserted. The CPU then
/// loads the slots at the same time, and not one after the other.
pub(crate) const TOUCHED_AT_ONCE: usize = 32;

/// Encodes values one after the other.
#[derive(Debug, Default)]
pub(crate) struct Encoder(Vec<u8>);

impl Encoder {
    pub(crate) fn push(&mut self, value: &impl Serialize) {
        let encoded = postcard::to_extend(value, mem::take(&mut self.0));
        self.0 = encoded.expect("a vector takes all bytes, and all lists have a known length");
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        self.0
    }
}

/// Decodes values in the order in which they were encoded.
#[derive(Debug)]
pub(crate) struct Decoder<'a>(&'a [u8]);

/// The error of bytes that no version of the encoder wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidState;

impl fmt::Display for InvalidState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("it has values that tallyd does not write")
    }
}

impl std::error::Error for InvalidState {}

impl<'a> Decoder<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) fn take<T: Deserialize<'a>>(&mut self) -> Result<T, InvalidState> {
        let (value, rest) = postcard::take_from_bytes(self.0).map_err(|_| InvalidState)?;
        self.0 = rest;
        Ok(value)
    }

    /// Decodes a list: its length, then its elements. Each element takes at least one byte, so a wrong length reserves
    /// no memory beyond that of the bytes.
    pub(crate) fn take_list<T>(
        &mut self,
        mut element: impl FnMut(&mut Self) -> Result<T, InvalidState>,
    ) -> Result<Vec<T>, InvalidState> {
        let length = self.take::<u32>()? as usize;
        if length > self.0.len() {
            return Err(InvalidState);
        }
        let mut list = Vec::with_capacity(length);
        for _ in 0..length {
            list.push(element(self)?);
        }
        Ok(list)
    }

    /// Decodes a number of bytes.
    pub(crate) fn take_bytes(&mut self, length: usize) -> Result<&'a [u8], InvalidState> {
        let (bytes, rest) = self.0.split_at_checked(length).ok_or(InvalidState)?;
        self.0 = rest;
        Ok(bytes)
    }

    /// Fails if bytes are left.
    pub(crate) fn end(self) -> Result<(), InvalidState> {
        if self.0.is_empty() { Ok(()) } else { Err(InvalidState) }
    }
}

/// The saved form of a [`Policy`].
#[derive(Debug, Serialize, Deserialize)]
struct SavedPolicy {
    help: String,
    percentiles: Vec<f64>,
    bounds: Vec<f64>,
    /// The schema and the largest number of buckets.
    native: Option<(i8, u64)>,
    exposition: SavedExposition,
    percentile_window: Duration,
    /// In seconds, in the order of the kinds. `None` means never.
    expire_after: [Option<u64>; 6],
    /// The limit that the series of a rule share, and the rule.
    share: Option<(u64, String)>,
}

#[derive(Debug, Serialize, Deserialize)]
enum SavedExposition {
    Summary,
    Histogram,
    Native,
}

impl SavedPolicy {
    fn new(policy: &Policy) -> Self {
        let Policy { help, statistics, exposition, percentile_window, expire_after, share } = policy;
        let Statistics { percentiles, bounds, native } = statistics;
        Self {
            help: help.to_string(),
            percentiles: percentiles.iter().map(|percentile| percentile.percent()).collect(),
            bounds: bounds.clone(),
            native: native.map(|NativeSettings { schema, max_buckets }| (schema, max_buckets as u64)),
            exposition: match exposition {
                Exposition::Summary => SavedExposition::Summary,
                Exposition::Histogram => SavedExposition::Histogram,
                Exposition::Native => SavedExposition::Native,
            },
            percentile_window: *percentile_window,
            expire_after: expire_after.map(|time| (time != Policy::NEVER).then_some(time.as_secs())),
            share: share.as_ref().map(|Share { max_series, rule }| (*max_series as u64, rule.to_string())),
        }
    }

    fn restore(self) -> Result<Policy, InvalidState> {
        let Self { help, percentiles, bounds, native, exposition, percentile_window, expire_after, share } =
            self;
        let percentiles: Option<_> = percentiles.into_iter().map(Percentile::new).collect();
        let is_schema = native.is_none_or(|(schema, _)| NativeHistogram::SCHEMAS.contains(&schema));
        if !is_schema || !Statistics::are_bounds(&bounds) {
            return Err(InvalidState);
        }
        let native = native.map(|(schema, buckets)| NativeSettings { schema, max_buckets: buckets as usize });
        Ok(Policy {
            help: help.into(),
            statistics: Statistics { percentiles: percentiles.ok_or(InvalidState)?, bounds, native },
            exposition: match exposition {
                SavedExposition::Summary => Exposition::Summary,
                SavedExposition::Histogram => Exposition::Histogram,
                SavedExposition::Native => Exposition::Native,
            },
            percentile_window,
            expire_after: expire_after.map(|time| time.map_or(Policy::NEVER, Duration::from_secs)),
            share: share
                .map(|(max_series, rule)| Share { max_series: max_series as usize, rule: rule.into() }),
        })
    }
}

impl Policies {
    pub(crate) fn encode(&self, to: &mut Encoder) {
        let policies: Vec<_> = self.iter().map(SavedPolicy::new).collect();
        to.push(&(policies.len() as u32));
        policies.iter().for_each(|policy| to.push(policy));
    }

    pub(crate) fn decode(from: &mut Decoder<'_>) -> Result<Self, InvalidState> {
        let policies = from.take_list(|from| from.take::<SavedPolicy>()?.restore())?;
        if policies.is_empty() { Err(InvalidState) } else { Ok(Self::new(policies)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_are_decoded_as_they_were_encoded() {
        let statistics = Statistics {
            percentiles: [50.0, 99.9].map(|percent| Percentile::new(percent).unwrap()).to_vec(),
            bounds: vec![0.5, 1.0],
            native: Some(NativeSettings { schema: -3, max_buckets: 160 }),
        };
        let expositions = [Exposition::Summary, Exposition::Histogram, Exposition::Native];
        let policy = |exposition| Policy {
            help: "é".into(),
            statistics: statistics.clone(),
            exposition,
            percentile_window: Duration::from_millis(1500),
            share: Some(Share { max_series: 7, rule: "a.* Counter".into() }),
            ..Policy::default()
        };
        let policies = Policies::new(expositions.into_iter().map(policy).collect());
        let mut encoder = Encoder::default();
        policies.encode(&mut encoder);
        let bytes = encoder.finish();
        let mut decoder = Decoder::new(&bytes);
        assert_eq!(Policies::decode(&mut decoder), Ok(policies));
        assert_eq!(decoder.end(), Ok(()));
    }

    #[test]
    fn a_list_that_is_longer_than_its_bytes_is_refused_before_memory_is_reserved() {
        let mut encoder = Encoder::default();
        encoder.push(&u32::MAX);
        let bytes = encoder.finish();
        assert_eq!(Decoder::new(&bytes).take_list(Decoder::take::<u8>), Err(InvalidState));
    }
}
