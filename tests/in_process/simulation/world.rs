//! What outlives tallyd: the clocks, the disk of the state, and the server that scrapes the page.

use std::collections::BTreeMap;
use std::time::Duration;

use fastrand::Rng;
use tallyd::model::Series;

use super::clock::Clock;
use super::disk::StateDisk;
use super::plain_page::{PlainPage, PlainTotals};
use super::plain_state::{PlainSeries, PlainState};
use super::settings::Settings;

pub(super) struct World {
    pub(super) clock: Clock,
    /// The settings of the latest life.
    pub(super) settings: Option<Settings>,
    pub(super) state_disk: StateDisk,
    /// What each write to the disk must contain.
    writes: BTreeMap<u64, PlainState>,
    pub(super) page: PlainPage,
    /// The state with which the latest life stopped, if it was written. `None` after a crash.
    stopped_with: Option<(PlainSeries, PlainTotals)>,
    /// Whether the disk worked when the latest life noted its stop.
    pub(super) is_stop_noted: bool,
}

impl World {
    pub(super) fn new(rng: &mut Rng) -> Self {
        Self {
            clock: Clock::new(rng),
            settings: None,
            state_disk: StateDisk::default(),
            writes: BTreeMap::new(),
            page: PlainPage::default(),
            stopped_with: None,
            is_stop_noted: false,
        }
    }

    /// Lets time pass between two lives.
    pub(super) fn rest(&mut self, rng: &mut Rng) {
        let seconds = [0, 2, 60, 7200][rng.usize(..4)];
        self.clock.advance(Duration::from_millis(rng.u64(0..=seconds * 1000)));
        if rng.u8(..8) == 0 {
            self.clock.jump(rng);
        }
    }

    /// Repairs the disk for the next life. Returns the state that is in the file.
    pub(super) fn start(&mut self) -> Option<PlainState> {
        self.state_disk.repair();
        let state = self.state_in_file().cloned();
        if let Some((series, totals)) = &self.stopped_with {
            let state = state.as_ref().expect("the stop has written a state");
            assert_eq!((&state.series, &state.totals), (&Some(series.clone()), &Some(totals.clone())));
        }
        state
    }

    /// Notes the state with which a life stopped and which it has written.
    pub(super) fn stopped_with(&mut self, series: PlainSeries) {
        self.stopped_with = Some((series, self.page.totals.clone()));
    }

    /// Lets the totals of a state continue, as far as their series are alive.
    pub(super) fn restart_page(&mut self, state: Option<&PlainState>, is_alive: impl Fn(&Series) -> bool) {
        let has_stopped = self.stopped_with.take().is_some();
        let continues = !self.state_disk.has_running();
        assert!(!continues || has_stopped || state.is_none(), "totals that Prometheus has seen never fall");
        assert!(continues || !has_stopped || !self.is_stop_noted, "totals continue after a stop");
        let is_whole = continues && has_stopped;
        let downtime = state.map(|state| state.downtime(self.clock.wall())).unwrap_or_default();
        let totals = state.and_then(|state| state.totals.as_ref()).filter(|_| continues);
        self.page.restart(totals, downtime, is_alive, is_whole);
    }

    /// Returns what the state file must contain.
    pub(super) fn state_in_file(&self) -> Option<&PlainState> {
        Some(&self.writes[&self.state_disk.write_of_state()?])
    }

    /// Lets `write` write a state, or nothing if `state` is `None`. Asserts that the file has the new state, or the old one if
    /// the disk failed. Returns whether the new one was written.
    pub(super) fn write_state(&mut self, state: Option<PlainState>, write: impl FnOnce()) -> Option<bool> {
        let number = self.state_disk.begin_write();
        let before = (self.state_disk.write_of_state(), self.state_disk.failed());
        write();
        let after = (self.state_disk.write_of_state(), self.state_disk.failed());
        let Some(state) = state else {
            assert_eq!(before, after, "nothing had to be written");
            return None;
        };
        self.writes.insert(number, state);
        let has_failed = after.1 > before.1;
        let is_new = after.0 == Some(number);
        assert!(is_new || has_failed && after.0 == before.0, "the state file after a write");
        assert!(has_failed || self.state_disk.is_safe(number), "a loss of power cannot undo a write");
        Some(!has_failed)
    }
}
