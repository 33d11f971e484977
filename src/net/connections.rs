//! Counts the connections of a socket.

use std::sync::atomic::{AtomicU64, Ordering};

/// The counters: the thread that has the connections counts, the flush reads. A connection may be closed for so many
/// `REASONS`, which are numbered by an enumeration.
#[derive(Debug)]
pub struct Connections<const REASONS: usize> {
    open: AtomicU64,
    opened: AtomicU64,
    refused: AtomicU64,
    closed: [AtomicU64; REASONS],
}

/// What became of connections since the last reading.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionCounts<const REASONS: usize> {
    /// Open now.
    pub open: u64,
    /// Accepted and served.
    pub opened: u64,
    /// Closed at once, because as many were open as may be.
    pub refused: u64,
    /// Closed later, by reason.
    pub closed: [u64; REASONS],
}

impl<const REASONS: usize> Default for Connections<REASONS> {
    fn default() -> Self {
        Self {
            open: AtomicU64::new(0),
            opened: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            closed: [const { AtomicU64::new(0) }; REASONS],
        }
    }
}

impl<const REASONS: usize> Connections<REASONS> {
    pub(crate) fn open(&self) {
        self.open.fetch_add(1, Ordering::Relaxed);
        self.opened.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn refuse(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn close(&self, reason: usize) {
        self.open.fetch_sub(1, Ordering::Relaxed);
        self.closed[reason].fetch_add(1, Ordering::Relaxed);
    }

    /// What is open now, and what was counted since the last call.
    #[must_use]
    pub fn take(&self) -> ConnectionCounts<REASONS> {
        let take = |counter: &AtomicU64| counter.swap(0, Ordering::Relaxed);
        ConnectionCounts {
            open: self.open.load(Ordering::Relaxed),
            opened: take(&self.opened),
            refused: take(&self.refused),
            closed: self.closed.each_ref().map(take),
        }
    }
}
