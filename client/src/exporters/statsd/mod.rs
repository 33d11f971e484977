//! The `statsd` exporter. It sends samples as lines of the `StatsD` protocol, many lines per datagram.

mod buffer;
mod datagram;
mod line;
mod socket;
#[cfg_attr(not(unix), path = "unix/unsupported.rs")]
mod unix;

use std::cell::Cell;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::thread;

use self::buffer::Buffer;
use self::line::push_lines;
use self::socket::ResolvedAddress;
use super::losses::LossLog;
use super::text::{name_prefix, with_buffer};
use crate::config::settings::StatsdAddress;
use crate::poison::ignore_poison;
use crate::sample::{Sample, Value};

/// The largest number of buffers. Further threads share them.
const MAX_BUFFERS: usize = 8;

thread_local! {
    /// The number of this thread. It determines the thread's buffer.
    static THREAD_NUMBER: Cell<Option<usize>> = const { Cell::new(None) };
}
static NEXT_THREAD_NUMBER: AtomicUsize = AtomicUsize::new(0);

pub(super) struct Statsd {
    name_prefix: String,
    address: StatsdAddress,
    /// One buffer per processor, but at most [`MAX_BUFFERS`]. So threads seldom wait for each other.
    buffers: Box<[Buffer]>,
    /// The reason for which the sockets are not open, or `None` if they are.
    open_error: Mutex<Option<io::Error>>,
    loss_log: LossLog,
}

impl Statsd {
    pub(super) fn new(prefix: &str, address: StatsdAddress) -> Self {
        let buffers = thread::available_parallelism().map_or(1, usize::from).min(MAX_BUFFERS);
        let statsd = Self {
            name_prefix: name_prefix(prefix),
            address,
            buffers: (0..buffers).map(|_| Buffer::new()).collect(),
            open_error: Mutex::new(None),
            loss_log: LossLog::default(),
        };
        statsd.open();
        statsd
    }

    pub(super) fn record(&self, sample: &Sample<'_>, rate: f64) {
        with_buffer(|lines| {
            push_lines(lines, &self.name_prefix, sample, rate);
            self.buffer(sample.value).push(lines, sample.calls);
        });
    }

    /// Returns the buffer for a value. All gauges share one buffer, which preserves their order. The order matters
    /// because servers keep the last value.
    #[inline]
    fn buffer(&self, value: Value<'_>) -> &Buffer {
        if matches!(value, Value::Gauge(_)) {
            return &self.buffers[0];
        }
        let thread_number = THREAD_NUMBER.with(|number| {
            number.get().unwrap_or_else(|| {
                let next = NEXT_THREAD_NUMBER.fetch_add(1, Ordering::Relaxed);
                number.set(Some(next));
                next
            })
        });
        &self.buffers[thread_number % self.buffers.len()]
    }

    /// Sends all buffered samples. Logs lost samples, throttled by [`LossLog`].
    pub(super) fn flush(&self) {
        self.buffers.iter().for_each(Buffer::flush);
        let lost = self.lost();
        if !self.loss_log.is_due(lost) {
            return;
        }
        let open_error = self.open_error().as_ref().map(io::Error::to_string);
        let send_error = self.buffers.iter().filter_map(Buffer::take_error).last();
        let error = open_error.or(send_error.map(|error| error.to_string())).unwrap_or_default();
        let address = tracing::field::display(&self.address);
        tracing::error!(
            lost,
            address,
            error,
            "samples cannot be sent and are dropped; check that tallyd listens at this address"
        );
    }

    /// Replaces the sockets by new ones, while other threads continue to record. Returns true on success. A DNS lookup
    /// can block this function.
    pub(super) fn open(&self) -> bool {
        let open = |address| self.buffers.iter().try_for_each(|buffer| buffer.open(&address));
        let opened = ResolvedAddress::look_up(&self.address).and_then(open);
        let is_open = opened.is_ok();
        *self.open_error() = opened.err();
        is_open
    }

    pub(super) fn is_open(&self) -> bool {
        self.open_error().is_none()
    }

    fn open_error(&self) -> MutexGuard<'_, Option<io::Error>> {
        ignore_poison(self.open_error.lock())
    }

    pub(super) fn lost(&self) -> u64 {
        self.buffers.iter().map(Buffer::lost).sum()
    }
}
