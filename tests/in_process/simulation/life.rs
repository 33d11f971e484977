//! One life of tallyd, from its start to a stop or a crash.
//!
//! A restart is a new life in the same world. It begins with the state that the life before it wrote to the disk last.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant, UNIX_EPOCH};

use fastrand::Rng;
use parking_lot::Mutex;
use tallyd::aggregate::AggregationOptions;
use tallyd::app::state::{CountsSender, Restoring, StateSchedule};
use tallyd::export::prometheus::{Naming, Totals};
use tallyd::export::{Exporter, ExporterQueue, ExporterStatuses};
use tallyd::flush::{
    Aggregator, CLOCK_ORIGIN, Deliver, Ended, Flusher, LiveSeries, Reload, SavedSeries, Schedule,
};
use tallyd::listen::CountedDrops;
use tallyd::model::{Memory, Series, Snapshot, Telemetry};
use tallyd::state::{StateFile, StateKeeper, StateTelemetry};

use super::clock::Clock;
use super::disk::{FAULTS, STATE};
use super::expected::own_counters;
use super::exporters::{Disk, FORGETFUL, Forgetful, Handled, PAGE, Page, Worker, text_of};
use super::kernel::Kernel;
use super::machine::{Machine, Receivers};
use super::plain_page::is_followed;
use super::saving::Saving;
use super::settings::Settings;
use super::world::World;

/// The number of times that each thing happened in a run.
pub(super) type Tally = BTreeMap<String, u64>;

pub(super) struct Life {
    are_limited: bool,
    machine: Arc<Mutex<Machine>>,
    flusher: Flusher<Outbox, Receivers>,
    outbox: Outbox,
    forgetful: Worker<Forgetful>,
    page: Worker<Page>,
    saving: Saving,
    counts: CountsSender,
    telemetry: Telemetry,
    /// The number of series that were restored.
    restored: u64,
    settings: Settings,
    begin: Instant,
    /// The end of the latest interval.
    ended: Instant,
    /// Whether the wall clock jumped since the schedule last looked at it.
    has_jumped: bool,
    /// The lengths of all intervals.
    lengths: Duration,
    /// The samples of all snapshots.
    recorded: u64,
    /// tallyd's own counters over all snapshots.
    own: BTreeMap<(String, String), u64>,
    history: Vec<Interval>,
}

/// What the page needs to know of an interval.
struct Interval {
    snapshot: Arc<Snapshot>,
    /// The series of the followed totals that were alive at its end.
    live: BTreeSet<Series>,
    /// The values and weights of the timings among them.
    values: BTreeMap<Series, Vec<(f64, f64)>>,
    settings: Settings,
    /// Whether the exporter hands over its state after it.
    is_saved: bool,
}

/// Hands snapshots to the queues of both exporters, and now and then the state to its keeper.
#[derive(Clone)]
struct Outbox(Arc<Mutex<Queues>>);

struct Queues {
    of_exporters: Vec<ExporterQueue>,
    state: StateSchedule,
    /// The time of the flush.
    now: Instant,
    latest: Option<Arc<Snapshot>>,
    /// False after the stop. Then a snapshot only shows what the counters hold.
    are_open: bool,
}

impl Deliver for Outbox {
    fn deliver(&mut self, snapshot: &Arc<Snapshot>, is_last: bool, live: impl FnOnce() -> LiveSeries) {
        let Queues { of_exporters, state, now, latest, are_open } = &mut *self.0.lock();
        *latest = Some(Arc::clone(snapshot));
        if *are_open {
            let is_due = state.is_due(*now, is_last);
            of_exporters.iter_mut().for_each(|queue| queue.deliver(snapshot, is_due && !is_last));
            if is_due {
                state.hand_over(live(), is_last);
            }
        }
    }
}

fn millis(rng: &mut Rng, below: u128) -> Duration {
    Duration::from_millis(rng.u64(0..(below as u64).max(1)))
}

impl Life {
    pub(super) fn start(rng: &mut Rng, world: &mut World) -> Self {
        let (now, wall) = (world.clock.now(), world.clock.wall());
        let are_limited = rng.u8(..4) == 0;
        // Most restarts change a few settings or none.
        let settings = match world.settings.take() {
            Some(settings) if rng.bool() => settings,
            Some(settings) => settings.changed(rng, are_limited),
            None => Settings::random(rng, are_limited),
        };
        let options = AggregationOptions {
            exact_values: if rng.bool() { 512 } else { 4 },
            ..AggregationOptions::default()
        };
        let telemetry = Telemetry::default();
        let mut aggregator = Aggregator::new(options.clone(), settings.reloadable(), telemetry.clone());
        let receivers = rng.usize(1..6);
        let shards = (0..receivers).map(|_| aggregator.add_shard()).collect();
        let kernel = Kernel::new(receivers, [400, 4000, 1 << 20][rng.usize(..3)], &telemetry);
        let max_datagram = if rng.u8(..4) == 0 { 100 } else { 8192 };
        let mut machine = Machine::new(kernel, shards, max_datagram, (options, &settings), rng.usize(1..6));

        let plain = world.start();
        let file = StateFile::on_disk(world.state_disk.clone(), STATE.into()).unwrap();
        let saved = file.read();
        assert_eq!(saved.is_some(), plain.is_some(), "whether there is a state");
        let (drops, state_telemetry) = (CountedDrops::default(), StateTelemetry::register(&telemetry));
        let (mut restoring, mut totals) = (Restoring::default(), Totals::new(Naming::Prometheus));
        if let (Some(saved), Some(plain)) = (&saved, &plain) {
            restoring = Restoring::new(&file, saved, &mut aggregator, &drops, &state_telemetry, wall);
            let series = saved.parts().unwrap().parts["series"];
            let plain_series = plain.series.as_ref().expect("the flush hands over its part first");
            machine.restore(&SavedSeries::decode(series).unwrap(), plain_series, plain.downtime(wall));
        }
        restoring.continue_totals(PAGE, &mut totals);
        let restored = machine.expected.registry.live.len() as u64;
        world.restart_page(plain.as_ref(), |series| machine.expected.registry.live.contains_key(series));
        let page = text_of(&totals);
        world.page.assert_is(&page);
        let mut keeper = StateKeeper::new(file, state_telemetry);
        let state_interval = Duration::from_secs(rng.u64(0..30));
        let state = StateSchedule::new(&mut keeper, state_interval, drops, now);
        let counts = state.counts();
        keeper.note_start();

        let machine = Arc::new(Mutex::new(machine));
        let disks = [String::new(), page].map(|file| Arc::new(Mutex::new(Disk { file, fault: None })));
        let forgetful = Forgetful(Arc::clone(&disks[0]));
        let (memory, statuses) = (Memory::default(), ExporterStatuses::default());
        let shared = (&memory, &telemetry, &statuses);
        let (to_forgetful, forgetful) = ExporterQueue::connect(forgetful, None, shared);
        let page = Page::new(Arc::clone(&disks[1]), totals);
        let (to_page, page) = ExporterQueue::connect(page, Some(keeper.add_owner(PAGE)), shared);
        let of_exporters = vec![to_forgetful, to_page];
        let queues = Queues { of_exporters, state, now, latest: None, are_open: true };
        let outbox = Outbox(Arc::new(Mutex::new(queues)));
        let schedule = Schedule::new(settings.interval, now, wall);
        let receivers = Receivers(Arc::clone(&machine));
        let [forgetful_disk, page_disk] = disks;
        Self {
            are_limited,
            machine,
            flusher: Flusher::new(aggregator, schedule, receivers, &telemetry, outbox.clone()),
            outbox,
            forgetful: Worker::new(FORGETFUL, forgetful, forgetful_disk),
            page: Worker::new(PAGE, page, page_disk),
            saving: Saving::new(keeper, state_interval, now),
            counts,
            telemetry,
            restored,
            settings,
            begin: now,
            ended: now,
            has_jumped: false,
            lengths: Duration::ZERO,
            recorded: 0,
            own: BTreeMap::new(),
            history: Vec::new(),
        }
    }

    /// Lets one thing happen, and some time pass.
    pub(super) fn step(&mut self, rng: &mut Rng, world: &mut World) {
        match rng.usize(..108) {
            0..=44 => {
                let mut machine = self.machine.lock();
                (0..rng.usize(1..12)).for_each(|_| machine.send(rng));
            }
            45..=64 => {
                let mut machine = self.machine.lock();
                let receiver = rng.usize(..machine.stalled.len());
                if !machine.stalled[receiver] {
                    machine.read(receiver);
                }
            }
            65..=67 => {
                let mut machine = self.machine.lock();
                let receiver = rng.usize(..machine.stalled.len());
                machine.stalled[receiver] = rng.u8(..3) == 0;
            }
            68..=81 => _ = self.export(world),
            // Exporters stall long enough to lose snapshots.
            82 | 83 => self.forgetful.is_stalled = rng.u8(..3) > 0,
            84..=86 => self.page.is_stalled = rng.u8(..3) > 0,
            87..=90 => {
                let fault = rng.bool().then(|| FAULTS[rng.usize(..FAULTS.len())]);
                let disk = if rng.bool() { &self.forgetful.disk } else { &self.page.disk };
                disk.lock().fault = fault;
            }
            91..=93 => {
                let page = self.page.disk.lock().file.clone();
                world.page.scrape(&page);
            }
            94 | 95 => self.reload(rng, &world.clock),
            96 => {
                world.clock.jump(rng);
                self.has_jumped = true;
            }
            97..=99 => {
                let most = if rng.u8(..8) == 0 { 7_200_000 } else { self.settings.interval.as_millis() * 5 };
                world.clock.advance(millis(rng, most));
            }
            100..=105 => while !self.saving.is_stalled && self.saving.take_in(world) {},
            106 => world.state_disk.change_fault(rng),
            _ => self.saving.is_stalled = rng.bool(),
        }
        world.clock.advance(millis(rng, self.settings.interval.as_millis() / 5));
        if world.clock.now() >= self.flusher.deadline() {
            let overslept = rng.bool();
            self.flush(rng, &mut world.clock, Some(overslept));
        }
    }

    fn reload(&mut self, rng: &mut Rng, clock: &Clock) {
        let settings = self.settings.changed(rng, self.are_limited);
        let interval = settings.interval;
        self.has_jumped &= interval == self.settings.interval;
        self.machine.lock().reload(&settings);
        let reload = Reload { settings: settings.reloadable(), interval };
        self.flusher.reload(reload, clock.now(), clock.wall());
        self.settings = settings;
    }

    /// Ends the interval as the flusher's thread does, and checks the interval and its snapshot.
    fn flush(&mut self, rng: &mut Rng, clock: &mut Clock, overslept: Option<bool>) {
        let due = self.flusher.deadline();
        let woken = clock.now();
        self.flusher.wake(woken, overslept);
        self.machine.lock().assert_drained();
        // Draining takes time. What a receiver reads meanwhile still belongs to the interval.
        clock.advance(millis(rng, 60));
        if overslept.is_some() && rng.bool() {
            let mut machine = self.machine.lock();
            machine.send(rng);
            let receiver = rng.usize(..machine.stalled.len());
            machine.read(receiver);
        }
        self.outbox.0.lock().now = clock.now();
        let ended = self.flusher.end_interval(clock.now(), clock.wall(), overslept.is_none());
        self.assert_schedule(clock, due, woken, ended);
        let snapshot = self.latest();
        assert_eq!((snapshot.time, snapshot.interval), (ended.time, ended.length));
        self.note(&snapshot);
        let mut machine = self.machine.lock();
        let registry = &machine.expected.registry;
        let live: BTreeSet<_> = registry.live.keys().filter(|series| is_followed(series)).cloned().collect();
        let values = |series: &Series| Some((series.clone(), machine.expected.values(series)?));
        let values = live.iter().filter_map(values).collect();
        let settings = registry.in_force.clone();
        let now = CLOCK_ORIGIN + (self.ended - self.begin);
        machine.assert_is(&snapshot, now);
        let is_last = overslept.is_none();
        let is_due = self.saving.is_due(self.ended, is_last);
        if is_due {
            self.saving.hand_over_series(self.ended, machine.expected.state(now), is_last);
        }
        self.history.push(Interval { snapshot, live, values, settings, is_saved: is_due && !is_last });
    }

    /// Asserts that the interval has its true length and end, and that the next one ends at a multiple of its length.
    fn assert_schedule(&mut self, clock: &Clock, due: Instant, woken: Instant, ended: Ended) {
        let now = clock.now();
        assert_eq!(
            ended.length,
            (now - self.ended).max(Duration::from_nanos(1)),
            "the length of the interval"
        );
        // A stop can come at the moment of a flush. Such an interval is a nanosecond long, because rates divide by it.
        self.lengths += if now > self.ended { ended.length } else { Duration::ZERO };
        self.ended = now;
        let interval = self.settings.interval;
        let tolerance = (interval / 10).min(Duration::from_secs(1));
        let is_late = woken.saturating_duration_since(due) > tolerance;
        assert_eq!(ended.late, is_late);
        if is_late || now < due {
            assert_eq!(ended.time, clock.wall(), "an interval that ends early or late ends when it ends");
        } else if !self.has_jumped {
            assert_eq!(ended.time + (now - due), clock.wall(), "the end of the interval");
        }
        self.has_jumped = false;
        let next = self.flusher.deadline() - now;
        assert!(next > interval / 2 && next <= interval * 3 / 2, "the next interval takes {next:?}");
        let end = (clock.wall() + next).duration_since(UNIX_EPOCH).unwrap();
        assert_eq!(end.as_nanos() % interval.as_nanos(), 0, "the end of the next interval");
    }

    fn latest(&self) -> Arc<Snapshot> {
        self.outbox.0.lock().latest.clone().expect("the flush has handed it over")
    }

    /// Adds up what a snapshot reports.
    fn note(&mut self, snapshot: &Snapshot) {
        self.recorded += snapshot.overview.samples;
        for (name, count) in own_counters(snapshot) {
            *self.own.entry(name).or_default() += count;
        }
    }

    /// Lets each exporter handle one snapshot. Returns false if there is nothing to do.
    fn export(&mut self, world: &mut World) -> bool {
        let forgetful = self.forgetful.step();
        let page = self.page.step();
        if let Some(Handled { snapshot, is_written }) = &page {
            let known = self.history.iter().find(|interval| Arc::ptr_eq(&interval.snapshot, snapshot));
            let Interval { live, values, settings, is_saved, .. } = known.expect("every snapshot is known");
            world.page.add(snapshot, live, values, settings);
            if *is_written {
                world.page.assert_is(&self.page.disk.lock().file);
            }
            if *is_saved {
                self.saving.hand_over_totals(world.page.totals.clone());
            }
        }
        forgetful.is_some() || page.is_some()
    }

    /// Stops tallyd or lets it crash, and checks that nothing is missing.
    pub(super) fn finish(mut self, rng: &mut Rng, world: &mut World, crashes: bool) -> Tally {
        if crashes {
            self.crash(rng, world);
        } else {
            // Receivers read what the kernel still holds, the flush ends the open interval, and exporters finish.
            let mut machine = self.machine.lock();
            machine.stalled.fill(false);
            machine.read_all();
            drop(machine);
            self.flush(rng, &mut world.clock, None);
            // An exporter that hangs for too long is given up.
            for is_stalled in [&mut self.forgetful.is_stalled, &mut self.page.is_stalled] {
                *is_stalled &= rng.bool();
            }
            while self.export(world) {}
            if !self.page.is_stalled {
                self.page.thread.end().unwrap();
                self.saving.hand_over_totals(world.page.totals.clone());
                let page = self.page.disk.lock().file.clone();
                world.page.scrape(&page);
            }
            self.counts.hand_over_last(&self.telemetry);
            self.saving.hand_over_counts();
            if self.saving.finish(world) && !self.page.is_stalled {
                let now = CLOCK_ORIGIN + (self.ended - self.begin);
                world.stopped_with(self.machine.lock().expected.state(now));
            }
        }
        world.settings = Some(self.settings.clone());
        assert_eq!(self.lengths, self.ended - self.begin, "the lengths of all intervals add up");
        let open = self.machine.lock().expected.samples();
        // One more interval shows what the counters and the shards still hold.
        self.outbox.0.lock().are_open = false;
        world.clock.advance(self.settings.interval);
        self.flusher.end_interval(world.clock.now(), world.clock.wall(), false);
        let snapshot = self.latest();
        assert_eq!(snapshot.overview.samples, open, "the samples of the interval that never ended");
        assert!(crashes || open == 0, "a stop ends the open interval");
        self.note(&snapshot);
        self.tally(crashes, open)
    }

    /// Lets the process or the whole machine die, perhaps in the middle of a write.
    fn crash(&mut self, rng: &mut Rng, world: &mut World) {
        if rng.bool() {
            world.state_disk.cut_power_after(rng.u32(..20));
            while self.saving.take_in(world) {}
        }
        if rng.bool() {
            world.state_disk.lose_power(rng);
        }
    }

    /// Asserts the law of accounting over the whole life.
    fn tally(&self, crashes: bool, open: u64) -> Tally {
        let own = |name: &str| -> u64 {
            self.own.iter().filter(|((known, _), _)| known == name).map(|(_, count)| count).sum()
        };
        let kernel = &self.machine.lock().kernel;
        assert_eq!(
            kernel.sent,
            own("datagrams") + own("datagrams_dropped") + kernel.unread(),
            "each datagram was read or dropped"
        );
        assert!(crashes || kernel.unread() == 0, "a stop leaves no datagram unread");
        assert_eq!(self.recorded, own("samples"), "the totals of the snapshots");
        let queues = &self.outbox.0.lock().of_exporters;
        self.assert_delivered(&self.forgetful, queues[0].waiting(), open);
        self.assert_delivered(&self.page, queues[1].waiting(), open);
        assert_eq!(own("state_write_errors"), self.saving.failed, "failed writes of the state");
        let mut tally = Tally::from([
            ("datagrams sent".to_owned(), kernel.sent),
            ("samples recorded".to_owned(), self.recorded),
            ("samples lost in crashes".to_owned(), open),
            ("series restored".to_owned(), self.restored),
            ("states written".to_owned(), self.saving.written),
        ]);
        for name in [
            "datagrams_dropped",
            "datagrams_truncated",
            "lines_rejected",
            "series_expired",
            "flush_late",
            "snapshots_dropped",
            "samples_undelivered",
            "export_errors",
            "state_write_errors",
        ] {
            tally.insert(name.to_owned(), own(name));
        }
        for ((name, tag), count) in &self.own {
            let is_tallied =
                ["samples_overflowed", "series_refused", "series_quarantined"].contains(&&**name);
            // No rule of the simulation gives an empty name, and its memory is without limits.
            if is_tallied && !["mapping_empty_name", "memory"].contains(&&**tag) {
                *tally.entry(format!("{name} {tag}")).or_default() += count;
            }
        }
        tally
    }

    /// Asserts that each recorded sample was delivered, is counted as undelivered, waits for the exporter, or was in the
    /// interval that never ended.
    fn assert_delivered<E: Exporter>(&self, worker: &Worker<E>, waiting: u64, open: u64) {
        let name = worker.name;
        let undelivered = self.own[&("samples_undelivered".to_owned(), name.to_owned())];
        assert_eq!(worker.delivered + undelivered + waiting + open, self.recorded, "the samples of {name}");
    }
}
