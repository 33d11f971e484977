//! Counts the requests and the connections of the endpoint, and keeps how its web configuration file stands.

use std::sync::atomic::{AtomicU64, Ordering};

use hyper::StatusCode;
use parking_lot::Mutex;

use crate::export::prometheus::Format;
use crate::net::{ConnectionCounts, Connections};

/// Why a connection to the endpoint was closed. The names are an interface: telemetry shows them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closing {
    /// The client ended it.
    End,
    /// It broke: the client reset it, or ended it before it had its answer.
    Broken,
    /// What came was no request, or one whose header is too long.
    BadRequest,
    /// The header of a request did not come in time.
    HeaderTimeout,
    /// The client did not take an answer in time.
    AnswerTimeout,
    /// TLS did not come about: what came was no TLS, or offered nothing in common, or a certificate was refused.
    BadHandshake,
    /// TLS did not come about in time.
    HandshakeTimeout,
    /// Nothing was asked for a long time after an answer.
    Idle,
    /// tallyd stopped.
    Stop,
}

impl Closing {
    /// All of them, in the order of their discriminants.
    pub const ALL: [Closing; 9] = [
        Closing::End,
        Closing::Broken,
        Closing::BadRequest,
        Closing::HeaderTimeout,
        Closing::AnswerTimeout,
        Closing::BadHandshake,
        Closing::HandshakeTimeout,
        Closing::Idle,
        Closing::Stop,
    ];

    /// The name by which telemetry counts it, for example `bad_request`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Closing::End => "end",
            Closing::Broken => "broken",
            Closing::BadRequest => "bad_request",
            Closing::HeaderTimeout => "header_timeout",
            Closing::AnswerTimeout => "answer_timeout",
            Closing::BadHandshake => "bad_handshake",
            Closing::HandshakeTimeout => "handshake_timeout",
            Closing::Idle => "idle",
            Closing::Stop => "stop",
        }
    }
}

/// How a web configuration file stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WebState {
    /// Whether the file, and those that it names, are in force as they were when they were read last.
    pub last_reload_successful: bool,
    /// When the first of the certificates that clients are shown expires, in seconds since 1970. `None` without TLS.
    pub certificate_expiry: Option<u64>,
}

/// The counters of the endpoint, and how its web configuration file stands: its thread counts and tells, the flush reads.
#[derive(Debug, Default)]
pub struct Requests {
    answered: [AtomicU64; RequestCounts::CODES.len()],
    scrapes: [AtomicU64; Format::ALL.len()],
    pub(super) connections: Connections<{ Closing::ALL.len() }>,
    web: Mutex<Option<WebState>>,
}

/// What became of requests and connections since the last reading, and how the web configuration file stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestCounts {
    /// Requests, by what they were answered with: [`CODES`](Self::CODES).
    pub answered: [u64; Self::CODES.len()],
    /// Pages that were asked for, by [`Format`].
    pub scrapes: [u64; Format::ALL.len()],
    /// Connections, which are closed by [`Closing`].
    pub connections: ConnectionCounts<{ Closing::ALL.len() }>,
    /// How the web configuration file stands now, if there is one.
    pub web: Option<WebState>,
}

impl RequestCounts {
    /// The status codes of all answers.
    pub const CODES: [StatusCode; 8] = [
        StatusCode::OK,
        StatusCode::UNAUTHORIZED,
        StatusCode::FORBIDDEN,
        StatusCode::NOT_FOUND,
        StatusCode::METHOD_NOT_ALLOWED,
        StatusCode::TOO_MANY_REQUESTS,
        StatusCode::INTERNAL_SERVER_ERROR,
        StatusCode::SERVICE_UNAVAILABLE,
    ];
}

impl Requests {
    pub(super) fn answer(&self, code: StatusCode) {
        let counters = RequestCounts::CODES.iter().zip(&self.answered);
        counters.filter(|(other, _)| **other == code).for_each(|(_, counter)| add(counter));
    }

    pub(super) fn scrape(&self, format: Format) {
        add(&self.scrapes[format as usize]);
    }

    pub(super) fn tell(&self, web: WebState) {
        *self.web.lock() = Some(web);
    }

    /// What is open and in force now, and what was counted since the last call.
    #[must_use]
    pub fn take(&self) -> RequestCounts {
        let take = |counter: &AtomicU64| counter.swap(0, Ordering::Relaxed);
        RequestCounts {
            answered: self.answered.each_ref().map(take),
            scrapes: self.scrapes.each_ref().map(take),
            connections: self.connections.take(),
            web: *self.web.lock(),
        }
    }
}

fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
