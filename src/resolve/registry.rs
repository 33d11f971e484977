//! Gives every series a number that all shards share.

use std::collections::BTreeSet;
use std::hash::BuildHasher;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use parking_lot::{RwLock, RwLockWriteGuard};

use super::arena::{StringArena, StringRef};
use crate::model::{Assignment, Kind, PolicyId, Series};

/// The kinds whose aggregates are kept alike, and numbered together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AggregateKind {
    Counter,
    Gauge,
    /// Milliseconds, which are shown in seconds.
    Timing,
    /// Histograms and distributions.
    Distribution,
    Set,
}

impl AggregateKind {
    pub(crate) const ALL: [AggregateKind; 5] = [
        AggregateKind::Counter,
        AggregateKind::Gauge,
        AggregateKind::Timing,
        AggregateKind::Distribution,
        AggregateKind::Set,
    ];

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

/// A series' number within its class: dense from 0, given again after the series was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SeriesId(pub(crate) u32);

impl SeriesId {
    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

/// How many series there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Series that may be alive at a time; below 2^32.
    pub series: usize,
    /// Bytes that the names and tags of all series may take.
    pub bytes: usize,
}

/// Which limit a further series would exceed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LimitExceeded {
    Series,
    Bytes,
}

/// All series that are alive, over all shards.
///
/// A shard asks here once for a form that it does not know, never for one that it does.
#[derive(Debug)]
pub(crate) struct Registry {
    /// Keyed afresh for each process.
    hasher: RandomState,
    max_series: AtomicUsize,
    max_bytes: AtomicUsize,
    inner: RwLock<Inner>,
}

/// Series that are handled under one hold of the lock, some tens of microseconds. It is then handed to whoever waits:
/// otherwise this thread would have it again before a receiver has woken up.
const SERIES_A_STEP: usize = 256;

#[derive(Debug)]
struct Inner {
    /// Those that are alive.
    series: usize,
    /// Of their identities.
    bytes: usize,
    /// Their identities.
    pages: StringArena,
    classes: [Numbers; AggregateKind::ALL.len()],
}

/// Tables that the numbers of a class are dealt out to by their hash. One table of a million takes 100 ms to grow, while
/// all receivers that have something to ask wait; of these each takes less than half a millisecond.
const TABLES: usize = 256;

#[derive(Debug)]
struct Numbers {
    tables: [HashTable<SeriesId>; TABLES],
    /// Where the identity of each number stands.
    places: Vec<StringRef>,
    /// Of each number.
    policies: Vec<PolicyId>,
    free: Vec<SeriesId>,
    /// Registered since they were last asked for.
    added: Vec<SeriesId>,
    /// Those that have had another policy before, since they were last asked for.
    changed: Vec<SeriesId>,
    /// Idle ones that are dropped unless a sample comes in time.
    dying: BTreeSet<SeriesId>,
}

impl Default for Numbers {
    fn default() -> Self {
        Self {
            tables: [const { HashTable::new() }; TABLES],
            places: Vec::new(),
            policies: Vec::new(),
            free: Vec::new(),
            added: Vec::new(),
            changed: Vec::new(),
            dying: BTreeSet::new(),
        }
    }
}

/// The table of a hash, by bits that are not the first to decide where it stands within the table.
fn table_of(hash: u64) -> usize {
    (hash >> 40) as usize % TABLES
}

impl Registry {
    pub(crate) fn new(Limits { series, bytes }: Limits) -> Self {
        let inner = Inner { series: 0, bytes: 0, pages: StringArena::default(), classes: Default::default() };
        Self {
            hasher: RandomState::default(),
            max_series: AtomicUsize::new(series),
            max_bytes: AtomicUsize::new(bytes),
            inner: RwLock::new(inner),
        }
    }

    pub(crate) fn limits(&self) -> Limits {
        Limits { series: self.max_series.load(Relaxed), bytes: self.max_bytes.load(Relaxed) }
    }

    /// Where there are more series already, all of them stay.
    pub(crate) fn limit(&self, Limits { series, bytes }: Limits) {
        self.max_series.store(series, Relaxed);
        self.max_bytes.store(bytes, Relaxed);
    }

    /// The number of a series, which is registered if it is new, and gets this policy if it prevails.
    pub(crate) fn resolve(
        &self,
        class: AggregateKind,
        identity: &str,
        assigned: Assignment,
    ) -> Result<SeriesId, LimitExceeded> {
        let hash = self.hasher.hash_one(identity);
        {
            let inner = self.inner.read();
            match inner.find(class, hash, identity) {
                Some(id) if inner.classes[class as usize].has_settled(id, assigned) => return Ok(id),
                None => inner.has_room_for(identity, self.limits())?,
                _ => {}
            }
        }
        let mut inner = self.inner.write();
        if let Some(id) = inner.find(class, hash, identity) {
            inner.classes[class as usize].settle(id, assigned);
            return Ok(id);
        }
        inner.has_room_for(identity, self.limits())?;
        Ok(inner.register(class, hash, identity, assigned.policy, &self.hasher))
    }

    /// Does something while nobody else can ask.
    #[cfg(test)]
    pub(crate) fn locked<T>(&self, work: impl FnOnce() -> T) -> T {
        let _inner = self.inner.write();
        work()
    }

    /// The series registered since the last call, with their policies.
    pub(crate) fn take_added(&self, class: AggregateKind) -> Vec<(SeriesId, Series, PolicyId)> {
        let added = {
            let mut inner = self.inner.write();
            // Only what stands in closed pages can be shared.
            inner.pages.close();
            std::mem::take(&mut inner.classes[class as usize].added)
        };
        let mut series = Vec::with_capacity(added.len());
        for added in added.chunks(SERIES_A_STEP) {
            let inner = self.inner.read();
            let policies = &inner.classes[class as usize].policies;
            series.extend(
                added.iter().filter_map(|&id| Some((id, inner.series(class, id)?, policies[id.index()]))),
            );
        }
        series
    }

    /// The series that have had another policy since the last call, with the present one. If [`take_added`](Self::take_added)
    /// is called after this, all of them are known then.
    pub(crate) fn take_changed(&self, class: AggregateKind) -> Vec<(SeriesId, PolicyId)> {
        if self.inner.read().classes[class as usize].changed.is_empty() {
            return Vec::new();
        }
        let mut inner = self.inner.write();
        let Numbers { changed, policies, .. } = &mut inner.classes[class as usize];
        std::mem::take(changed).into_iter().map(|id| (id, policies[id.index()])).collect()
    }

    /// Announces that these series will be dropped.
    pub(crate) fn mark_dying(&self, class: AggregateKind, ids: impl IntoIterator<Item = SeriesId>) {
        let dying = ids.into_iter().collect();
        self.inner.write().classes[class as usize].dying = dying;
    }

    /// Drops those of the announced series that nobody asked for since, and that `is_idle` still says are idle. `forget`
    /// is called for each of them before its number can be given to another. Sorted by number.
    pub(crate) fn drop_dying(
        &self,
        class: AggregateKind,
        is_idle: impl Fn(SeriesId) -> bool,
        forget: impl Fn(SeriesId),
    ) -> Vec<SeriesId> {
        let mut dropped = Vec::new();
        loop {
            let mut inner = self.inner.write();
            let numbers = &mut inner.classes[class as usize];
            // Those that are asked for in between leave the rest in time.
            let step: Vec<_> = std::iter::from_fn(|| numbers.dying.pop_first()).take(SERIES_A_STEP).collect();
            if step.is_empty() {
                break;
            }
            for id in step.into_iter().filter(|&id| is_idle(id)) {
                forget(id);
                inner.drop_series(class, id, &self.hasher);
                dropped.push(id);
            }
            RwLockWriteGuard::unlock_fair(inner);
        }
        if !dropped.is_empty() {
            for table in 0..TABLES {
                let mut inner = self.inner.write();
                inner.shrink(class, table, &self.hasher);
                RwLockWriteGuard::unlock_fair(inner);
            }
        }
        dropped
    }

    /// Moves series out of pages that hold mostly dropped ones, so that these are freed. Those of a class that were moved,
    /// sorted by number.
    pub(crate) fn compact(&self, class: AggregateKind) -> Vec<(SeriesId, Series)> {
        let numbers = self.inner.read().classes[class as usize].places.len();
        let mut moved = Vec::new();
        for first in (0..numbers).step_by(SERIES_A_STEP) {
            let step = (first..numbers).take(SERIES_A_STEP).map(|number| SeriesId(number as u32));
            let mut inner = self.inner.write();
            moved.extend(step.filter(|&id| inner.leave_sparse_page(class, id)));
            RwLockWriteGuard::unlock_fair(inner);
        }
        self.inner.write().pages.close();
        let inner = self.inner.read();
        moved.into_iter().filter_map(|id| Some((id, inner.series(class, id)?))).collect()
    }
}

impl Numbers {
    /// Whether there is nothing to do for a series that was asked for.
    fn has_settled(&self, id: SeriesId, assigned: Assignment) -> bool {
        !self.dying.contains(&id) && !assigned.prevails_over(self.policies[id.index()])
    }

    /// Lets a series that was asked for live on, with this policy if it prevails.
    fn settle(&mut self, id: SeriesId, assigned: Assignment) {
        // Of a million, all may come back in the same interval.
        self.dying.remove(&id);
        let policy = &mut self.policies[id.index()];
        if assigned.prevails_over(*policy) {
            *policy = assigned.policy;
            self.changed.push(id);
        }
    }
}

impl Inner {
    fn has_room_for(&self, identity: &str, limits: Limits) -> Result<(), LimitExceeded> {
        if self.series >= limits.series {
            return Err(LimitExceeded::Series);
        }
        if self.bytes + identity.len() > limits.bytes { Err(LimitExceeded::Bytes) } else { Ok(()) }
    }

    fn find(&self, class: AggregateKind, hash: u64, identity: &str) -> Option<SeriesId> {
        let Numbers { tables, places, .. } = &self.classes[class as usize];
        tables[table_of(hash)].find(hash, |id| self.pages.text(places[id.index()]) == identity).copied()
    }

    /// `None` as long as its page is open.
    fn series(&self, class: AggregateKind, id: SeriesId) -> Option<Series> {
        self.pages.series(self.classes[class as usize].places[id.index()])
    }

    fn register(
        &mut self,
        class: AggregateKind,
        hash: u64,
        identity: &str,
        policy: PolicyId,
        hasher: &RandomState,
    ) -> SeriesId {
        let Self { pages, classes, series, bytes, .. } = self;
        *series += 1;
        *bytes += identity.len();
        let Numbers { tables, places, policies, free, added, .. } = &mut classes[class as usize];
        let id = free.pop().unwrap_or_else(|| {
            places.push(StringRef::NONE);
            policies.push(policy);
            // Below max_series, which the configuration keeps below 2^32.
            SeriesId(places.len() as u32 - 1)
        });
        places[id.index()] = pages.push(identity);
        policies[id.index()] = policy;
        tables[table_of(hash)]
            .insert_unique(hash, id, |known| hasher.hash_one(pages.text(places[known.index()])));
        added.push(id);
        id
    }

    fn drop_series(&mut self, class: AggregateKind, id: SeriesId, hasher: &RandomState) {
        let Self { pages, classes, series, bytes, .. } = self;
        let Numbers { tables, places, free, .. } = &mut classes[class as usize];
        let place = std::mem::replace(&mut places[id.index()], StringRef::NONE);
        let identity = pages.text(place);
        let hash = hasher.hash_one(identity);
        if let Ok(entry) = tables[table_of(hash)].find_entry(hash, |&known| known == id) {
            entry.remove();
        }
        *series -= 1;
        *bytes -= identity.len();
        pages.release(place);
        free.push(id);
    }

    /// Gives back what most of a table does not need.
    fn shrink(&mut self, class: AggregateKind, table: usize, hasher: &RandomState) {
        let Self { pages, classes, .. } = self;
        let Numbers { tables, places, .. } = &mut classes[class as usize];
        let table = &mut tables[table];
        if table.len() * 4 < table.capacity() {
            table.shrink_to_fit(|id| hasher.hash_one(pages.text(places[id.index()])));
        }
    }

    /// Moves a series to the open page, if the one where it stands is sparse. Whether it is.
    fn leave_sparse_page(&mut self, class: AggregateKind, id: SeriesId) -> bool {
        let place = &mut self.classes[class as usize].places[id.index()];
        if place.is_none() || !self.pages.is_sparse(*place) {
            return false;
        }
        let text = self.pages.text(*place).to_owned();
        self.pages.release(*place);
        *place = self.pages.push(&text);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registry(series: usize) -> Registry {
        Registry::new(Limits { series, bytes: 1000 })
    }

    fn resolve(registry: &Registry, class: AggregateKind, identity: &str) -> Result<SeriesId, LimitExceeded> {
        let only = PolicyId::default();
        registry.resolve(class, identity, Assignment { policy: only, first: only })
    }

    #[test]
    fn a_series_keeps_its_number_and_gives_it_back_when_dropped() {
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
    fn what_is_kept_of_a_dropped_series_is_forgotten_while_nobody_can_have_its_number() {
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
    fn the_limit_holds_over_all_classes_and_known_series_pass_it() {
        let registry = registry(2);
        let a = resolve(&registry, AggregateKind::Counter, "a\nc");
        resolve(&registry, AggregateKind::Gauge, "a\ng").unwrap();
        assert_eq!(resolve(&registry, AggregateKind::Set, "a\ns"), Err(LimitExceeded::Series));
        assert_eq!(resolve(&registry, AggregateKind::Counter, "a\nc"), a);
    }

    #[test]
    fn few_series_that_are_left_of_many_do_not_keep_the_memory_of_all() {
        let registry = Registry::new(Limits { series: 10_000, bytes: 1 << 30 });
        let resolve =
            |number: usize| resolve(&registry, AggregateKind::Set, &format!("{number:0100}\ns")).unwrap();
        let ids: Vec<_> = (0..10_000).map(resolve).collect();
        assert_eq!(registry.take_added(AggregateKind::Set).len(), ids.len());
        let pages = || registry.inner.read().pages.count();
        assert_eq!(pages(), 10_000 * 102 / (64 << 10) + 1);
        registry.mark_dying(AggregateKind::Set, ids.iter().copied().filter(|id| id.index() % 100 > 0));
        registry.drop_dying(AggregateKind::Set, |_| true, |_| ());
        let moved = registry.compact(AggregateKind::Set);
        assert_eq!(moved.len(), 100);
        for (id, series) in moved {
            assert_eq!(series.identity(), format!("{:0100}\ns", id.index()));
            assert_eq!(resolve(id.index()), id);
        }
        assert_eq!(pages(), 1);
    }

    #[test]
    fn a_policy_that_prevails_is_told_once_and_the_others_are_not() {
        let registry = registry(10);
        let rule = PolicyId::default();
        let resolve = |policy: PolicyId, first: PolicyId| {
            registry.resolve(AggregateKind::Set, "a\ns", Assignment { policy, first }).unwrap()
        };
        let a = resolve(rule.plus(1), rule);
        resolve(rule.plus(2), rule);
        assert_eq!(registry.take_changed(AggregateKind::Set), []);
        assert_eq!(registry.take_added(AggregateKind::Set)[0].2, rule.plus(1));
        resolve(rule, rule);
        assert_eq!(registry.take_changed(AggregateKind::Set), [(a, rule)]);
        resolve(rule.plus(4), rule.plus(3));
        assert_eq!(registry.take_changed(AggregateKind::Set), [(a, rule.plus(4))]);
        assert_eq!(registry.take_changed(AggregateKind::Set), []);
    }

    #[test]
    fn what_is_new_is_told_once() {
        let registry = registry(10);
        resolve(&registry, AggregateKind::Counter, "a\nc").unwrap();
        assert_eq!(registry.take_added(AggregateKind::Counter).len(), 1);
        assert_eq!(registry.take_added(AggregateKind::Counter), []);
    }

    #[test]
    fn identities_are_limited_in_bytes_too_and_dropped_ones_make_room() {
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
