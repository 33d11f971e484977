//! Hands what listeners receive to all targets. A reload of the configuration changes them.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};

use super::chunk::{Chunk, Chunks};
use super::counts::{Counts, DropReason};
use super::loops::Loops;
use super::target::{Target, TargetOptions};
use crate::model::{Memory, Sender, Telemetry};
use crate::net::Threads;

/// How long a reload waits for a target that ends.
const LONGEST_END: Duration = Duration::from_secs(1);

/// All targets. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Relay(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// Whether there are targets. Receivers look at this once for all datagrams of a look at their socket.
    is_on: AtomicBool,
    targets: RwLock<Vec<Arc<Target>>>,
    loops: Loops,
    memory: Memory,
    telemetry: Telemetry,
    threads: Threads,
    /// The counts of all targets that ever ran, by URL. A target that comes back goes on counting.
    counts: Mutex<HashMap<String, Arc<Counts>>>,
}

/// The datagrams of a receiver, on their way to the targets.
#[derive(Debug)]
pub(crate) struct Outgoing(Chunks);

impl Outgoing {
    /// Adds a datagram, which must not be truncated.
    pub(crate) fn add_datagram(&mut self, datagram: &[u8]) {
        self.0.add_datagram(datagram);
    }

    /// Adds whole lines of a stream.
    pub(crate) fn add_lines(&mut self, lines: &[u8]) {
        self.0.add_lines(lines);
    }
}

impl Relay {
    /// Creates a relay without targets.
    pub(crate) fn new(memory: &Memory, telemetry: &Telemetry, threads: &Threads) -> Self {
        Self(Arc::new(Shared {
            is_on: AtomicBool::new(false),
            targets: RwLock::default(),
            loops: Loops::new(telemetry.counter("relay_loop_probes", &[])),
            memory: memory.clone(),
            telemetry: telemetry.clone(),
            threads: threads.clone(),
            counts: Mutex::default(),
        }))
    }

    /// Starts and ends targets, so that they are those of the configuration. A target whose options have changed ends and
    /// starts again. The others do not notice.
    ///
    /// # Errors
    ///
    /// Fails if the system provides no thread for a target. The others run.
    pub(crate) fn change(&self, wanted: Vec<TargetOptions>) -> io::Result<()> {
        let shared = &*self.0;
        let mut targets = shared.targets.read().clone();
        let ending: Vec<_> = targets.extract_if(.., |target| !wanted.contains(&target.options)).collect();
        // From here on, no receiver adds to the queues of those that end.
        shared.targets.write().clone_from(&targets);
        let deadline = Instant::now() + LONGEST_END;
        ending.iter().for_each(|target| target.close(deadline));
        ending.iter().for_each(|target| target.finish(deadline));
        let mut outcome = Ok(());
        for options in wanted {
            if targets.iter().any(|target| target.options == options) {
                continue;
            }
            let url = options.url.to_string();
            let counts = Arc::clone(
                shared
                    .counts
                    .lock()
                    .entry(url)
                    .or_insert_with_key(|url| Arc::new(Counts::register(&shared.telemetry, url))),
            );
            match Target::start(options, &shared.loops.probe(), (&shared.memory, counts, &shared.threads)) {
                Ok(target) => targets.push(Arc::new(target)),
                Err(error) => outcome = outcome.and(Err(error)),
            }
        }
        shared.is_on.store(!targets.is_empty(), Relaxed);
        *shared.targets.write() = targets;
        outcome
    }

    /// Begins to relay what a receiver has received, about this many bytes. Returns `None` if there are no targets.
    #[inline]
    pub(crate) fn begin(&self, expected: impl FnOnce() -> usize) -> Option<Outgoing> {
        self.0.is_on.load(Relaxed).then(|| Outgoing(Chunks::new(expected())))
    }

    /// Hands datagrams to all targets. It never waits for one. `sender_of` returns the sender of the datagram that
    /// contains a text. It is called only if there is a loop.
    pub(crate) fn send(&self, outgoing: Outgoing, sender_of: impl Fn(&[u8]) -> Sender) {
        let Shared { targets, loops, .. } = &*self.0;
        let targets = targets.read();
        for chunk in outgoing.0.finish() {
            let push = |chunk: Chunk| {
                let chunk = Arc::new(chunk);
                targets.iter().for_each(|target| target.queue.push(&chunk));
            };
            if !loops.look(&chunk, &sender_of) {
                push(chunk);
                continue;
            }
            let count = chunk.len() as u64;
            targets.iter().for_each(|target| target.queue.refuse(DropReason::Loop, count));
            loops.to_pass(&chunk, Instant::now()).iter().for_each(|probe| push(Chunk::of(probe)));
        }
    }

    /// Says that no more datagrams come, and by when those in the queues must have been sent. Waits for a part of this time,
    /// so that the last interval has the counts of targets that are not behind.
    pub(crate) fn close(&self, deadline: Instant) {
        let targets = self.0.targets.read();
        targets.iter().for_each(|target| target.close(deadline));
        let until = deadline.min(Instant::now() + LAST_COUNTS);
        let ended = targets.iter().filter(|target| target.wait(until));
        ended.for_each(|target| target.finish(deadline));
    }

    /// Waits for the targets until the deadline, and drops what was not sent.
    pub(crate) fn finish(&self, deadline: Instant) {
        self.0.targets.read().iter().for_each(|target| target.finish(deadline));
    }
}

/// How long the last flush waits for targets.
const LAST_COUNTS: Duration = Duration::from_millis(250);

/// A relay without targets, for tests.
#[cfg(test)]
impl Default for Relay {
    fn default() -> Self {
        Self::new(&Memory::default(), &Telemetry::default(), &Threads::new().0)
    }
}
