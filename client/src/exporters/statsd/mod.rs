//! Sends samples as lines of the `StatsD` protocol, many in a datagram.

mod buffer;
mod line;
mod socket;

use std::cell::Cell;
use std::io;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use self::buffer::Buffer;
use self::line::push_line;
use self::socket::Address;
use super::text::{before_names, with_text};
use crate::config::Target;
use crate::sample::{Sample, Value};

/// More threads than this share buffers.
const BUFFERS: usize = 8;

thread_local! {
    /// Which buffer this thread writes to.
    static OWN: Cell<Option<usize>> = const { Cell::new(None) };
}
/// For the next thread.
static NEXT: AtomicUsize = AtomicUsize::new(0);

/// The exporter.
pub(super) struct Statsd {
    before_names: String,
    target: Target,
    /// As many as processors, up to eight, so that threads seldom wait for each other.
    buffers: Box<[Buffer]>,
    /// Why the sockets are not open.
    unopened: Mutex<Option<io::Error>>,
    /// How many lost samples the log was told of.
    told: AtomicU64,
}

impl Statsd {
    pub(super) fn new(prefix: &str, target: Target) -> Self {
        let buffers = thread::available_parallelism().map_or(1, usize::from).min(BUFFERS);
        let own = Self {
            before_names: before_names(prefix),
            target,
            buffers: (0..buffers).map(|_| Buffer::new()).collect(),
            unopened: Mutex::new(None),
            told: AtomicU64::new(0),
        };
        own.open();
        own
    }

    pub(super) fn record(&self, sample: &Sample<'_>) {
        with_text(|line| {
            push_line(line, &self.before_names, sample);
            self.buffer(sample.value).push(line);
        });
    }

    /// This thread's; or for gauges, of which the last one counts, the one that keeps the order in which all threads set them.
    #[inline]
    fn buffer(&self, value: Value<'_>) -> &Buffer {
        if matches!(value, Value::Gauge(_)) {
            return &self.buffers[0];
        }
        let own = OWN.with(|own| {
            own.get().unwrap_or_else(|| {
                let next = NEXT.fetch_add(1, Ordering::Relaxed);
                own.set(Some(next));
                next
            })
        });
        &self.buffers[own % self.buffers.len()]
    }

    /// Sends what waits, and logs that samples were lost: the first time, and then ever more seldom, whenever their number has one
    /// more binary digit.
    pub(super) fn flush(&self) {
        self.buffers.iter().for_each(Buffer::flush);
        let lost = self.lost();
        let told = self.told.swap(lost, Ordering::Relaxed);
        if told.checked_ilog2() == lost.checked_ilog2() {
            return;
        }
        let unopened = self.unopened().as_ref().map(io::Error::to_string);
        let unsent = self.buffers.iter().filter_map(Buffer::take_error).last();
        let error = unopened.or(unsent.map(|error| error.to_string())).unwrap_or_default();
        let address = tracing::field::display(&self.target);
        tracing::error!(
            lost,
            address,
            error,
            "metrics cannot be sent and are dropped; is tallyd listening there?"
        );
    }

    /// Opens the sockets, in place of those that are open; whether that succeeded. This may wait for the name of the host; calls go
    /// on meanwhile.
    pub(super) fn open(&self) -> bool {
        let open = |address| self.buffers.iter().try_for_each(|buffer| buffer.open(&address));
        let opened = Address::of(&self.target).and_then(open);
        let is_open = opened.is_ok();
        *self.unopened() = opened.err();
        is_open
    }

    pub(super) fn is_open(&self) -> bool {
        self.unopened().is_none()
    }

    fn unopened(&self) -> MutexGuard<'_, Option<io::Error>> {
        self.unopened.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn lost(&self) -> u64 {
        self.buffers.iter().map(Buffer::lost).sum()
    }
}
