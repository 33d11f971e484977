//! Starts tallyd with an HTTP endpoint, and reads the page that it serves.

use std::net::SocketAddr;

use super::daemon::Daemon;
use super::http::get;
use super::page::Page;
use super::wait::wait_until;

/// Starts tallyd with an endpoint. Returns the address of the endpoint.
pub fn start(settings: &[&str]) -> (Daemon, SocketAddr) {
    let own = ["exporters.prometheus.start_http_server=true", "exporters.prometheus.port=0"];
    let daemon = Daemon::start(&[&own[..], settings].concat());
    let address = daemon.place("http").parse().unwrap();
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
