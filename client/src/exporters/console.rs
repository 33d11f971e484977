//! Writes each sample into the log.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

use super::text::{before_names, push_metric, push_tags};
use crate::sample::{Sample, Value};

thread_local! {
    /// Whether this thread writes a sample into the log right now.
    static LOGS: Cell<bool> = const { Cell::new(false) };
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
        if LOGS.replace(true) {
            self.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let _guard = Guard;
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

/// Also where the log panics.
struct Guard;

impl Drop for Guard {
    fn drop(&mut self) {
        LOGS.set(false);
    }
}
