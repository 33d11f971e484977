//! Starts tallyd with an HTTP endpoint, and reads the page that it serves.

use std::net::SocketAddr;

use super::daemon::{Daemon, HTTP};
use super::http::get;
use super::page::Page;
use super::wait::wait_until;

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
