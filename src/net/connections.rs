//! Counts the connections of a listening socket.

use std::net::IpAddr;
use std::sync::Arc;

use enum_map::EnumMap;
use parking_lot::Mutex;

use super::permitted::Refused;
use super::slots::Address;
use crate::model::{Counter, Gauge, Named, Repeated, Source, Telemetry, Thinned};

/// The telemetry of the connections of one listening socket. `R` names the reasons for closing a connection.
#[derive(Debug)]
pub(crate) struct ConnectionCounts<R: Named> {
    open: Gauge,
    opened: Counter,
    refused: Refused,
    closed: EnumMap<R, Counter>,
    /// The address that a connection was last taken from, and the number of connections from there.
    busiest: Arc<Mutex<Option<(IpAddr, usize)>>>,
}

/// The configuration keys of a listening socket that limit its clients.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ClientKeys {
    /// The key of the number of connections.
    pub(crate) max_connections: &'static str,
    /// The key of the networks from which clients may connect.
    pub(crate) permitted_networks: &'static str,
}

impl<R: Named> ConnectionCounts<R> {
    /// Registers the gauge `name`, which counts open connections, and the counters `name_opened`, `name_refused` and
    /// `name_closed`. The last one is counted by reason. Refused clients are logged, and so are connections that were
    /// closed for the reason `evicted`.
    pub(crate) fn register(
        telemetry: &Telemetry,
        name: &str,
        tags: &[(&str, &str)],
        evicted: R,
        keys: ClientKeys,
    ) -> Self {
        let open = telemetry.gauge(name, tags);
        open.set(0.0);
        let closed = telemetry.counters(&format!("{name}_closed"), tags, "reason");
        let busiest = Arc::default();
        telemetry.add_source(WarnOfEvicted {
            evicted: closed[evicted].clone(),
            busiest: Arc::clone(&busiest),
            key: keys.max_connections,
            repeated: Thinned::default(),
        });
        Self {
            open,
            opened: telemetry.counter(&format!("{name}_opened"), tags),
            refused: Refused::register(telemetry, &format!("{name}_refused"), tags, keys.permitted_networks),
            closed,
            busiest,
        }
    }

    pub(super) fn count_opened(&self) {
        self.open.add(1.0);
        self.opened.increment();
    }

    pub(super) fn count_refused(&self, client: IpAddr) {
        self.refused.add(1, client);
    }

    /// Notes the address from which a connection is taken, and the number of its connections.
    pub(super) fn note_busiest(&self, address: Address, connections: usize) {
        *self.busiest.lock() = address.map(|address| (address, connections));
    }

    pub(super) fn count_closed(&self, reason: R) {
        self.open.add(-1.0);
        self.closed[reason].increment();
    }
}

#[derive(Debug)]
struct WarnOfEvicted {
    evicted: Counter,
    busiest: Arc<Mutex<Option<(IpAddr, usize)>>>,
    /// The configuration key of the limit.
    key: &'static str,
    repeated: Thinned,
}

impl Source for WarnOfEvicted {
    fn update(&mut self) {
        let Self { evicted, busiest, key, repeated } = self;
        if let Some(Repeated { amount, .. }) = repeated.round(evicted.pending()) {
            let (address, open) = busiest.lock().unzip();
            tracing::warn!(
                connections = amount,
                address = address.map(tracing::field::display),
                open_from_there = open,
                "connections gave way to new ones because the limit was reached; raise {key}, or find out why the clients \
                 of this address open so many"
            );
        }
    }
}
