//! Chooses the connection that gives way to a new one when as many are open as allowed.
//!
//! The address with the most connections loses one: the one that has made no progress for the longest time. So a client
//! that opens many connections takes them from itself, and an address without any always gets one.

use std::cell::Cell;
use std::cmp::Reverse;
use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Instant;

use tokio::sync::Notify;
use tokio::task::Id;

/// The progress of a connection. Its service notes it, and the accept loop reads it.
#[derive(Debug)]
pub(crate) struct Activity {
    /// The time of the latest progress.
    since: Cell<Instant>,
    is_evicted: Cell<bool>,
    evicted: Notify,
}

impl Activity {
    pub(crate) fn new() -> Rc<Self> {
        let (since, is_evicted) = (Cell::new(Instant::now()), Cell::new(false));
        Rc::new(Self { since, is_evicted, evicted: Notify::new() })
    }

    /// Notes that the connection has made progress.
    pub(crate) fn note_progress(&self) {
        self.since.set(Instant::now());
    }

    /// Waits until the connection has to give way. Its service then ends without waiting for the client.
    pub(crate) async fn evicted(&self) {
        self.evicted.notified().await;
    }

    fn evict(&self) {
        self.is_evicted.set(true);
        self.evicted.notify_one();
    }
}

/// The IP address of a client. `None` for all clients of a Unix socket, which count as one.
pub(crate) type Address = Option<IpAddr>;

/// The open connections of a server, by address.
#[derive(Debug, Default)]
pub(super) struct Slots {
    by_address: HashMap<Address, HashMap<Id, Rc<Activity>>>,
    addresses: HashMap<Id, Address>,
}

impl Slots {
    pub(super) fn insert(&mut self, id: Id, address: Address, activity: Rc<Activity>) {
        self.by_address.entry(address).or_default().insert(id, activity);
        self.addresses.insert(id, address);
    }

    pub(super) fn remove(&mut self, id: Id) {
        let Some(address) = self.addresses.remove(&id) else { return };
        if let Some(open) = self.by_address.get_mut(&address) {
            open.remove(&id);
            if open.is_empty() {
                self.by_address.remove(&address);
            }
        }
    }

    /// Tells a connection to give way to a new one from `newcomer`. Returns its address and the number of connections
    /// from there, or `None` if all others already give way. An address never gives way to another one with as many
    /// connections. The work is proportional to the number of connections.
    pub(super) fn evict_for(&self, newcomer: Address) -> Option<(Address, usize)> {
        let own = self.by_address.get(&newcomer).map_or(0, HashMap::len);
        let may_lose =
            |(address, open): &(&Address, &HashMap<_, _>)| **address == newcomer || open.len() > own;
        let candidates = self.by_address.iter().filter(may_lose).flat_map(|(&address, open)| {
            open.values().map(move |activity| (Reverse(open.len()), activity, address))
        });
        let stays = |(_, activity, _): &(_, &Rc<Activity>, _)| !activity.is_evicted.get();
        let rank = |&(count, activity, _): &(_, &Rc<Activity>, _)| (count, activity.since.get());
        let (Reverse(count), activity, address) = candidates.filter(stays).min_by_key(rank)?;
        activity.evict();
        Some((address, count))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::task::JoinSet;

    use super::*;

    /// The open connections of a server. Letters stand for addresses.
    struct Server {
        slots: Slots,
        tasks: JoinSet<()>,
        opened: Vec<(Id, Rc<Activity>)>,
    }

    impl Server {
        /// Opens connections one after the other.
        fn new(connections: &str) -> Self {
            let mut server = Self { slots: Slots::default(), tasks: JoinSet::new(), opened: Vec::new() };
            let begin = Instant::now();
            for (order, letter) in (0..).zip(connections.chars()) {
                let (id, activity) = (server.tasks.spawn(async {}).id(), Activity::new());
                activity.since.set(begin + Duration::from_nanos(order));
                server.slots.insert(id, Some(address(letter)), Rc::clone(&activity));
                server.opened.push((id, activity));
            }
            server
        }

        /// Returns the position of the connection that gives way to one from `newcomer`.
        fn evict_for(&mut self, newcomer: char) -> Option<usize> {
            self.slots.evict_for(Some(address(newcomer)))?;
            let evicted = self.opened.iter().position(|(_, activity)| activity.is_evicted.take())?;
            self.slots.remove(self.opened[evicted].0);
            Some(evicted)
        }
    }

    fn address(letter: char) -> IpAddr {
        [10, 0, 0, letter as u8].into()
    }

    #[tokio::test]
    async fn the_longest_idle_connection_of_the_busiest_address_gives_way() {
        #[rustfmt::skip]
        let cases = [
            ("aaa", 'a', 0, "an address takes from itself"),
            ("aaa", 'b', 0, "and gives to one without any"),
            ("baa", 'c', 1, "however long others have been idle"),
            ("abab", 'c', 0, "of two with as many, the longest idle one"),
            ("baa", 'a', 1, "never from one with fewer"),
            ("ab", 'b', 1, "nor from one with as many"),
        ];
        for (open, newcomer, expected, why) in cases {
            let evicted = Server::new(open).evict_for(newcomer);
            assert_eq!(evicted, Some(expected), "{open} {newcomer}: {why}");
        }
    }

    #[tokio::test]
    async fn progress_keeps_a_connection_from_being_the_longest_idle_one() {
        let mut server = Server::new("aaa");
        server.opened[0].1.note_progress();
        assert_eq!([(); 4].map(|()| server.evict_for('a')), [Some(1), Some(2), Some(0), None]);
        assert!(server.slots.by_address.is_empty() && server.slots.addresses.is_empty());
    }

    #[tokio::test]
    async fn a_connection_that_gives_way_already_is_not_chosen_again() {
        let server = Server::new("aa");
        assert!(server.slots.evict_for(None).is_some() && server.slots.evict_for(None).is_some());
        assert!(server.slots.evict_for(None).is_none());
    }
}
