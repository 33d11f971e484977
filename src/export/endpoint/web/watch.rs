//! Takes up what changes in a web configuration file, and in those that it names.

use std::cell::RefCell;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::files::Files;
use super::{Web, WebError};

/// How often the files are looked at, at most: it takes some microseconds a file.
const INTERVAL: Duration = Duration::from_secs(1);

/// The file, and what of it is in force.
#[derive(Debug)]
pub(super) struct Watch {
    path: PathBuf,
    state: RefCell<State>,
}

#[derive(Debug)]
struct State {
    in_force: Arc<Web>,
    /// Those that were read last, whether that was put in force or refused.
    files: Files,
    looked_at: Instant,
}

impl Watch {
    pub(super) fn start(path: PathBuf) -> Result<Self, WebError> {
        let mut files = Files::default();
        let in_force = Arc::new(Web::read(&path, &mut files)?);
        in_force.tell_what_is_left_out();
        let state = RefCell::new(State { in_force, files, looked_at: Instant::now() });
        Ok(Self { path, state })
    }

    /// What is in force, which is what the files say if they can be put in force.
    pub(super) fn now(&self) -> Arc<Web> {
        let mut state = self.state.borrow_mut();
        if state.looked_at.elapsed() >= INTERVAL {
            state.looked_at = Instant::now();
            if state.files.have_changed() {
                state.files = Files::default();
                self.take_up(&mut state);
            }
        }
        Arc::clone(&state.in_force)
    }

    fn take_up(&self, state: &mut State) {
        let State { in_force, files, .. } = state;
        let read = Web::read(&self.path, files).and_then(|web| in_force.succeeded_by(web, &self.path));
        match read {
            Ok(web) => {
                tracing::info!(path = %self.path.display(), "the web configuration was read again");
                web.tell_what_is_left_out();
                *in_force = Arc::new(web);
            }
            Err(error) => {
                tracing::error!("the web configuration is refused, what was in force stays: {error}");
            }
        }
    }
}

impl Web {
    /// What comes after it. A file that is empty, as one is that is just being written, is a valid one that asks for nothing.
    fn succeeded_by(&self, mut next: Self, path: &std::path::Path) -> Result<Self, WebError> {
        let takes_restart = |what: &str| {
            let problem = format!("without {what}, which were there; that takes a restart");
            Err(WebError { path: path.to_owned(), line: None, problem })
        };
        if self.tls.is_some() && next.tls.is_none() {
            return takes_restart("certificates (tls_server_config)");
        }
        if self.users.len() > 0 && next.users.len() == 0 {
            return takes_restart("users (basic_auth_users)");
        }
        if self.users.are(&next.users) {
            // So that their passwords need not be checked again.
            next.users = Arc::clone(&self.users);
        }
        Ok(next)
    }

    fn tell_what_is_left_out(&self) {
        if let Some(tls) = self.tls.as_ref().filter(|tls| !tls.left_out.is_empty()) {
            let left_out = tls.left_out.join(", ");
            tracing::warn!(left_out, "TLS is not offered with all that tls_server_config names");
        }
    }
}
