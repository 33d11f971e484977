//! Defines how a batch is sent, and what a server can answer.

use std::time::Duration;

use super::batch::Batch;

/// Sends a batch to a server.
pub(crate) trait Transport: Send + 'static {
    /// Sends a batch, and waits for the answer. It may block for as long as its timeout says.
    ///
    /// # Errors
    ///
    /// Fails if the server may take the same batch later.
    fn send(&mut self, batch: &Batch) -> Result<Receipt, Failure>;
}

/// The server's last word on a batch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Receipt {
    /// The points that it will never take. It has stored all others.
    pub(crate) refused: u64,
    /// Its reason for that, in its own words.
    pub(crate) reason: String,
}

/// The reason why a batch must be sent again.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// The reason, with a remedy.
    pub(crate) reason: String,
    /// How long the server asks to wait.
    pub(crate) retry_after: Option<Duration>,
}
