//! Reports tallyd's state to the service manager that started it, such as systemd (`sd_notify(3)`).
//!
//! A thread of its own sends the reports, because sending waits if the service manager does not read them.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::time::Duration;

use sd_notify::NotifyState;

use crate::app::health::FlushHealth;
use crate::export::Health;
use crate::listen::DrainRequests;
use crate::net::Threads;

/// The longest time between two reports. Each has the figures of the latest interval.
const PERIOD: Duration = Duration::from_secs(10);

/// Sends reports, or nothing if no service manager asked for them.
#[derive(Debug, Clone)]
pub(super) struct ServiceManager(Option<Sender<State>>);

/// A state that tallyd enters.
#[derive(Debug, Clone, Copy)]
pub(super) enum State {
    /// tallyd receives samples, with the configuration that was read last.
    Ready,
    /// tallyd reads its configuration.
    Reloading,
    /// tallyd drains its sockets and delivers what it holds.
    Stopping,
}

impl ServiceManager {
    /// Starts the thread, if the environment has the socket of a service manager.
    ///
    /// # Errors
    ///
    /// Fails if the system provides no thread.
    pub(super) fn start(
        health: &Arc<FlushHealth>,
        receivers: DrainRequests,
        threads: &Threads,
    ) -> io::Result<Self> {
        if std::env::var_os("NOTIFY_SOCKET").is_none() {
            return Ok(Self(None));
        }
        let (sender, states) = mpsc::channel();
        let health = Arc::clone(health);
        // Two reports fit into the time of the watchdog.
        let period = sd_notify::watchdog_enabled().map_or(PERIOD, |limit| PERIOD.min(limit / 2));
        threads.spawn("service-manager", move || {
            let mut is_first_error = true;
            loop {
                let state = match states.recv_timeout(period) {
                    Ok(state) => Some(state),
                    Err(RecvTimeoutError::Timeout) => None,
                    Err(RecvTimeoutError::Disconnected) => return,
                };
                if let Err(error) = report(state, &health, &receivers)
                    && std::mem::take(&mut is_first_error)
                {
                    tracing::warn!(%error, "the service manager cannot be told about tallyd's state");
                }
            }
        })?;
        Ok(Self(Some(sender)))
    }

    /// Reports that tallyd enters a state.
    pub(super) fn enter(&self, state: State) {
        if let Self(Some(sender)) = self {
            // Sending fails only if the thread has panicked, and then tallyd stops.
            _ = sender.send(state);
        }
    }
}

/// Reports a new state, if there is one, and the figures of the latest interval. Feeds the watchdog if the flush and the
/// receivers work.
fn report(state: Option<State>, health: &FlushHealth, receivers: &DrainRequests) -> io::Result<()> {
    let mut report = match state {
        Some(State::Ready) => vec![NotifyState::Ready],
        Some(State::Reloading) => vec![NotifyState::Reloading, NotifyState::monotonic_usec_now()?],
        Some(State::Stopping) => vec![NotifyState::Stopping],
        None => Vec::new(),
    };
    let mut checked = health.check();
    if state.is_none() {
        // Only between two periods, a receiver has had time to look at its sockets.
        checked = checked.and_then(|()| check_receivers(receivers));
    }
    if checked.is_ok() {
        report.push(NotifyState::Watchdog);
    }
    let status = checked.map_or_else(|failure| failure, |()| health.figures());
    report.push(NotifyState::Status(&status));
    sd_notify::notify(&report)
}

fn check_receivers(receivers: &DrainRequests) -> Result<(), String> {
    let stuck = receivers.stuck_receivers();
    if stuck.is_empty() {
        return Ok(());
    }
    Err(format!("these receivers do not read their sockets, although data waits there: {}", stuck.join(", ")))
}
