//! The log: to standard error, to a file, or to both.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, filter};

use crate::config::{LogFormat, LogLevel, LogOutput, LoggingSection};

/// A log file that can be opened again after somebody rotated it.
#[derive(Debug, Clone)]
pub struct LogFile {
    path: PathBuf,
    file: Arc<Mutex<File>>,
}

impl LogFile {
    /// Appends to the file that then has the path.
    ///
    /// # Errors
    ///
    /// If it cannot be opened; the log goes on in the old one.
    pub fn reopen(&self) -> io::Result<()> {
        *self.file.lock() = open(&self.path)?;
        Ok(())
    }
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

/// Starts logging as configured; the file, if there is one.
///
/// # Errors
///
/// If the file cannot be opened.
pub fn start(logging: &LoggingSection) -> io::Result<Option<LogFile>> {
    let LoggingSection { level, format, output, file_path } = logging;
    let level = match level {
        LogLevel::Error => filter::LevelFilter::ERROR,
        LogLevel::Warn => filter::LevelFilter::WARN,
        LogLevel::Info => filter::LevelFilter::INFO,
        LogLevel::Debug => filter::LevelFilter::DEBUG,
        LogLevel::Trace => filter::LevelFilter::TRACE,
    };
    let file = if output.contains(&LogOutput::File) {
        Some(LogFile { path: file_path.clone(), file: Arc::new(Mutex::new(open(file_path)?)) })
    } else {
        None
    };
    let console = output.contains(&LogOutput::Console).then(|| layer(*format, io::stderr));
    let to_file = file.clone().map(|file| layer(*format, file));
    let layers: Vec<_> = console.into_iter().chain(to_file).collect();
    // Only fails if a log was started before, as in tests of this library.
    _ = Registry::default().with(layers).with(level).try_init();
    Ok(file)
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
