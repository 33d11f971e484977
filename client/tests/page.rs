//! The page that an application has itself.

#![cfg(feature = "prometheus")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod harness;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use harness::Server;
use tallyd_client::{Config, Exporter, Metrics};

/// One that nobody has, at this moment.
fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn only_page() -> Config {
    Config::new().exporters([Exporter::Prometheus])
}

#[test]
fn the_page_is_served_until_nothing_refers_to_the_metrics_and_then_the_port_is_free() {
    let address = free_address();
    let metrics = Metrics::start(&only_page().prometheus_address(address)).unwrap();
    metrics.collector("Parser").increment_counter("resumes", 3, &[]);
    let mut connection = TcpStream::connect(address).unwrap();
    write!(connection, "GET /metrics HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("\nParser_resumes_total 3\n"), "{answer}");
    drop(connection);
    drop(metrics);
    TcpListener::bind(address).unwrap();
}

#[test]
fn an_application_may_serve_its_page_itself() {
    let metrics = Metrics::start(&only_page().prometheus_start_http_server(false)).unwrap();
    metrics.collector("Parser").increment_counter("resumes", 3, &[]);
    assert!(metrics.render_prometheus().unwrap().contains("\nParser_resumes_total 3\n"));
    assert_eq!(Metrics::start(&Config::new().exporters([])).unwrap().render_prometheus(), None);
}

#[test]
fn a_port_that_is_taken_keeps_no_other_exporter_from_exporting_also_within_a_runtime() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = Server::start();
    let config = server
        .config()
        .exporters([Exporter::Prometheus, Exporter::Statsd])
        .prometheus_address(taken.local_addr().unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        for start in [1, 2] {
            let metrics = Metrics::start(&config).unwrap();
            metrics.collector("A").increment_counter("n", start, &[]);
        }
    });
    assert_eq!(server.wait_for("A.n", 2), ["1|c", "2|c"]);
}

#[test]
fn a_second_configuration_is_refused_and_starts_nothing() {
    tallyd_client::configure(&only_page().prometheus_start_http_server(false)).unwrap();
    let address = free_address();
    let error = tallyd_client::configure(&only_page().prometheus_address(address)).unwrap_err();
    assert!(error.to_string().contains("configured before"), "{error}");
    TcpStream::connect(address).unwrap_err();
}

#[test]
fn the_page_has_all_calls_also_those_that_are_not_sent() {
    let server = Server::start();
    let config = server
        .config()
        .exporters([Exporter::Prometheus, Exporter::Statsd])
        .prometheus_start_http_server(false)
        .sample_rate(1e-6);
    let metrics = Metrics::start(&config).unwrap();
    for _ in 0..1000 {
        metrics.collector("A").increment_counter("n", 2, &[]);
        metrics.collector("A").record_timing("t", 5, &[]);
    }
    let page = metrics.render_prometheus().unwrap();
    assert!(page.contains("\nA_n_total 2000\n") && page.contains("\nA_t_seconds_count 1000\n"), "{page}");
    metrics.flush();
    assert!(server.of("A.n").len() < 1000);
}

#[test]
fn the_number_of_series_is_limited_and_what_is_beyond_is_counted() {
    let metrics = Metrics::start(&only_page().prometheus_start_http_server(false)).unwrap();
    let collector = metrics.collector("A");
    for series in 0..100_010 {
        collector.increment_counter("n", 1, &[("series", &series.to_string())]);
    }
    assert_eq!(metrics.lost(), 10);
    collector.increment_counter("n", 1, &[("series", "5")]);
    assert_eq!(metrics.lost(), 10, "those that are there go on");
    assert_eq!(metrics.render_prometheus().unwrap().matches("\nA_n_total{").count(), 100_000);
}
