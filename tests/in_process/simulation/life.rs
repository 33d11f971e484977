//! One life of tallyd, from its start to a stop or a crash.
//!
//! A restart is a new life with the same clock. It begins without the state of the life before: its totals and its gauges
//! begin again. Saved state would be passed from [`Life::finish`] to [`Life::start`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant, UNIX_EPOCH};

use fastrand::Rng;
use parking_lot::Mutex;
use tallyd::aggregate::AggregationOptions;
use tallyd::export::{Exporter, ExporterQueue};
use tallyd::flush::{Aggregator, Deliver, Ended, Flusher, Reload, Schedule};
use tallyd::model::{Series, Snapshot, Telemetry};

use super::clients::{CLIENTS, datagram};
use super::clock::Clock;
use super::expected::own_counters;
use super::exporters::{Disk, FAULTS, FORGETFUL, Forgetful, Handled, PAGE, Page, Worker};
use super::kernel::Kernel;
use super::machine::{Machine, Receivers};
use super::plain_page::{PlainPage, is_followed};
use super::settings::Settings;

/// What happened in a run.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) sent: u64,
    pub(super) dropped: u64,
    pub(super) recorded: u64,
    pub(super) refused: u64,
    pub(super) rejected: u64,
    pub(super) snapshots_dropped: u64,
    pub(super) undelivered: u64,
    pub(super) lost_in_crashes: u64,
    pub(super) expired: u64,
    pub(super) late: u64,
    pub(super) quarantined: u64,
    pub(super) failed_exports: u64,
}

pub(super) struct Life {
    are_limited: bool,
    are_tagged: bool,
    machine: Arc<Mutex<Machine>>,
    flusher: Flusher<Outbox, Receivers>,
    outbox: Outbox,
    forgetful: Worker<Forgetful>,
    page: Worker<Page>,
    plain_page: PlainPage,
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
    /// The counters on the page that were alive at the end of each interval, and the settings of that interval.
    history: Vec<(Arc<Snapshot>, BTreeSet<Series>, Settings)>,
}

/// Hands snapshots to the queues of both exporters.
#[derive(Clone)]
struct Outbox(Arc<Mutex<Queues>>);

struct Queues {
    of_exporters: Vec<ExporterQueue>,
    latest: Option<Arc<Snapshot>>,
    /// False after the stop. Then a snapshot only shows what the counters hold.
    are_open: bool,
}

impl Deliver for Outbox {
    fn deliver(&mut self, snapshot: &Arc<Snapshot>) {
        let Queues { of_exporters, latest, are_open } = &mut *self.0.lock();
        *latest = Some(Arc::clone(snapshot));
        if *are_open {
            of_exporters.iter_mut().for_each(|queue| queue.deliver(snapshot));
        }
    }
}

fn millis(rng: &mut Rng, below: u128) -> Duration {
    Duration::from_millis(rng.u64(0..(below as u64).max(1)))
}

impl Life {
    pub(super) fn start(rng: &mut Rng, clock: &Clock) -> Self {
        let are_limited = rng.u8(..4) == 0;
        let settings = Settings::random(rng, are_limited);
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
        let machine = Machine::new(kernel, shards, max_datagram, (options, &settings), rng.usize(1..6));
        let machine = Arc::new(Mutex::new(machine));
        let disks = [(); 2].map(|()| Arc::new(Mutex::new(Disk::default())));
        let (to_forgetful, forgetful) = ExporterQueue::connect(Forgetful(Arc::clone(&disks[0])), &telemetry);
        let (to_page, page) = ExporterQueue::connect(Page::new(Arc::clone(&disks[1])), &telemetry);
        let queues = Queues { of_exporters: vec![to_forgetful, to_page], latest: None, are_open: true };
        let outbox = Outbox(Arc::new(Mutex::new(queues)));
        let schedule = Schedule::new(settings.interval, clock.now(), clock.wall());
        let receivers = Receivers(Arc::clone(&machine));
        let [forgetful_disk, page_disk] = disks;
        Self {
            are_limited,
            // Without tags, the limits are those of all series together.
            are_tagged: !are_limited,
            machine,
            flusher: Flusher::new(aggregator, schedule, receivers, &telemetry, outbox.clone()),
            outbox,
            forgetful: Worker::new(FORGETFUL, forgetful, forgetful_disk),
            page: Worker::new(PAGE, page, page_disk),
            plain_page: PlainPage::default(),
            settings,
            begin: clock.now(),
            ended: clock.now(),
            has_jumped: false,
            lengths: Duration::ZERO,
            recorded: 0,
            own: BTreeMap::new(),
            history: Vec::new(),
        }
    }

    /// Lets one thing happen, and some time pass.
    pub(super) fn step(&mut self, rng: &mut Rng, clock: &mut Clock) {
        match rng.usize(..100) {
            0..=44 => {
                let mut machine = self.machine.lock();
                for _ in 0..rng.usize(1..12) {
                    let client = rng.usize(..CLIENTS);
                    machine.kernel.send(client, datagram(rng, client, self.are_tagged));
                }
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
            68..=81 => _ = self.export(),
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
                self.plain_page.scrape(&page);
            }
            94 | 95 => self.reload(rng, clock),
            96 => {
                clock.jump(rng);
                self.has_jumped = true;
            }
            _ => clock.advance(millis(rng, self.settings.interval.as_millis() * 5)),
        }
        clock.advance(millis(rng, self.settings.interval.as_millis() / 5));
        if clock.now() >= self.flusher.deadline() {
            let overslept = rng.bool();
            self.flush(rng, clock, Some(overslept));
        }
    }

    fn reload(&mut self, rng: &mut Rng, clock: &Clock) {
        let settings = Settings::random(rng, self.are_limited);
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
        // Draining takes time.
        clock.advance(millis(rng, 60));
        let ended = self.flusher.end_interval(clock.now(), clock.wall());
        self.assert_schedule(clock, due, woken, ended);
        let snapshot = self.latest();
        assert_eq!((snapshot.time, snapshot.interval), (ended.time, ended.length));
        self.note(&snapshot);
        let mut machine = self.machine.lock();
        let registry = &machine.expected.registry;
        let live = registry.live.keys().filter(|series| is_followed(series)).cloned().collect();
        self.history.push((Arc::clone(&snapshot), live, registry.in_force.clone()));
        machine.assert_is(&snapshot, self.ended - self.begin);
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
    fn export(&mut self) -> bool {
        let forgetful = self.forgetful.step();
        let page = self.page.step();
        if let Some(Handled { snapshot, is_written }) = &page {
            let known = self.history.iter().find(|(known, ..)| Arc::ptr_eq(known, snapshot));
            let (_, live, settings) = known.expect("every snapshot is in the history");
            self.plain_page.add(snapshot, live, settings);
            if *is_written {
                self.plain_page.assert_is(&self.page.disk.lock().file);
            }
        }
        forgetful.is_some() || page.is_some()
    }

    /// Stops tallyd or lets it crash, and checks that nothing is missing.
    pub(super) fn finish(mut self, rng: &mut Rng, clock: &mut Clock, crashes: bool) -> Tally {
        if !crashes {
            // Receivers read what the kernel still holds, the flush ends the open interval, and exporters finish.
            let mut machine = self.machine.lock();
            machine.stalled.fill(false);
            machine.read_all();
            drop(machine);
            self.flush(rng, clock, None);
            while self.export() {}
            let page = self.page.disk.lock().file.clone();
            self.plain_page.scrape(&page);
        }
        assert_eq!(self.lengths, self.ended - self.begin, "the lengths of all intervals add up");
        let open = self.machine.lock().expected.samples();
        // One more interval shows what the counters and the shards still hold.
        self.outbox.0.lock().are_open = false;
        clock.advance(self.settings.interval);
        self.flusher.end_interval(clock.now(), clock.wall());
        let snapshot = self.latest();
        assert_eq!(snapshot.overview.samples, open, "the samples of the interval that never ended");
        assert!(crashes || open == 0, "a stop ends the open interval");
        self.note(&snapshot);
        self.tally(crashes, open)
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
        Tally {
            sent: kernel.sent,
            dropped: kernel.dropped,
            recorded: self.recorded,
            refused: own("series_refused"),
            rejected: own("lines_rejected"),
            snapshots_dropped: own("snapshots_dropped"),
            undelivered: own("samples_undelivered"),
            lost_in_crashes: open,
            expired: own("series_expired"),
            late: own("flush_late"),
            quarantined: own("series_quarantined"),
            failed_exports: own("export_errors"),
        }
    }

    /// Asserts that each recorded sample was delivered, is counted as undelivered, waits for the exporter, or was in the
    /// interval that never ended.
    fn assert_delivered<E: Exporter>(&self, worker: &Worker<E>, waiting: u64, open: u64) {
        let name = worker.name;
        let undelivered = self.own[&("samples_undelivered".to_owned(), name.to_owned())];
        assert_eq!(worker.delivered + undelivered + waiting + open, self.recorded, "the samples of {name}");
    }
}
