//! Who waits, and whose turn it is.

use std::collections::VecDeque;
use std::net::IpAddr;

/// Those who wait, of whom each address has one served in turn: however many come from one, others wait no longer for it.
#[derive(Debug)]
pub(super) struct Queue<T>(VecDeque<(IpAddr, VecDeque<T>)>);

impl<T> Queue<T> {
    pub(super) fn new() -> Self {
        Self(VecDeque::new())
    }

    /// Adds one. Those of the same address that have gone are let go, so that no more are kept than there are connections.
    pub(super) fn push(&mut self, address: IpAddr, one: T, has_gone: impl Fn(&T) -> bool) {
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
    fn those_that_have_gone_are_not_kept() {
        let mut queue = Queue::new();
        for number in 0..1000 {
            queue.push(IpAddr::from([127, 0, 0, 1]), number, |_| true);
        }
        assert_eq!((queue.pop(), queue.pop()), (Some(999), None));
    }
}
