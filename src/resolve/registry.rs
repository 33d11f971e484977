//! Numbers all series, so that all shards use the same number for a series.

use std::collections::BTreeSet;
use std::hash::BuildHasher;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use enum_map::{Enum, EnumMap};
use foldhash::fast::RandomState;
use hashbrown::HashTable;
use parking_lot::{RwLock, RwLockWriteGuard};
use strum::VariantArray;

use super::arena::{StringArena, StringRef};
use crate::model::{HeldPolicy, Kind, PolicyId, RESERVED_PREFIX, Series};

/// The kinds of aggregates. The series of one aggregate kind are stored in the same way and share one numbering.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum, VariantArray)]
pub(crate) enum AggregateKind {
    Counter,
    Gauge,
    /// Timings in milliseconds. Prometheus gets them in seconds.
    Timing,
    /// Histograms and distributions.
    Distribution,
    Set,
}

impl AggregateKind {
    pub(crate) fn of(kind: Kind) -> Self {
        match kind {
            Kind::Counter => AggregateKind::Counter,
            Kind::Gauge => AggregateKind::Gauge,
            Kind::Timing => AggregateKind::Timing,
            Kind::Histogram | Kind::Distribution => AggregateKind::Distribution,
            Kind::Set => AggregateKind::Set,
        }
    }
}

/// The number of a series within its aggregate kind. Numbers are dense from 0. The number of a dropped series is
/// reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SeriesId(pub(crate) u32);

impl SeriesId {
    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

/// The limits on series. They do not apply to tallyd's own series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The number of series that may be alive at a time; below 2^32.
    pub series: usize,
    /// The number of bytes that the names and tags of all series may take.
    pub bytes: usize,
}

/// The defaults are those of the shipped configuration.
impl Default for Limits {
    fn default() -> Self {
        Self { series: 1_000_000, bytes: 256 << 20 }
    }
}

/// The limit that one more series would exceed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LimitExceeded {
    Series,
    Bytes,
}

/// All live series of all shards.
///
/// A shard asks the registry once for each unknown line pattern, and never for a known one.
#[derive(Debug)]
pub(crate) struct Registry {
    /// Each process has its own random key, so no sender can choose names that collide.
    hasher: RandomState,
    max_series: AtomicUsize,
    max_bytes: AtomicUsize,
    /// The number of series without samples in the latest interval, and the bytes of their identities.
    idle_series: AtomicUsize,
    idle_bytes: AtomicUsize,
    inner: RwLock<Inner>,
}

/// The number of series that the flush handles per hold of the lock, which takes some tens of microseconds. In between,
/// it hands the lock to a waiting thread. Otherwise it would take the lock again before a receiver wakes up.
const SERIES_PER_STEP: usize = 256;

#[derive(Debug, Default)]
struct Inner {
    /// The number of live series that clients sent.
    series: usize,
    /// The number of bytes that their identities take.
    bytes: usize,
    /// The identities of all series.
    identities: StringArena,
    kinds: EnumMap<AggregateKind, Numbers>,
}

/// The number of tables over which the series of a kind are spread by hash. A single table of a million series takes
/// 100 ms to grow, while all receivers with new series wait. Each of these tables grows in less than half a
/// millisecond.
const TABLES: usize = 256;

/// The series of one aggregate kind.
#[derive(Debug)]
struct Numbers {
    tables: [HashTable<SeriesId>; TABLES],
    /// The identity of each series, by number.
    identities: Vec<StringRef>,
    /// The policy of each series, by number.
    policies: Vec<HeldPolicy>,
    free: Vec<SeriesId>,
    /// The series registered since the last call of [`Registry::take_added`].
    added: Vec<SeriesId>,
    /// The series whose policy changed since the last call of [`Registry::take_changed`].
    changed: Vec<SeriesId>,
    /// The idle series that will be dropped unless a sample arrives in time.
    dying: BTreeSet<SeriesId>,
}

impl Default for Numbers {
    fn default() -> Self {
        Self {
            tables: [const { HashTable::new() }; TABLES],
            identities: Vec::new(),
            policies: Vec::new(),
            free: Vec::new(),
            added: Vec::new(),
            changed: Vec::new(),
            dying: BTreeSet::new(),
        }
    }
}

/// Returns the table of a hash. The bits that choose the table do not determine the position within it.
fn table_of(hash: u64) -> usize {
    (hash >> 40) as usize % TABLES
}

/// Returns true if the identity belongs to one of tallyd's own series, which have no limits.
fn is_own(identity: &str) -> bool {
    identity.starts_with(RESERVED_PREFIX)
}

impl Registry {
    pub(crate) fn new(Limits { series, bytes }: Limits) -> Self {
        Self {
            hasher: RandomState::default(),
            max_series: AtomicUsize::new(series),
            max_bytes: AtomicUsize::new(bytes),
            idle_series: AtomicUsize::new(0),
            idle_bytes: AtomicUsize::new(0),
            inner: RwLock::default(),
        }
    }

    pub(crate) fn limits(&self) -> Limits {
        Limits { series: self.max_series.load(Relaxed), bytes: self.max_bytes.load(Relaxed) }
    }

    /// Changes the limits. Series that exceed a lower limit live on until they expire.
    pub(crate) fn set_limits(&self, Limits { series, bytes }: Limits) {
        self.max_series.store(series, Relaxed);
        self.max_bytes.store(bytes, Relaxed);
    }

    /// Tells the registry how many series had no samples in the latest interval, and how many bytes their identities
    /// take. New series may take their room, and the flush then drops as many of them.
    pub(crate) fn set_idle(&self, idle: Limits) {
        self.idle_series.store(idle.series, Relaxed);
        self.idle_bytes.store(idle.bytes, Relaxed);
    }

    /// Returns the limits on new series. Until idle series have given way, there may be up to twice as many series.
    fn room(&self) -> Limits {
        let Limits { series, bytes } = self.limits();
        Limits {
            series: series.saturating_add(self.idle_series.load(Relaxed).min(series)),
            bytes: bytes.saturating_add(self.idle_bytes.load(Relaxed).min(bytes)),
        }
    }

    /// Returns the number of series, and of bytes of their identities, by which clients exceed the limits.
    pub(crate) fn excess(&self) -> Limits {
        let limits = self.limits();
        let inner = self.inner.read();
        Limits {
            series: inner.series.saturating_sub(limits.series),
            bytes: inner.bytes.saturating_sub(limits.bytes),
        }
    }

    /// Returns the number of the series with this identity, and registers the series if it is new. `policy` is the
    /// policy that the line assigns to it.
    ///
    /// # Errors
    ///
    /// Returns an error if the series is new, would exceed a limit, and not enough idle series can give way to it.
    pub(crate) fn resolve(
        &self,
        kind: AggregateKind,
        identity: &str,
        policy: PolicyId,
    ) -> Result<SeriesId, LimitExceeded> {
        let hash = self.hasher.hash_one(identity);
        {
            let inner = self.inner.read();
            match inner.find(kind, hash, identity) {
                Some(id) if inner.kinds[kind].is_settled(id, policy) => return Ok(id),
                // Clients beyond a limit usually exceed it with every line, so the check first runs under the cheaper
                // read lock.
                None => inner.check_room(identity, self.room())?,
                Some(_) => {}
            }
        }
        let mut inner = self.inner.write();
        if let Some(id) = inner.find(kind, hash, identity) {
            inner.kinds[kind].settle(id, policy);
            return Ok(id);
        }
        inner.check_room(identity, self.room())?;
        let policy = HeldPolicy::assigned(policy);
        Ok(inner.register(kind, hash, identity, policy, &self.hasher))
    }

    /// Registers a series of an earlier process, whatever the limits are. If the series exceed a limit, idle ones give way
    /// at the end of the interval.
    pub(crate) fn restore(&self, kind: AggregateKind, identity: &str, policy: HeldPolicy) -> SeriesId {
        let hash = self.hasher.hash_one(identity);
        let mut inner = self.inner.write();
        let known = inner.find(kind, hash, identity);
        known.unwrap_or_else(|| inner.register(kind, hash, identity, policy, &self.hasher))
    }

    /// Runs `work` while the registry is locked.
    #[cfg(test)]
    pub(crate) fn locked<T>(&self, work: impl FnOnce() -> T) -> T {
        let _inner = self.inner.write();
        work()
    }

    /// Returns the series registered since the last call, with their policies.
    pub(crate) fn take_added(&self, kind: AggregateKind) -> Vec<(SeriesId, Series, PolicyId)> {
        let added = {
            let mut inner = self.inner.write();
            // Only closed blocks can be shared.
            inner.identities.close();
            std::mem::take(&mut inner.kinds[kind].added)
        };
        let mut series = Vec::with_capacity(added.len());
        for added in added.chunks(SERIES_PER_STEP) {
            let inner = self.inner.read();
            let policies = &inner.kinds[kind].policies;
            let with_policy = |&id: &SeriesId| Some((id, inner.series(kind, id)?, policies[id.index()].id()));
            series.extend(added.iter().filter_map(with_policy));
        }
        series
    }

    /// Returns the series whose policy changed since the last call. Call [`take_added`](Self::take_added) afterwards,
    /// because some of them may be new.
    pub(crate) fn take_changed(&self, kind: AggregateKind) -> Vec<(SeriesId, PolicyId)> {
        if self.inner.read().kinds[kind].changed.is_empty() {
            return Vec::new();
        }
        let mut inner = self.inner.write();
        let Numbers { changed, policies, .. } = &mut inner.kinds[kind];
        std::mem::take(changed).into_iter().map(|id| (id, policies[id.index()].id())).collect()
    }

    /// Starts a generation of rules. Each series gets the policy that replaces its old one, until a line assigns it
    /// another. `carried` holds the new id of each old policy. No shard may resolve lines at this time.
    pub(crate) fn carry_policies_over(&self, carried: &[PolicyId]) {
        for numbers in self.inner.write().kinds.values_mut() {
            for held in &mut numbers.policies {
                *held = held.carry_over(carried);
            }
        }
    }

    /// Announces that these series will be dropped unless a line refers to them first.
    pub(crate) fn mark_dying(&self, kind: AggregateKind, ids: impl IntoIterator<Item = SeriesId>) {
        let dying = ids.into_iter().collect();
        self.inner.write().kinds[kind].dying = dying;
    }

    /// Drops the announced series for which `is_idle` still returns true, except the ones that a shard has asked for
    /// since. Calls `forget` for each dropped series before its number can be reused. Returns the dropped series sorted
    /// by number.
    pub(crate) fn drop_dying(
        &self,
        kind: AggregateKind,
        is_idle: impl Fn(SeriesId) -> bool,
        forget: impl Fn(SeriesId),
    ) -> Vec<SeriesId> {
        let mut dropped = Vec::new();
        loop {
            let mut inner = self.inner.write();
            let numbers = &mut inner.kinds[kind];
            // If a shard asks for a series between two steps, the series is no longer dying.
            let step: Vec<_> =
                std::iter::from_fn(|| numbers.dying.pop_first()).take(SERIES_PER_STEP).collect();
            if step.is_empty() {
                break;
            }
            for id in step.into_iter().filter(|&id| is_idle(id)) {
                forget(id);
                inner.drop_series(kind, id, &self.hasher);
                dropped.push(id);
            }
            RwLockWriteGuard::unlock_fair(inner);
        }
        if !dropped.is_empty() {
            for table in 0..TABLES {
                let mut inner = self.inner.write();
                inner.shrink(kind, table, &self.hasher);
                RwLockWriteGuard::unlock_fair(inner);
            }
        }
        dropped
    }

    /// Moves the series of a kind out of sparse blocks, so that these blocks can be freed. Returns the moved series,
    /// sorted by number.
    pub(crate) fn compact(&self, kind: AggregateKind) -> Vec<(SeriesId, Series)> {
        let numbers = self.inner.read().kinds[kind].identities.len();
        let mut moved = Vec::new();
        for first in (0..numbers).step_by(SERIES_PER_STEP) {
            let step = (first..numbers).take(SERIES_PER_STEP).map(|number| SeriesId(number as u32));
            let mut inner = self.inner.write();
            moved.extend(step.filter(|&id| inner.leave_sparse_page(kind, id)));
            RwLockWriteGuard::unlock_fair(inner);
        }
        self.inner.write().identities.close();
        let inner = self.inner.read();
        moved.into_iter().filter_map(|id| Some((id, inner.series(kind, id)?))).collect()
    }
}

impl Numbers {
    /// Returns true if a line that refers to the series changes nothing: the series is not dying and keeps its policy.
    fn is_settled(&self, id: SeriesId, policy: PolicyId) -> bool {
        !self.dying.contains(&id) && !self.policies[id.index()].gives_way_to(policy)
    }

    /// Keeps a series alive because a line refers to it. Assigns the line's policy if that takes precedence.
    fn settle(&mut self, id: SeriesId, policy: PolicyId) {
        // A million dying series may all come back in one interval, so the set must find each one fast.
        self.dying.remove(&id);
        let held = &mut self.policies[id.index()];
        if held.gives_way_to(policy) {
            let has_changed = held.id() != policy;
            *held = HeldPolicy::assigned(policy);
            if has_changed {
                self.changed.push(id);
            }
        }
    }
}

impl Inner {
    fn check_room(&self, identity: &str, limits: Limits) -> Result<(), LimitExceeded> {
        if is_own(identity) {
            return Ok(());
        }
        if self.series >= limits.series {
            return Err(LimitExceeded::Series);
        }
        if self.bytes + identity.len() > limits.bytes { Err(LimitExceeded::Bytes) } else { Ok(()) }
    }

    fn find(&self, kind: AggregateKind, hash: u64, identity: &str) -> Option<SeriesId> {
        let Numbers { tables, identities, .. } = &self.kinds[kind];
        let is_it = |id: &SeriesId| self.identities.text(identities[id.index()]) == identity;
        tables[table_of(hash)].find(hash, is_it).copied()
    }

    /// Returns a series, or `None` while its block is open.
    fn series(&self, kind: AggregateKind, id: SeriesId) -> Option<Series> {
        self.identities.series(self.kinds[kind].identities[id.index()])
    }

    fn register(
        &mut self,
        kind: AggregateKind,
        hash: u64,
        identity: &str,
        held: HeldPolicy,
        hasher: &RandomState,
    ) -> SeriesId {
        let Self { identities: texts, kinds, series, bytes } = self;
        if !is_own(identity) {
            *series += 1;
            *bytes += identity.len();
        }
        let Numbers { tables, identities, policies, free, added, .. } = &mut kinds[kind];
        let id = free.pop().unwrap_or_else(|| {
            identities.push(StringRef::NONE);
            policies.push(held);
            // The number is below 2^32, because the configuration keeps `max_series` below it.
            SeriesId(identities.len() as u32 - 1)
        });
        identities[id.index()] = texts.push(identity);
        policies[id.index()] = held;
        let hash_of = |known: &SeriesId| hasher.hash_one(texts.text(identities[known.index()]));
        tables[table_of(hash)].insert_unique(hash, id, hash_of);
        added.push(id);
        id
    }

    fn drop_series(&mut self, kind: AggregateKind, id: SeriesId, hasher: &RandomState) {
        let Self { identities: texts, kinds, series, bytes } = self;
        let Numbers { tables, identities, free, .. } = &mut kinds[kind];
        let text = std::mem::replace(&mut identities[id.index()], StringRef::NONE);
        let identity = texts.text(text);
        let hash = hasher.hash_one(identity);
        if let Ok(entry) = tables[table_of(hash)].find_entry(hash, |&known| known == id) {
            entry.remove();
        }
        if !is_own(identity) {
            *series -= 1;
            *bytes -= identity.len();
        }
        texts.release(text);
        free.push(id);
    }

    /// Returns memory to the system if a table uses less than a quarter of its capacity.
    fn shrink(&mut self, kind: AggregateKind, table: usize, hasher: &RandomState) {
        let Self { identities: texts, kinds, .. } = self;
        let Numbers { tables, identities, .. } = &mut kinds[kind];
        let table = &mut tables[table];
        if table.len() * 4 < table.capacity() {
            table.shrink_to_fit(|id| hasher.hash_one(texts.text(identities[id.index()])));
        }
    }

    /// Moves the identity of a series to the open block if its own block is sparse. Returns true if it was moved.
    fn leave_sparse_page(&mut self, kind: AggregateKind, id: SeriesId) -> bool {
        let text = &mut self.kinds[kind].identities[id.index()];
        if text.is_none() || !self.identities.is_sparse(*text) {
            return false;
        }
        let identity = self.identities.text(*text).to_owned();
        self.identities.release(*text);
        *text = self.identities.push(&identity);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registry(series: usize) -> Registry {
        Registry::new(Limits { series, bytes: 1000 })
    }

    fn resolve(registry: &Registry, kind: AggregateKind, identity: &str) -> Result<SeriesId, LimitExceeded> {
        registry.resolve(kind, identity, PolicyId::default())
    }

    #[test]
    fn a_series_keeps_its_number_until_it_is_dropped() {
        let registry = registry(10);
        let a = resolve(&registry, AggregateKind::Counter, "a\nc").unwrap();
        let b = resolve(&registry, AggregateKind::Counter, "b\nc").unwrap();
        assert_eq!(resolve(&registry, AggregateKind::Counter, "a\nc"), Ok(a));
        registry.mark_dying(AggregateKind::Counter, [a]);
        assert_eq!(registry.drop_dying(AggregateKind::Counter, |_| true, |_| ()), [a]);
        assert_eq!(registry.inner.read().series, 1);
        assert_eq!(resolve(&registry, AggregateKind::Counter, "c\nc"), Ok(a));
        assert_eq!(resolve(&registry, AggregateKind::Counter, "b\nc"), Ok(b));
    }

    #[test]
    fn a_dying_series_lives_on_if_a_shard_asks_for_it() {
        let registry = registry(10);
        let a = resolve(&registry, AggregateKind::Set, "a\ns").unwrap();
        registry.mark_dying(AggregateKind::Set, [a]);
        assert_eq!(resolve(&registry, AggregateKind::Set, "a\ns"), Ok(a));
        assert_eq!(registry.drop_dying(AggregateKind::Set, |_| true, |_| ()), []);
        assert_eq!(resolve(&registry, AggregateKind::Set, "a\ns"), Ok(a));
    }

    #[test]
    fn a_dropped_series_is_forgotten_before_its_number_can_be_reused() {
        let registry = registry(10);
        let a = resolve(&registry, AggregateKind::Gauge, "a\ng").unwrap();
        registry.mark_dying(AggregateKind::Gauge, [a]);
        let forgotten = std::cell::Cell::new(None);
        registry.drop_dying(
            AggregateKind::Gauge,
            |_| true,
            |id| {
                assert!(registry.inner.is_locked_exclusive());
                forgotten.set(Some(id));
            },
        );
        assert_eq!(forgotten.get(), Some(a));
    }

    #[test]
    fn the_limit_counts_all_kinds_and_admits_known_series() {
        let registry = registry(2);
        let a = resolve(&registry, AggregateKind::Counter, "a\nc");
        resolve(&registry, AggregateKind::Gauge, "a\ng").unwrap();
        assert_eq!(resolve(&registry, AggregateKind::Set, "a\ns"), Err(LimitExceeded::Series));
        assert_eq!(resolve(&registry, AggregateKind::Counter, "a\nc"), a);
    }

    #[test]
    fn the_limits_do_not_count_series_of_tallyd_itself() {
        let registry = registry(1);
        let own = resolve(&registry, AggregateKind::Gauge, "tallyd.series\ng").unwrap();
        resolve(&registry, AggregateKind::Gauge, "a\ng").unwrap();
        resolve(&registry, AggregateKind::Counter, "tallyd.lines\nc").unwrap();
        registry.mark_dying(AggregateKind::Gauge, [own]);
        registry.drop_dying(AggregateKind::Gauge, |_| true, |_| ());
        assert_eq!(resolve(&registry, AggregateKind::Gauge, "b\ng"), Err(LimitExceeded::Series));
    }

    #[test]
    fn a_few_remaining_series_do_not_keep_the_memory_of_all() {
        let registry = Registry::new(Limits { series: 10_000, bytes: 1 << 30 });
        let resolve =
            |number: usize| resolve(&registry, AggregateKind::Set, &format!("{number:0100}\ns")).unwrap();
        let ids: Vec<_> = (0..10_000).map(resolve).collect();
        assert_eq!(registry.take_added(AggregateKind::Set).len(), ids.len());
        let blocks = || registry.inner.read().identities.count();
        assert_eq!(blocks(), 10_000 * 102 / (64 << 10) + 1);
        registry.mark_dying(AggregateKind::Set, ids.iter().copied().filter(|id| id.index() % 100 > 0));
        registry.drop_dying(AggregateKind::Set, |_| true, |_| ());
        let moved = registry.compact(AggregateKind::Set);
        assert_eq!(moved.len(), 100);
        for (id, series) in moved {
            assert_eq!(series.identity(), format!("{:0100}\ns", id.index()));
            assert_eq!(resolve(id.index()), id);
        }
        assert_eq!(blocks(), 1);
    }

    #[test]
    fn the_first_rule_takes_precedence_and_a_change_is_reported_once() {
        let registry = registry(10);
        let resolve =
            |policy: u32| registry.resolve(AggregateKind::Set, "a\ns", PolicyId::new(policy)).unwrap();
        let a = resolve(1);
        resolve(2);
        assert_eq!(registry.take_changed(AggregateKind::Set), []);
        assert_eq!(registry.take_added(AggregateKind::Set)[0].2, PolicyId::new(1));
        resolve(0);
        assert_eq!(registry.take_changed(AggregateKind::Set), [(a, PolicyId::new(0))]);
        assert_eq!(registry.take_changed(AggregateKind::Set), []);
    }

    #[test]
    fn a_policy_of_earlier_rules_gives_way_to_any_line() {
        let registry = registry(10);
        let resolve =
            |policy: u32| registry.resolve(AggregateKind::Set, "a\ns", PolicyId::new(policy)).unwrap();
        let a = resolve(0);
        registry.carry_policies_over(&[PolicyId::new(1)]);
        assert_eq!(registry.take_added(AggregateKind::Set)[0].2, PolicyId::new(1));
        resolve(2);
        assert_eq!(registry.take_changed(AggregateKind::Set), [(a, PolicyId::new(2))]);
        resolve(3);
        assert_eq!(registry.take_changed(AggregateKind::Set), [], "it was assigned under the new rules");
    }

    #[test]
    fn an_added_series_is_reported_once() {
        let registry = registry(10);
        resolve(&registry, AggregateKind::Counter, "a\nc").unwrap();
        assert_eq!(registry.take_added(AggregateKind::Counter).len(), 1);
        assert_eq!(registry.take_added(AggregateKind::Counter), []);
    }

    #[test]
    fn the_bytes_of_identities_are_limited_and_dropped_series_make_room() {
        let registry = Registry::new(Limits { series: 10, bytes: 7 });
        let a = resolve(&registry, AggregateKind::Set, "a\ns").unwrap();
        assert_eq!(resolve(&registry, AggregateKind::Set, "long\ns"), Err(LimitExceeded::Bytes));
        assert!(resolve(&registry, AggregateKind::Set, "bb\ns").is_ok());
        assert_eq!(resolve(&registry, AggregateKind::Set, "c\ns"), Err(LimitExceeded::Bytes));
        registry.mark_dying(AggregateKind::Set, [a]);
        registry.drop_dying(AggregateKind::Set, |_| true, |_| ());
        assert!(resolve(&registry, AggregateKind::Set, "c\ns").is_ok());
    }
}
