//! Serves HTTP/1.1 with TLS, users and limits, and prepares clients. It knows nothing of exporters or of the pages that it
//! serves.
//!
//! ```text
//!  accept --> TLS handshake --> read a request --> access control --> service --> send the response
//!  (net)      (if configured)   with a deadline    (if configured)    (caller's)  with a deadline
//! ```

mod client;
mod connection;
mod deadline;
pub(crate) mod negotiation;
pub(crate) mod response;
mod server;
mod web;

pub(crate) use client::{ClientTls, USER_AGENT, tls_problem};
pub(crate) use connection::{Request, Service};
pub(crate) use server::ServerOptions;
pub(crate) use server::{Server, ServerKeys};
pub(crate) use web::check as check_web;
pub(crate) use web::{Protection, WebError, WebReport};
