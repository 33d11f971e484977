//! Sends the batches of one endpoint, one after the other, on a thread of its own.

use std::fmt;
use std::sync::Arc;

use super::queue::{Next, Queue};
use super::transport::{Failure, Receipt, Transport};
use crate::model::{Repeated, Thinned};
use crate::net::Backoff;

/// Gets the outcome of each request, for people who watch.
pub(crate) type Report = Arc<dyn Fn(&Result<(), String>) + Send + Sync>;

/// Sends batches until the queue ends.
pub(super) struct Sender<T> {
    pub(super) queue: Arc<Queue>,
    pub(super) transport: T,
    pub(super) report: Report,
    pub(super) backoff: Backoff,
    pub(super) messages: Messages,
}

/// The messages that can repeat with each request.
#[derive(Debug, Default)]
pub(super) struct Messages {
    failures: Thinned,
    refusals: Thinned,
    /// True if the latest message says that sending fails.
    is_failing: bool,
}

impl<T: Transport> Sender<T> {
    /// Runs until the queue is closed and empty, or its deadline is over.
    pub(super) fn run(mut self) {
        while let Next::Send { number, batch } = self.queue.next() {
            loop {
                let answer = self.transport.send(&batch);
                self.note(&answer);
                match answer {
                    Ok(receipt) => {
                        self.backoff.reset();
                        self.queue.settle(number, &receipt);
                        break;
                    }
                    Err(Failure { retry_after, .. }) => {
                        self.queue.counts().retries.increment();
                        if !self.queue.pause(self.backoff.next(retry_after)) {
                            return;
                        }
                    }
                }
            }
        }
    }

    /// Counts and logs the answer to a request.
    fn note(&mut self, answer: &Result<Receipt, Failure>) {
        let endpoint = self.queue.name();
        self.queue.counts().requests.increment();
        let Messages { failures, refusals, is_failing } = &mut self.messages;
        let outcome = match answer {
            Err(Failure { reason, .. }) => {
                if let Some(Repeated { times, .. }) = failures.add(1) {
                    *is_failing = true;
                    tracing::warn!(
                        endpoint,
                        times,
                        "the server did not take a request, which is sent again: {reason}"
                    );
                }
                Err(reason.clone())
            }
            Ok(receipt) => {
                _ = failures.rest();
                if std::mem::take(is_failing) {
                    tracing::info!(endpoint, "the server takes requests again");
                }
                if let Some(Repeated { times, amount }) = refusals.round(receipt.refused) {
                    let reason = &receipt.reason;
                    tracing::error!(
                        endpoint,
                        times,
                        points = amount,
                        "the server refused points, which are lost: {reason}"
                    );
                }
                if receipt.refused > 0 { Err(receipt.reason.clone()) } else { Ok(()) }
            }
        };
        (self.report)(&outcome);
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").field("queue", &self.queue).finish_non_exhaustive()
    }
}
