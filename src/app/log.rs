//! Writes the log to standard error, to a file, or to both.
//!
//! Each output has a thread and a bounded queue, so an output that blocks delays nothing else:
//!
//! ```text
//!  any thread --> within the budget of bytes? --> queue --> thread of the output --> standard error or file
//!                          |                        |
//!                          +----- no ---------------+--> full: the line is dropped and counted
//! ```

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::panic;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::stat::fstat;
use parking_lot::Mutex;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::layer::{Layered, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, reload};

use crate::app::config::{LogFormat, LogLevel, LogOutput, LoggingSection};
use crate::export::has_moved;
use crate::model::{Counter, Repeated, Source, Telemetry, Thinned};
use crate::net::Threads;

/// The number of lines that wait for a slow output.
const QUEUE: usize = 1024;

/// The bytes that an output may write at once, and again during each minute. So no minute has more than twice as many.
const BUDGET: usize = 480_000;

/// The bytes that a message about dropped lines may exceed the budget.
const REPORT: usize = 300;

/// How long a stop waits for the last lines.
const LAST_LINES: Duration = Duration::from_millis(500);

/// The outputs of the log. One filter by level applies to all of them.
type Outputs = Layered<Vec<Box<dyn Layer<Registry> + Send + Sync>>, Registry>;

/// The running log. Its level can be changed. Dropping it writes the last lines.
pub(super) struct Log {
    outputs: Vec<Output>,
    level: reload::Handle<LevelFilter, Outputs>,
}

/// The queue of an output, and the end of its thread.
#[derive(Debug)]
struct Output {
    lines: async_channel::Sender<Box<[u8]>>,
    /// Disconnected once the thread has ended.
    ended: mpsc::Receiver<()>,
}

impl Log {
    /// Makes the log close its file if that was moved, so that logrotate can compress it.
    pub(super) fn close_moved_file(&self) {
        // An empty line wakes the thread, which then looks at the path. If the queue is full, the thread is awake.
        self.outputs.iter().for_each(|output| _ = output.lines.try_send(Box::default()));
    }

    /// Sets the least severe level that is logged.
    pub(super) fn set_level(&self, level: LogLevel) {
        // This fails only if another log was started first, which tallyd never does.
        _ = self.level.reload(filter(level));
    }

    /// Writes the lines that wait, and ends the log. Gives up after half a second, because an output may block for ever.
    pub(super) fn finish(&self) {
        let deadline = Instant::now() + LAST_LINES;
        self.outputs.iter().for_each(|output| _ = output.lines.close());
        for output in &self.outputs {
            // Both results mean that there is nothing left to wait for.
            _ = output.ended.recv_timeout(deadline.saturating_duration_since(Instant::now()));
        }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.finish();
    }
}

/// Omits the handle of the level, which does not implement `Debug`.
impl fmt::Debug for Log {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Log").field("outputs", &self.outputs).finish_non_exhaustive()
    }
}

/// Puts lines into the queue of an output. It never waits.
#[derive(Debug, Clone)]
struct QueueWriter {
    lines: async_channel::Sender<Box<[u8]>>,
    budget: Arc<Mutex<Budget>>,
    dropped: Counter,
}

impl<'a> MakeWriter<'a> for QueueWriter {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Write for QueueWriter {
    /// Takes a whole line, because the log formats a line before it writes.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let is_kept =
            self.budget.lock().take(line.len(), Instant::now()) && self.lines.try_send(line.into()).is_ok();
        if !is_kept {
            self.dropped.increment();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The bytes that an output may still write.
#[derive(Debug)]
struct Budget {
    left: usize,
    /// The time until which `left` is up to date.
    at: Instant,
}

impl Budget {
    fn new(now: Instant) -> Self {
        Self { left: BUDGET, at: now }
    }

    /// Takes the bytes of a line. Returns false if too few are left.
    fn take(&mut self, bytes: usize, now: Instant) -> bool {
        let elapsed = now.saturating_duration_since(self.at);
        let earned = (elapsed.as_secs_f64() / 60.0 * BUDGET as f64) as usize;
        if earned > 0 {
            self.left = (self.left + earned).min(BUDGET);
            // This keeps the time of the fraction of a byte.
            self.at += Duration::from_secs_f64(earned as f64 * 60.0 / BUDGET as f64).min(elapsed);
        }
        let is_enough = bytes <= self.left;
        if is_enough {
            self.left -= bytes;
        }
        is_enough
    }
}

/// Logs how many lines an output has dropped.
#[derive(Debug)]
struct WarnOfDropped {
    output: &'static str,
    writer: QueueWriter,
    repeated: Thinned,
}

impl Source for WarnOfDropped {
    fn update(&mut self) {
        if let Some(Repeated { amount: lines, .. }) = self.repeated.round(self.writer.dropped.pending()) {
            self.writer.budget.lock().left += REPORT;
            let output = self.output;
            tracing::warn!(
                lines,
                output,
                "log lines were dropped: there were too many, or the output was too slow"
            );
        }
    }
}

/// The place to which the thread of an output writes.
#[derive(Debug)]
enum Destination {
    Stderr,
    File(LogFile),
}

/// An open log file.
#[derive(Debug)]
struct LogFile {
    path: PathBuf,
    file: File,
    /// The failures to open the path again.
    failures: Thinned,
}

impl Destination {
    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        match self {
            Self::Stderr => io::stderr().lock().write_all(line),
            Self::File(file) => file.write(line),
        }
    }
}

impl LogFile {
    fn open(path: PathBuf) -> io::Result<Self> {
        Ok(Self { file: append_to(&path)?, path, failures: Thinned::default() })
    }

    /// Writes to the file that has the path now, because another program may have moved or deleted the old one.
    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        if has_moved(&self.file, &self.path) {
            match append_to(&self.path) {
                Ok(file) => {
                    self.file = file;
                    self.failures = Thinned::default();
                }
                // This message fails in the same way, so it must become rarer.
                Err(error) => {
                    if let Some(Repeated { times, .. }) = self.failures.add(1) {
                        tracing::warn!(
                            %error,
                            times,
                            "the log file cannot be opened again; tallyd keeps writing to the old one"
                        );
                    }
                }
            }
        }
        self.file.write_all(line)
    }
}

/// Starts the log. It also receives the messages of panics until it is dropped.
///
/// # Errors
///
/// Returns an error if the log file cannot be opened, or the system provides no thread.
pub(super) fn start(logging: &LoggingSection, telemetry: &Telemetry, threads: &Threads) -> io::Result<Log> {
    let LoggingSection { level, format, output, file_path } = logging;
    let (mut outputs, mut layers) = (Vec::new(), Vec::new());
    let mut add = |name, destination, is_journal| -> io::Result<()> {
        let (output, writer) = start_output(name, destination, telemetry, threads)?;
        outputs.push(output);
        layers.push(layer(*format, writer, is_journal));
        Ok(())
    };
    if output.contains(&LogOutput::Console) {
        add("console", Destination::Stderr, is_journal())?;
    }
    if output.contains(&LogOutput::File) {
        add("file", Destination::File(LogFile::open(file_path.clone())?), false)?;
    }
    let (filter, level) = reload::Layer::new(filter(*level));
    // This fails only if another log was started first, which tallyd never does.
    _ = Registry::default().with(layers).with(filter).try_init();
    // By default, a panic writes to standard error, and would wait for its reader.
    panic::set_hook(Box::new(|panic| {
        let current = thread::current();
        let message = panic.payload_as_str().unwrap_or("no message");
        let place = panic.location().map(ToString::to_string);
        tracing::error!(thread = current.name(), message, place, "a thread panicked");
    }));
    Ok(Log { outputs, level })
}

/// Starts the thread of an output.
fn start_output(
    name: &'static str,
    mut destination: Destination,
    telemetry: &Telemetry,
    threads: &Threads,
) -> io::Result<(Output, QueueWriter)> {
    let (lines, queue) = async_channel::bounded::<Box<[u8]>>(QUEUE);
    let (end, ended) = mpsc::channel();
    let dropped = telemetry.counter("log_lines_dropped", &[("output", name)]);
    let failed = dropped.clone();
    threads.spawn(&format!("log-{name}"), move || {
        let _end: mpsc::Sender<()> = end;
        while let Ok(line) = queue.recv_blocking() {
            if destination.write(&line).is_err() {
                failed.increment();
            }
        }
    })?;
    let budget = Arc::new(Mutex::new(Budget::new(Instant::now())));
    let writer = QueueWriter { lines: lines.clone(), budget, dropped };
    let repeated = Thinned::default();
    telemetry.add_source(WarnOfDropped { output: name, writer: writer.clone(), repeated });
    Ok((Output { lines, ended }, writer))
}

fn filter(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}

/// Returns true if standard error is systemd's journal. `JOURNAL_STREAM` has the device and the inode of the journal's socket, so
/// a redirection is noticed (`systemd.exec(5)`).
fn is_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    fstat(io::stderr()).is_ok_and(|stderr| stream == format!("{}:{}", stderr.st_dev, stderr.st_ino))
}

fn layer<W>(format: LogFormat, writer: W, is_journal: bool) -> Box<dyn Layer<Registry> + Send + Sync>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let layer = tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(false).with_target(false);
    match (format, is_journal) {
        (LogFormat::Text, false) => layer.boxed(),
        // The journal has a time of its own.
        (LogFormat::Text, true) => layer.without_time().map_event_format(WithPriority).boxed(),
        (LogFormat::Json, false) => layer.json().flatten_event(true).boxed(),
        (LogFormat::Json, true) => layer.json().flatten_event(true).map_event_format(WithPriority).boxed(),
    }
}

/// Writes the priority before each line, as the journal reads it (`sd-daemon(3)`).
struct WithPriority<F>(F);

impl<S, N, F> FormatEvent<S, N> for WithPriority<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let priority = match *event.metadata().level() {
            Level::ERROR => 3,
            Level::WARN => 4,
            Level::INFO => 6,
            Level::DEBUG | Level::TRACE => 7,
        };
        write!(writer, "<{priority}>")?;
        self.0.format_event(context, writer, event)
    }
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn an_output_writes_less_than_a_megabyte_in_any_minute() {
        let start = Instant::now();
        let mut budget = Budget::new(start);
        let line = 1000;
        let written: Vec<_> = (0..300_000_u64)
            .map(|milli| budget.take(line, start + Duration::from_millis(milli)))
            .map(|is_kept| if is_kept { line } else { 0 })
            .collect();
        let most = written.windows(60_000).step_by(1000).map(|minute| minute.iter().sum::<usize>()).max();
        assert!(most > Some(900_000) && most < Some(1_000_000), "{most:?}");
    }

    #[test]
    fn an_output_that_blocks_drops_lines_and_delays_no_caller() {
        let (mut reader, pipe) = io::pipe().unwrap();
        let telemetry = Telemetry::default();
        let path = format!("/proc/self/fd/{}", pipe.as_raw_fd());
        let destination = Destination::File(LogFile::open(path.into()).unwrap());
        let (output, mut writer) = start_output("test", destination, &telemetry, &Threads::new().0).unwrap();
        // A pipe holds 64 KiB, and nothing reads it.
        let line = [&[b'a'; 199][..], b"\n"].concat();
        for _ in 0..2000 {
            writer.write_all(&line).unwrap();
        }
        let dropped = writer.dropped.pending();
        assert!(dropped > 500, "{dropped}");
        drop(writer);
        output.lines.close();
        let reading = thread::spawn(move || {
            let mut text = Vec::new();
            io::Read::read_to_end(&mut reader, &mut text).map(|_| text)
        });
        _ = output.ended.recv();
        // Until now, the path had to stay that of this pipe.
        drop(pipe);
        let text = reading.join().unwrap().unwrap();
        assert_eq!(text.len() as u64, (2000 - dropped) * 200, "every line is written or counted");
    }
}
