//! The keeper of the state, and the plain keeper that must write the same.

use std::time::{Duration, Instant};

use tallyd::state::StateKeeper;

use super::disk::StateDisk;
use super::plain_page::PlainTotals;
use super::plain_state::{Part, PlainKeeper, PlainSeries};
use super::world::World;

pub(super) struct Saving {
    keeper: StateKeeper<StateDisk>,
    plain: PlainKeeper,
    /// Whether the disk is so slow that nothing is written at present.
    pub(super) is_stalled: bool,
    /// How often the state is written.
    interval: Duration,
    /// The end of the latest interval whose state was handed over, or the start.
    latest: Instant,
    /// The number of writes that succeeded.
    pub(super) written: u64,
    /// The number of writes that failed.
    pub(super) failed: u64,
}

impl Saving {
    pub(super) fn new(keeper: StateKeeper<StateDisk>, interval: Duration, now: Instant) -> Self {
        let plain = PlainKeeper::default();
        Self { keeper, plain, is_stalled: false, interval, latest: now, written: 0, failed: 0 }
    }

    /// Returns true if the state after the interval that ended at `ended` must be written.
    pub(super) fn is_due(&self, ended: Instant, is_last: bool) -> bool {
        is_last || ended - self.latest >= self.interval && self.plain.is_idle()
    }

    /// Notes what the flush hands over at the end of an interval.
    pub(super) fn hand_over_series(&mut self, ended: Instant, series: PlainSeries, is_last: bool) {
        self.latest = ended;
        self.plain.hand_over(Part::Series(series));
        if !is_last {
            self.hand_over_counts();
        }
    }

    /// Notes that the counts were handed over.
    pub(super) fn hand_over_counts(&mut self) {
        self.plain.hand_over(Part::Counts);
    }

    /// Notes what the exporter of the page hands over.
    pub(super) fn hand_over_totals(&mut self, totals: PlainTotals) {
        self.plain.hand_over(Part::Totals(totals));
    }

    /// Lets the keeper take in one part, and write the state if it is complete. Returns false if no part waits.
    pub(super) fn take_in(&mut self, world: &mut World) -> bool {
        let now = world.clock.wall();
        let plain = self.plain.take_in(now, world.state_in_file());
        let mut has_taken_in = false;
        let is_written = world.write_state(plain, || has_taken_in = self.keeper.take_in(now));
        self.note(is_written);
        has_taken_in
    }

    /// Writes the state of a stop. Returns true if it is in the file.
    pub(super) fn finish(&mut self, world: &mut World) -> bool {
        while self.take_in(world) {}
        let now = world.clock.wall();
        let plain = self.plain.write(now, world.state_in_file());
        let mut outcome = Ok(());
        let is_written = world.write_state(plain, || outcome = self.keeper.finish(now));
        self.note(is_written);
        assert!(is_written.is_none_or(|is_written| is_written == outcome.is_ok()), "{outcome:?}");
        let failed = world.state_disk.failed();
        self.keeper.note_stop();
        world.is_stop_noted = world.state_disk.failed() == failed;
        outcome.is_ok()
    }

    /// Counts a write. `is_written` is `None` if nothing had to be written.
    fn note(&mut self, is_written: Option<bool>) {
        self.written += u64::from(is_written == Some(true));
        self.failed += u64::from(is_written == Some(false));
    }
}
