//! What a connection is at, and how long it may take for that.

use std::cell::Cell;
use std::time::Duration;

use tokio::time::Instant;

use super::Closing;

/// How long a connection may be idle between two requests: longer than the minute after which Prometheus asks again if it
/// is not told otherwise, so that it need not connect each time.
const IDLE: Duration = Duration::from_mins(2);

/// What a connection is at. Its socket, its requests and its answers tell.
#[derive(Debug)]
pub(super) struct Progress {
    timeout: Duration,
    stage: Cell<Stage>,
    since: Cell<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// A request's header is to come, or on its way.
    Asking,
    /// The answer is made and sent.
    Answering,
    /// All of the answer lies in buffers that are written to the client.
    Sending,
    /// The client has its answer, and need not ask again.
    Idle,
}

impl Progress {
    /// A connection has `timeout` to send the header of a request, and to take the answer.
    pub(super) fn new(timeout: Duration) -> Self {
        Self { timeout, stage: Cell::new(Stage::Asking), since: Cell::new(Instant::now()) }
    }

    /// Something came from the client, or its end.
    pub(super) fn received(&self) {
        if self.stage.get() == Stage::Idle {
            self.begin(Stage::Asking);
        }
    }

    /// A request was read.
    pub(super) fn asked(&self) {
        self.begin(Stage::Answering);
    }

    /// Of the answer, nothing is left that is not in a buffer.
    pub(super) fn handed_over(&self) {
        // The time that the client has goes on.
        self.stage.set(Stage::Sending);
    }

    /// All buffers were written.
    pub(super) fn flushed(&self) {
        if self.stage.get() == Stage::Sending {
            self.begin(Stage::Idle);
        }
    }

    fn begin(&self, stage: Stage) {
        self.stage.set(stage);
        self.since.set(Instant::now());
    }

    pub(super) fn is_answering(&self) -> bool {
        matches!(self.stage.get(), Stage::Answering | Stage::Sending)
    }

    /// When the connection is to be closed, unless there is progress until then.
    pub(super) fn deadline(&self) -> Instant {
        self.since.get() + if self.stage.get() == Stage::Idle { IDLE } else { self.timeout }
    }

    /// Why it is closed then.
    pub(super) fn overdue(&self) -> Closing {
        match self.stage.get() {
            Stage::Asking => Closing::HeaderTimeout,
            Stage::Answering | Stage::Sending => Closing::AnswerTimeout,
            Stage::Idle => Closing::Idle,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_has_its_time_for_the_header_and_for_the_answer_and_may_then_be_idle_for_longer() {
        let timeout = Duration::from_secs(10);
        let progress = Progress::new(timeout);
        let left = || progress.deadline() - progress.since.get();
        let assert_at = |closing, time, answering| {
            assert_eq!((progress.overdue(), left(), progress.is_answering()), (closing, time, answering));
        };
        progress.received();
        progress.flushed();
        assert_at(Closing::HeaderTimeout, timeout, false);
        progress.asked();
        progress.flushed();
        assert_at(Closing::AnswerTimeout, timeout, true);
        let asked = progress.since.get();
        progress.handed_over();
        assert_at(Closing::AnswerTimeout, timeout, true);
        assert_eq!(progress.since.get(), asked);
        progress.flushed();
        assert_at(Closing::Idle, IDLE, false);
        progress.received();
        assert_at(Closing::HeaderTimeout, timeout, false);
    }
}
