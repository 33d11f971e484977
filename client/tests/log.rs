//! A log that itself records metrics. A process has only one log, so these tests have their own binary.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::cell::RefCell;
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Mutex, Once, OnceLock};
use std::thread;
use std::time::Duration;

use tallyd_client::{Config, Exporter, Metrics, MetricsCollector};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt};

/// Counts the records of the log with the metrics of the application.
static LOG: MetricsCollector = MetricsCollector::new("Log");
/// Counts the bytes of the log with a separate set of metrics.
static WRITER: OnceLock<MetricsCollector> = OnceLock::new();
const WRITER_SOCKET: &str = "unix:///nonexistent/writer.sock";
/// The number of records that report lost samples of the separate set.
static LOSS_RECORDS: AtomicU64 = AtomicU64::new(0);

/// Counts each record, as layers of applications do.
struct RecordCounter;

impl<S: Subscriber> Layer<S> for RecordCounter {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        LOG.increment_counter("records", 1, &[("level", event.metadata().level().as_str())]);
        #[cfg(feature = "metrics")]
        metrics::gauge!("log.records", "target" => event.metadata().target()).increment(1);
    }
}

/// Counts the bytes that the log writes, while the log holds the lock of its writer.
struct ByteCounter;

impl Write for ByteCounter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(writer) = WRITER.get() {
            writer.increment_counter("bytes", bytes.len() as u64, &[]);
        }
        let is_loss = String::from_utf8_lossy(bytes).contains(WRITER_SOCKET);
        LOSS_RECORDS.fetch_add(u64::from(is_loss), Ordering::SeqCst);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn start_log() {
    static STARTED: Once = Once::new();
    STARTED.call_once(|| {
        let format = tracing_subscriber::fmt::layer().with_writer(Mutex::new(ByteCounter));
        let subscriber = tracing_subscriber::registry().with(format).with(RecordCounter);
        tracing::subscriber::set_global_default(subscriber).unwrap();
    });
}

/// Runs `work` on another thread. Panics if `work` does not end within a minute.
fn assert_ends(work: impl FnOnce() + Send + 'static) {
    let (done, is_done) = channel();
    thread::spawn(move || {
        work();
        done.send(()).unwrap();
    });
    is_done.recv_timeout(Duration::from_mins(1)).expect("a call hangs or has panicked");
}

#[test]
fn call_does_not_wait_for_a_log_that_records_metrics() {
    start_log();
    let config = Config::new().statsd_address(WRITER_SOCKET).statsd_flush_interval(Duration::from_millis(10));
    let metrics = Metrics::start(&config).unwrap();
    WRITER.set(metrics.collector("Writer")).unwrap();
    let calls = metrics.collector("Application");
    let flushed = metrics.clone();
    assert_ends(move || {
        // Each round fills many datagrams. All of them are lost, so that the client has losses to log.
        loop {
            (0..100_000).for_each(|_| calls.increment_counter("calls", 1, &[]));
            if LOSS_RECORDS.load(Ordering::SeqCst) >= 3 {
                break;
            }
            tracing::info!("the application also logs");
        }
        flushed.flush();
    });
    assert!(metrics.lost() > 100_000);
}

/// Records a sample when its thread ends.
struct RecordOnDrop;

impl Drop for RecordOnDrop {
    fn drop(&mut self) {
        LOG.increment_counter("ends", 1, &[]);
    }
}

thread_local! {
    static BEFORE: RefCell<Option<RecordOnDrop>> = const { RefCell::new(None) };
    static AFTER: RefCell<Option<RecordOnDrop>> = const { RefCell::new(None) };
}

#[test]
fn log_that_counts_its_records_neither_hangs_nor_loops_nor_panics() {
    start_log();
    #[cfg_attr(not(feature = "prometheus"), allow(unused_mut, reason = "the feature adds an exporter"))]
    let mut exporters = vec![Exporter::Statsd, Exporter::Console];
    #[cfg(feature = "prometheus")]
    exporters.push(Exporter::Prometheus);
    let config = Config::new().exporters(exporters).statsd_address("unix:///nonexistent/tallyd.sock");
    tallyd_client::configure(&config.prometheus_start_http_server(false)).unwrap();
    #[cfg(feature = "metrics")]
    metrics::set_global_recorder(tallyd_client::recorder().unwrap()).unwrap();
    assert_ends(|| {
        let application = MetricsCollector::new("Application");
        for _ in 0..1000 {
            application.increment_counter("calls", 1, &[]);
            // The page already has this name with another type. So it refuses the gauge, and the client logs that.
            application.record_gauge("calls_total", 1, &[]);
            tallyd_client::flush();
        }
        for _ in 0..100 {
            let ending = thread::spawn(|| {
                // One of these is dropped before the log's thread-locals, and the other is dropped after them.
                BEFORE.set(Some(RecordOnDrop));
                LOG.increment_counter("calls", 1, &[]);
                AFTER.set(Some(RecordOnDrop));
            });
            ending.join().unwrap();
        }
    });
    assert!(tallyd_client::lost() >= 2000);
}
