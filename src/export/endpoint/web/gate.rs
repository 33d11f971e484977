//! Lets clients in, or not.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use hyper::{HeaderMap, StatusCode};
use rustls::ServerConfig;

use super::super::{Protection, Requests};
use super::Web;
use super::users::Credentials;
use super::verifier::Verifier;
use super::watch::Watch;

/// What stands between clients and the pages.
#[derive(Debug)]
pub(in super::super) struct Gate {
    watch: Watch,
    verifier: Verifier,
}

impl Gate {
    /// Reads the file. `requests` is told how it stands, now and later.
    pub(in super::super) fn open(
        path: PathBuf,
        requests: Arc<Requests>,
    ) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Self { watch: Watch::start(path, requests)?, verifier: Verifier::start()? })
    }

    /// How connections are encrypted, if they are.
    pub(in super::super) fn tls(&self) -> Option<Arc<ServerConfig>> {
        self.watch.now().tls.as_ref().map(|tls| Arc::clone(&tls.config))
    }

    pub(in super::super) fn protection(&self) -> Protection {
        let web = self.watch.now();
        Protection { tls: web.tls.is_some(), users: web.users.len() }
    }

    /// Whether to answer a request from this address, or with what to refuse it; and what headers the answer has.
    pub(in super::super) async fn admit(
        &self,
        request: &HeaderMap,
        address: IpAddr,
    ) -> (Result<(), StatusCode>, HeaderMap) {
        let web = self.watch.now();
        let admitted = if web.limit.as_ref().is_some_and(|limit| !limit.allows(Instant::now())) {
            Err(StatusCode::TOO_MANY_REQUESTS)
        } else if self.is_user(&web, request, address).await {
            Ok(())
        } else {
            Err(StatusCode::UNAUTHORIZED)
        };
        (admitted, web.headers.clone())
    }

    async fn is_user(&self, web: &Web, request: &HeaderMap, address: IpAddr) -> bool {
        if web.users.len() == 0 {
            return true;
        }
        let Some(credentials) = Credentials::of(request) else { return false };
        web.users.remember(&credentials) || self.verifier.check(&web.users, credentials, address).await
    }
}
