//! After the first calls, none allocates, or hardly any.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod harness;

use std::time::Duration;

use harness::Server;
use tallyd_client::timed;

#[test]
fn calls_allocate_nothing_once_they_were_made() {
    let server = Server::start();
    tallyd_client::configure(&server.config().prefix("app").tag("env", "test")).unwrap();
    let metrics = server.metrics();
    let collector = metrics.collector("Parser").with_tag("team", "a");

    #[timed(outcome, tags(source = "upload"))]
    fn function(fails: bool) -> Result<(), ()> {
        if fails { Err(()) } else { Ok(()) }
    }

    let all = || {
        collector.increment_counter("resumes", 3, &[("source", "upload"), ("env", "prod")]);
        collector.record_gauge("queue", -2.5, &[]);
        collector.record_timing("time", Duration::from_micros(1234), &[]);
        collector.record_set("users", "ann", &[]);
        drop(collector.start_timer("timer", &[]));
        _ = function(true);
    };
    // More than a datagram holds, so that one was sent.
    (0..100).for_each(|_| all());
    let counted = allocation_counter::measure(|| (0..100).for_each(|_| all()));
    assert_eq!(counted.count_total, 0, "{counted:?}");
}

#[cfg(feature = "prometheus")]
#[test]
fn series_that_are_on_the_page_allocate_nothing_but_room_for_64_observations_at_a_time() {
    use tallyd_client::{Config, Exporter, Metrics};

    let config = Config::new().exporters([Exporter::Prometheus]).prometheus_start_http_server(false);
    let metrics = Metrics::start(&config.tag("env", "test")).unwrap();
    let collector = metrics.collector("Parser").with_tag("team", "a");
    let count = || {
        collector.increment_counter("resumes", 3, &[("source", "upload"), ("env", "prod")]);
        collector.record_gauge("queue", -2.5, &[]);
        collector.record_set("users", "ann", &[]);
    };
    let observe = || collector.record_timing("time", 5, &[]);
    (0..100).for_each(|_| {
        count();
        observe();
    });
    assert_eq!(allocation_counter::measure(|| (0..1000).for_each(|_| count())).count_total, 0);
    let observed = allocation_counter::measure(|| (0..5000).for_each(|_| observe()));
    assert!(observed.count_total <= 5000 / 64 + 1, "{observed:?}");
}
