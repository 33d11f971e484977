//! Numbers all series, so that all shards use the same number for a series.

use std::collections::{BTreeSet, HashMap};
use std::hash::BuildHasher;
use std::hint::black_box;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use enum_map::EnumMap;
use foldhash::fast::RandomState;
use hashbrown::HashTable;
use parking_lot::{RwLock, RwLockWriteGuard};

use super::aggregate_kind::AggregateKind;
use super::arena::{StringArena, StringRef};
use super::limits::{LimitExceeded, Limits, SeriesMemory, TotalExceeded, Usage};
use super::shares::{Group, Shares};
use super::tables::{TABLES, table_of};
use crate::model::{HeldPolicy, Policies, PolicyId, RESERVED_PREFIX, Series, TOUCHED_AT_ONCE, split_name};

/// The number of a series within its aggregate kind. Numbers are dense from 0. The number of a dropped series is
/// reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SeriesId(pub(crate) u32);

impl SeriesId {
    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
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
    max_series_per_metric: AtomicUsize,
    max_name: AtomicUsize,
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
    /// The live series that clients sent.
    used: Usage,
    memory: SeriesMemory,
    shares: Shares,
    /// The identities of all series.
    identities: StringArena,
    kinds: EnumMap<AggregateKind, Numbers>,
}

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
    /// The overflow series.
    overflow: BTreeSet<SeriesId>,
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
            overflow: BTreeSet::new(),
        }
    }
}

/// Returns true if the identity belongs to one of tallyd's own series, which have no limits.
fn is_own(identity: &str) -> bool {
    identity.starts_with(RESERVED_PREFIX)
}

impl Registry {
    pub(crate) fn new(limits: Limits) -> Self {
        let registry = Self {
            hasher: RandomState::default(),
            max_series: AtomicUsize::default(),
            max_bytes: AtomicUsize::default(),
            max_series_per_metric: AtomicUsize::default(),
            max_name: AtomicUsize::default(),
            idle_series: AtomicUsize::new(0),
            idle_bytes: AtomicUsize::new(0),
            inner: RwLock::default(),
        };
        registry.set_limits(limits);
        registry
    }

    pub(crate) fn limits(&self) -> Limits {
        Limits {
            series: self.max_series.load(Relaxed),
            bytes: self.max_bytes.load(Relaxed),
            series_per_metric: self.max_series_per_metric.load(Relaxed),
            name: self.max_name.load(Relaxed),
        }
    }

    /// Changes the limits. Series that exceed a lower limit live on until they expire.
    pub(crate) fn set_limits(&self, Limits { series, bytes, series_per_metric, name }: Limits) {
        self.max_series.store(series, Relaxed);
        self.max_bytes.store(bytes, Relaxed);
        self.max_series_per_metric.store(series_per_metric, Relaxed);
        self.max_name.store(name, Relaxed);
    }

    /// Sets the limits of the rules. There must be no series yet.
    pub(crate) fn set_policies(&self, policies: &Policies) {
        self.inner.write().shares.set_rules(max_series(policies));
    }

    /// Tells the registry how many series had no samples in the latest interval, and how many bytes their identities
    /// take. New series may take their room, and the flush then drops as many of them.
    pub(crate) fn set_idle(&self, idle: Usage) {
        self.idle_series.store(idle.series, Relaxed);
        self.idle_bytes.store(idle.bytes, Relaxed);
    }

    /// Sets the memory that series may take.
    pub(crate) fn set_memory(&self, memory: SeriesMemory) {
        self.inner.write().memory = memory;
    }

    /// Returns the memory that all series are expected to take, in bytes.
    pub(crate) fn memory_taken(&self) -> usize {
        self.inner.read().memory_taken()
    }

    /// Returns the room for new series. Until idle series have given way, there may be up to twice as many series.
    fn room(&self) -> Room {
        let limits = self.limits();
        let Limits { series, bytes, .. } = limits;
        let total = Usage {
            series: series.saturating_add(self.idle_series.load(Relaxed).min(series)),
            bytes: bytes.saturating_add(self.idle_bytes.load(Relaxed).min(bytes)),
        };
        Room { total, limits }
    }

    /// Returns the number of series, and of bytes of their identities, by which clients exceed the limits. Series beyond
    /// the limits of their number and bytes took the room of idle ones. New series cannot take the memory of idle ones, so
    /// these give way as soon as the reserve of the memory is in use.
    pub(crate) fn excess(&self) -> Usage {
        let limits = self.limits().total();
        let inner = self.inner.read();
        let Inner { used, memory, .. } = &*inner;
        let taken = inner.memory_taken();
        let beyond = taken.saturating_sub(memory.max - memory.reserve());
        let by_memory = if beyond == 0 { 0 } else { beyond.div_ceil((taken / used.series.max(1)).max(1)) };
        Usage {
            series: used.series.saturating_sub(limits.series).max(by_memory),
            bytes: used.bytes.saturating_sub(limits.bytes),
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
        let check = |inner: &Inner| inner.check_room(kind, identity, policy, self.room(), &self.hasher);
        self.resolve_if(kind, (identity, hash), policy, check)
    }

    /// Returns the number of an overflow series, and registers the series if it is new. Only the limits on all series
    /// apply to it, because there is at most one for each metric and rule.
    ///
    /// # Errors
    ///
    /// Returns an error if the series is new and would exceed a limit.
    pub(crate) fn resolve_overflow(
        &self,
        kind: AggregateKind,
        identity: &str,
        policy: PolicyId,
    ) -> Result<SeriesId, TotalExceeded> {
        let hash = self.hasher.hash_one(identity);
        let check = |inner: &Inner| inner.check_total(kind, identity, self.room().total, inner.memory.max);
        let id = self.resolve_if(kind, (identity, hash), policy, check)?;
        // The series may have been restored.
        self.inner.write().kinds[kind].overflow.insert(id);
        Ok(id)
    }

    /// Finds or registers a series, given with its hash. Calls `check` before it registers one.
    fn resolve_if<E>(
        &self,
        kind: AggregateKind,
        (identity, hash): (&str, u64),
        policy: PolicyId,
        check: impl Fn(&Inner) -> Result<(), E>,
    ) -> Result<SeriesId, E> {
        {
            let inner = self.inner.read();
            match inner.find(kind, hash, identity) {
                Some(id) if inner.kinds[kind].is_settled(id, policy) => return Ok(id),
                // Clients beyond a limit usually exceed it with every line, so the check first runs under the cheaper
                // read lock.
                None => check(&inner)?,
                Some(_) => {}
            }
        }
        let mut inner = self.inner.write();
        if let Some(id) = inner.find(kind, hash, identity) {
            inner.settle(kind, id, policy);
            return Ok(id);
        }
        check(&inner)?;
        let policy = HeldPolicy::assigned(policy);
        Ok(inner.register(kind, hash, identity, policy, &self.hasher))
    }

    /// Returns the group whose limit applies to a series with this identity and policy, if there is one.
    pub(crate) fn group(&self, identity: &str, policy: PolicyId) -> Option<Group> {
        self.inner.read().shares.group(identity, policy, &self.hasher)
    }

    /// Returns the groups with overflow series for which `has_samples` returns true, and the limit of each group.
    pub(crate) fn overflowing(
        &self,
        has_samples: impl Fn(AggregateKind, SeriesId) -> bool,
    ) -> HashMap<Group, usize> {
        let limits = self.limits();
        let Inner { shares, kinds, identities, .. } = &*self.inner.read();
        let mut overflowing = HashMap::new();
        for (kind, numbers) in kinds {
            for &id in numbers.overflow.iter().filter(|&&id| has_samples(kind, id)) {
                let identity = identities.text(numbers.identities[id.index()]);
                let policy = numbers.policies[id.index()].id();
                if let Some(group) = shares.group(identity, policy, &self.hasher) {
                    overflowing.insert(group, shares.max_series(group, &limits));
                }
            }
        }
        overflowing
    }

    /// Registers the series of an earlier process, whatever the limits are. There must be no series yet, and no identity may
    /// appear twice. If the series exceed a limit, idle ones give way at the end of the interval. Returns the numbers of
    /// the series in their order.
    pub(crate) fn restore(&self, series: &[(AggregateKind, &str, HeldPolicy)]) -> Vec<SeriesId> {
        let mut inner = self.inner.write();
        let mut counts = EnumMap::<AggregateKind, usize>::default();
        series.iter().for_each(|(kind, ..)| counts[*kind] += 1);
        counts.into_iter().for_each(|(kind, count)| inner.kinds[kind].reserve(count));
        let mut ids = Vec::with_capacity(series.len());
        for series in series.chunks(TOUCHED_AT_ONCE) {
            let touch = |&(kind, identity, _): &(AggregateKind, &str, HeldPolicy)| {
                let hash = self.hasher.hash_one(identity);
                black_box(inner.kinds[kind].tables[table_of(hash)].find(hash, |_| false));
                hash
            };
            let hashes: Vec<_> = series.iter().map(touch).collect();
            let register = |(&(kind, identity, policy), hash)| {
                inner.register(kind, hash, identity, policy, &self.hasher)
            };
            ids.extend(series.iter().zip(hashes).map(register));
        }
        ids
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
    /// another. `carried` holds the new id of each old policy among `policies`. No shard may resolve lines at this time.
    pub(crate) fn carry_policies_over(&self, carried: &[PolicyId], policies: &Policies) {
        let Inner { kinds, shares, identities: texts, .. } = &mut *self.inner.write();
        shares.set_rules(max_series(policies));
        let counts_rules = shares.has_rules();
        for Numbers { policies, identities, .. } in kinds.values_mut() {
            for (held, &text) in policies.iter_mut().zip(&*identities) {
                *held = held.carry_over(carried);
                if counts_rules && !text.is_none() {
                    shares.add_to_rule(texts.text(text), held.id());
                }
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
                inner.shares.shrink(table);
                RwLockWriteGuard::unlock_fair(inner);
            }
        }
        dropped
    }

    /// Drops series of tallyd itself, to which no shard refers.
    pub(crate) fn drop_own(&self, kind: AggregateKind, ids: &[SeriesId]) {
        let mut inner = self.inner.write();
        ids.iter().for_each(|&id| inner.drop_series(kind, id, &self.hasher));
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
    /// Reserves memory for the first series. A table that grows step by step hashes each identity several times.
    fn reserve(&mut self, series: usize) {
        // A table gets a few more than the average.
        let per_table = (series / TABLES) * 9 / 8;
        self.tables.iter_mut().for_each(|table| table.reserve(per_table, |_| 0));
        self.identities.reserve_exact(series);
        self.policies.reserve_exact(series);
        self.added.reserve_exact(series);
    }

    /// Returns true if a line that refers to the series changes nothing: the series is not dying and keeps its policy.
    fn is_settled(&self, id: SeriesId, policy: PolicyId) -> bool {
        !self.dying.contains(&id) && !self.policies[id.index()].gives_way_to(policy)
    }
}

/// The room for new series.
#[derive(Debug, Clone, Copy)]
struct Room {
    /// The series that may be alive, including those that can take the room of idle ones.
    total: Usage,
    limits: Limits,
}

/// Returns the limits of rules by their policies.
fn max_series(policies: &Policies) -> impl Iterator<Item = Option<usize>> {
    policies.iter().map(|policy| policy.share.as_ref().map(|share| share.max_series))
}

impl Inner {
    /// Keeps a series alive because a line refers to it. Assigns the line's policy if that takes precedence.
    fn settle(&mut self, kind: AggregateKind, id: SeriesId, policy: PolicyId) {
        let Self { identities: texts, kinds, shares, .. } = self;
        let Numbers { dying, policies, changed, identities, .. } = &mut kinds[kind];
        // A million dying series may all come back in one interval, so the set must find each one fast.
        dying.remove(&id);
        let held = &mut policies[id.index()];
        if held.gives_way_to(policy) {
            let before = held.id();
            *held = HeldPolicy::assigned(policy);
            if before != policy {
                changed.push(id);
                shares.change_policy(texts.text(identities[id.index()]), before, policy);
            }
        }
    }

    /// Checks whether there is room for a new series with this identity and policy.
    fn check_room(
        &self,
        kind: AggregateKind,
        identity: &str,
        policy: PolicyId,
        Room { mut total, limits }: Room,
        hasher: &RandomState,
    ) -> Result<(), LimitExceeded> {
        if is_own(identity) {
            return Ok(());
        }
        if split_name(identity).0.len() > limits.name {
            return Err(LimitExceeded::NameLength);
        }
        let mut used = Usage::default();
        if let Some(group) = self.shares.group(identity, policy, hasher) {
            used = self.shares.used(group);
            if used.series >= self.shares.max_series(group, &limits) {
                return Err(match group {
                    Group::Metric(_) => LimitExceeded::Metric,
                    Group::Rule(_) => LimitExceeded::Rule,
                });
            }
        }
        let mut memory = self.memory.max;
        if !limits.is_small(used) {
            let reserve = limits.reserve();
            total.series -= reserve.series;
            total.bytes -= reserve.bytes;
            memory -= self.memory.reserve();
        }
        self.check_total(kind, identity, total, memory).map_err(LimitExceeded::Total)
    }

    fn check_total(
        &self,
        kind: AggregateKind,
        identity: &str,
        total: Usage,
        memory: usize,
    ) -> Result<(), TotalExceeded> {
        if self.used.series >= total.series {
            return Err(TotalExceeded::Series);
        }
        if self.used.bytes + identity.len() > total.bytes {
            return Err(TotalExceeded::Bytes);
        }
        if self.memory_taken() + self.memory.of(kind, identity) > memory {
            return Err(TotalExceeded::Memory);
        }
        Ok(())
    }

    /// Returns the memory that all series are expected to take, in bytes.
    fn memory_taken(&self) -> usize {
        let SeriesMemory { per_series, per_byte, .. } = &self.memory;
        let live = |numbers: &Numbers| numbers.identities.len() - numbers.free.len();
        let of_series: usize =
            self.kinds.iter().map(|(kind, numbers)| live(numbers) * per_series[kind]).sum();
        of_series + self.used.bytes * per_byte
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
        let Self { identities: texts, kinds, used, shares, .. } = self;
        if !is_own(identity) {
            used.add(identity);
            shares.add(identity, held.id(), hasher);
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
        let Self { identities: texts, kinds, used, shares, .. } = self;
        let Numbers { tables, identities, policies, free, overflow, .. } = &mut kinds[kind];
        overflow.remove(&id);
        let text = std::mem::replace(&mut identities[id.index()], StringRef::NONE);
        let identity = texts.text(text);
        let hash = hasher.hash_one(identity);
        if let Ok(entry) = tables[table_of(hash)].find_entry(hash, |&known| known == id) {
            entry.remove();
        }
        if !is_own(identity) {
            used.remove(identity);
            shares.remove(identity, policies[id.index()].id(), hasher);
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
    use crate::model::{Policy, Share};

    fn registry(series: usize) -> Registry {
        Registry::new(Limits { series, bytes: 1000, ..Limits::default() })
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
        assert_eq!(registry.inner.read().used.series, 1);
        assert_eq!(resolve(&registry, AggregateKind::Counter, "c\nc"), Ok(a));
        assert_eq!(resolve(&registry, AggregateKind::Counter, "b\nc"), Ok(b));
    }

    #[test]
    fn new_series_need_memory_and_idle_ones_give_way_once_the_reserve_is_in_use() {
        let registry = registry(1000);
        let memory = SeriesMemory { max: 1000, per_series: EnumMap::from_fn(|_| 40), per_byte: 2 };
        registry.set_memory(memory);
        let name = |n: usize| format!("name{n}\nc");
        for n in 0..9 {
            resolve(&registry, AggregateKind::Counter, &name(n)).unwrap();
            resolve(&registry, AggregateKind::Counter, &name(n)).unwrap();
        }
        assert_eq!((registry.memory_taken(), registry.excess().series), (9 * (40 + 7 * 2), 0));
        let is_accepted = |&n: &usize| resolve(&registry, AggregateKind::Set, &name(n)).is_ok();
        assert_eq!((9..100).take_while(is_accepted).count(), 9);
        assert_eq!(registry.memory_taken(), 988);
        let refused = resolve(&registry, AggregateKind::Gauge, &name(99));
        assert_eq!(refused, Err(LimitExceeded::Total(TotalExceeded::Memory)));
        assert_eq!(registry.excess().series, 2, "two series take the 88 bytes of the reserve");
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
        assert_eq!(
            resolve(&registry, AggregateKind::Set, "a\ns"),
            Err(LimitExceeded::Total(TotalExceeded::Series))
        );
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
        assert_eq!(
            resolve(&registry, AggregateKind::Gauge, "b\ng"),
            Err(LimitExceeded::Total(TotalExceeded::Series))
        );
    }

    #[test]
    fn a_few_remaining_series_do_not_keep_the_memory_of_all() {
        let registry = Registry::new(Limits { series: 10_000, bytes: 1 << 30, ..Limits::default() });
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

    fn tagged(name: &str, tag: usize) -> String {
        format!("{name}\ntag\n{tag}\nc")
    }

    #[test]
    fn a_metric_has_its_own_limit_which_dropped_series_make_room_in() {
        let registry = Registry::new(Limits { series_per_metric: 2, ..Limits::default() });
        let resolve =
            |kind, identity: &str| registry.resolve(kind, identity, PolicyId::default()).map(|id| id.0);
        let first = resolve(AggregateKind::Counter, &tagged("a", 0)).unwrap();
        resolve(AggregateKind::Counter, &tagged("a", 1)).unwrap();
        assert_eq!(resolve(AggregateKind::Counter, &tagged("a", 2)), Err(LimitExceeded::Metric));
        assert_eq!(resolve(AggregateKind::Counter, &tagged("a", 0)), Ok(first), "a known series");
        for (kind, identity) in [
            (AggregateKind::Counter, "a\nc"),
            (AggregateKind::Gauge, "a\ntag\n1\ng"),
            (AggregateKind::Counter, "aa\ntag\n1\nc"),
        ] {
            assert!(
                resolve(kind, identity).is_ok(),
                "{identity:?} has no tags, another type or another name"
            );
        }
        registry.mark_dying(AggregateKind::Counter, [SeriesId(first)]);
        registry.drop_dying(AggregateKind::Counter, |_| true, |_| ());
        assert!(resolve(AggregateKind::Counter, &tagged("a", 2)).is_ok());
        assert_eq!(resolve(AggregateKind::Counter, &tagged("a", 3)), Err(LimitExceeded::Metric));
    }

    /// Ten metrics of equal size fill all but the reserve, in which only small metrics find room.
    #[test]
    fn the_last_tenth_of_a_limit_is_for_small_metrics() {
        let bytes = tagged("a", 0).len();
        for (limits, exceeded) in [
            (Limits { series: 1000, ..Limits::default() }, TotalExceeded::Series),
            (Limits { bytes: 1000 * bytes, ..Limits::default() }, TotalExceeded::Bytes),
        ] {
            let registry = Registry::new(limits);
            let add = |name: &str, tag: usize| {
                // All identities have the same length.
                let tag = char::from_u32('\u{4000}' as u32 + tag as u32).unwrap();
                let identity = format!("{name}\nt\n{tag}\nc");
                assert_eq!(identity.len(), bytes);
                registry.resolve(AggregateKind::Counter, &identity, PolicyId::default()).map(|_| ())
            };
            let names = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];
            (0..900).for_each(|number| add(names[number % 10], number).unwrap());
            assert_eq!(add("a", 5000), Err(LimitExceeded::Total(exceeded)));
            (0..10).for_each(|number| add("x", number).unwrap());
            assert_eq!(add("x", 10), Err(LimitExceeded::Total(exceeded)), "it is not small any more");
            (0..10).for_each(|number| add("y", number).unwrap());
        }
    }

    #[test]
    fn an_overflow_series_needs_only_room_within_the_limit_on_all_series() {
        let limits = Limits { series: 20, series_per_metric: 100, ..Limits::default() };
        let registry = Registry::new(limits);
        let resolve = |tag| {
            registry.resolve(AggregateKind::Counter, &tagged("a", tag), PolicyId::default()).map(|_| ())
        };
        (0..18).for_each(|tag| resolve(tag).unwrap());
        assert_eq!(resolve(18), Err(LimitExceeded::Total(TotalExceeded::Series)));
        let overflow =
            |name| registry.resolve_overflow(AggregateKind::Counter, &tagged(name, 99), PolicyId::default());
        let first = overflow("a").unwrap();
        overflow("b").unwrap();
        assert_eq!(overflow("c"), Err(TotalExceeded::Series));
        assert_eq!(overflow("a"), Ok(first));
        let at = |_, id| id == first;
        let overflowing: Vec<_> = registry.overflowing(at).into_iter().collect();
        let group = registry.group(&tagged("a", 0), PolicyId::default()).unwrap();
        assert_eq!(overflowing, [(group, 100)]);
    }

    #[test]
    fn the_series_of_a_rule_share_its_limit_across_names_and_generations() {
        let share = |rule: &str, max_series| Policy {
            share: Some(Share { max_series, rule: rule.into() }),
            ..Policy::default()
        };
        let policies = Policies::new(vec![share("a", 3), share("b", 1), Policy::default()]);
        let registry = registry(100);
        registry.set_policies(&policies);
        let resolve = |name: &str, policy| {
            registry.resolve(AggregateKind::Set, &format!("{name}\ns"), PolicyId::new(policy))
        };
        let first = resolve("x", 0).unwrap();
        resolve("y", 0).unwrap();
        resolve("other", 1).unwrap();
        assert_eq!(resolve("another", 1), Err(LimitExceeded::Rule));
        resolve("none", 2).unwrap();
        // The first rule takes over a series of the second.
        resolve("other", 0).unwrap();
        assert_eq!(resolve("z", 0), Err(LimitExceeded::Rule));
        resolve("another", 1).unwrap();
        registry.mark_dying(AggregateKind::Set, [first]);
        registry.drop_dying(AggregateKind::Set, |_| true, |_| ());
        let next = Policies::new(vec![share("a", 3), Policy::default()]);
        registry.carry_policies_over(&next.carried_from(&policies), &next);
        resolve("z", 0).unwrap();
        assert_eq!(resolve("w", 0), Err(LimitExceeded::Rule), "y and other count, x and another do not");
    }

    #[test]
    fn a_new_series_with_a_long_name_is_refused_and_known_ones_live_on() {
        let registry = Registry::new(Limits { name: 4, ..Limits::default() });
        assert!(resolve(&registry, AggregateKind::Set, "four\ntag\nlonger\ns").is_ok());
        assert_eq!(resolve(&registry, AggregateKind::Set, "fives\ns"), Err(LimitExceeded::NameLength));
        registry.set_limits(Limits { name: 3, ..Limits::default() });
        assert!(resolve(&registry, AggregateKind::Set, "four\ntag\nlonger\ns").is_ok());
        assert!(
            resolve(&registry, AggregateKind::Gauge, "tallyd.lines\ng").is_ok(),
            "it is one of tallyd's own"
        );
    }

    #[test]
    fn a_policy_of_earlier_rules_gives_way_to_any_line() {
        let registry = registry(10);
        let resolve =
            |policy: u32| registry.resolve(AggregateKind::Set, "a\ns", PolicyId::new(policy)).unwrap();
        let a = resolve(0);
        registry.carry_policies_over(&[PolicyId::new(1)], &Policies::default());
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
        let registry = Registry::new(Limits { series: 10, bytes: 7, ..Limits::default() });
        let a = resolve(&registry, AggregateKind::Set, "a\ns").unwrap();
        assert_eq!(
            resolve(&registry, AggregateKind::Set, "long\ns"),
            Err(LimitExceeded::Total(TotalExceeded::Bytes))
        );
        assert!(resolve(&registry, AggregateKind::Set, "bb\ns").is_ok());
        assert_eq!(
            resolve(&registry, AggregateKind::Set, "c\ns"),
            Err(LimitExceeded::Total(TotalExceeded::Bytes))
        );
        registry.mark_dying(AggregateKind::Set, [a]);
        registry.drop_dying(AggregateKind::Set, |_| true, |_| ());
        assert!(resolve(&registry, AggregateKind::Set, "c\ns").is_ok());
    }
}
