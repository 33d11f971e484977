//! Runs the daemon: starts the stages, reloads the configuration, and stops the stages in the order of the data.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc as channel, oneshot};

use crate::app::config::{Config, Loaded};
use crate::app::log::Log;
use crate::app::terminal::Terminal;
use crate::export::prometheus::Totals;
use crate::export::{Console, Endpoint, ExporterHandle, ReloadRequest, Textfile};
use crate::flush::{Aggregator, Deliver, Flusher, Reload, Schedule};
use crate::http::Protection;
use crate::listen::{self, Listeners};
use crate::mapping::Mapping;
use crate::model::{Counter, DrainRequests, Gauge, Snapshot, Telemetry};

/// The reason why the daemon could not start, or ended unexpectedly.
pub(super) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// A second signal within this time only repeats the first. For example, `timeout` of coreutils signals the process and then
/// its group.
const REPEATED_SIGNAL: Duration = Duration::from_millis(500);

/// Runs until SIGTERM, SIGINT, or the loss of the terminal or of the only output, and then until the exporters have delivered the last interval.
///
/// # Errors
///
/// Returns an error if the daemon cannot start, or if it ends unexpectedly.
pub(super) fn run(
    config: &Config,
    mapping: Mapping,
    reload: impl Fn() -> Loaded,
    log: &Log,
) -> Result<(), Failure> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        // This comes first, so that no early signal is lost.
        let mut signals = Signals::new()?;
        let terminal = Terminal::now();
        let mut pipeline = Pipeline::start(config, mapping)?;
        pipeline.wait_for_stop(&mut signals, terminal, config, reload, log).await?;
        tracing::info!("stopping");
        let stopping = tokio::task::spawn_blocking(move || pipeline.stop());
        tokio::select! {
            done = stopping => done?,
            signal = signals.second_stop() => {
                tracing::error!("a second signal: tallyd exits at once, and snapshots that were not delivered are lost");
                std::process::exit(128 + signal);
            }
        }
    })
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for a further signal, which ends a slow stop, and returns its number. Ignores repetitions of the first signal.
    async fn second_stop(&mut self) -> i32 {
        let begin = Instant::now();
        loop {
            let signal = self.stop().await;
            if begin.elapsed() >= REPEATED_SIGNAL {
                return signal;
            }
        }
    }

    /// Waits for SIGTERM or SIGINT, and returns its number.
    async fn stop(&mut self) -> i32 {
        tokio::select! {
            _ = self.terminate.recv() => SignalKind::terminate().as_raw_value(),
            _ = self.interrupt.recv() => SignalKind::interrupt().as_raw_value(),
        }
    }
}

/// All stages while they run.
struct Pipeline {
    listeners: Listeners,
    /// Dropping this sender stops the flusher.
    commands: mpsc::Sender<Reload>,
    flusher: JoinHandle<Delivery>,
    reload_telemetry: ReloadTelemetry,
    /// Resolves when the flush thread ends, even by a panic.
    flusher_ended: oneshot::Receiver<()>,
    /// Counts the requests to reopen files. Each exporter compares it with the count that it saw last.
    reopens: Arc<AtomicU64>,
    /// Requests from HTTP clients to reload the configuration.
    reload_requests: channel::Receiver<ReloadRequest>,
    /// Receives a message if standard output was closed and no other exporter is enabled.
    output_closed: channel::Receiver<()>,
    /// How long exporters may take to deliver the last snapshot.
    shutdown_timeout: Duration,
}

impl Pipeline {
    fn start(config: &Config, mapping: Mapping) -> Result<Self, Failure> {
        let reopens = Arc::new(AtomicU64::new(0));
        let (reload_sender, reload_requests) = channel::channel(1);
        let telemetry = Telemetry::with_tags(config.own_tags());
        let Exporters { handles, endpoint, output_closed } =
            start_exporters(config, &reopens, reload_sender, &telemetry)?;
        if !mapping.is_empty() {
            tracing::info!(rules = mapping.rules().len(), "mapping rules were read");
        }
        let settings = config.reloadable_settings(mapping);
        let mut aggregator = Aggregator::new(config.aggregation_options(), settings, telemetry.clone());
        let opened = listen::open(config.listening())?;
        let schedule = Schedule::new(config.flush.interval.get(), Instant::now(), SystemTime::now());
        let drains = DrainRequests::default();
        let listeners = opened.start(|| aggregator.add_shard(), &telemetry, &drains)?;
        let flusher = Flusher::new(aggregator, schedule, drains, &telemetry, Delivery(handles));
        let (commands, received) = mpsc::channel();
        let (ending, flusher_ended) = oneshot::channel();
        let flusher = thread::Builder::new().name("flush".to_owned()).spawn(move || {
            // The thread drops this sender when it ends, even by a panic.
            let _ending: oneshot::Sender<()> = ending;
            flusher.run(&received)
        })?;
        telemetry.gauge("build_info", &[("version", env!("CARGO_PKG_VERSION"))]).set(1.0);
        let reload_telemetry = ReloadTelemetry::new(&telemetry);
        listeners.log_addresses();
        match endpoint {
            Some((address, Some(Protection { tls, users }))) => {
                tracing::info!(%address, tls, users, "serving /metrics");
            }
            Some((address, None)) => tracing::info!(%address, "serving /metrics"),
            None => {}
        }
        let shutdown_timeout = config.shutdown.timeout.get();
        Ok(Self {
            listeners,
            commands,
            flusher,
            reload_telemetry,
            flusher_ended,
            reopens,
            reload_requests,
            output_closed,
            shutdown_timeout,
        })
    }

    /// Waits for SIGTERM, SIGINT, or the loss of the terminal or of the only output. Meanwhile, SIGHUP reopens files and reloads the configuration, and HTTP clients can
    /// request a reload.
    async fn wait_for_stop(
        &mut self,
        signals: &mut Signals,
        terminal: Terminal,
        config: &Config,
        reload: impl Fn() -> Loaded,
        log: &Log,
    ) -> Result<(), Failure> {
        loop {
            tokio::select! {
                _ = signals.terminate.recv() => return Ok(()),
                _ = signals.interrupt.recv() => return Ok(()),
                _ = &mut self.flusher_ended => return Err("the flush thread panicked; the log above has its message".into()),
                Some(()) = self.output_closed.recv() => {
                    tracing::error!("standard output was closed, and tallyd has no other exporter");
                    return Ok(());
                }
                _ = signals.hang_up.recv() => {
                    if terminal.is_gone() {
                        tracing::info!("the terminal was closed");
                        return Ok(());
                    }
                    self.reopens.fetch_add(1, Ordering::Relaxed);
                    if let Err(error) = log.reopen() {
                        tracing::warn!(%error, "the log file cannot be opened again; tallyd keeps writing to the old one");
                    }
                    tracing::info!("log and output files are opened again");
                    // `apply_reload` logs the outcome.
                    _ = self.apply_reload(reload(), config, log);
                }
                Some(request) = self.reload_requests.recv() => {
                    // Sending fails if the client has disconnected.
                    _ = request.send(self.apply_reload(reload(), config, log));
                }
            }
        }
    }

    /// Applies a configuration, or refuses all of it and returns the reason. New rules take effect with the next interval.
    fn apply_reload(&mut self, reloaded: Loaded, config: &Config, log: &Log) -> Result<(), String> {
        let outcome = match reloaded {
            Ok((new, mapping)) => {
                let waiting = new.restart_keys(config);
                if !waiting.is_empty() {
                    let keys = waiting.join(", ");
                    tracing::warn!(keys, "these changed keys take effect only after a restart");
                }
                let rules = mapping.rules().len();
                tracing::info!(rules, "mapping rules were read; they take effect with the next interval");
                log.set_level(new.logging.level);
                self.shutdown_timeout = new.shutdown.timeout.get();
                let settings = new.reloadable_settings(mapping);
                // Sending fails only if the flusher has ended, and then the daemon ends, too.
                _ = self.commands.send(Reload { settings, interval: new.flush.interval.get() });
                Ok(())
            }
            Err(error) => {
                tracing::error!("the configuration is refused; the previous one stays in force: {error}");
                Err(error.to_string())
            }
        };
        self.reload_telemetry.count(outcome.is_ok());
        outcome
    }

    /// Stops the stages in order, so that each can pass on its data.
    fn stop(self) -> Result<(), Failure> {
        self.listeners.stop();
        drop(self.commands);
        // This answers a client that still waits for a reload.
        drop(self.reload_requests);
        let Delivery(exporters) =
            self.flusher.join().map_err(|_| "the flush thread panicked during the last flush")?;
        let deadline = Instant::now() + self.shutdown_timeout;
        let mut late = Vec::new();
        for exporter in exporters {
            let name = exporter.name();
            if !exporter.finish(deadline.saturating_duration_since(Instant::now())) {
                late.push(name);
            }
        }
        if late.is_empty() {
            Ok(())
        } else {
            let late = late.join(", ");
            Err(format!("not finished within shutdown.timeout, so the last interval may be lost: {late}")
                .into())
        }
    }
}

/// Hands snapshots to all exporters.
struct Delivery(Vec<ExporterHandle>);

impl Deliver for Delivery {
    fn deliver(&self, snapshot: &Arc<Snapshot>) {
        self.0.iter().for_each(|exporter| exporter.deliver(snapshot));
    }
}

/// tallyd's own series about reloads of its configuration.
struct ReloadTelemetry {
    taken: Counter,
    refused: Counter,
    last_successful: Gauge,
}

impl ReloadTelemetry {
    fn new(telemetry: &Telemetry) -> Self {
        let counter = |outcome| telemetry.counter("config_reloads", &[("outcome", outcome)]);
        let last_successful = telemetry.gauge("config_last_reload_successful", &[]);
        last_successful.set(1.0);
        Self { taken: counter("taken"), refused: counter("refused"), last_successful }
    }

    fn count(&self, is_taken: bool) {
        let counter = if is_taken { &self.taken } else { &self.refused };
        counter.increment();
        self.last_successful.set(f64::from(u8::from(is_taken)));
    }
}

/// The running exporters.
struct Exporters {
    handles: Vec<ExporterHandle>,
    /// The address of the endpoint, and its protection by TLS and passwords.
    endpoint: Option<(SocketAddr, Option<Protection>)>,
    output_closed: channel::Receiver<()>,
}

fn start_exporters(
    config: &Config,
    reopens: &Arc<AtomicU64>,
    reload_sender: channel::Sender<ReloadRequest>,
    telemetry: &Telemetry,
) -> Result<Exporters, Failure> {
    let mut handles = Vec::new();
    let (closed_sender, output_closed) = channel::channel(1);
    let console = &config.exporters.console;
    if console.enabled {
        let is_only = !config.exporters.textfile.enabled && !config.exporters.prometheus.start_http_server;
        let exporter = Console::new(console.format, console.path.clone())
            .with_max_rows(console.max_rows)
            .with_closed_notice(is_only.then_some(closed_sender));
        handles.push(ExporterHandle::start(exporter, reopens, telemetry)?);
    }
    let naming = config.exporters.prometheus.naming;
    let textfile = &config.exporters.textfile;
    if textfile.enabled {
        let totals = Totals::new(naming).with_reserved_prefixes(textfile.reserved_prefixes.clone());
        let exporter =
            Textfile::new(textfile.path.clone(), textfile.on_exit, totals, config.textfile_timestamp());
        handles.push(ExporterHandle::start(exporter, reopens, telemetry)?);
    }
    let mut endpoint = None;
    if let Some(serving) = config.serving() {
        let reloads = config.exporters.prometheus.enable_reload.then_some(reload_sender);
        let totals = Totals::new(naming).with_created_lines(config.exporters.prometheus.openmetrics_created);
        let exporter = Endpoint::start(&serving, totals, reloads, telemetry)?;
        endpoint = Some((exporter.address(), exporter.protection()));
        handles.push(ExporterHandle::start(exporter, reopens, telemetry)?);
    }
    Ok(Exporters { handles, endpoint, output_closed })
}
