//! Writes the log to standard error, to a file, or to both.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Layered, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, reload};

use crate::app::config::{LogFormat, LogLevel, LogOutput, LoggingSection};

/// The outputs of the log. One filter by level applies to all of them.
type Outputs = Layered<Vec<Box<dyn Layer<Registry> + Send + Sync>>, Registry>;

/// The running log. Its file can be reopened, and its level can be changed.
pub(super) struct Log {
    file: Option<LogFile>,
    level: reload::Handle<LevelFilter, Outputs>,
}

impl Log {
    /// Reopens the log file, if the log has one, because logrotate may have renamed it.
    ///
    /// # Errors
    ///
    /// Returns an error if the file cannot be opened. The log then continues in the old file.
    pub(super) fn reopen(&self) -> io::Result<()> {
        let Some(LogFile { path, file }) = &self.file else { return Ok(()) };
        *file.lock() = open(path)?;
        Ok(())
    }

    /// Sets the least severe level that is logged.
    pub(super) fn set_level(&self, level: LogLevel) {
        // This fails only if another log was started first, which tallyd never does.
        _ = self.level.reload(filter(level));
    }
}

/// Omits the handle of the level, which does not implement `Debug`.
impl fmt::Debug for Log {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Log").field("file", &self.file).finish_non_exhaustive()
    }
}

#[derive(Debug, Clone)]
struct LogFile {
    path: PathBuf,
    file: Arc<Mutex<File>>,
}

impl<'a> MakeWriter<'a> for LogFile {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Write for LogFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.lock().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.lock().flush()
    }
}

/// Starts the log.
///
/// # Errors
///
/// Returns an error if the log file cannot be opened.
pub(super) fn start(logging: &LoggingSection) -> io::Result<Log> {
    let LoggingSection { level, format, output, file_path } = logging;
    let file = if output.contains(&LogOutput::File) {
        Some(LogFile { path: file_path.clone(), file: Arc::new(Mutex::new(open(file_path)?)) })
    } else {
        None
    };
    let console = output.contains(&LogOutput::Console).then(|| layer(*format, io::stderr));
    let to_file = file.clone().map(|file| layer(*format, file));
    let layers: Vec<_> = console.into_iter().chain(to_file).collect();
    let (filter, level) = reload::Layer::new(filter(*level));
    // This fails only if another log was started first, which tallyd never does.
    _ = Registry::default().with(layers).with(filter).try_init();
    Ok(Log { file, level })
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

fn layer<W>(format: LogFormat, writer: W) -> Box<dyn Layer<Registry> + Send + Sync>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let layer = tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(false).with_target(false);
    match format {
        LogFormat::Text => layer.boxed(),
        LogFormat::Json => layer.json().flatten_event(true).boxed(),
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}
