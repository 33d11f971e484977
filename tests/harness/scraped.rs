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

fn datagrams_of_combinations() -> Vec<Vec<u8>> {
    combinations().chunks(40).map(|chunk| chunk.join(&b'\n')).collect()
}

/// Starts one for each naming style and each of two forms, with these settings besides, and sends it all that clients may, to
/// please or to spite it; its page is looked at after each part of that. Each has a name.
pub fn start_with_all_that_clients_send(
    settings: &[&str],
    look_at: impl Fn(SocketAddr),
) -> Vec<(String, Daemon, SocketAddr)> {
    let mut daemons = Vec::new();
    for naming in ["prometheus", "statsd_exporter"] {
        for timings in ["summary", "histogram"] {
            let own = [
                "flush.interval=100ms",
                &format!("exporters.prometheus.naming={naming}"),
                &format!("exporters.prometheus.timings={timings}"),
            ];
            let (daemon, address) = start(&[&own[..], settings].concat());
            for (part, marker) in HOSTILE.iter().zip(["first_part", "second_part"]) {
                part.iter().for_each(|datagram| daemon.send(datagram));
                wait_for_value(address, marker, 1.0);
                look_at(address);
            }
            SHOP.iter().for_each(|datagram| daemon.send(datagram));
            datagrams_of_combinations().iter().for_each(|datagram| daemon.send(datagram));
            daemon.send("parts:0.25|h|@0.3\nthird.part:1|g");
            wait_for_value(address, "third_part", 1.0);
            look_at(address);
            daemons.push((format!("{naming}_{timings}"), daemon, address));
        }
    }
    daemons
}
