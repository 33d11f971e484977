//! Who waits, and whose turn it is.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv6Addr};

/// Those who wait, of whom each address has one served in turn: however many come from one, others wait no longer for it. The
/// IPv6 addresses of a /64 count as one, since a single machine has at least that many to come from.
#[derive(Debug)]
pub(super) struct Queue<T>(VecDeque<(IpAddr, VecDeque<T>)>);

impl<T> Queue<T> {
    pub(super) fn new() -> Self {
        Self(VecDeque::new())
    }

    /// Adds one. Those of the same address that have gone are let go, so that no more are kept than there are connections.
    pub(super) fn push(&mut self, address: IpAddr, one: T, has_gone: impl Fn(&T) -> bool) {
        let address = shared(address);
        match self.0.iter_mut().find(|(other, _)| *other == address) {
            Some((_, waiting)) => {
                waiting.retain(|other| !has_gone(other));
                waiting.push_back(one);
            }
            None => self.0.push_back((address, VecDeque::from([one]))),
        }
    }

    /// The next one: of those from its address, the one that waited longest.
    pub(super) fn pop(&mut self) -> Option<T> {
        let (address, mut waiting) = self.0.pop_front()?;
        let one = waiting.pop_front();
        if !waiting.is_empty() {
            self.0.push_back((address, waiting));
        }
        one
    }
}

/// The address that stands for all that have one turn together. An IPv4 address that is written as an IPv6 address, as a socket
/// for both shows it, is that IPv4 address: all of them lie in a single /64.
fn shared(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_has_its_turn_however_many_wait_from_another() {
        let address = |last| IpAddr::from([10, 0, 0, last]);
        let mut queue = Queue::new();
        for number in 0..100 {
            queue.push(address(1), (1, number), |_| false);
        }
        assert_eq!(queue.pop(), Some((1, 0)));
        queue.push(address(2), (2, 0), |_| false);
        queue.push(address(3), (3, 0), |_| false);
        queue.push(address(2), (2, 1), |_| false);
        let order: Vec<_> = (0..6).map_while(|_| queue.pop()).collect();
        assert_eq!(order, [(1, 1), (2, 0), (3, 0), (1, 2), (2, 1), (1, 3)]);
    }

    #[test]
    fn all_of_an_ipv6_network_of_64_bits_share_a_turn_and_each_ipv4_address_has_its_own() {
        let cases = [
            ("2001:db8::1", "2001:db8::ffff:ffff:ffff:ffff", true),
            ("2001:db8::1", "2001:db8:0:1::1", false),
            ("::ffff:10.0.0.1", "10.0.0.1", true),
            ("::ffff:10.0.0.1", "::ffff:10.0.0.2", false),
            ("10.0.0.1", "10.0.0.2", false),
            ("::1", "10.0.0.1", false),
        ];
        for (crowd, other, together) in cases {
            let mut queue = Queue::new();
            for (address, one) in [(crowd, 1), (crowd, 2), (other, 3)] {
                queue.push(address.parse().unwrap(), one, |_| false);
            }
            let order: Vec<_> = (0..3).map_while(|_| queue.pop()).collect();
            assert_eq!(order, if together { [1, 2, 3] } else { [1, 3, 2] }, "{crowd} {other}");
        }
    }

    #[test]
    fn those_that_have_gone_are_not_kept() {
        let mut queue = Queue::new();
        for number in 0..1000 {
            queue.push(IpAddr::from([127, 0, 0, 1]), number, |_| true);
        }
        assert_eq!((queue.pop(), queue.pop()), (Some(999), None));
    }
}
