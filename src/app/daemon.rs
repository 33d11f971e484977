//! Runs the daemon: starts the stages, reloads the configuration, and stops the stages in the order of the data.

use std::future::poll_fn;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;
use std::pin::pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc;
use std::task::{Context, Poll};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;
use tokio::sync::{mpsc as channel, oneshot};

use crate::aggregate::AggregationOptions;
use crate::app::config::{self, Config, Loaded, Occasion, Ready};
use crate::app::descriptors;
use crate::app::health::FlushHealth;
use crate::app::log::{self, Log};
use crate::app::memory;
use crate::app::process;
use crate::app::push::PushEndpoints;
use crate::app::service_manager::{ServiceManager, State};
use crate::app::signals::Signals;
use crate::app::state::{CountsSender, Restoring, StateSchedule};
use crate::app::terminal::Terminal;
use crate::deliver;
use crate::export::prometheus::{ApiOptions, ConfigurationInForce, Totals};
use crate::export::{
    Admin, Console, Endpoint, Exporter, ExporterHandle, ExporterQueue, ExporterStatuses, HdrLog, Otlp, Pages,
    Push, ReloadRequest, RemoteWrite, Textfile,
};
use crate::flush::{Aggregator, Deliver, Drain, Flusher, LiveSeries, Reload, Schedule};
use crate::http::{Protection, ServerOptions};
use crate::listen::{self, CountedDrops, DrainRequests, HeldSockets, Listeners};
use crate::mapping::Mapping;
use crate::model::{Counter, Gauge, Memory, Snapshot, Telemetry};
use crate::net::{ThreadEnd, ThreadEnds, Threads};
use crate::relay::Relay;
use crate::state::{PartSender, StateFile, StateHandle, StateKeeper, StateTelemetry};

/// The reason why the daemon could not start, or ended unexpectedly.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Reads the configuration.
pub(super) type Load = Arc<dyn Fn(Occasion) -> Loaded + Send + Sync>;

/// Runs until SIGTERM, SIGINT, SIGQUIT, or the loss of the terminal or of the only output, and then until the exporters have
/// delivered the last interval. Returns the exit code. `file` is the configuration file, for the log.
pub(super) fn run(load: &Load, file: Option<&Path>) -> ExitCode {
    // This changes the environment, so it comes before any other thread starts.
    let held = match HeldSockets::take() {
        Ok(held) => held,
        Err(error) => {
            eprintln!("tallyd: {error}");
            return ExitCode::FAILURE;
        }
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("tallyd: cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(async {
        // This comes before anything slow, so no signal ends tallyd without a flush.
        let mut signals = match Signals::new() {
            Ok(signals) => signals,
            Err(error) => {
                eprintln!("tallyd: cannot handle signals: {error}");
                return ExitCode::FAILURE;
            }
        };
        let first = Arc::clone(load);
        let prepared = tokio::select! {
            // There is nothing to deliver yet.
            _ = signals.stop() => return ExitCode::SUCCESS,
            prepared = on_thread("start", move || Prepared::new(&first)) => prepared,
        };
        match prepared {
            Some(Ok(prepared)) => {
                prepared.log_start(file);
                prepared.run(load, held, &mut signals).await
            }
            Some(Err(code)) => code,
            None => ExitCode::FAILURE,
        }
    });
    // A thread may still wait for a file. The end of the process ends it.
    runtime.shutdown_background();
    code
}

/// Runs a function on a thread of its own, so that it may block. If the system provides no thread, the function runs on
/// this one. Returns `None` if it panicked.
async fn on_thread<T: Send + 'static>(name: &str, run: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (result, received) = oneshot::channel();
    // A thread that could not be started has dropped its function, so the function waits here for the thread to take it.
    let run = Arc::new(Mutex::new(Some(run)));
    let for_thread = Arc::clone(&run);
    let take = |run: &Mutex<Option<_>>| run.lock().take();
    let spawned = thread::Builder::new().name(name.to_owned()).spawn(move || {
        _ = result.send(take(&for_thread).map(|run| run()));
    });
    if let Err(error) = spawned {
        tracing::warn!(%error, thread = name, "the system provides no thread; tallyd waits meanwhile");
        let run = take(&run)?;
        return panic::catch_unwind(AssertUnwindSafe(run)).ok();
    }
    received.await.ok().flatten()
}

/// Returns the outcome of a future, or a failure if it panics.
async fn catch_panic(future: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let mut future = pin!(future);
    let poll = |context: &mut Context<'_>| {
        // A panic may leave the future in an inconsistent state. It is never polled again.
        panic::catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context)))
            .unwrap_or_else(|_| Poll::Ready(Err("the main thread panicked".into())))
    };
    poll_fn(poll).await
}

/// Everything that exists before the pipeline starts.
struct Prepared {
    ready: Ready,
    telemetry: Telemetry,
    threads: Threads,
    ends: ThreadEnds,
    log: Log,
    terminal: Terminal,
}

impl Prepared {
    /// Reads the configuration and starts the log. If this fails, prints the reason and returns the exit code.
    fn new(load: &Load) -> Result<Self, ExitCode> {
        let terminal = Terminal::now();
        let ready = load(Occasion::Start).map_err(|error| config::refuse(&error))?;
        let config = &ready.config;
        let telemetry = Telemetry::with_tags(config.own_tags());
        let (threads, ends) = Threads::new();
        let log = log::start(&config.logging, &telemetry, &threads).map_err(|error| {
            let path = config.logging.file_path.display();
            eprintln!(
                "tallyd: cannot open the log file {path}: {error}; set logging.file_path or LOG_FILE_PATH"
            );
            ExitCode::FAILURE
        })?;
        Ok(Self { ready, telemetry, threads, ends, log, terminal })
    }

    fn log_start(&self, file: Option<&Path>) {
        let version = env!("CARGO_PKG_VERSION");
        let file = file.map_or_else(|| "none".to_owned(), |file| file.display().to_string());
        tracing::info!(version, config = file, "tallyd starts");
        self.ready.log_warnings();
    }

    /// Runs the pipeline. Logs the reason if this fails.
    async fn run(self, load: &Load, held: HeldSockets, signals: &mut Signals) -> ExitCode {
        let Self { ready, telemetry, threads, mut ends, log, terminal } = self;
        let Ready { config, mapping, .. } = ready;
        let mut pipeline = match Pipeline::start(&config, mapping, held, &telemetry, &threads) {
            Ok(pipeline) => pipeline,
            Err(error) => {
                tracing::error!("{error}");
                return ExitCode::FAILURE;
            }
        };
        let service_manager = pipeline.service_manager.clone();
        service_manager.enter(State::Ready);
        let waiting = pipeline.wait_for_stop(signals, terminal, &mut ends, &config, load, &log);
        let outcome = catch_panic(waiting).await;
        service_manager.enter(State::Stopping);
        match &outcome {
            Ok(()) => tracing::info!("stopping"),
            Err(failure) => tracing::error!("{failure}; tallyd delivers what it holds and exits"),
        }
        let stopped = tokio::select! {
            stopped = on_thread("stop", move || pipeline.stop()) => stopped,
            signal = signals.second_stop() => {
                tracing::error!("a second signal: tallyd exits at once, and snapshots that were not delivered are lost");
                log.finish();
                std::process::exit(128 + signal);
            }
        };
        let mut is_whole = outcome.is_ok();
        match stopped.unwrap_or_else(|| Err("the stop panicked".into())) {
            Ok(()) => {}
            Err(error) => {
                tracing::error!("{error}");
                is_whole = false;
            }
        }
        // A thread may also panic during the stop.
        while let Ok(ThreadEnd { sentence, is_failure }) = ends.try_recv() {
            if is_failure {
                tracing::error!("{sentence}");
                is_whole = false;
            }
        }
        if is_whole { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

/// All stages while they run.
struct Pipeline {
    listeners: Listeners,
    relay: Relay,
    /// Dropping this sender stops the flusher.
    commands: mpsc::Sender<Reload>,
    flusher: JoinHandle<()>,
    exporters: Exporters,
    /// `None` if no state outlives the process.
    state: Option<(StateHandle, CountsSender)>,
    telemetry: Telemetry,
    health: Arc<FlushHealth>,
    service_manager: ServiceManager,
    reload_telemetry: ReloadTelemetry,
    /// The configuration that the API shows.
    configuration: ConfigurationInForce,
    /// Requests from HTTP clients to reload the configuration.
    reload_requests: channel::Receiver<ReloadRequest>,
    /// Receives a message if standard output was closed and no other exporter is enabled.
    output_closed: channel::Receiver<()>,
    /// How long exporters may take to deliver the last snapshot.
    shutdown_timeout: Duration,
}

impl Pipeline {
    fn start(
        config: &Config,
        mapping: Mapping,
        mut held: HeldSockets,
        telemetry: &Telemetry,
        threads: &Threads,
    ) -> Result<Self, Failure> {
        let (reload_sender, reload_requests) = channel::channel(1);
        let interval = config.flush.interval.get();
        let health = Arc::new(FlushHealth::new(interval));
        let (mut listening, mut serving) = (config.listening(&held.listeners()), config.serving());
        descriptors::limit_connections(descriptors::raise_limit(), &mut listening, &mut serving);
        let held_endpoint = held.take_endpoint();
        if held_endpoint.is_some() && serving.is_none() {
            return Err("the service manager passed a socket for the endpoint, which is off; set \
                        exporters.prometheus.start_http_server to true, or stop the socket unit"
                .into());
        }
        if !mapping.is_empty() {
            tracing::info!(rules = mapping.rules().len(), "mapping rules were read");
        }
        let settings = config.reloadable_settings(mapping);
        let memory = memory::limited(config.max_memory(), telemetry);
        process::report_to(telemetry);
        let options = AggregationOptions { memory: memory.clone(), ..config.aggregation_options() };
        let requests = options.requests.clone();
        let mut aggregator = Aggregator::new(options, settings, telemetry.clone());
        // From here on, the kernel keeps datagrams that arrive while the state is read.
        let opened = listen::open(listening, held)?;
        let drops = CountedDrops::default();
        let state_options = config.state();
        let file = state_options.as_ref().map(|options| StateFile::open(&options.path)).transpose()?;
        let saved = file.as_ref().and_then(StateFile::read);
        let mut restoring = Restoring::default();
        let mut keeper = file.map(|file| {
            let telemetry = StateTelemetry::register(telemetry);
            if let Some(saved) = &saved {
                restoring =
                    Restoring::new(&file, saved, &mut aggregator, &drops, &telemetry, SystemTime::now());
            }
            StateKeeper::new(file, telemetry)
        });
        let state_schedule = keeper.as_mut().zip(state_options).map(|(keeper, options)| {
            StateSchedule::new(keeper, options.interval, drops.clone(), Instant::now())
        });
        let configuration = ConfigurationInForce::default();
        configuration.set(config.in_force(config));
        let statuses = ExporterStatuses::default();
        let api = ApiOptions {
            access: config.exporters.prometheus.api,
            configuration: configuration.clone(),
            exporters: statuses.clone(),
            requests,
        };
        let relay = Relay::new(&memory, telemetry, threads);
        let mut exporters = Exporters::new(config, memory, (telemetry, threads), statuses);
        let (closed_sender, output_closed) = channel::channel(1);
        let mut saved_state = ExporterState { restoring, keeper };
        let endpoint = exporters.start(
            config,
            &mut saved_state,
            serving.zip(Some(held_endpoint)),
            &health,
            (api, reload_sender),
            closed_sender,
        )?;
        let ExporterState { restoring, keeper } = saved_state;
        let state = keeper.map(|keeper| keeper.start(threads)).transpose()?;
        let state = state.zip(state_schedule.as_ref().map(StateSchedule::counts));
        let schedule = Schedule::new(interval, Instant::now(), SystemTime::now());
        let drains = DrainRequests::default();
        relay.change(config.relay_targets())?;
        let listeners =
            opened.start(|| aggregator.add_shard(), telemetry, threads, &drains, &drops, &relay)?;
        let queues = exporters.queues.clone();
        let delivery = Delivery { queues, state: state_schedule, health: Arc::clone(&health) };
        let flusher = Flusher::new(aggregator, schedule, drains.clone(), telemetry, delivery);
        let (commands, received) = mpsc::channel();
        let flusher = threads.spawn("flush", move || flusher.run(&received))?;
        telemetry.gauge("build_info", &[("version", env!("CARGO_PKG_VERSION"))]).set(1.0);
        let reload_telemetry = ReloadTelemetry::new(telemetry);
        let service_manager = ServiceManager::start(&health, drains, threads)?;
        restoring.add_counts(telemetry);
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
            relay,
            commands,
            flusher,
            exporters,
            state,
            telemetry: telemetry.clone(),
            health,
            service_manager,
            reload_telemetry,
            configuration,
            reload_requests,
            output_closed,
            shutdown_timeout,
        })
    }

    /// Waits for SIGTERM, SIGINT, SIGQUIT, or the loss of the terminal or of the only output. Meanwhile, SIGHUP reopens files and
    /// reloads the configuration, and HTTP clients can request a reload. The configuration is read on another thread,
    /// because files can be slow.
    ///
    /// # Errors
    ///
    /// Returns the failure of the first thread that can no longer do its work.
    async fn wait_for_stop(
        &mut self,
        signals: &mut Signals,
        terminal: Terminal,
        ends: &mut ThreadEnds,
        config: &Config,
        load: &Load,
        log: &Log,
    ) -> Result<(), Failure> {
        let service_manager = self.service_manager.clone();
        let read = || {
            service_manager.enter(State::Reloading);
            let load = Arc::clone(load);
            Box::pin(on_thread("reload", move || load(Occasion::Reload)))
        };
        let mut latest = config.clone();
        let mut reading = None;
        // A request that came while the configuration was being read.
        let mut is_read_again = false;
        let mut client: Option<ReloadRequest> = None;
        loop {
            tokio::select! {
                _ = signals.terminate.recv() => return Ok(()),
                _ = signals.interrupt.recv() => return Ok(()),
                _ = signals.quit.recv() => return Ok(()),
                Some(end) = ends.recv() => return Err(end.sentence.into()),
                Some(()) = self.output_closed.recv() => {
                    tracing::error!("standard output was closed, and tallyd has no other exporter");
                    return Ok(());
                }
                _ = signals.hang_up.recv() => {
                    if terminal.is_gone() {
                        tracing::info!("the terminal was closed");
                        return Ok(());
                    }
                    log.close_moved_file();
                    tracing::info!("SIGHUP: tallyd reads its configuration again");
                    is_read_again = reading.is_some();
                    reading.get_or_insert_with(read);
                }
                Some(request) = self.reload_requests.recv(), if reading.is_none() => {
                    client = Some(request);
                    reading = Some(read());
                }
                Some(loaded) = async { Some(reading.as_mut()?.await) } => {
                    let outcome = self.apply_reload(loaded, config, &mut latest, log);
                    self.service_manager.enter(State::Ready);
                    if let Some(client) = client.take() {
                        // Sending fails if the client has disconnected.
                        _ = client.send(outcome);
                    }
                    reading = std::mem::take(&mut is_read_again).then(read);
                }
            }
        }
    }

    /// Applies a configuration, or refuses all of it and returns the reason. New rules take effect with the next
    /// interval. `None` means that reading the configuration panicked. `latest` is the configuration that was accepted
    /// last.
    fn apply_reload(
        &mut self,
        reloaded: Option<Loaded>,
        config: &Config,
        latest: &mut Config,
        log: &Log,
    ) -> Result<(), String> {
        let reloaded = reloaded.ok_or_else(|| "reading it panicked".to_owned());
        let outcome = reloaded.and_then(|loaded| loaded.map_err(|error| error.to_string()));
        let outcome = outcome.map(|ready| {
            ready.log_warnings();
            let Ready { config: new, mapping, .. } = ready;
            let changed = new.changed_keys(latest).at_reload;
            if changed.is_empty() {
                tracing::info!("the configuration was read; no key that a reload changes has a new value");
            } else {
                let keys = changed.join(", ");
                tracing::info!(keys, "the configuration was read; these changed keys take effect");
            }
            let waiting = new.restart_keys(config);
            if !waiting.is_empty() {
                let keys = waiting.join(", ");
                tracing::warn!(keys, "these changed keys take effect only after a restart");
            }
            let rules = mapping.rules().len();
            tracing::info!(rules, "mapping rules were read; they take effect with the next interval");
            log.set_level(new.logging.level);
            self.shutdown_timeout = new.shutdown.timeout.get();
            let interval = new.flush.interval.get();
            self.health.change_interval(interval);
            let settings = new.reloadable_settings(mapping);
            // Sending fails only if the flusher has ended, and then the daemon ends, too.
            _ = self.commands.send(Reload { settings, interval });
            if let Err(error) = self.exporters.change(&new) {
                tracing::error!("{error}; the other endpoints run");
            }
            if let Err(error) = self.relay.change(new.relay_targets()) {
                tracing::error!("relay: {error}; tallyd relays to the other servers");
            }
            self.configuration.set(new.in_force(config));
            *latest = new;
        });
        if let Err(error) = &outcome {
            tracing::error!("the configuration is refused; the previous one stays in force: {error}");
        }
        self.reload_telemetry.count(outcome.is_ok());
        outcome
    }

    /// Stops the stages in order, so that each can pass on its data.
    ///
    /// # Errors
    ///
    /// Fails if a part of the last interval may be lost. The error names the exporters that may not have delivered it.
    fn stop(self) -> Result<(), Failure> {
        self.listeners.stop();
        // Every target and every exporter gets the whole time, however long another one takes.
        let relay_deadline = Instant::now() + self.shutdown_timeout;
        self.relay.close(relay_deadline);
        drop(self.commands);
        // This answers a client that still waits for a reload.
        drop(self.reload_requests);
        let flushed = self.flusher.join();
        let deadline = Instant::now() + self.shutdown_timeout;
        let exporters = self.exporters.handles;
        exporters.iter().for_each(|exporter| exporter.close(deadline));
        let finished = exporters.into_iter().map(|exporter| exporter.finish(deadline));
        let undelivered: Vec<_> = finished.filter_map(Result::err).map(|error| error.to_string()).collect();
        self.relay.finish(relay_deadline);
        let patience = self.shutdown_timeout.max(SHORTEST_STATE_TIMEOUT);
        let saved = self.state.map_or(Ok(()), |(state, counts)| {
            counts.hand_over_last(&self.telemetry);
            state.finish(patience)
        });
        let mut failures = Vec::new();
        if !undelivered.is_empty() {
            failures.push(format!("the last interval may be lost: {}", undelivered.join(", ")));
        }
        if let Err(reason) = saved {
            failures.push(format!(
                "the state of the stop was not written: {reason}; gauges continue from the state before, and totals begin \
                 again"
            ));
        }
        if !failures.is_empty() {
            return Err(failures.join("; ").into());
        }
        flushed.map_err(|_| "the flush panicked; the open interval is lost".into())
    }
}

/// The shortest time that the write of the state may take at a stop. `shutdown.timeout` is about slow readers, and may be
/// too short for a disk.
const SHORTEST_STATE_TIMEOUT: Duration = Duration::from_secs(5);

impl Drain for DrainRequests {
    fn drain(&self, lateness: Option<Duration>) {
        self.drain(lateness);
    }
}

/// The queues of all exporters. A reload can add some.
type SharedQueues = Arc<Mutex<Vec<ExporterQueue>>>;

/// Hands snapshots to all exporters, and now and then the state to its keeper.
struct Delivery {
    queues: SharedQueues,
    state: Option<StateSchedule>,
    health: Arc<FlushHealth>,
}

impl Deliver for Delivery {
    fn deliver(&mut self, snapshot: &Arc<Snapshot>, is_last: bool, live: impl FnOnce() -> LiveSeries) {
        let now = Instant::now();
        let due = self.state.as_mut().and_then(|state| state.is_due(now, is_last).then_some(state));
        // At a stop, exporters hand over their state anyway.
        let is_saved = due.is_some() && !is_last;
        self.queues.lock().iter_mut().for_each(|exporter| exporter.deliver(snapshot, is_saved));
        if let Some(state) = due {
            state.hand_over(live(), is_last);
        }
        self.health.flushed(snapshot);
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

/// The state of an earlier process, and the keeper of this process's state.
struct ExporterState<'a> {
    restoring: Restoring<'a>,
    /// `None` if no state outlives the process.
    keeper: Option<StateKeeper>,
}

/// Starts exporters, and holds those that run.
struct Exporters {
    memory: Memory,
    telemetry: Telemetry,
    threads: Threads,
    statuses: ExporterStatuses,
    push: PushEndpoints,
    handles: Vec<ExporterHandle>,
    queues: SharedQueues,
}

impl Exporters {
    fn new(
        config: &Config,
        memory: Memory,
        (telemetry, threads): (&Telemetry, &Threads),
        statuses: ExporterStatuses,
    ) -> Self {
        let delivery = deliver::Delivery::new(config.delivery(), &memory, telemetry, threads);
        Self {
            memory,
            telemetry: telemetry.clone(),
            threads: threads.clone(),
            push: PushEndpoints::new(&delivery, &statuses),
            statuses,
            handles: Vec::new(),
            queues: SharedQueues::default(),
        }
    }

    /// Starts the exporters that are enabled. Returns the address of the endpoint, and its protection by TLS and
    /// passwords.
    fn start(
        &mut self,
        config: &Config,
        saved: &mut ExporterState<'_>,
        serving: Option<(ServerOptions, Option<TcpListener>)>,
        health: &Arc<FlushHealth>,
        (api, reload_sender): (ApiOptions, channel::Sender<ReloadRequest>),
        closed_sender: channel::Sender<()>,
    ) -> Result<Option<(SocketAddr, Option<Protection>)>, Failure> {
        let console = &config.exporters.console;
        let textfile = &config.exporters.textfile;
        if console.enabled {
            let is_only = !textfile.enabled
                && !config.exporters.hdr_log.enabled
                && !config.exporters.prometheus.start_http_server
                && !config.exporters.has_endpoints();
            self.add(
                saved,
                Console::new(console.format, console.path.clone())
                    .with_max_rows(console.max_rows)
                    .with_closed_notice(is_only.then_some(closed_sender)),
            )?;
        }
        if let Some(options) = config.hdr_log() {
            self.add(saved, HdrLog::new(options, &self.memory, &self.telemetry))?;
        }
        let naming = config.exporters.prometheus.naming;
        if textfile.enabled {
            let mut totals = Totals::new(naming)
                .counted_in(&self.memory)
                .with_reserved_prefixes(textfile.reserved_prefixes.clone());
            saved.restoring.continue_totals("textfile", &mut totals);
            self.add(
                saved,
                Textfile::new(textfile.path.clone(), textfile.on_exit, totals, config.textfile_timestamp()),
            )?;
        }
        if let Some(options) = config.admin() {
            let shared = (self.statuses.clone(), api.requests.clone());
            let admin = Admin::start(options, shared, (&self.telemetry, &self.threads))?;
            tracing::info!(address = %admin.address(), "answering statsd's admin commands");
            self.add(saved, admin)?;
        }
        self.push.change(config)?;
        self.start_push(config, Some(saved))?;
        let Some((serving, held)) = serving else { return Ok(None) };
        let reloads = config.exporters.prometheus.enable_reload.then_some(reload_sender);
        let mut totals = Totals::new(naming)
            .counted_in(&self.memory)
            .with_created_lines(config.exporters.prometheus.openmetrics_created)
            .with_utf8_names(config.exporters.prometheus.utf8_names);
        saved.restoring.continue_totals("prometheus", &mut totals);
        let health = Arc::clone(health);
        let shared = (&self.memory, &self.telemetry, &self.threads);
        let path = config.exporters.prometheus.path.as_str().into();
        let pages = Pages { path, api, reload_requests: reloads };
        let endpoint = Endpoint::start((&serving, held), totals, health, pages, shared)?;
        let started = (endpoint.address(), endpoint.protection());
        self.add(saved, endpoint)?;
        Ok(Some(started))
    }

    /// Changes the endpoints of push exporters at a reload, and starts an exporter that gets its first endpoint.
    fn change(&mut self, config: &Config) -> Result<(), Failure> {
        self.push.change(config)?;
        self.start_push(config, None)?;
        Ok(())
    }

    /// Starts the push exporters that have endpoints and do not run yet. They continue with the state of an earlier process, if
    /// there is one.
    fn start_push(&mut self, config: &Config, mut saved: Option<&mut ExporterState<'_>>) -> io::Result<()> {
        let is_running =
            |exporters: &Self, name| exporters.handles.iter().any(|handle| handle.name() == name);
        if !config.exporters.remote_write.is_empty() && !is_running(self, "remote_write") {
            let mut totals = Totals::new(config.exporters.prometheus.naming).counted_in(&self.memory);
            let mut state = None;
            if let Some(saved) = &mut saved {
                saved.restoring.continue_totals("remote_write", &mut totals);
                state = saved.keeper.as_mut().map(|keeper| keeper.add_owner("remote_write"));
            }
            self.run(RemoteWrite::new(totals, self.push.remote_write.clone()), state)?;
        }
        if !config.exporters.otlp.is_empty() && !is_running(self, "otlp") {
            self.run(Otlp::new(self.push.otlp.clone()), None)?;
        }
        if !config.exporters.graphite.is_empty() && !is_running(self, "graphite") {
            self.run(Push(self.push.graphite.clone()), None)?;
        }
        if !config.exporters.influxdb.is_empty() && !is_running(self, "influxdb") {
            self.run(Push(self.push.influxdb.clone()), None)?;
        }
        Ok(())
    }

    /// Starts an exporter whose state outlives the process, if it has any.
    fn add<E: Exporter>(&mut self, saved: &mut ExporterState<'_>, exporter: E) -> io::Result<()> {
        let keeper = saved.keeper.as_mut().filter(|_| E::KEEPS_TOTALS);
        let state = keeper.map(|keeper| keeper.add_owner(exporter.name()));
        self.run(exporter, state)
    }

    fn run<E: Exporter>(&mut self, exporter: E, state: Option<PartSender>) -> io::Result<()> {
        let shared = (&self.memory, &self.telemetry, &self.statuses);
        let (handle, queue) = ExporterHandle::start(exporter, state, shared, &self.threads)?;
        self.handles.push(handle);
        self.queues.lock().push(queue);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_of_the_main_thread_is_a_failure_after_which_tallyd_stops() {
        let failure = catch_panic(async { panic!("a test") }).await.unwrap_err();
        assert_eq!(failure.to_string(), "the main thread panicked");
        assert!(catch_panic(async { Ok(()) }).await.is_ok());
    }
}
