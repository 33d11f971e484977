//! The `console` exporter, which writes each sample to the log.

use std::cell::Cell;

use super::text::{name_prefix, push_metric_name, push_tags};
use crate::sample::{Sample, Value};

/// The state of a thread with regard to the log.
#[derive(Clone, Copy, PartialEq)]
enum LogState {
    /// The thread has not logged a sample yet.
    Unused,
    Idle,
    Writing,
    /// The thread is ending, and may have dropped the log's thread-local data.
    Ending,
}

thread_local! {
    static LOG_STATE: Cell<LogState> = const { Cell::new(LogState::Unused) };
    static ENDING: EndGuard = const { EndGuard };
}

/// Marks the end of the thread. Thread-locals are dropped in reverse order of first use, so this guard is dropped
/// before the thread-locals of the log.
struct EndGuard;

impl Drop for EndGuard {
    fn drop(&mut self) {
        LOG_STATE.set(LogState::Ending);
    }
}

/// Writes a record for each sample: `METRIC: {prefix}.{component}.{name}`, with the sample as its fields.
#[derive(Debug)]
pub(super) struct Console {
    name_prefix: String,
}

impl Console {
    pub(super) fn new(prefix: &str) -> Self {
        Self { name_prefix: name_prefix(prefix) }
    }

    /// Returns false if the sample is lost.
    pub(super) fn record(&self, sample: &Sample<'_>, rate: f64) -> bool {
        // A log that counts its own records with a metric would otherwise log that metric endlessly.
        if matches!(LOG_STATE.get(), LogState::Writing | LogState::Ending) {
            return false;
        }
        let _writing = Writing::begin();
        let (mut metric, mut tags) = (String::new(), String::new());
        push_metric_name(&mut metric, &self.name_prefix, sample);
        push_tags(&mut tags, "", sample);
        let Sample { component, name, value, .. } = *sample;
        // This is a macro, because `tracing` needs the type of each field at compile time.
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
        true
    }
}

/// Marks the thread as writing until this guard is dropped, even if the log panics.
struct Writing {
    is_first: bool,
}

impl Writing {
    fn begin() -> Self {
        Self { is_first: LOG_STATE.replace(LogState::Writing) == LogState::Unused }
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        if self.is_first {
            // `ENDING` is first used after the log's own thread-locals, so that it is dropped before them.
            ENDING.with(|_| ());
        }
        LOG_STATE.set(LogState::Idle);
    }
}
