//! The log as applications have it, for all of the process: nothing else may be in this file.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::io::{self, Write};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use tallyd_client::{Config, MetricsCollector};

static METRICS: MetricsCollector = MetricsCollector::new("Application");

/// How often the log was told that samples were lost.
static WRITTEN: AtomicU64 = AtomicU64::new(0);

/// Where the log is written to, which counts that; and as writers are, it is locked meanwhile.
struct Measured;

impl Write for Measured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        METRICS.increment_counter("log.bytes", bytes.len() as u64, &[]);
        WRITTEN
            .fetch_add(u64::from(String::from_utf8_lossy(bytes).contains("are dropped")), Ordering::SeqCst);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_call_does_not_wait_for_the_log_which_is_told_by_the_thread_that_sends() {
    tracing_subscriber::fmt().with_writer(Mutex::new(Measured)).init();
    let config = Config::new()
        .statsd_address("unix:///nonexistent/tallyd.sock")
        .statsd_flush_interval(Duration::from_millis(10));
    tallyd_client::configure(&config).unwrap();
    let (done, is_done) = channel();
    thread::spawn(move || {
        // Much more than a datagram: calls send, in vain.
        (0..100_000).for_each(|_| METRICS.increment_counter("calls", 1, &[]));
        // More samples each time, so that there is something to log.
        while WRITTEN.load(Ordering::SeqCst) < 3 {
            (0..100_000).for_each(|_| METRICS.increment_counter("calls", 1, &[]));
            tracing::info!("the application logs, too");
        }
        tallyd_client::flush();
        done.send(()).unwrap();
    });
    is_done.recv_timeout(Duration::from_mins(1)).expect("a call waits for ever");
    assert!(tallyd_client::lost() > 100_000);
}
