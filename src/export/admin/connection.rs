//! Serves one client of the admin interface.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::commands::{Answer, State, write_rows};
use crate::net::{Activity, ServeConnection, Stop};

/// The longest command in bytes.
const LONGEST: u64 = 4096;

/// The time that a client has for its next command, and again to take each piece of an answer.
const PATIENCE: Duration = Duration::from_mins(1);

/// The reason for closing a connection. Telemetry shows the names, so they are an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, enum_map::Enum, strum::IntoStaticStr, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
pub(super) enum CloseReason {
    /// The client closed the connection, or sent `quit`.
    End,
    /// The connection broke.
    Broken,
    /// The client sent a command that is too long or not text.
    BadCommand,
    /// The client sent nothing, or did not read the answer.
    Idle,
    /// The connection gave way to a new one, because the limit was reached.
    Evicted,
    /// tallyd stopped.
    Stop,
}

/// Answers clients.
#[derive(Debug)]
pub(super) struct AdminService(pub(super) Arc<State>);

impl ServeConnection<(TcpStream, SocketAddr)> for AdminService {
    type CloseReason = CloseReason;

    const PANICKED: CloseReason = CloseReason::Broken;

    const SERVES_BACKLOG: bool = false;

    async fn serve(
        &self,
        (stream, _): (TcpStream, SocketAddr),
        mut stop: Stop,
        activity: Rc<Activity>,
    ) -> CloseReason {
        tokio::select! {
            biased;
            reason = self.answer_all(stream, &activity) => reason,
            () = stop.requested() => CloseReason::Stop,
            () = activity.evicted() => CloseReason::Evicted,
        }
    }
}

impl AdminService {
    async fn answer_all(&self, mut stream: TcpStream, activity: &Activity) -> CloseReason {
        let (read, mut write) = stream.split();
        let mut lines = BufReader::new(read);
        loop {
            let mut line = Vec::new();
            let mut limited = (&mut lines).take(LONGEST);
            match timeout(PATIENCE, limited.read_until(b'\n', &mut line)).await {
                Err(_) => return CloseReason::Idle,
                Ok(Err(_)) => return CloseReason::Broken,
                Ok(Ok(0)) => return CloseReason::End,
                Ok(Ok(_)) if line.len() as u64 == LONGEST && !line.ends_with(b"\n") => {
                    return CloseReason::BadCommand;
                }
                Ok(Ok(_)) => {}
            }
            activity.note_progress();
            let Ok(line) = str::from_utf8(&line) else { return CloseReason::BadCommand };
            let mut send = async |text: &str| match timeout(PATIENCE, write.write_all(text.as_bytes())).await
            {
                Ok(written) => {
                    activity.note_progress();
                    written
                }
                Err(_) => Err(io::ErrorKind::TimedOut.into()),
            };
            let sent = match self.0.answer(line) {
                Answer::Text(text) => send(&text).await,
                Answer::Rows(snapshot, kinds) => write_rows(snapshot.as_deref(), kinds, send).await,
                Answer::Quit => return CloseReason::End,
            };
            match sent {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::TimedOut => return CloseReason::Idle,
                Err(_) => return CloseReason::Broken,
            }
        }
    }
}
