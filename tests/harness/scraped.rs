//! A tallyd that can be scraped, and its page.

use std::net::SocketAddr;

use super::Daemon;
use super::http::get;
use super::prometheus::{HOSTILE, Page, SHOP, combinations, wait_for};

/// Starts it with these settings, and says where it is scraped.
pub fn start(settings: &[&str]) -> (Daemon, SocketAddr) {
    let own = ["exporters.prometheus.start_http_server=true", "exporters.prometheus.port=0"];
    let daemon = Daemon::start(&[&own[..], settings].concat());
    let address = daemon.place("http").parse().unwrap();
    (daemon, address)
}

pub fn scrape(address: SocketAddr) -> Page {
    Page::parse(get(address, "/metrics").text())
}

pub fn wait_for_value(address: SocketAddr, name: &str, value: f64) {
    wait_for(|| (scrape(address).value(name, &[]) == Some(value)).then_some(()));
}

pub fn datagrams_of_combinations() -> Vec<Vec<u8>> {
    combinations().chunks(40).map(|chunk| chunk.join(&b'\n')).collect()
}

/// Starts one for each naming style and each of two forms, and sends it all that clients may, to please or to spite it. Each
/// has a name.
pub fn start_with_all_that_clients_send() -> Vec<(String, Daemon, SocketAddr)> {
    let mut daemons = Vec::new();
    for naming in ["prometheus", "statsd_exporter"] {
        for timings in ["summary", "histogram"] {
            let (daemon, address) = start(&[
                "flush.interval=100ms",
                "telemetry.enabled=false",
                &format!("exporters.prometheus.naming={naming}"),
                &format!("exporters.prometheus.timings={timings}"),
            ]);
            for (part, marker) in HOSTILE.iter().zip(["first_part", "second_part"]) {
                part.iter().for_each(|datagram| daemon.send(datagram));
                wait_for_value(address, marker, 1.0);
            }
            SHOP.iter().for_each(|datagram| daemon.send(datagram));
            datagrams_of_combinations().iter().for_each(|datagram| daemon.send(datagram));
            daemon.send("parts:0.25|h|@0.3\nthird.part:1|g");
            wait_for_value(address, "third_part", 1.0);
            daemons.push((format!("{naming}_{timings}"), daemon, address));
        }
    }
    daemons
}
