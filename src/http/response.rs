//! Responses that any service needs, and their counters.

use std::sync::Arc;

use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};
use serde::Serialize;
use tokio::sync::mpsc;

use crate::model::{Counter, Telemetry};
use crate::text::visible::json_escaped;

/// A response that is ready to be sent.
pub(crate) type Response = hyper::Response<Body>;

/// The body of a response.
#[derive(Debug)]
pub(crate) enum Body {
    /// It is complete, and consists of pieces. All clients that receive the same body share its memory.
    Complete(Complete),
    /// It goes on until the sender closes it.
    Events(EventStream),
}

/// A body that is complete.
pub(crate) type Complete = Arc<[Bytes]>;

/// Server-sent events, as the HTML standard defines them, for one client.
pub(crate) type EventStream = mpsc::Receiver<Bytes>;

/// The status codes of all responses.
const CODES: [StatusCode; 9] = [
    StatusCode::OK,
    StatusCode::BAD_REQUEST,
    StatusCode::UNAUTHORIZED,
    StatusCode::FORBIDDEN,
    StatusCode::NOT_FOUND,
    StatusCode::METHOD_NOT_ALLOWED,
    StatusCode::TOO_MANY_REQUESTS,
    StatusCode::INTERNAL_SERVER_ERROR,
    StatusCode::SERVICE_UNAVAILABLE,
];

/// Counts requests by the status code of their response.
#[derive(Debug, Clone)]
pub(super) struct ResponseCounts([(StatusCode, Counter); CODES.len()]);

impl ResponseCounts {
    pub(super) fn register(telemetry: &Telemetry) -> Self {
        Self(CODES.map(|code| (code, telemetry.counter("http_requests", &[("code", code.as_str())]))))
    }

    pub(super) fn count(&self, code: StatusCode) {
        let counter = self.0.iter().find(|(other, _)| *other == code);
        debug_assert!(counter.is_some(), "{code} is missing in CODES");
        counter.inspect(|(_, counter)| counter.increment());
    }
}

/// Returns a plain-text response.
pub(crate) fn text(code: StatusCode, text: impl Into<Bytes>) -> Response {
    with_type(code, "text/plain; charset=utf-8", text)
}

/// Returns a response with JSON. Hidden characters are escaped, because people look at it in a terminal.
pub(crate) fn json(value: &impl Serialize) -> Response {
    let text = serde_json::to_string(value).expect("all keys are text, and nothing else can fail");
    with_type(StatusCode::OK, "application/json", json_escaped(&text).into_owned() + "\n")
}

fn with_type(code: StatusCode, content_type: &'static str, text: impl Into<Bytes>) -> Response {
    let mut response = Response::new(Body::Complete([text.into()].into()));
    *response.status_mut() = code;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// Returns a response that sends events as they come.
pub(crate) fn events(events: EventStream) -> Response {
    let mut response = Response::new(Body::Events(events));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    // nginx would keep events back until its buffer is full.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Returns the response to a request whose method is not among the allowed ones, for example `GET, HEAD`.
pub(crate) fn method_not_allowed(allowed: &'static str) -> Response {
    let mut response = text(StatusCode::METHOD_NOT_ALLOWED, format!("only {allowed} are allowed\n"));
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    response
}

/// Returns the response to a client without a valid user and password.
pub(super) fn unauthorized() -> Response {
    let mut response = text(StatusCode::UNAUTHORIZED, "a user and a password are required\n");
    response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Basic"));
    response
}

/// Returns the response to a request over the rate limit.
pub(super) fn too_many_requests() -> Response {
    text(StatusCode::TOO_MANY_REQUESTS, "too many requests\n")
}
