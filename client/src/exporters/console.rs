//! Writes each sample into the log.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

use super::text::{before_names, push_metric, push_tags};
use crate::sample::{Sample, Value};

/// What a thread does with the log.
#[derive(Clone, Copy, PartialEq)]
enum State {
    /// It has not logged a sample yet.
    New,
    Idle,
    /// It writes a sample into the log right now.
    Logs,
    /// It ends, and what the log keeps of it may be gone.
    Ends,
}

/// Dropped when the thread ends; before what the log keeps, which was used first.
struct Sentinel;

impl Drop for Sentinel {
    fn drop(&mut self) {
        STATE.set(State::Ends);
    }
}

thread_local! {
    static STATE: Cell<State> = const { Cell::new(State::New) };
    static SENTINEL: Sentinel = const { Sentinel };
}

/// One record of the log for each sample: `METRIC: {component}.{name}`, with the sample as its fields.
#[derive(Debug)]
pub(super) struct Console {
    before_names: String,
    lost: AtomicU64,
}

impl Console {
    pub(super) fn new(prefix: &str) -> Self {
        Self { before_names: before_names(prefix), lost: AtomicU64::new(0) }
    }

    pub(super) fn record(&self, sample: &Sample<'_>) {
        // A log that counts its records must not count those of its own counter, for ever.
        if matches!(STATE.get(), State::Logs | State::Ends) {
            self.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let _guard = Guard::new();
        let (mut metric, mut tags) = (String::new(), String::new());
        push_metric(&mut metric, &self.before_names, sample);
        push_tags(&mut tags, "", sample);
        let Sample { component, name, value, rate, .. } = *sample;
        // A field has one type, and `tracing` wants to know it where the record is written.
        macro_rules! write {
            ($value:expr) => {
                tracing::info!(target: "tallyd_client", component, name, "type" = value.type_name(), value = $value, rate, tags, "METRIC: {metric}")
            };
        }
        match value {
            Value::Counter(value) => write!(value),
            Value::Gauge(value)
            | Value::Timing(value)
            | Value::Histogram(value)
            | Value::Distribution(value) => {
                write!(value);
            }
            Value::Set(member) => write!(member),
        }
    }

    pub(super) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

/// While a sample is written; also where the log panics.
struct Guard {
    is_first: bool,
}

impl Guard {
    fn new() -> Self {
        Self { is_first: STATE.replace(State::Logs) == State::New }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if self.is_first {
            // Used after the log was, and so dropped before it.
            SENTINEL.with(|_| ());
        }
        STATE.set(State::Idle);
    }
}
