//! The daemon: starts the stages in the order of the data, and stops them in the same order.

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
use crate::export::prometheus::Totals;
use crate::export::{Console, Endpoint, ExporterHandle, ReloadRequest, Textfile};
use crate::flush::{Aggregator, Deliver, Flusher, Reload, Schedule};
use crate::http::Protection;
use crate::listen::{self, Listeners};
use crate::mapping::Mapping;
use crate::model::{Counter, Gauge, Snapshot, Telemetry};

/// Why the daemon could not start, or ended by itself.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Within this time a second signal is the first one over again.
const IMPATIENCE: Duration = Duration::from_millis(500);

/// Runs until SIGTERM or SIGINT, and then until the last interval is delivered.
///
/// # Errors
///
/// If it could not start, or had to end by itself.
pub fn run(config: &Config, mapping: Mapping, reload: impl Fn() -> Loaded, log: &Log) -> Result<(), Failure> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        // Before anything else, so that an early signal is not lost.
        let mut signals = Signals::new()?;
        let mut pipeline = Pipeline::start(config, mapping)?;
        pipeline.wait_for_stop(&mut signals, config, reload, log).await?;
        tracing::info!("stopping");
        let stopping = tokio::task::spawn_blocking(move || pipeline.stop());
        tokio::select! {
            done = stopping => done?,
            signal = signals.second_stop() => {
                tracing::error!("a second signal: what was not delivered yet is lost");
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

    /// Waits for a stop that somebody asks for who has waited already. `timeout` of coreutils, for one, sends its signal
    /// twice, to the process and to its group.
    async fn second_stop(&mut self) -> i32 {
        let begin = Instant::now();
        loop {
            let signal = self.stop().await;
            if begin.elapsed() >= IMPATIENCE {
                return signal;
            }
        }
    }

    /// Waits for SIGTERM or SIGINT; its number.
    async fn stop(&mut self) -> i32 {
        tokio::select! {
            _ = self.terminate.recv() => SignalKind::terminate().as_raw_value(),
            _ = self.interrupt.recv() => SignalKind::interrupt().as_raw_value(),
        }
    }
}

/// All stages, running.
struct Pipeline {
    listeners: Listeners,
    /// Dropped, it stops the flusher.
    commands: mpsc::Sender<Reload>,
    flusher: JoinHandle<Delivery>,
    reload_telemetry: ReloadTelemetry,
    /// Resolves when the flusher has ended.
    flusher_ended: oneshot::Receiver<()>,
    /// How often files are to be opened again.
    reopens: Arc<AtomicU64>,
    /// From clients of the endpoint.
    reloads: channel::Receiver<ReloadRequest>,
    timeout: Duration,
}

impl Pipeline {
    fn start(config: &Config, mapping: Mapping) -> Result<Self, Failure> {
        let reopens = Arc::new(AtomicU64::new(0));
        let (wishes, reloads) = channel::channel(1);
        let telemetry = Telemetry::default();
        let Exporters { outlets, endpoint } = start_exporters(config, &reopens, wishes, &telemetry)?;
        if !mapping.is_empty() {
            tracing::info!(rules = mapping.rules().len(), "mapping rules were read");
        }
        let mut aggregator = Aggregator::new(config.parameters(), config.terms(mapping), telemetry.clone());
        let opened = listen::open(config.listening())?;
        let schedule = Schedule::new(config.flush.interval.get(), Instant::now(), SystemTime::now());
        let listeners = opened.start(|| aggregator.add_shard(), &telemetry)?;
        let flusher = Flusher::new(aggregator, schedule, &telemetry, Delivery(outlets));
        let (commands, received) = mpsc::channel();
        let (ending, flusher_ended) = oneshot::channel();
        let flusher = thread::Builder::new().name("flush".to_owned()).spawn(move || {
            // Dropped at the end, however that comes.
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
        let timeout = config.shutdown.timeout.get();
        Ok(Self { listeners, commands, flusher, reload_telemetry, flusher_ended, reopens, reloads, timeout })
    }

    /// Waits for SIGTERM or SIGINT; on SIGHUP, opens files again and reads the configuration, as it does for a client who asks.
    async fn wait_for_stop(
        &mut self,
        signals: &mut Signals,
        config: &Config,
        reload: impl Fn() -> Loaded,
        log: &Log,
    ) -> Result<(), Failure> {
        loop {
            tokio::select! {
                _ = signals.terminate.recv() => return Ok(()),
                _ = signals.interrupt.recv() => return Ok(()),
                _ = &mut self.flusher_ended => return Err("the flush ended by a panic; see the log above".into()),
                _ = signals.hang_up.recv() => {
                    self.reopens.fetch_add(1, Ordering::Relaxed);
                    if let Err(error) = log.reopen() {
                        tracing::warn!(%error, "cannot open the log file again; the log goes on in the old one");
                    }
                    tracing::info!("files are opened again");
                    // It is logged.
                    _ = self.take(reload(), config, log);
                }
                Some(wish) = self.reloads.recv() => {
                    // Whoever wished it may have gone.
                    _ = wish.send(self.take(reload(), config, log));
                }
            }
        }
    }

    /// Puts what was read anew in force, or refuses all of it and says why.
    fn take(&mut self, reloaded: Loaded, config: &Config, log: &Log) -> Result<(), String> {
        let outcome = match reloaded {
            Ok((new, mapping)) => {
                let waiting = new.needs_restart(config);
                if !waiting.is_empty() {
                    let sections = waiting.join(", ");
                    tracing::warn!(
                        sections,
                        "the configuration was changed where only a restart takes it up"
                    );
                }
                tracing::info!(
                    rules = mapping.rules().len(),
                    "mapping rules were read; they hold from the next interval on"
                );
                log.set_level(new.logging.level);
                self.timeout = new.shutdown.timeout.get();
                let settings = new.terms(mapping);
                // The only error is a flusher that has ended, and then the daemon ends, too.
                _ = self.commands.send(Reload { settings, interval: new.flush.interval.get() });
                Ok(())
            }
            Err(error) => {
                tracing::error!("the configuration is refused, what was in force stays: {error}");
                Err(error.to_string())
            }
        };
        self.reload_telemetry.count(outcome.is_ok());
        outcome
    }

    /// Stops the stages one after the other, so that each can hand on what it has.
    fn stop(self) -> Result<(), Failure> {
        // Held until the last flush has read how many datagrams came too late.
        let _sockets = self.listeners.stop();
        drop(self.commands);
        // Who waits for a reload is told that there will be none.
        drop(self.reloads);
        let Delivery(outlets) = self.flusher.join().map_err(|_| "the last flush ended by a panic")?;
        let deadline = Instant::now() + self.timeout;
        let mut late = Vec::new();
        for outlet in outlets {
            let name = outlet.name();
            if !outlet.finish(deadline.saturating_duration_since(Instant::now())) {
                late.push(name);
            }
        }
        if late.is_empty() {
            Ok(())
        } else {
            Err(format!("not finished in time: {}", late.join(", ")).into())
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

/// The counters of reloads.
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

/// All exporters that are enabled, running.
struct Exporters {
    outlets: Vec<ExporterHandle>,
    /// Where Prometheus may scrape, and what protects that.
    endpoint: Option<(SocketAddr, Option<Protection>)>,
}

fn start_exporters(
    config: &Config,
    reopens: &Arc<AtomicU64>,
    wishes: channel::Sender<ReloadRequest>,
    telemetry: &Telemetry,
) -> Result<Exporters, Failure> {
    let mut outlets = Vec::new();
    let console = &config.exporters.console;
    if console.enabled {
        let exporter = Console::new(console.format, console.path.clone());
        outlets.push(ExporterHandle::start(exporter, reopens, telemetry)?);
    }
    let naming = config.exporters.prometheus.naming;
    let textfile = &config.exporters.textfile;
    if textfile.enabled {
        let totals = Totals::new(naming).reserving(textfile.reserved_prefixes.clone());
        let exporter = Textfile::new(textfile.path.clone(), textfile.on_exit, totals);
        outlets.push(ExporterHandle::start(exporter, reopens, telemetry)?);
    }
    let mut endpoint = None;
    if let Some(serving) = config.serving() {
        let reloads = config.exporters.prometheus.enable_reload.then_some(wishes);
        let totals = Totals::new(naming).telling_created(config.exporters.prometheus.openmetrics_created);
        let exporter = Endpoint::start(&serving, totals, reloads, telemetry)?;
        endpoint = Some((exporter.address(), exporter.protection()));
        outlets.push(ExporterHandle::start(exporter, reopens, telemetry)?);
    }
    Ok(Exporters { outlets, endpoint })
}
