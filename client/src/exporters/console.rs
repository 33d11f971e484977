//! Writes each measurement into the log.

use crate::measurement::{Measurement, Value};

/// One record of the log for each measurement: `METRIC: {component}.{name}`, with the metric as its fields.
#[derive(Debug)]
pub(super) struct Console {
    prefix: String,
}

impl Console {
    pub(super) fn new(prefix: &str) -> Self {
        Self { prefix: if prefix.is_empty() { String::new() } else { format!("{prefix}.") } }
    }

    pub(super) fn record(&self, measurement: &Measurement<'_>) {
        let Measurement { component, name, value, rate, .. } = *measurement;
        let component = format_args!("{}{component}", self.prefix);
        let kind = value.kind();
        let tags = Tags(measurement);
        // A field has one type, and `tracing` wants to know it where the record is written.
        macro_rules! write {
            ($value:expr) => {
                tracing::info!(target: "tallyd_client", %component, name, kind, value = $value, rate, %tags, "METRIC: {component}.{name}")
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
}

/// `key:value,key:value`
struct Tags<'a>(&'a Measurement<'a>);

impl std::fmt::Display for Tags<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (place, (key, value)) in self.0.tags().enumerate() {
            formatter.write_str(if place == 0 { "" } else { "," })?;
            formatter.write_str(key)?;
            formatter.write_str(":")?;
            formatter.write_str(value)?;
        }
        Ok(())
    }
}
