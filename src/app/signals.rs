//! Receives the signals of the process.

use std::io;
use std::time::{Duration, Instant};

use nix::libc;
use nix::sys::signal::{SigSet, Signal as Number};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::model::Thinned;

/// A second signal within this time only repeats the first. For example, `timeout` of coreutils signals the process and
/// then its group.
const REPEATED_SIGNAL: Duration = Duration::from_millis(500);

/// The signals that would end the process without a flush, although most of them reach it by mistake. The kernel sends
/// SIGXFSZ when a file reaches its size limit, and then writing fails, too. tallyd also ignores all real-time signals.
const IGNORED: [Number; 10] = [
    Number::SIGUSR1,
    Number::SIGUSR2,
    Number::SIGALRM,
    Number::SIGVTALRM,
    Number::SIGPROF,
    Number::SIGIO,
    Number::SIGPWR,
    Number::SIGSTKFLT,
    Number::SIGXCPU,
    Number::SIGXFSZ,
];

/// The signals that have an effect.
pub(super) struct Signals {
    pub(super) terminate: Signal,
    pub(super) interrupt: Signal,
    pub(super) quit: Signal,
    pub(super) hang_up: Signal,
}

/// Holds back all signals until [`Signals::new`] handles them, also those that the parent process had held back. Without
/// this, a signal during the first milliseconds would end the process.
pub(super) fn hold() {
    // This fails only if the kernel does not know the call.
    _ = SigSet::all().thread_block();
}

impl Signals {
    /// Handles all signals from now on, including those that [`hold`] has held back. A signal that arrives before
    /// anything waits for it is kept.
    pub(super) fn new() -> io::Result<Self> {
        let signals = Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            hang_up: signal(SignalKind::hangup())?,
        };
        let named = IGNORED.map(|number| (number as i32, number.as_str().to_owned()));
        let first = libc::SIGRTMIN();
        let real_time =
            (first..=libc::SIGRTMAX()).map(|number| (number, format!("SIGRTMIN+{}", number - first)));
        for (number, name) in named.into_iter().chain(real_time) {
            tokio::spawn(log_ignored(signal(SignalKind::from_raw(number))?, name));
        }
        SigSet::all().thread_unblock()?;
        Ok(signals)
    }

    /// Waits for a further signal, which ends a slow stop, and returns its number. Ignores repetitions of the first
    /// signal.
    pub(super) async fn second_stop(&mut self) -> i32 {
        let begin = Instant::now();
        loop {
            let signal = self.stop().await;
            if begin.elapsed() >= REPEATED_SIGNAL {
                return signal;
            }
        }
    }

    /// Waits for SIGTERM, SIGINT or SIGQUIT, and returns its number.
    pub(super) async fn stop(&mut self) -> i32 {
        tokio::select! {
            _ = self.terminate.recv() => SignalKind::terminate().as_raw_value(),
            _ = self.interrupt.recv() => SignalKind::interrupt().as_raw_value(),
            _ = self.quit.recv() => SignalKind::quit().as_raw_value(),
        }
    }
}

async fn log_ignored(mut signal: Signal, name: String) {
    let mut repeated = Thinned::default();
    while signal.recv().await.is_some() {
        if let Some(repeated) = repeated.add(1) {
            tracing::warn!(signal = name, times = repeated.times, "a signal was ignored");
        }
    }
}
