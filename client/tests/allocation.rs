//! After the first calls, none allocates.

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
