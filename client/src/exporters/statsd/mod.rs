//! Sends samples as lines of the `StatsD` protocol, many in a datagram.

mod buffer;
mod line;
mod socket;

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use self::buffer::Buffer;
use self::line::push_line;
use self::socket::Address;
use super::text::{before_names, with_text};
use crate::config::Target;
use crate::sample::{Sample, Value};

/// How often sockets are opened anew, for the host may have moved, or this machine.
const OPENED_EVERY: Duration = Duration::from_mins(1);
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
    /// As many as processors, so that threads seldom wait for each other.
    buffers: Box<[Buffer]>,
    /// When the sockets were opened; `None` until that succeeds.
    opened: Mutex<Option<Instant>>,
}

impl Statsd {
    pub(super) fn new(prefix: &str, target: Target) -> Self {
        let buffers = thread::available_parallelism().map_or(1, usize::from).min(BUFFERS);
        let own = Self {
            before_names: before_names(prefix),
            target,
            buffers: (0..buffers).map(|_| Buffer::new()).collect(),
            opened: Mutex::new(None),
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

    pub(super) fn flush(&self) {
        self.buffers.iter().for_each(Buffer::flush);
    }

    /// Opens the sockets, if they are not open or were opened long ago. This may wait for the name of the host; calls go on
    /// meanwhile.
    pub(super) fn open(&self) {
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if opened.is_some_and(|opened| opened.elapsed() < OPENED_EVERY) {
            return;
        }
        let open = |address| self.buffers.iter().try_for_each(|buffer| buffer.open(&address));
        match Address::of(&self.target).and_then(open) {
            Ok(()) => *opened = Some(Instant::now()),
            Err(error) => {
                tracing::debug!(%error, "metrics cannot be sent yet, or only where they were before");
            }
        }
    }

    pub(super) fn lost(&self) -> u64 {
        self.buffers.iter().map(Buffer::lost).sum()
    }
}
