//! Starts tallyd with an HTTP endpoint, and reads the page that it serves.

use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use super::daemon::{Daemon, HTTP};
use super::http::get;
use super::page::Page;
use super::wait::{wait_for, wait_until};

/// Starts tallyd with an endpoint. Returns the address of the endpoint.
pub fn start(settings: &[&str]) -> (Daemon, SocketAddr) {
    let daemon = Daemon::start(&[&HTTP, settings].concat());
    let address = daemon.http_address();
    (daemon, address)
}

/// Requests the page and parses it.
pub fn scrape(address: SocketAddr) -> Page {
    Page::parse(get(address, "/metrics").text())
}

/// Waits until a series without labels has this value on the page.
pub fn wait_for_value(address: SocketAddr, name: &str, value: f64) {
    wait_until(|| scrape(address).value(name, &[]) == Some(value));
}

/// Waits until tallyd has written a state file with all that its page shows at the time of the call.
pub fn wait_for_state(address: SocketAddr) {
    let mut seen = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
    // The first write after this moment may have begun before it.
    for _ in 0..2 {
        seen = wait_for(|| {
            let written = scrape(address).value("tallyd_state_written_timestamp_seconds", &[]);
            written.filter(|&written| written > seen)
        });
    }
}
