//! Finds out whether what this process relays comes back to it.
//!
//! ```text
//!  this tallyd -- probe with its id --> server --> ... --> this tallyd: nothing is relayed for a minute
//! ```
//!
//! A probe is a counter of value 0 that every StatsD server accepts and that changes no sum. Its sample rate is the id, so
//! it adds one series to other servers, whatever the number of tallyds and restarts.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use memchr::memmem::Finder;
use parking_lot::Mutex;

use super::chunk::Chunk;
use crate::model::{Counter, RELAY_PROBE, Repeated, Sender, Thinned};

/// The time between two probes of a target.
pub(super) const PROBE_INTERVAL: Duration = Duration::from_secs(10);

/// How long nothing is relayed after a probe came back.
const SUSPENSION: Duration = Duration::from_mins(1);

/// The time in which a probe of another tallyd is passed on once while relaying is suspended. Otherwise, probes could run
/// in circles for ever.
const PASS_INTERVAL: Duration = Duration::from_secs(5);

/// The number of other tallyds whose probes are passed on in that time.
const PASSED: usize = 64;

/// Recognizes probes, and suspends relaying after a probe of this process.
#[derive(Debug)]
pub(super) struct Loops {
    /// The line of a probe up to its id.
    prefix: Finder<'static>,
    /// The digits of this process.
    id: String,
    start: Instant,
    /// The end of the suspension, in milliseconds from `start`. 0 if there is none.
    suspended_until: AtomicU64,
    detected: Counter,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    messages: Thinned,
    /// The probes that were passed on lately.
    passed: Vec<(String, Instant)>,
}

impl Loops {
    /// Creates a detector with an id of its own. `detected` counts the probes that come back.
    pub(super) fn new(detected: Counter) -> Self {
        let prefix = format!("{RELAY_PROBE}:0|c|@0.");
        Self {
            prefix: Finder::new(prefix.as_bytes()).into_owned(),
            // 16 digits are the most that a sample rate carries. A leading zero would make the rate small.
            id: fastrand::u64(1_000_000_000_000_000..10_000_000_000_000_000).to_string(),
            start: Instant::now(),
            suspended_until: AtomicU64::new(0),
            detected,
            state: Mutex::default(),
        }
    }

    /// Returns the line of a probe of this process.
    pub(super) fn probe(&self) -> String {
        format!("{}{}", String::from_utf8_lossy(self.prefix.needle()), self.id)
    }

    /// Looks for probes of this process in a chunk that was received. Returns true if the chunk must not be relayed.
    /// `sender_of` returns the sender of the datagram that contains a text.
    pub(super) fn look(&self, chunk: &Chunk, sender_of: impl Fn(&[u8]) -> Sender) -> bool {
        let own = self.probes(chunk).filter(|probe| probe.ends_with(self.id.as_bytes()));
        let mut count = 0;
        let mut latest = None;
        for probe in own {
            count += 1;
            latest = Some(probe);
        }
        if let Some(probe) = latest {
            self.detected.add(count);
            self.suspend(sender_of(probe));
            return true;
        }
        self.is_suspended()
    }

    fn suspend(&self, sender: Sender) {
        let until = (self.start.elapsed() + SUSPENSION).as_millis() as u64;
        let was_suspended = self.suspended_until.swap(until, Relaxed) != 0;
        let mut state = self.state.lock();
        if !was_suspended {
            state.messages = Thinned::default();
        }
        if let Some(Repeated { times, .. }) = state.messages.add(1) {
            tracing::error!(
                %sender,
                times,
                "what tallyd relays comes back to it; it relays nothing until a minute after the loop is gone; take one of its targets out of [[relay]], here or there"
            );
        }
    }

    fn is_suspended(&self) -> bool {
        let until = self.suspended_until.load(Relaxed);
        if until == 0 {
            return false;
        }
        if (self.start.elapsed().as_millis() as u64) < until {
            return true;
        }
        // Only one receiver says so.
        if self.suspended_until.compare_exchange(until, 0, Relaxed, Relaxed).is_ok() {
            tracing::info!("the loop is gone; tallyd relays again");
        }
        false
    }

    /// Returns the probes of other tallyds in a chunk that are to be passed on while relaying is suspended, so that they
    /// detect the loop, too.
    pub(super) fn to_pass(&self, chunk: &Chunk, now: Instant) -> Vec<Vec<u8>> {
        let others = self.probes(chunk).filter(|probe| !probe.ends_with(self.id.as_bytes()));
        let mut state = self.state.lock();
        let mut probes = Vec::new();
        for probe in others {
            let text = String::from_utf8_lossy(probe).into_owned();
            let passed = &mut state.passed;
            passed.retain(|(_, at)| now.saturating_duration_since(*at) < PASS_INTERVAL);
            if passed.len() < PASSED && passed.iter().all(|(known, _)| *known != text) {
                passed.push((text, now));
                probes.push(probe.to_vec());
            }
        }
        probes
    }

    /// Finds the probes in a chunk, with their ids.
    fn probes<'a>(&'a self, chunk: &'a Chunk) -> impl Iterator<Item = &'a [u8]> {
        let bytes = chunk.bytes();
        self.prefix.find_iter(bytes).map(|begin| {
            let id = &bytes[begin + self.prefix.needle().len()..];
            let digits = id.iter().take(32).take_while(|byte| byte.is_ascii_digit()).count();
            &bytes[begin..begin + self.prefix.needle().len() + digits]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(loops: &Loops, datagram: &str) -> bool {
        loops.look(&Chunk::of(datagram.as_bytes()), |_| Sender::Unknown)
    }

    #[test]
    fn only_the_probe_of_this_process_suspends_relaying_and_other_probes_pass_once() {
        let [own, other] = [(); 2].map(|()| Loops::new(Counter::default()));
        assert!(!look(&own, "a:1|c") && !look(&own, &other.probe()));
        assert!(!look(&own, &format!("{}7", own.probe())), "the id goes on");
        assert!(look(&own, &format!("a:1|c\n{}\nb:1|c", own.probe())));
        assert!(look(&own, "a:1|c"), "the suspension lasts");
        assert_eq!(own.detected.pending(), 1);
        let both = Chunk::of(format!("{}\n{}", own.probe(), other.probe()).as_bytes());
        let now = Instant::now();
        assert_eq!(own.to_pass(&both, now), [other.probe().into_bytes()]);
        assert!(own.to_pass(&both, now).is_empty());
        assert_eq!(own.to_pass(&both, now + PASS_INTERVAL).len(), 1);
    }

    #[test]
    fn a_suspension_ends() {
        let loops = Loops::new(Counter::default());
        assert!(look(&loops, &loops.probe()));
        loops.suspended_until.store(1, Relaxed);
        std::thread::sleep(Duration::from_millis(2));
        assert!(!look(&loops, "a:1|c"));
        assert_eq!(loops.suspended_until.load(Relaxed), 0);
    }

    #[test]
    fn each_process_has_an_id_and_probes_are_valid_lines() {
        let [one, another] = [(); 2].map(|()| Loops::new(Counter::default()).probe());
        assert_ne!(one, another);
        let rate: f64 = one.rsplit_once('@').unwrap().1.parse().unwrap();
        assert!((0.1..1.0).contains(&rate), "{one}");
    }
}
