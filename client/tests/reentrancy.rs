//! A log that is itself measured, for all of the process: nothing else may be in this file.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::cell::RefCell;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use tallyd_client::{Config, Exporter, MetricsCollector};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt};

/// Counts the records of the log, as layers for that do.
struct Counts;

static LOG: MetricsCollector = MetricsCollector::new("Log");

impl<S: Subscriber> Layer<S> for Counts {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        LOG.increment_counter("records", 1, &[("level", event.metadata().level().as_str())]);
    }
}

/// Measures when a thread ends.
struct Measures;

impl Drop for Measures {
    fn drop(&mut self) {
        LOG.increment_counter("ends", 1, &[]);
    }
}

thread_local! {
    static BEFORE: RefCell<Option<Measures>> = const { RefCell::new(None) };
    static AFTER: RefCell<Option<Measures>> = const { RefCell::new(None) };
}

#[test]
fn a_log_that_counts_its_records_neither_hangs_nor_runs_away_nor_brings_a_thread_down_that_ends() {
    let log = tracing_subscriber::fmt::layer().with_writer(std::io::sink);
    tracing::subscriber::set_global_default(tracing_subscriber::registry().with(log).with(Counts)).unwrap();
    #[cfg_attr(not(feature = "prometheus"), allow(unused_mut, reason = "there is one more with it"))]
    let mut exporters = vec![Exporter::Statsd, Exporter::Console];
    #[cfg(feature = "prometheus")]
    exporters.push(Exporter::Prometheus);
    let config = Config::new().exporters(exporters).statsd_address("unix:///nonexistent/tallyd.sock");
    tallyd_client::configure(&config.prometheus_start_http_server(false)).unwrap();
    let (done, is_done) = channel();
    thread::spawn(move || {
        let application = MetricsCollector::new("Application");
        for _ in 0..1000 {
            application.increment_counter("calls", 1, &[]);
            // Of another type, which is refused and logged where there is a page.
            application.record_gauge("calls_total", 1, &[]);
            tallyd_client::flush();
        }
        for _ in 0..100 {
            let ending = thread::spawn(|| {
                // One is dropped before what the log keeps of the thread, and one after.
                BEFORE.set(Some(Measures));
                LOG.increment_counter("calls", 1, &[]);
                AFTER.set(Some(Measures));
            });
            ending.join().unwrap();
        }
        done.send(()).unwrap();
    });
    is_done.recv_timeout(Duration::from_mins(1)).expect("a call waits for ever");
    assert!(tallyd_client::lost() >= 2000);
}
