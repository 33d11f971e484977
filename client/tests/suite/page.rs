//! The Prometheus page in an application.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use tallyd_client::{Config, Exporter, Metrics};

use crate::harness::{Server, application_server, log_of, losses};

/// Returns an address that is free at this moment.
fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn page_only() -> Config {
    Config::new().exporters([Exporter::Prometheus])
}

#[test]
fn dropping_the_metrics_frees_the_port_of_the_page() {
    let address = free_address();
    let metrics = Metrics::start(&page_only().prometheus_address(address)).unwrap();
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
fn application_can_serve_the_page_itself() {
    let metrics = Metrics::start(&page_only().prometheus_start_http_server(false)).unwrap();
    metrics.collector("Parser").increment_counter("resumes", 3, &[]);
    assert!(metrics.render_prometheus().unwrap().contains("\nParser_resumes_total 3\n"));
    assert_eq!(Metrics::start(&Config::new().exporters([])).unwrap().render_prometheus(), None);
}

#[test]
fn taken_port_does_not_stop_other_exporters_even_inside_a_runtime() {
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
fn second_configuration_is_refused_and_starts_nothing() {
    application_server();
    let address = free_address();
    let error = tallyd_client::configure(&page_only().prometheus_address(address)).unwrap_err();
    assert!(error.to_string().contains("already configured"), "{error}");
    TcpStream::connect(address).unwrap_err();
}

#[test]
fn page_counts_the_calls_that_sampling_leaves_out() {
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
    assert!(server.received("A.n").len() < 1000);
}

#[test]
fn samples_of_series_beyond_the_limit_are_counted_as_lost() {
    let metrics = Metrics::start(&page_only().prometheus_start_http_server(false)).unwrap();
    let collector = metrics.collector("A");
    for series in 0..100_010 {
        collector.increment_counter("n", 1, &[("series", &series.to_string())]);
    }
    assert_eq!(metrics.lost(), 10);
    collector.increment_counter("n", 1, &[("series", "5")]);
    assert_eq!(metrics.lost(), 10, "known series are still recorded");
    assert_eq!(metrics.render_prometheus().unwrap().matches("\nA_n_total{").count(), 100_000);
}

/// The client once knew the reason only when it logged the first sample of a refused series.
#[test]
fn refused_series_is_logged_with_its_reason_every_time() {
    let records = log_of(|| {
        let config = page_only().prometheus_start_http_server(false);
        let metrics = Metrics::start(&config.statsd_flush_interval(Duration::from_hours(1))).unwrap();
        let collector = metrics.collector("A");
        collector.increment_counter("n", 1, &[]);
        for _ in 0..5 {
            collector.record_gauge("n_total", 1, &[]);
            metrics.flush();
        }
    });
    let reason = "another series has the same name and the same labels in Prometheus";
    assert_eq!(losses(&records), [1, 2, 4].map(|lost| (lost, "A.n_total|g", reason)));
}
