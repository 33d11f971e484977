//! Counts the connections of a stream listener.

use std::sync::atomic::{AtomicU64, Ordering};

/// Why a connection was closed. The names are an interface: telemetry shows them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closed {
    /// The client ended it.
    End,
    /// It broke: the client reset it, or was not there any more.
    Broken,
    /// Nothing was sent for as long as a connection may be idle.
    Idle,
    /// A payload was longer than payloads may be.
    FrameTooLong,
    /// tallyd stopped.
    Stop,
}

impl Closed {
    /// All of them, in the order of their discriminants.
    pub const ALL: [Closed; 5] =
        [Closed::End, Closed::Broken, Closed::Idle, Closed::FrameTooLong, Closed::Stop];

    /// The name by which telemetry counts it, for example `frame_too_long`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Closed::End => "end",
            Closed::Broken => "broken",
            Closed::Idle => "idle",
            Closed::FrameTooLong => "frame_too_long",
            Closed::Stop => "stop",
        }
    }
}

/// The counters of a listener: its thread counts, the flush reads.
#[derive(Debug)]
pub struct Connections {
    listener: &'static str,
    open: AtomicU64,
    opened: AtomicU64,
    refused: AtomicU64,
    closed: [AtomicU64; Closed::ALL.len()],
}

/// What became of connections since the last reading.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionCounts {
    /// As it is called in the configuration: `tcp`.
    pub listener: &'static str,
    /// Open now.
    pub open: u64,
    /// Accepted and served.
    pub opened: u64,
    /// Closed at once, because as many were open as may be.
    pub refused: u64,
    /// Closed later, by [`Closed`].
    pub closed: [u64; Closed::ALL.len()],
}

impl Connections {
    pub(super) fn new(listener: &'static str) -> Self {
        Self {
            listener,
            open: AtomicU64::new(0),
            opened: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            closed: Default::default(),
        }
    }

    pub(super) fn open(&self) {
        self.open.fetch_add(1, Ordering::Relaxed);
        self.opened.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn refuse(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn close(&self, reason: Closed) {
        self.open.fetch_sub(1, Ordering::Relaxed);
        self.closed[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// What is open now, and what was counted since the last call.
    #[must_use]
    pub fn take(&self) -> ConnectionCounts {
        let take = |counter: &AtomicU64| counter.swap(0, Ordering::Relaxed);
        ConnectionCounts {
            listener: self.listener,
            open: self.open.load(Ordering::Relaxed),
            opened: take(&self.opened),
            refused: take(&self.refused),
            closed: self.closed.each_ref().map(take),
        }
    }
}
