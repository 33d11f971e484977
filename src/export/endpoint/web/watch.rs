//! Takes up what changes in a web configuration file, and in those that it names.

use std::cell::RefCell;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, UNIX_EPOCH};

use rustls::pki_types::UnixTime;

use super::super::{Requests, WebState};
use super::files::Files;
use super::{Web, WebError};

/// How often the files are looked at, at most: it takes some microseconds a file.
const INTERVAL: Duration = Duration::from_secs(1);

/// The file, and what of it is in force.
#[derive(Debug)]
pub(super) struct Watch {
    path: PathBuf,
    /// Who is told how the file stands.
    requests: Arc<Requests>,
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
    pub(super) fn start(path: PathBuf, requests: Arc<Requests>) -> Result<Self, WebError> {
        let mut files = Files::default();
        let in_force = Arc::new(Web::read(&path, &mut files)?);
        in_force.warn();
        requests.tell(in_force.state(true));
        let state = RefCell::new(State { in_force, files, looked_at: Instant::now() });
        Ok(Self { path, requests, state })
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
        let successful = read.is_ok();
        match read {
            Ok(web) => {
                tracing::info!(path = %self.path.display(), "the web configuration was read again");
                web.warn();
                *in_force = Arc::new(web);
            }
            Err(error) => {
                tracing::error!("the web configuration is refused, what was in force stays: {error}");
            }
        }
        self.requests.tell(in_force.state(successful));
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

    /// Tells the log what an operator may not expect.
    fn warn(&self) {
        let Some(tls) = &self.tls else { return };
        if !tls.left_out.is_empty() {
            let left_out = tls.left_out.join(", ");
            tracing::warn!(left_out, "TLS is not offered with all that tls_server_config names");
        }
        if let Some(expiry) = tls.expiry.filter(|expiry| *expiry < UnixTime::now()) {
            let expiry = UNIX_EPOCH + Duration::from_secs(expiry.as_secs());
            let expired = humantime::format_rfc3339_seconds(expiry);
            tracing::warn!(
                certificate = tls.source,
                %expired,
                "the certificate that clients are shown is expired, or one of its chain; renew it"
            );
        }
    }

    fn state(&self, last_reload_successful: bool) -> WebState {
        let expiry = self.tls.as_ref().and_then(|tls| tls.expiry);
        WebState { last_reload_successful, certificate_expiry: expiry.map(|expiry| expiry.as_secs()) }
    }
}
