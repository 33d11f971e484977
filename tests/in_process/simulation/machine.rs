//! The receiving side: receivers read the kernel's buffers into their shards, and two witnesses read along.
//!
//! The plain model says what the interval must contain. The twin is another aggregator with another number of receivers,
//! which must come to the same results.

use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use parking_lot::Mutex;
use tallyd::aggregate::{AggregationOptions, Datagram, Shard};
use tallyd::flush::{CLOCK_ORIGIN, Drain, SavedSeries};
use tallyd::model::{Origin, RESERVED_PREFIX, Rows, Series, Snapshot, Value};

use super::clients::{CLIENTS, datagram};
use super::expected::Expected;
use super::kernel::Kernel;
use super::plain_state::PlainSeries;
use super::settings::Settings;
use crate::pipeline::Pipeline;

/// The most datagrams that a receiver reads at once.
const BATCH: usize = 32;

pub(super) struct Machine {
    pub(super) kernel: Kernel,
    shards: Vec<Arc<Mutex<Shard>>>,
    /// The receivers that do not get any CPU time at present.
    pub(super) stalled: Vec<bool>,
    /// A longer datagram is truncated.
    max_datagram: usize,
    pub(super) expected: Expected,
    twin: Pipeline,
    /// The number of datagrams that the kernel had dropped at the end of the previous interval.
    dropped_before: u64,
}

impl Machine {
    pub(super) fn new(
        kernel: Kernel,
        shards: Vec<Arc<Mutex<Shard>>>,
        max_datagram: usize,
        (options, settings): (AggregationOptions, &Settings),
        receivers_of_twin: usize,
    ) -> Self {
        Self {
            kernel,
            stalled: vec![false; shards.len()],
            shards,
            max_datagram,
            expected: Expected::new(settings.clone(), options.exact_values),
            twin: Pipeline::new(receivers_of_twin, options, settings.reloadable()),
            dropped_before: 0,
        }
    }

    /// Lets a client send a datagram.
    pub(super) fn send(&mut self, rng: &mut Rng) {
        let client = rng.usize(..CLIENTS);
        self.kernel.send(client, datagram(rng, client));
    }

    /// Lets a receiver read one batch. Returns false if there is nothing to read.
    pub(super) fn read(&mut self, receiver: usize) -> bool {
        let datagrams = self.kernel.take(receiver, BATCH);
        let as_read = |datagram: &Vec<u8>| datagram.len().min(self.max_datagram);
        let whole = datagrams
            .iter()
            .map(|datagram| Datagram { bytes: &datagram[..as_read(datagram)], length: datagram.len() });
        self.shards[receiver].lock().record_all(whole.clone(), &Origin::default());
        for (number, datagram) in whole.enumerate() {
            self.expected.record(&datagrams[number], self.max_datagram);
            let shards = &self.twin.shards;
            shards[(receiver + number) % shards.len()].lock().record_all([datagram], &Origin::default());
        }
        !datagrams.is_empty()
    }

    /// Lets all receivers that do not stall read everything that has arrived.
    pub(super) fn read_all(&mut self) {
        for receiver in 0..self.shards.len() {
            while !self.stalled[receiver] && self.read(receiver) {}
        }
    }

    /// Restores the state of an earlier life for both witnesses.
    pub(super) fn restore(&mut self, saved: &SavedSeries<'_>, plain: &PlainSeries, downtime: Duration) {
        self.twin.aggregator.restore(saved, downtime, CLOCK_ORIGIN);
        self.expected.restore(plain, downtime, CLOCK_ORIGIN);
    }

    /// Asserts that the receivers have read what had arrived, except those that stall.
    pub(super) fn assert_drained(&self) {
        for (receiver, is_stalled) in self.stalled.iter().enumerate() {
            assert!(*is_stalled || self.kernel.unread_of(receiver) == 0, "receiver {receiver} was drained");
        }
    }

    pub(super) fn reload(&mut self, settings: &Settings) {
        self.twin.reload(settings.reloadable());
        self.expected.registry.settings = settings.clone();
    }

    /// Asserts that the snapshot of the interval that ended at `now` is the one that both witnesses expect.
    pub(super) fn assert_is(&mut self, snapshot: &Snapshot, now: Duration) {
        let dropped = self.kernel.dropped - self.dropped_before;
        self.dropped_before = self.kernel.dropped;
        self.expected.assert_is(snapshot, now, dropped);
        let twin = self.twin.end_interval_at(now);
        assert_eq!(
            rows_of(&snapshot.rows),
            rows_of(&twin.rows),
            "the results depend on the number of receivers"
        );
    }
}

/// Returns the rows of clients.
fn rows_of(rows: &Rows) -> Vec<(&Series, Value)> {
    let rows = rows.iter().filter(|row| !row.series.name().starts_with(RESERVED_PREFIX));
    rows.map(|row| (row.series, of_any_order(row.value))).collect()
}

/// Returns a value without the statistics that depend on the order of additions in their last bits.
fn of_any_order(value: &Value) -> Value {
    match value.clone() {
        Value::Summary(mut summary) => {
            (summary.mean, summary.stddev) = (0.0, 0.0);
            Value::Summary(summary)
        }
        other => other,
    }
}

/// The receivers, as the flush sees them.
pub(super) struct Receivers(pub(super) Arc<Mutex<Machine>>);

impl Drain for Receivers {
    fn drain(&self, _: Option<Duration>) {
        self.0.lock().read_all();
    }
}
