//! Ends intervals: cuts all shards at one moment, merges what they held, and hands the snapshot to the exporters.

mod catalog;
mod collect;
mod schedule;
mod telemetry;

pub use collect::IdleReporting;
pub use schedule::{Ended, Schedule};

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;

use crate::aggregate::{Columns, IngestCounts, RefusedNames, Shard, ShardReset, SharedState};
use crate::export::{ExporterHandle, RequestCounts, Requests};
use crate::listen::{DropCounter, StreamConnections};
use crate::mapping::Mapping;
use crate::model::{Event, Overview, Policies, Policy, Rows, Snapshot};
use crate::resolve::Limits;
use collect::{Collected, Collector};
use telemetry::{Reloads, Report, StreamCounts};

/// Cells prepared under one hold of a shard's lock, which takes some microseconds.
const CELLS_A_STEP: usize = 4096;

/// Cuts shards and makes snapshots; knows no clock and no exporter.
#[derive(Debug)]
pub struct Rotator {
    shared: Arc<SharedState>,
    shards: Vec<Arc<Mutex<Shard>>>,
    /// Empty columns, one set a shard, in which the next interval is recorded.
    spares: Vec<Columns>,
    collector: Collector,
    /// The number of the open interval, from 1.
    interval: u32,
    /// The latest rules.
    mapping: Arc<Mapping>,
    /// The rules of the next interval, if they are others than those of the open one.
    next_mapping: Option<Arc<Mapping>>,
}

/// The merged results of an interval, before tallyd's own metrics are added.
#[derive(Debug)]
pub struct IntervalResults {
    collected: Collected,
}

impl IntervalResults {
    /// One row a series, sorted.
    #[must_use]
    pub fn rows(&self) -> &Rows {
        &self.collected.rows
    }

    /// What happened, in the order of their own times.
    #[must_use]
    pub fn events(&self) -> &[Event] {
        &self.collected.events
    }

    /// What became of the interval's datagrams, lines and samples.
    #[must_use]
    pub fn tally(&self) -> &IngestCounts {
        &self.collected.tally
    }
}

impl Rotator {
    /// For shards that share `shared`, all in their first interval.
    #[must_use]
    pub fn new(
        shared: Arc<SharedState>,
        shards: Vec<Arc<Mutex<Shard>>>,
        policies: Policies,
        idle: IdleReporting,
    ) -> Self {
        let spares = shards.iter().map(|_| Columns::new(&shared.parameters)).collect();
        let collector = Collector::new(Arc::clone(&shared), policies, idle);
        let mapping = Arc::clone(shared.mapping());
        Self { shared, shards, spares, collector, interval: 1, mapping, next_mapping: None }
    }

    /// What was wanted of series since the start.
    #[must_use]
    pub fn policies(&self) -> Arc<Policies> {
        Arc::clone(self.collector.policies())
    }

    /// Gives series the names and policies that these rules say, from the next interval on. Shards forget their forms then,
    /// unless the rules are those that they have. Limits hold at once.
    pub fn renew(&mut self, ReloadableSettings { mut mapping, policies, idle, limits }: ReloadableSettings) {
        self.shared.registry.limit(limits);
        let present = self.collector.policies();
        let have_changed = present.in_force() != policies;
        let all = if have_changed { present.renewed(&policies) } else { Policies::clone(present) };
        mapping.number_from(all.first());
        self.collector.renew(all, idle);
        if have_changed || mapping != *self.mapping {
            self.mapping = Arc::new(mapping);
            self.next_mapping = Some(Arc::clone(&self.mapping));
        }
    }

    /// Ends the interval of all shards at one moment, and merges what they recorded. `now` is counted from any fixed
    /// moment, and decides which series are idle.
    pub fn cut(&mut self, now: Duration) -> IntervalResults {
        let full_of_forms = self.shards.iter().any(|shard| shard.lock().is_full_of_forms());
        let renew = full_of_forms || self.next_mapping.is_some() || self.collector.wants_renewal();
        let mut columns = if renew { self.cut_anew() } else { self.cut_on() };
        let collected = self.collector.collect(self.interval, &mut columns, now, renew);
        self.interval += 1;
        for (shard, columns) in self.shards.iter().zip(&mut columns) {
            let memory = columns.clear();
            let left_over = shard.lock().resupply(memory);
            // Freed here, not under the lock.
            drop(left_over);
        }
        if renew {
            // The shards have other cells now, and maybe far fewer.
            columns.iter_mut().for_each(|columns| *columns = Columns::new(&self.shared.parameters));
        }
        self.spares = columns;
        IntervalResults { collected }
    }

    /// The usual cut: the shards go on with the forms they know.
    fn cut_on(&mut self) -> Vec<Columns> {
        let mut spares = std::mem::take(&mut self.spares);
        for (shard, spare) in self.shards.iter().zip(&mut spares) {
            let size = shard.lock().size();
            spare.make_room(size);
            while !shard.lock().prepare(spare, CELLS_A_STEP) {}
        }
        let shards: Vec<_> = self.shards.iter().map(|shard| shard.lock()).collect();
        shards.into_iter().zip(spares).map(|(mut shard, spare)| shard.cut(spare)).collect()
    }

    /// The shards forget their forms. They are given room for those of the series that are likely to live on.
    fn cut_anew(&mut self) -> Vec<Columns> {
        let kept = self.collector.share_of_kept();
        let mapping = self.next_mapping.take();
        let mut renewals = Vec::with_capacity(self.shards.len());
        for shard in &self.shards {
            let size = shard.lock().size();
            renewals.push(ShardReset::new(&self.shared.parameters, size.times(kept), mapping.clone()));
        }
        let mut shards: Vec<_> = self.shards.iter().map(|shard| shard.lock()).collect();
        shards.iter_mut().zip(&mut renewals).for_each(|(shard, renewal)| shard.cut_anew(renewal));
        drop(shards);
        renewals.into_iter().map(ShardReset::into_columns).collect()
    }
}

/// What holds for series, and can be changed while tallyd runs.
#[derive(Debug)]
pub struct ReloadableSettings {
    /// What names and labels they are given.
    pub mapping: Mapping,
    /// What is wanted of them, as [`Mapping::govern`] says.
    pub policies: Vec<Policy>,
    /// What is reported of those without samples.
    pub idle: IdleReporting,
    /// How many there may be.
    pub limits: Limits,
}

/// What the flush is told while it runs.
#[derive(Debug)]
pub enum FlushCommand {
    /// A configuration was taken.
    Renew {
        /// What holds for series.
        terms: Box<ReloadableSettings>,
        /// How long intervals are.
        interval: Duration,
        /// Whether tallyd's own metrics are among the results.
        telemetry: bool,
    },
    /// A configuration was refused, so what was in force stays.
    CountRefusedReload,
}

/// The thread that flushes.
#[derive(Debug)]
pub struct Flusher {
    /// What it cuts.
    pub cutter: Rotator,
    /// When intervals end. The first began before anything was received: rates divide by all of its time.
    pub schedule: Schedule,
    /// The sockets whose losses it reports.
    pub drop_counter: DropCounter,
    /// The connections that it reports, by stream listener.
    pub connections: Vec<(&'static str, Arc<StreamConnections>)>,
    /// Where snapshots go.
    pub outlets: Vec<ExporterHandle>,
    /// The requests that it reports, if there is an endpoint for them.
    pub requests: Option<Arc<Requests>>,
    /// Whether tallyd's own metrics are among them.
    pub telemetry: bool,
}

impl Flusher {
    /// Flushes at the end of every interval and does what it is told, until `orders` has no sender any more; then flushes
    /// what is open, and returns the outlets, which still hold what has not been exported yet.
    #[must_use]
    pub fn run(mut self, orders: &Receiver<FlushCommand>) -> Vec<ExporterHandle> {
        let begin = Instant::now();
        let mut previous = Duration::ZERO;
        let mut reloads = Reloads::none(true);
        loop {
            let wait = self.schedule.deadline().saturating_duration_since(Instant::now());
            let stopped = match orders.recv_timeout(wait) {
                Ok(FlushCommand::Renew { terms, interval, telemetry }) => {
                    self.cutter.renew(*terms);
                    self.schedule.renew(interval, Instant::now(), SystemTime::now());
                    self.telemetry = telemetry;
                    reloads = Reloads { taken: reloads.taken + 1, last_was_taken: true, ..reloads };
                    continue;
                }
                Ok(FlushCommand::CountRefusedReload) => {
                    reloads = Reloads { refused: reloads.refused + 1, last_was_taken: false, ..reloads };
                    continue;
                }
                Err(RecvTimeoutError::Timeout) => false,
                Err(RecvTimeoutError::Disconnected) => true,
            };
            let start = Instant::now();
            let ended = self.schedule.end(start, SystemTime::now());
            self.flush(begin.elapsed(), ended, previous, reloads);
            reloads = Reloads::none(reloads.last_was_taken);
            previous = start.elapsed();
            tracing::debug!(duration = ?previous, late = ended.late, "flushed");
            if stopped {
                return self.outlets;
            }
        }
    }

    fn flush(&mut self, now: Duration, ended: Ended, flush_duration: Duration, reloads: Reloads) {
        if ended.late {
            tracing::warn!(length = ?ended.length, "a flush was late: the interval is longer, its rates are right");
        }
        let Collected { mut rows, events, tally, refused, live } = self.cutter.cut(now).collected;
        warn_of_refused(&refused);
        if tally.events_dropped > 0 {
            tracing::error!(
                events = tally.events_dropped,
                "events were counted, but there was no room to keep them; raise aggregation.event_buffer"
            );
        }
        let drops = self.drop_counter.read();
        let connections: Vec<_> =
            self.connections.iter().map(|(listener, connections)| (*listener, connections.take())).collect();
        warn_of_refused_connections(&connections);
        let exports: Vec<_> =
            self.outlets.iter().map(|outlet| (outlet.name(), outlet.take_counts())).collect();
        let requests = self.requests.as_ref().map(|requests| requests.take());
        requests.iter().for_each(warn_of_refused_scrapers);
        if self.telemetry {
            let own = Report {
                tally: &tally,
                live: &live,
                series_limit: self.cutter.shared.registry.limits().series,
                drops: &drops,
                connections: &connections,
                exports: &exports,
                requests: requests.as_ref(),
                flush_duration,
                reloads,
                flush_late: ended.late,
                time: ended.time,
            };
            // No other series has a name that begins with tallyd's prefix, so all of them stand together.
            rows.insert(own.rows(), self.cutter.policies().of_no_rule());
        }
        let datagrams_dropped = drops.iter().map(|drops| drops.datagrams).sum();
        if datagrams_dropped > 0 {
            tracing::error!(
                datagrams = datagrams_dropped,
                "the kernel dropped datagrams for want of buffer (or, if tallyd is stopping, on their way); raise \
                 listeners.udp.receive_buffer and net.core.rmem_max, or listeners.udp.receivers"
            );
        }
        let snapshot = Arc::new(Snapshot {
            time: ended.time,
            interval: ended.length,
            policies: self.cutter.policies(),
            rows,
            events,
            overview: Overview {
                series: live.iter().sum(),
                lines: tally.lines,
                samples: tally.samples.iter().sum(),
                rejected: tally.rejected.iter().sum(),
                refused: tally.refused.iter().sum(),
                datagrams_dropped,
            },
        });
        for outlet in &self.outlets {
            outlet.offer(&snapshot);
        }
    }
}

fn warn_of_refused_connections(connections: &[(&str, StreamCounts)]) {
    for (listener, counts) in connections.iter().filter(|(_, counts)| counts.refused > 0) {
        tracing::error!(
            connections = counts.refused,
            "connections were refused, because as many are open as may be; raise listeners.{listener}.max_connections"
        );
    }
}

fn warn_of_refused_scrapers(requests: &RequestCounts) {
    if requests.connections.refused > 0 {
        tracing::warn!(
            connections = requests.connections.refused,
            "connections to the endpoint were refused, because as many are open as may be; raise \
             exporters.prometheus.max_connections"
        );
    }
}

fn warn_of_refused(refused: &RefusedNames) {
    let mut names = refused.iter().take(5).map(|(name, samples)| format!("{name} ({samples})")).peekable();
    if names.peek().is_some() {
        let names = names.collect::<Vec<_>>().join(", ");
        tracing::error!(
            names,
            "samples of new series were refused; raise aggregation.max_series or max_series_bytes, or send fewer tags"
        );
    }
}
