//! Binds a Unix socket again if its file was moved or removed. Otherwise, no new client could reach tallyd.

use std::fmt;
use std::mem;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::model::{Source, Telemetry};
use crate::net::{BoundFile, FileId, SocketFile};

/// A reason why a socket cannot be bound again.
type RebindError = Box<dyn std::error::Error + Send + Sync>;

/// Owns the file of a Unix socket for both the listeners and the flush. Dropping the last clone removes the file.
#[derive(Debug, Clone)]
pub(super) struct WatchedFile(Arc<Mutex<State>>);

#[derive(Debug)]
enum State {
    Bound(BoundFile),
    /// The file is gone, and the socket could not be bound again yet. The socket itself still works, and its file may
    /// come back.
    Gone(FileId),
    /// tallyd stops and needs no file.
    Closed,
}

impl WatchedFile {
    /// Watches the file of a listener. At each flush at which the file is gone, `rebind` binds a new socket and hands
    /// it to a receiver. It runs in the flush, so it must not wait.
    pub(super) fn watch(
        telemetry: &Telemetry,
        (listener, file): (&'static str, SocketFile),
        bound: BoundFile,
        rebind: impl FnMut(&SocketFile) -> Result<BoundFile, RebindError> + Send + 'static,
    ) -> Self {
        // Looking up names of users can take seconds.
        let file = SocketFile { owner: bound.owner().clone(), ..file };
        let state = Arc::new(Mutex::new(State::Bound(bound)));
        let watch = SocketWatch { listener, file, state: Arc::clone(&state), rebind, is_failing: false };
        telemetry.add_source(watch);
        Self(state)
    }

    /// Removes the file. From now on, the flush does not bind the socket again.
    pub(super) fn close(&self) {
        *self.0.lock() = State::Closed;
    }
}

struct SocketWatch<R> {
    listener: &'static str,
    file: SocketFile,
    state: Arc<Mutex<State>>,
    rebind: R,
    /// Whether the latest attempt failed, which is logged once.
    is_failing: bool,
}

impl<R> fmt::Debug for SocketWatch<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SocketWatch").field("listener", &self.listener).finish_non_exhaustive()
    }
}

impl<R: FnMut(&SocketFile) -> Result<BoundFile, RebindError> + Send> Source for SocketWatch<R> {
    fn update(&mut self) {
        let mut state = self.state.lock();
        let id = match &*state {
            State::Closed => return,
            State::Bound(bound) if !bound.has_moved() => return,
            State::Bound(bound) => bound.id(),
            State::Gone(id) => *id,
        };
        if let Some(bound) = self.file.find(id) {
            *state = State::Bound(bound);
            return;
        }
        // This drops the old file before a new one exists, because the new one may get the same inode.
        drop(mem::replace(&mut *state, State::Gone(id)));
        let (listener, path) = (self.listener, self.file.path.display());
        match (self.rebind)(&self.file) {
            Ok(bound) => {
                *state = State::Bound(bound);
                self.is_failing = false;
                tracing::warn!(
                    listener,
                    %path,
                    "the socket file was moved or removed, so new clients could not send; tallyd has bound the socket again"
                );
            }
            Err(error) if !self.is_failing => {
                self.is_failing = true;
                tracing::error!(
                    listener,
                    "the socket file was moved or removed, so new clients cannot send; tallyd tries again at each flush: {error}"
                );
            }
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::net::UnixDatagram;

    use super::*;
    use crate::net::{LOCK_PATIENCE, Owner, bind_datagram};

    #[test]
    fn a_file_that_is_gone_is_bound_again_until_the_stop() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let file = SocketFile { path: path.clone(), mode: 0o600, owner: Owner::default() };
        let telemetry = Telemetry::default();
        let flush = || telemetry.read(|_, _, _| {});
        let (first, bound) = bind_datagram(&file, LOCK_PATIENCE).unwrap();
        let mut sockets = vec![first];
        let (sender, rebound) = std::sync::mpsc::channel();
        let watched = WatchedFile::watch(&telemetry, ("test", file), bound, move |file| {
            let (socket, bound) = bind_datagram(file, LOCK_PATIENCE)?;
            sender.send(socket)?;
            Ok(bound)
        });
        flush();
        assert!(rebound.try_recv().is_err(), "the file is in place");
        for _ in 0..3 {
            fs::remove_file(&path).unwrap();
            flush();
            sockets.push(rebound.try_recv().unwrap());
            UnixDatagram::unbound().unwrap().connect(&path).unwrap();
        }
        // A file that comes back needs no new socket.
        let away = directory.path().join("away");
        fs::rename(&path, &away).unwrap();
        fs::create_dir(&path).unwrap();
        flush();
        fs::remove_dir(&path).unwrap();
        fs::rename(&away, &path).unwrap();
        flush();
        assert!(rebound.try_recv().is_err(), "the old socket serves the file");
        // While another file has the path, tallyd leaves it alone.
        fs::remove_file(&path).unwrap();
        fs::write(&path, "precious").unwrap();
        flush();
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
        fs::remove_file(&path).unwrap();
        flush();
        assert!(path.exists());
        watched.close();
        flush();
        assert!(!path.exists());
    }
}
