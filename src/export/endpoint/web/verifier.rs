//! The thread that checks passwords.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::thread;

use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use super::queue::Queue;
use super::users::{Credentials, Users};

/// How far checking stands back: where others want the processor, it gets a tenth of what each of them does.
const NICENESS: i32 = 10;

/// Passwords are checked one after the other, on a thread of their own: those who guess keep neither pages from being made nor
/// samples from being received. Dropped, it ends the thread.
#[derive(Debug)]
pub(super) struct Verifier(Arc<SharedState>);

#[derive(Debug)]
struct SharedState {
    state: Mutex<State>,
    /// Something in `state` changed.
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    waiting: Queue<Job>,
    ended: bool,
}

#[derive(Debug)]
struct Job {
    users: Arc<Users>,
    credentials: Credentials,
    /// Closed once nobody waits any more.
    reply: oneshot::Sender<bool>,
}

impl Verifier {
    pub(super) fn start() -> io::Result<Self> {
        let state = Mutex::new(State { waiting: Queue::new(), ended: false });
        let shared = Arc::new(SharedState { state, changed: Condvar::new() });
        let own = Arc::clone(&shared);
        thread::Builder::new().name("passwords".to_owned()).spawn(move || {
            // On Linux this is the niceness of the thread alone. To be nicer is always allowed.
            if let Err(error) = rustix::process::setpriority_process(None, NICENESS) {
                tracing::debug!(%error, "passwords are checked at the priority of everything else");
            }
            while let Some(job) = own.next() {
                let is_right = job.users.check(&job.credentials);
                // Whoever asked may have gone.
                _ = job.reply.send(is_right);
            }
        })?;
        Ok(Self(shared))
    }

    /// Whether it is a user's password, asked from this address.
    pub(super) async fn check(&self, users: &Arc<Users>, credentials: Credentials, address: IpAddr) -> bool {
        let (reply, told) = oneshot::channel();
        let job = Job { users: Arc::clone(users), credentials, reply };
        self.0.state.lock().waiting.push(address, job, Job::has_gone);
        self.0.changed.notify_one();
        told.await.unwrap_or(false)
    }
}

impl Drop for Verifier {
    fn drop(&mut self) {
        self.0.state.lock().ended = true;
        self.0.changed.notify_one();
    }
}

impl SharedState {
    fn next(&self) -> Option<Job> {
        let mut state = self.state.lock();
        while !state.ended {
            match state.waiting.pop() {
                Some(job) if job.has_gone() => {}
                Some(job) => return Some(job),
                None => self.changed.wait(&mut state),
            }
        }
        None
    }
}

impl Job {
    fn has_gone(&self) -> bool {
        self.reply.is_closed()
    }
}
