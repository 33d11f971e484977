//! Counts the connections of a listening socket.

use enum_map::EnumMap;

use crate::model::{Counter, Gauge, Named, Repeated, Source, Telemetry, Thinned};

/// The telemetry of the connections of one listening socket. `R` names the reasons for closing a connection.
#[derive(Debug)]
pub(crate) struct ConnectionCounts<R: Named> {
    open: Gauge,
    opened: Counter,
    refused: Counter,
    closed: EnumMap<R, Counter>,
}

/// The log entry for connections that were refused because the limit was reached.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RefusedWarning {
    /// The configuration key of the limit.
    pub(crate) key: &'static str,
    /// Logs the number of refused connections, and the key to raise.
    pub(crate) log: fn(connections: u64, key: &'static str),
}

impl<R: Named> ConnectionCounts<R> {
    /// Registers the gauge `name`, which counts open connections, and the counters `name_opened`, `name_refused` and
    /// `name_closed`. The last one is counted by reason. Refused connections are logged.
    pub(crate) fn register(
        telemetry: &Telemetry,
        name: &str,
        tags: &[(&str, &str)],
        warning: RefusedWarning,
    ) -> Self {
        let open = telemetry.gauge(name, tags);
        open.set(0.0);
        let refused = telemetry.counter(&format!("{name}_refused"), tags);
        let repeated = Thinned::default();
        telemetry.add_source(WarnOfRefused { refused: refused.clone(), warning, repeated });
        Self {
            open,
            opened: telemetry.counter(&format!("{name}_opened"), tags),
            refused,
            closed: telemetry.counters(&format!("{name}_closed"), tags, "reason"),
        }
    }

    pub(super) fn count_opened(&self) {
        self.open.add(1.0);
        self.opened.increment();
    }

    pub(super) fn count_refused(&self) {
        self.refused.increment();
    }

    pub(super) fn count_closed(&self, reason: R) {
        self.open.add(-1.0);
        self.closed[reason].increment();
    }
}

#[derive(Debug)]
struct WarnOfRefused {
    refused: Counter,
    warning: RefusedWarning,
    repeated: Thinned,
}

impl Source for WarnOfRefused {
    fn update(&mut self) {
        if let Some(Repeated { amount, .. }) = self.repeated.round(self.refused.pending()) {
            (self.warning.log)(amount, self.warning.key);
        }
    }
}
