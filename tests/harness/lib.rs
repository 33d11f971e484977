//! Runs the real tallyd for tests, and reads its output. The harness shares no code with tallyd.

#![allow(
    clippy::missing_errors_doc,
    clippy::missing_panics_doc,
    clippy::must_use_candidate,
    clippy::unwrap_used,
    reason = "a test that cannot continue has failed"
)]

mod daemon;
mod document;
pub mod fake;
pub mod http;
pub mod meanwhile;
mod page;
pub mod process;
pub mod scraped;
pub mod secured;
pub mod strict;
pub mod tls;
mod wait;

pub use daemon::{Daemon, Finished, HTTP, longest_interval};
pub use document::{Document, cells};
pub use page::{Name, Page};
pub use wait::{TIMEOUT, wait_for, wait_for_ok, wait_until};
