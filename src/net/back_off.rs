//! Waits where connections cannot be accepted.

use std::io;
use std::time::{Duration, Instant};

/// How long nothing is accepted once that failed: it most often will again, and must not take the thread.
const PAUSE: Duration = Duration::from_millis(100);

/// How long one warning of that has to do.
const QUIET: Duration = Duration::from_mins(1);

/// Of one socket.
#[derive(Debug)]
pub(crate) struct BackOff {
    listener: &'static str,
    /// The key that limits its connections.
    key: String,
    warned: Option<Instant>,
}

impl BackOff {
    pub(crate) fn new(listener: &'static str, key: String) -> Self {
        Self { listener, key, warned: None }
    }

    /// Waits a little where an error is likely to come again. The connections wait in the backlog.
    pub(crate) async fn wait(&mut self, error: &io::Error) {
        // This one is about a client that is gone already.
        if error.kind() == io::ErrorKind::ConnectionAborted {
            return;
        }
        if self.warned.is_none_or(|warned| warned.elapsed() >= QUIET) {
            self.warned = Some(Instant::now());
            tracing::warn!(
                %error,
                listener = self.listener,
                "connections cannot be accepted and have to wait; if files are the reason, raise their limit \
                 (LimitNOFILE= of the service) or lower {}",
                self.key
            );
        }
        tokio::time::sleep(PAUSE).await;
    }
}
