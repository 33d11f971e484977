//! The state that outlives the process in its simplest form: copies of what the other plain models know.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tallyd::model::Series;

use super::plain_page::PlainTotals;
use super::settings::Settings;

/// The series that were alive after an interval.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct PlainSeries {
    /// How long each series has had no samples, in seconds.
    pub(super) idle: BTreeMap<Series, u32>,
    pub(super) gauges: BTreeMap<Series, f64>,
    /// The series that share the limit of a rule, and the settings with that rule.
    pub(super) ruled: BTreeSet<Series>,
    pub(super) settings: Settings,
}

/// The content of a state file.
#[derive(Debug, Clone, Default)]
pub(super) struct PlainState {
    /// The time of the write, since 1970.
    time: Duration,
    pub(super) series: Option<PlainSeries>,
    pub(super) totals: Option<PlainTotals>,
}

impl PlainState {
    /// Returns the time from the write until `now`. The wall clock may have been set back.
    pub(super) fn downtime(&self, now: SystemTime) -> Duration {
        now.duration_since(UNIX_EPOCH + self.time).unwrap_or_default()
    }
}

/// What an owner hands over.
#[derive(Debug, Clone)]
pub(super) enum Part {
    Series(PlainSeries),
    /// What was counted. The simulation does not look at it.
    Counts,
    Totals(PlainTotals),
}

/// Takes in the parts of all owners, as the keeper of the state does.
#[derive(Debug, Default)]
pub(super) struct PlainKeeper {
    waiting: VecDeque<Part>,
    parts: Vec<Part>,
}

impl PlainKeeper {
    pub(super) fn hand_over(&mut self, part: Part) {
        self.waiting.push_back(part);
    }

    /// Returns true if no part waits.
    pub(super) fn is_idle(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Takes in the part that has waited longest. Returns the state that must be written then. `earlier` is the state in
    /// the file.
    pub(super) fn take_in(&mut self, now: SystemTime, earlier: Option<&PlainState>) -> Option<PlainState> {
        let part = self.waiting.pop_front()?;
        let is_alike = |other: &Part| std::mem::discriminant(other) == std::mem::discriminant(&part);
        let mut state = None;
        if self.parts.iter().any(is_alike) {
            state = self.write(now, earlier);
        }
        self.parts.push(part);
        if self.parts.len() == 3 { self.write(now, earlier) } else { state }
    }

    /// Returns the state that must be written now, if there is anything new.
    pub(super) fn write(&mut self, now: SystemTime, earlier: Option<&PlainState>) -> Option<PlainState> {
        if self.parts.is_empty() {
            return None;
        }
        let millis = now.duration_since(UNIX_EPOCH).unwrap().as_millis();
        // An owner that hangs keeps its part in the file.
        let mut state = earlier.cloned().unwrap_or_default();
        state.time = Duration::from_millis(millis as u64);
        for part in self.parts.drain(..) {
            match part {
                Part::Series(series) => state.series = Some(series),
                Part::Counts => {}
                Part::Totals(totals) => state.totals = Some(totals),
            }
        }
        Some(state)
    }
}
