//! Calls that record samples of known series allocate nothing or very little.

use std::time::Duration;

use tallyd_client::{Metrics, timed};

use crate::harness::{Server, application_server};

#[test]
fn repeated_call_allocates_nothing() {
    application_server();
    let server = Server::start();
    let metrics = Metrics::start(&server.config().prefix("app").tag("env", "test")).unwrap();
    let collector = metrics.collector("Parser").with_tag("team", "a");

    #[timed(outcome, tags(source = "upload"))]
    fn function(fails: bool) -> Result<(), ()> {
        if fails { Err(()) } else { Ok(()) }
    }

    let call_all = || {
        collector.increment_counter("resumes", 3, &[("source", "upload"), ("env", "prod")]);
        collector.record_gauge("queue", -2.5, &[]);
        collector.record_timing("time", Duration::from_micros(1234), &[]);
        collector.record_set("users", "ann", &[]);
        drop(collector.start_timer("timer", &[]));
        _ = function(true);
    };
    // The calls fill more than one datagram, so that the client sends at least one.
    (0..100).for_each(|_| call_all());
    let counted = allocation_counter::measure(|| (0..100).for_each(|_| call_all()));
    assert_eq!(counted.count_total, 0, "{counted:?}");
}

#[cfg(feature = "prometheus")]
#[test]
fn timing_on_the_page_allocates_once_per_64_values() {
    use tallyd_client::{Config, Exporter};

    let config = Config::new().exporters([Exporter::Prometheus]).prometheus_start_http_server(false);
    let metrics = Metrics::start(&config.tag("env", "test")).unwrap();
    let collector = metrics.collector("Parser").with_tag("team", "a");
    let count = || {
        collector.increment_counter("resumes", 3, &[("source", "upload"), ("env", "prod")]);
        collector.record_gauge("queue", -2.5, &[]);
        collector.record_set("users", "ann", &[]);
    };
    let time = || collector.record_timing("time", 5, &[]);
    (0..100).for_each(|_| {
        count();
        time();
    });
    assert_eq!(allocation_counter::measure(|| (0..1000).for_each(|_| count())).count_total, 0);
    let timed = allocation_counter::measure(|| (0..5000).for_each(|_| time()));
    assert!(timed.count_total <= 5000 / 64 + 1, "{timed:?}");
}
