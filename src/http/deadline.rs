//! Tracks the deadline of a connection, and the reason for closing it.

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use tokio::time::Instant;

use crate::net::Activity;

/// The longest time that a connection may be idle between two requests. It exceeds the default scrape interval of
/// Prometheus, one minute, so Prometheus need not reconnect for each scrape.
const IDLE: Duration = Duration::from_mins(2);

/// The longest time without a byte for a client that receives events. Proxies close connections that are silent for a minute.
pub(super) const SIGN_OF_LIFE: Duration = Duration::from_secs(15);

/// The time that a client has for its request after tallyd was told to stop. A client that has just connected sends the
/// request at once, and would take a closed connection for an error.
const LAST_REQUEST: Duration = Duration::from_millis(100);

/// The reason for closing a connection. Telemetry shows the names, so they are an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, enum_map::Enum, strum::IntoStaticStr, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
pub(super) enum CloseReason {
    /// The client closed the connection.
    End,
    /// The connection broke: the client reset it, or closed it before it had the response.
    Broken,
    /// The client sent no valid request, or one with a header that is too long.
    BadRequest,
    /// The header of a request did not arrive in time.
    HeaderTimeout,
    /// The client did not receive a response in time.
    AnswerTimeout,
    /// The TLS handshake failed: the client spoke no TLS, had no version or cipher in common, or a certificate was
    /// refused.
    BadHandshake,
    /// The TLS handshake did not end in time.
    HandshakeTimeout,
    /// The client sent no further request for a long time.
    Idle,
    /// The connection gave way to a new one, because the limit was reached.
    Evicted,
    /// tallyd stopped.
    Stop,
}

/// The stage of a connection, and its deadline. Its socket, requests and responses report the progress.
#[derive(Debug)]
pub(super) struct Progress {
    timeout: Duration,
    stage: Cell<Stage>,
    since: Cell<Instant>,
    activity: Rc<Activity>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The server waits for the header of a request, or receives it.
    Reading,
    /// The server makes and sends the response.
    Answering,
    /// The server sends events as they come. It ends when the client or tallyd wants it.
    Events,
    /// The whole response lies in buffers, which are being sent.
    Sending,
    /// The client has its response. It may send another request.
    Idle,
}

impl Progress {
    /// Returns the progress of a new connection. The client has `timeout` to send the header of a request, and again to
    /// receive the response.
    pub(super) fn new(timeout: Duration, activity: Rc<Activity>) -> Self {
        Self { timeout, stage: Cell::new(Stage::Reading), since: Cell::new(Instant::now()), activity }
    }

    /// Notes that bytes arrived from the client, or that it closed the connection. A header that trickles in is no
    /// progress.
    pub(super) fn received_bytes(&self) {
        if self.stage.get() == Stage::Idle {
            self.begin(Stage::Reading);
        }
    }

    /// Notes that the header of a request was read.
    pub(super) fn received_request(&self) {
        self.begin(Stage::Answering);
    }

    /// Notes that the response was made, and can be sent.
    pub(super) fn made_response(&self) {
        self.activity.note_progress();
    }

    /// Notes that the response consists of events.
    pub(super) fn begin_events(&self) {
        self.begin(Stage::Events);
    }

    /// Notes the result of sending bytes to the client. A client that receives events has to read each of them in time.
    pub(super) fn note_sent(&self, sent: &Poll<io::Result<usize>>) {
        if sent.is_ready() {
            self.activity.note_progress();
            if self.stage.get() == Stage::Events {
                self.since.set(Instant::now());
            }
        }
    }

    /// Notes that all of the response is in buffers. The deadline does not change.
    pub(super) fn buffered_response(&self) {
        self.stage.set(Stage::Sending);
    }

    /// Notes that the buffers are empty.
    pub(super) fn flushed(&self) {
        if self.stage.get() == Stage::Sending {
            self.begin(Stage::Idle);
        }
    }

    fn begin(&self, stage: Stage) {
        self.stage.set(stage);
        self.since.set(Instant::now());
        self.activity.note_progress();
    }

    /// Returns true while a response is being made or sent.
    pub(super) fn is_answering(&self) -> bool {
        matches!(self.stage.get(), Stage::Answering | Stage::Sending)
    }

    /// Returns how long the connection stays open for a request after tallyd was told to stop.
    pub(super) fn patience_at_stop(&self) -> Duration {
        if self.stage.get() == Stage::Reading { LAST_REQUEST } else { Duration::ZERO }
    }

    /// Returns the time at which the connection is closed, unless it makes progress before.
    pub(super) fn deadline(&self) -> Instant {
        let allowed = match self.stage.get() {
            Stage::Reading | Stage::Answering | Stage::Sending => self.timeout,
            Stage::Events => SIGN_OF_LIFE + self.timeout,
            Stage::Idle => IDLE,
        };
        self.since.get() + allowed
    }

    /// Returns the reason for closing the connection at the deadline.
    pub(super) fn reason_at_deadline(&self) -> CloseReason {
        match self.stage.get() {
            Stage::Reading => CloseReason::HeaderTimeout,
            Stage::Answering | Stage::Sending | Stage::Events => CloseReason::AnswerTimeout,
            Stage::Idle => CloseReason::Idle,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_and_response_each_have_a_deadline_and_idling_a_longer_one() {
        let timeout = Duration::from_secs(10);
        let progress = Progress::new(timeout, Activity::new());
        let left = || progress.deadline() - progress.since.get();
        let assert_at = |reason, time, answering| {
            let now = (progress.reason_at_deadline(), left(), progress.is_answering());
            assert_eq!(now, (reason, time, answering));
        };
        progress.received_bytes();
        progress.flushed();
        assert_at(CloseReason::HeaderTimeout, timeout, false);
        progress.received_request();
        progress.flushed();
        assert_at(CloseReason::AnswerTimeout, timeout, true);
        let received = progress.since.get();
        progress.buffered_response();
        assert_at(CloseReason::AnswerTimeout, timeout, true);
        assert_eq!(progress.since.get(), received);
        progress.flushed();
        assert_at(CloseReason::Idle, IDLE, false);
        progress.received_bytes();
        assert_at(CloseReason::HeaderTimeout, timeout, false);
    }
}
