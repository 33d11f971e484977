//! Sends measurements as lines of the `StatsD` protocol, many in a datagram.

mod buffer;
mod line;
mod socket;

use std::cell::RefCell;

use self::buffer::Buffer;
use self::line::write_line;
use super::text::before_names;
use crate::config::Target;
use crate::measurement::Measurement;

thread_local! {
    /// Where a line is put together, so that nothing is allocated for it and no lock is held.
    static LINE: RefCell<String> = const { RefCell::new(String::new()) };
}

/// The exporter.
pub(super) struct Statsd {
    /// With a dot behind it, if there is one.
    prefix: String,
    buffer: Buffer,
}

impl Statsd {
    pub(super) fn new(prefix: &str, target: Target) -> Self {
        Self { prefix: before_names(prefix), buffer: Buffer::new(target) }
    }

    pub(super) fn record(&self, measurement: &Measurement<'_>) {
        let write = |line: &mut String| {
            write_line(line, &self.prefix, measurement);
            self.buffer.push(line);
        };
        // A thread that ends may have dropped its line already.
        let written = LINE.try_with(|line| line.try_borrow_mut().map(|mut line| write(&mut line)));
        if !matches!(written, Ok(Ok(()))) {
            write(&mut String::new());
        }
    }

    pub(super) fn flush(&self) {
        self.buffer.flush();
    }

    pub(super) fn open(&self) {
        self.buffer.open();
    }

    pub(super) fn lost(&self) -> u64 {
        self.buffer.lost()
    }
}
