//! The thread that accepts connections and answers them all.

use std::io;
use std::net::{IpAddr, TcpListener};
use std::rc::Rc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::net::{TcpListener as Acceptor, TcpStream};
use tokio::runtime;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet, LocalSet};

use super::Closing;
use super::connection::Clerk;
use crate::net::BackOff;

/// Tells that the server is to stop, and how long answers that are on their way may still take.
pub(super) type Stopping = watch::Receiver<Option<Duration>>;

/// A running server.
#[derive(Debug)]
pub(super) struct Server {
    stop: watch::Sender<Option<Duration>>,
    thread: JoinHandle<()>,
}

impl Server {
    /// Starts a thread that answers what is asked through `socket`.
    pub(super) fn start(socket: TcpListener, max_connections: usize, clerk: Clerk) -> io::Result<Self> {
        let runtime = runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            // Pages are made one after the other: scrapers, however many, take one core at most.
            .max_blocking_threads(1)
            .build()?;
        let acceptor = {
            let _context = runtime.enter();
            Acceptor::from_std(socket)?
        };
        let (stop, stopping) = watch::channel(None);
        let thread = thread::Builder::new().name("http".to_owned()).spawn(move || {
            let work = Work { max_connections, clerk: Rc::new(clerk), stopping };
            LocalSet::new().block_on(&runtime, work.run(acceptor));
        })?;
        Ok(Self { stop, thread })
    }

    /// Whether its thread is there; it ends by a panic alone, but for [`stop`](Self::stop).
    pub(super) fn is_running(&self) -> bool {
        !self.thread.is_finished()
    }

    /// Lets nobody more in, and waits up to `patience` until answers that are on their way are there. Whether it ended
    /// without a panic.
    pub(super) fn stop(self, patience: Duration) -> bool {
        self.stop.send_replace(Some(patience));
        self.thread.join().is_ok()
    }
}

struct Work {
    max_connections: usize,
    clerk: Rc<Clerk>,
    stopping: Stopping,
}

impl Work {
    async fn run(self, acceptor: Acceptor) {
        let mut stopping = self.stopping.clone();
        let mut back_off = BackOff::new("http", "exporters.prometheus.max_connections".to_owned());
        let mut open = JoinSet::new();
        loop {
            // Connections that have ended are noticed before another is accepted, so that none is refused in vain.
            tokio::select! {
                biased;
                _ = stopping.wait_for(Option::is_some) => break,
                Some(ended) = open.join_next() => self.note_end(ended),
                accepted = acceptor.accept() => match accepted {
                    Ok((stream, peer)) => self.serve(stream, peer.ip(), &mut open),
                    Err(error) => back_off.wait(&error).await,
                },
            }
        }
        drop(acceptor);
        // Connections on which nothing is answered end at once.
        let all = async {
            while let Some(ended) = open.join_next().await {
                self.note_end(ended);
            }
        };
        let patience = self.stopping.borrow().unwrap_or_default();
        if tokio::time::timeout(patience, all).await.is_err() {
            tracing::warn!(?patience, "scrapers did not take their answers before the stop");
        }
    }

    fn serve(&self, stream: TcpStream, address: IpAddr, open: &mut JoinSet<Closing>) {
        let connections = &self.clerk.requests.connections;
        if open.len() >= self.max_connections {
            connections.refuse();
            return;
        }
        connections.open();
        let (clerk, stopping) = (Rc::clone(&self.clerk), self.stopping.clone());
        open.spawn_local(async move { clerk.serve(stream, address, stopping).await });
    }

    fn note_end(&self, ended: Result<Closing, JoinError>) {
        let closing = ended.unwrap_or_else(|error| {
            tracing::error!(%error, "a connection to the endpoint ended by a panic");
            Closing::Broken
        });
        self.clerk.requests.connections.close(closing as usize);
    }
}
