//! The thread that accepts connections and reads them all.

mod closed;
mod connection;
mod framing;
mod socket;
pub(super) mod tcp;

pub use closed::Closed;
pub use framing::{Deframer, End, Frame, FrameTooLong, Framing};
pub(super) use socket::StreamSocket;

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet, LocalSet};

use super::BACKLOG;
use super::unix::BoundFile;
use crate::aggregate::Shard;
use crate::net::{BackOff, Connections};
use connection::Reader;
use socket::{Acceptor, Stream};

/// What connections may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Streams {
    /// How lines lie in them.
    pub framing: Framing,
    /// Bytes of the longest line, or of the longest payload.
    pub max_line: usize,
    /// Connections that may be open at a time.
    pub max_connections: usize,
    /// How long a connection may send nothing.
    pub idle_timeout: Duration,
}

/// The connections of a stream listener, which are closed by [`Closed`].
pub type StreamConnections = Connections<{ Closed::ALL.len() }>;

/// A running receiver of streams.
#[derive(Debug)]
pub(super) struct StreamReceiver {
    listener: &'static str,
    connections: Arc<StreamConnections>,
    file: Option<BoundFile>,
    stop: watch::Sender<bool>,
    thread: JoinHandle<()>,
}

impl StreamReceiver {
    /// Starts a thread that records what connections of `socket` send in `shard`. `file` is the socket's, if it has one.
    pub(super) fn start(
        listener: &'static str,
        socket: StreamSocket,
        file: Option<BoundFile>,
        streams: &Streams,
        shard: Arc<Mutex<Shard>>,
    ) -> io::Result<Self> {
        let runtime = runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        let acceptor = {
            let _context = runtime.enter();
            Acceptor::new(socket)?
        };
        let Streams { framing, max_line, max_connections, idle_timeout } = *streams;
        let (stop, stopping) = watch::channel(false);
        let connections = Arc::new(Connections::default());
        let counters = Arc::clone(&connections);
        let thread = thread::Builder::new().name(listener.to_owned()).spawn(move || {
            let reader = Rc::new(Reader::new(framing, max_line, idle_timeout, shard));
            let work = Work { listener, max_connections, connections: counters, reader, stopping };
            LocalSet::new().block_on(&runtime, work.run(acceptor));
        })?;
        Ok(Self { listener, connections, file, stop, thread })
    }

    /// Its listener as it is called in the configuration, and its connections.
    pub(super) fn connections(&self) -> (&'static str, Arc<StreamConnections>) {
        (self.listener, Arc::clone(&self.connections))
    }

    /// Tells the thread to record what the kernel holds, of connections it has not accepted yet too, and to end.
    pub(super) fn stop(&mut self) {
        // Clients that come later are told that nobody is there.
        self.file = None;
        self.stop.send_replace(true);
    }

    /// Waits for that.
    pub(super) fn join(self) {
        if self.thread.join().is_err() {
            tracing::error!("a receiver ended by a panic; the last lines of its connections may be lost");
        }
    }
}

struct Work {
    listener: &'static str,
    max_connections: usize,
    connections: Arc<StreamConnections>,
    reader: Rc<Reader>,
    stopping: watch::Receiver<bool>,
}

impl Work {
    async fn run(self, acceptor: Acceptor) {
        let mut stopping = self.stopping.clone();
        let mut open = JoinSet::new();
        let mut back_off =
            BackOff::new(self.listener, format!("listeners.{}.max_connections", self.listener));
        loop {
            // Connections that have ended are noticed before another is accepted, so that none is refused in vain.
            tokio::select! {
                biased;
                _ = stopping.wait_for(|stopping| *stopping) => break,
                Some(ended) = open.join_next() => self.note_end(ended),
                accepted = acceptor.accept() => match accepted {
                    Ok(stream) => self.serve(stream, &mut open),
                    Err(error) => back_off.wait(&error).await,
                },
            }
        }
        // Those that are open first, which makes room. They see the stop themselves, and wait for nobody.
        self.wait_for_all(&mut open).await;
        match acceptor.pending() {
            Ok(pending) => self.serve_pending(pending, &mut open).await,
            Err(error) => tracing::error!(%error, "connections that were not accepted yet are lost"),
        }
    }

    async fn serve_pending(
        &self,
        pending: impl Iterator<Item = io::Result<Stream>>,
        open: &mut JoinSet<Closed>,
    ) {
        // Clients may go on connecting; those that were there when the stop began are no more than this.
        for accepted in pending.take(BACKLOG as usize) {
            let is_full = open.len() >= self.max_connections;
            if is_full || accepted.is_err() {
                self.wait_for_all(open).await;
            }
            if let Ok(stream) = accepted {
                self.serve(stream, open);
            }
        }
        self.wait_for_all(open).await;
    }

    async fn wait_for_all(&self, open: &mut JoinSet<Closed>) {
        while let Some(ended) = open.join_next().await {
            self.note_end(ended);
        }
    }

    fn serve(&self, stream: Stream, open: &mut JoinSet<Closed>) {
        if open.len() >= self.max_connections {
            self.connections.refuse();
            return;
        }
        self.connections.open();
        let (reader, stopping) = (Rc::clone(&self.reader), self.stopping.clone());
        open.spawn_local(async move { reader.serve(stream, stopping).await });
    }

    fn note_end(&self, ended: Result<Closed, JoinError>) {
        let closed = ended.unwrap_or_else(|error| {
            tracing::error!(%error, "a connection ended by a panic; its last lines may be lost");
            Closed::Broken
        });
        self.connections.close(closed as usize);
    }
}
