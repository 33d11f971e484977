//! Limits the rate of requests, and checks passwords on a separate thread.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use serde_saphyr::Spanned;
use tokio::sync::oneshot;

use super::file::{RateSection, WebProblem};
use super::users::{Credentials, Users};
use crate::net::Threads;

/// The niceness of the thread that checks passwords. When other threads want the processor, this thread gets a tenth of
/// the share of each.
const NICENESS: i32 = 10;

/// A bucket of `burst` tokens. Each request takes one token, and each `interval` adds one.
#[derive(Debug)]
pub(super) struct RateLimit {
    /// The time per token, above zero and at most an hour.
    interval: Duration,
    /// The size of the bucket, from 1 to 1,000,000.
    burst: u32,
    /// The time at which the bucket will be full, without further requests. This is the whole state of the bucket.
    full_at: Mutex<Instant>,
}

impl RateLimit {
    /// Checks the section. Returns `None` if the interval is 0, which sets no limit.
    pub(super) fn new(section: &Spanned<RateSection>) -> Result<Option<Self>, WebProblem> {
        let RateSection { interval, burst } = section.value;
        let problem = |text: &str| Err(WebProblem::at(section, format!("rate_limit: {text}")));
        match interval.0 {
            Duration::ZERO => Ok(None),
            interval if interval > Duration::from_hours(1) => problem("interval: more than \"1h\""),
            _ if burst == 0 => problem("burst: 0 would refuse every request; give 1 or more"),
            _ if burst > 1_000_000 => problem("burst: more than 1_000_000"),
            interval => Ok(Some(Self { interval, burst, full_at: Mutex::new(Instant::now()) })),
        }
    }

    /// Takes a token. Returns false if the bucket is empty.
    pub(super) fn take(&self, now: Instant) -> bool {
        let mut full_at = self.full_at.lock();
        let full_then = (*full_at).max(now) + self.interval;
        let has_token = full_then - now <= self.interval * self.burst;
        if has_token {
            *full_at = full_then;
        }
        has_token
    }
}

/// Checks passwords one by one on a thread of its own. So password guessing cannot slow down ingestion or scrapes.
/// Dropping the value ends the thread.
#[derive(Debug)]
pub(super) struct PasswordChecker(Arc<Queue>);

#[derive(Debug)]
struct Queue {
    state: Mutex<QueueState>,
    /// Notified when `state` changes.
    changed: Condvar,
}

#[derive(Debug)]
struct QueueState {
    waiting: FairQueue<Check>,
    has_ended: bool,
}

/// A password to check.
#[derive(Debug)]
struct Check {
    users: Arc<Users>,
    credentials: Credentials,
    /// Receives the result. It is closed once the client has gone.
    reply: oneshot::Sender<bool>,
}

impl PasswordChecker {
    pub(super) fn start(threads: &Threads) -> io::Result<Self> {
        let state = Mutex::new(QueueState { waiting: FairQueue::new(), has_ended: false });
        let queue = Arc::new(Queue { state, changed: Condvar::new() });
        let own = Arc::clone(&queue);
        threads.spawn("passwords", move || {
            // On Linux, this sets the niceness of the thread alone. A thread may always raise its niceness.
            if let Err(error) = rustix::process::setpriority_process(None, NICENESS) {
                tracing::debug!(%error, "passwords are checked at normal priority");
            }
            while let Some(check) = own.next() {
                let is_right = check.users.check(&check.credentials);
                // The client may have gone.
                _ = check.reply.send(is_right);
            }
        })?;
        Ok(Self(queue))
    }

    /// Returns true if the password is right. `client` is the address of the client.
    pub(super) async fn check(&self, users: &Arc<Users>, credentials: Credentials, client: IpAddr) -> bool {
        let (reply, result) = oneshot::channel();
        let check = Check { users: Arc::clone(users), credentials, reply };
        self.0.state.lock().waiting.push(client, check, Check::is_abandoned);
        self.0.changed.notify_one();
        result.await.unwrap_or(false)
    }
}

impl Drop for PasswordChecker {
    fn drop(&mut self) {
        self.0.state.lock().has_ended = true;
        self.0.changed.notify_one();
    }
}

impl Queue {
    /// Waits for the next check. Returns `None` once the checker was dropped.
    fn next(&self) -> Option<Check> {
        let mut state = self.state.lock();
        while !state.has_ended {
            match state.waiting.pop() {
                Some(check) if check.is_abandoned() => {}
                Some(check) => return Some(check),
                None => self.changed.wait(&mut state),
            }
        }
        None
    }
}

impl Check {
    fn is_abandoned(&self) -> bool {
        self.reply.is_closed()
    }
}

/// A queue in which the addresses of clients take turns. An address that adds many items does not make other addresses
/// wait longer. The IPv6 addresses of a /64 share a turn, because a single machine has at least that many.
#[derive(Debug)]
struct FairQueue<T>(VecDeque<(IpAddr, VecDeque<T>)>);

impl<T> FairQueue<T> {
    fn new() -> Self {
        Self(VecDeque::new())
    }

    /// Adds an item, and removes the abandoned items of the same address. So the queue never holds more items than
    /// there are connections.
    fn push(&mut self, client: IpAddr, item: T, is_abandoned: impl Fn(&T) -> bool) {
        let turn = turn_of(client);
        match self.0.iter_mut().find(|(other, _)| *other == turn) {
            Some((_, items)) => {
                items.retain(|other| !is_abandoned(other));
                items.push_back(item);
            }
            None => self.0.push_back((turn, VecDeque::from([item]))),
        }
    }

    /// Removes the oldest item of the address whose turn it is.
    fn pop(&mut self) -> Option<T> {
        let (turn, mut items) = self.0.pop_front()?;
        let item = items.pop_front();
        if !items.is_empty() {
            self.0.push_back((turn, items));
        }
        item
    }
}

/// Returns the address that represents all addresses of one turn. A dual-stack socket shows an IPv4 address as an IPv6
/// address. All of these lie in a single /64, so they count as IPv4 addresses instead.
fn turn_of(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_of_requests_is_allowed_and_then_one_per_interval() {
        let begin = Instant::now();
        let limit = RateLimit { interval: Duration::from_secs(2), burst: 3, full_at: Mutex::new(begin) };
        let at = |seconds| begin + Duration::from_secs(seconds);
        let cases =
            [(0, true), (0, true), (0, true), (0, false), (1, false), (2, true), (2, false), (3, false)];
        let later = [(100, true), (100, true), (101, true), (101, false), (102, true), (103, false)];
        for (seconds, allowed) in cases.into_iter().chain(later) {
            assert_eq!(limit.take(at(seconds)), allowed, "{seconds} s");
        }
    }

    #[test]
    fn addresses_take_turns_however_many_items_one_of_them_adds() {
        let address = |last| IpAddr::from([10, 0, 0, last]);
        let mut queue = FairQueue::new();
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
    fn an_ipv6_network_of_64_bits_shares_a_turn_and_ipv4_addresses_do_not() {
        let cases = [
            ("2001:db8::1", "2001:db8::ffff:ffff:ffff:ffff", true),
            ("2001:db8::1", "2001:db8:0:1::1", false),
            ("::ffff:10.0.0.1", "10.0.0.1", true),
            ("::ffff:10.0.0.1", "::ffff:10.0.0.2", false),
            ("10.0.0.1", "10.0.0.2", false),
            ("::1", "10.0.0.1", false),
        ];
        for (crowd, other, together) in cases {
            let mut queue = FairQueue::new();
            for (address, item) in [(crowd, 1), (crowd, 2), (other, 3)] {
                queue.push(address.parse().unwrap(), item, |_| false);
            }
            let order: Vec<_> = (0..3).map_while(|_| queue.pop()).collect();
            assert_eq!(order, if together { [1, 2, 3] } else { [1, 3, 2] }, "{crowd} {other}");
        }
    }

    #[test]
    fn abandoned_items_are_not_kept() {
        let mut queue = FairQueue::new();
        for number in 0..1000 {
            queue.push(IpAddr::from([127, 0, 0, 1]), number, |_| true);
        }
        assert_eq!((queue.pop(), queue.pop()), (Some(999), None));
    }
}
