//! The state of all series that outlives the process: which series are alive, since when each is idle, and the values of
//! gauges.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::{Decoder, Encoder, InvalidState, Policies, PolicyId, Series};

/// The series of clients that are alive after an interval. It shares the lists of the flush, so it is cheap to make.
/// Encoding it takes time in proportion to the number of series.
#[derive(Debug)]
pub struct LiveSeries {
    pub(super) policies: Arc<Policies>,
    /// The series in sorted order, including those of tallyd itself, which are not saved.
    pub(super) series: Arc<Vec<Series>>,
    /// The policy of each series.
    pub(super) policy_ids: Arc<Vec<PolicyId>>,
    /// How long each series has had no samples, in seconds.
    pub(super) idle: Vec<u32>,
    /// The value of each gauge, with its position among the series.
    pub(super) gauges: Vec<(usize, f64)>,
}

/// The saved form of a series.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SavedRow<'a> {
    pub(super) identity: &'a str,
    /// The number of the policy.
    policy: u32,
    /// How long it has had no samples, in seconds.
    pub(super) idle: u32,
    /// The value of a gauge.
    pub(super) gauge: Option<f64>,
}

impl SavedRow<'_> {
    pub(super) fn policy(&self) -> PolicyId {
        PolicyId::new(self.policy)
    }
}

/// Decoded state of all series.
#[derive(Debug)]
pub struct SavedSeries<'a> {
    pub(super) policies: Policies,
    pub(super) rows: Vec<SavedRow<'a>>,
}

/// The numbers of saved series that are alive again, and of those that expired meanwhile.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RestoredSeries {
    /// The number of series that are alive again.
    pub alive: usize,
    /// The number of series whose lifetime has ended meanwhile.
    pub expired: usize,
}

impl LiveSeries {
    /// Encodes the series.
    #[must_use]
    pub fn encode(mut self) -> Vec<u8> {
        let mut encoder = Encoder::default();
        self.policies.encode(&mut encoder);
        let are_saved = || self.series.iter().map(|series| !series.is_own());
        encoder.push(&(are_saved().filter(|is_saved| *is_saved).count() as u32));
        self.gauges.sort_unstable_by_key(|(position, _)| *position);
        let mut gauges = self.gauges.iter().peekable();
        for (position, series) in self.series.iter().enumerate() {
            let gauge = gauges.next_if(|(gauge, _)| *gauge == position).map(|(_, value)| *value);
            if series.is_own() {
                continue;
            }
            encoder.push(&SavedRow {
                identity: series.identity(),
                policy: self.policy_ids[position].index() as u32,
                idle: self.idle[position],
                gauge,
            });
        }
        encoder.finish()
    }
}

impl<'a> SavedSeries<'a> {
    /// Decodes series.
    ///
    /// # Errors
    ///
    /// Fails if [`LiveSeries::encode`] cannot have written the bytes.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, InvalidState> {
        let mut decoder = Decoder::new(bytes);
        let policies = Policies::decode(&mut decoder)?;
        let rows = decoder.take_list(|decoder| {
            let row: SavedRow<'_> = decoder.take()?;
            let is_valid = Series::is_identity(row.identity) && policies.has(row.policy());
            if is_valid { Ok(row) } else { Err(InvalidState) }
        })?;
        decoder.end()?;
        if !rows.is_sorted_by(|a, b| a.identity < b.identity) {
            return Err(InvalidState);
        }
        Ok(Self { policies, rows })
    }
}

/// Returns how long a series has been idle, in whole seconds.
pub(super) fn idle_for(row: &SavedRow<'_>, downtime: Duration) -> u32 {
    row.idle.saturating_add(super::expiry::seconds(downtime))
}
