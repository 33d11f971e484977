//! Decides which clients may connect or send, and counts and logs the others.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use parking_lot::Mutex;

use crate::model::{Counter, Repeated, Source, Telemetry, Thinned};

/// The networks whose clients may connect or send. Clones share one list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PermittedNetworks(Arc<[IpNet]>);

impl PermittedNetworks {
    /// Permits the clients of these networks. An empty list permits all clients.
    pub(crate) fn new(networks: impl IntoIterator<Item = IpNet>) -> Self {
        Self(networks.into_iter().collect())
    }

    /// Returns true if all clients are permitted.
    pub(crate) fn have_all(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns true if a client with this address is permitted. A socket on `::` sees IPv4 addresses as IPv6 ones.
    pub(crate) fn contain(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.have_all() || self.0.iter().any(|network| network.contains(&address))
    }
}

/// Counts datagrams or connections from addresses that are not permitted, and logs them ever more rarely.
#[derive(Debug, Clone)]
pub(crate) struct Refused {
    counter: Counter,
    latest: Arc<Mutex<Option<IpAddr>>>,
}

impl Refused {
    /// Registers the counter `name`. `key` is the configuration key of the networks, for the log.
    pub(crate) fn register(
        telemetry: &Telemetry,
        name: &str,
        tags: &[(&str, &str)],
        key: &'static str,
    ) -> Self {
        let own = Self { counter: telemetry.counter(name, tags), latest: Arc::default() };
        telemetry.add_source(WarnOfRefused { refused: own.clone(), key, repeated: Thinned::default() });
        own
    }

    /// Adds datagrams or connections. `latest` is the address of one of them.
    pub(crate) fn add(&self, count: u64, latest: IpAddr) {
        self.counter.add(count);
        *self.latest.lock() = Some(latest);
    }
}

#[derive(Debug)]
struct WarnOfRefused {
    refused: Refused,
    key: &'static str,
    repeated: Thinned,
}

impl Source for WarnOfRefused {
    fn update(&mut self) {
        let Self { refused: Refused { counter, latest }, key, repeated } = self;
        if let Some(Repeated { amount, .. }) = repeated.round(counter.pending())
            && let Some(latest) = *latest.lock()
        {
            tracing::warn!(
                refused = amount,
                latest = %latest.to_canonical(),
                "clients outside the networks of {key} were refused; add their network if they are yours"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_in_a_listed_network_are_permitted_and_an_empty_list_permits_all() {
        let listed = |networks: &[&str]| {
            PermittedNetworks::new(networks.iter().map(|network| network.parse().unwrap()))
        };
        let some = listed(&["10.1.0.0/16", "192.0.2.7/32", "2001:db8::/32"]);
        for (address, is_permitted) in [
            ("10.1.255.255", true),
            ("10.2.0.0", false),
            ("192.0.2.7", true),
            ("192.0.2.8", false),
            ("2001:db8::1", true),
            ("2001:db9::1", false),
            ("::ffff:10.1.2.3", true),
            ("::ffff:10.2.0.0", false),
        ] {
            let address = address.parse().unwrap();
            assert_eq!(some.contain(address), is_permitted, "{address}");
            assert!(listed(&[]).contain(address));
        }
        assert!(listed(&["0.0.0.0/0"]).contain("10.1.2.3".parse().unwrap()));
    }
}
