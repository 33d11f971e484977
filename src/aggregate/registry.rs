//! Gives every series a number that all shards share.

use std::collections::BTreeSet;
use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use parking_lot::RwLock;

use crate::protocol::Kind;
use crate::series::Series;

/// The kinds whose aggregates are kept alike, and numbered together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    Counter,
    Gauge,
    /// Timings, histograms and distributions.
    Distribution,
    Set,
}

impl Class {
    pub(crate) const ALL: [Class; 4] = [Class::Counter, Class::Gauge, Class::Distribution, Class::Set];

    pub(crate) fn of(kind: Kind) -> Self {
        match kind {
            Kind::Counter => Class::Counter,
            Kind::Gauge => Class::Gauge,
            Kind::Timing | Kind::Histogram | Kind::Distribution => Class::Distribution,
            Kind::Set => Class::Set,
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
pub(crate) struct Limits {
    pub(crate) series: usize,
    /// Of all identities: names, tags and kinds.
    pub(crate) bytes: usize,
}

/// Which limit a further series would exceed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Full {
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
    inner: RwLock<Inner>,
}

#[derive(Debug)]
struct Inner {
    limits: Limits,
    /// Those that are alive.
    series: usize,
    /// Of their identities.
    bytes: usize,
    classes: [Numbers; 4],
}

#[derive(Debug, Default)]
struct Numbers {
    table: HashTable<SeriesId>,
    /// By number; `None` where it is free.
    series: Vec<Option<Series>>,
    free: Vec<SeriesId>,
    /// Registered since they were last asked for.
    added: Vec<SeriesId>,
    /// Idle ones that are dropped unless a sample comes in time.
    dying: BTreeSet<SeriesId>,
}

impl Registry {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            hasher: RandomState::default(),
            inner: RwLock::new(Inner { limits, series: 0, bytes: 0, classes: Default::default() }),
        }
    }

    /// The number of a series, which is registered if it is new.
    pub(crate) fn resolve(&self, class: Class, identity: &str) -> Result<SeriesId, Full> {
        let hash = self.hasher.hash_one(identity);
        {
            let inner = self.inner.read();
            let numbers = &inner.classes[class as usize];
            match numbers.find(hash, identity) {
                Some(id) if !numbers.dying.contains(&id) => return Ok(id),
                None => inner.has_room_for(identity)?,
                _ => {}
            }
        }
        let mut inner = self.inner.write();
        let numbers = &mut inner.classes[class as usize];
        if let Some(id) = numbers.find(hash, identity) {
            // Of a million, all may come back in the same interval.
            numbers.dying.remove(&id);
            return Ok(id);
        }
        inner.has_room_for(identity)?;
        inner.series += 1;
        inner.bytes += identity.len();
        let numbers = &mut inner.classes[class as usize];
        Ok(numbers.register(hash, identity, |series| self.hasher.hash_one(series.identity())))
    }

    /// The series registered since the last call.
    pub(crate) fn take_added(&self, class: Class) -> Vec<(SeriesId, Series)> {
        let mut inner = self.inner.write();
        let numbers = &mut inner.classes[class as usize];
        let added = std::mem::take(&mut numbers.added);
        added.into_iter().filter_map(|id| Some((id, numbers.series[id.index()].clone()?))).collect()
    }

    /// Announces that these series will be dropped.
    pub(crate) fn mark_dying(&self, class: Class, ids: impl IntoIterator<Item = SeriesId>) {
        self.inner.write().classes[class as usize].dying = ids.into_iter().collect();
    }

    /// Drops those of the announced series that nobody asked for since, and that `is_idle` still says are idle. `forget`
    /// is called for each of them before its number can be given to another. Sorted by number.
    pub(crate) fn drop_dying(
        &self,
        class: Class,
        is_idle: impl Fn(SeriesId) -> bool,
        forget: impl Fn(SeriesId),
    ) -> Vec<SeriesId> {
        let mut inner = self.inner.write();
        let inner = &mut *inner;
        let numbers = &mut inner.classes[class as usize];
        let dying = std::mem::take(&mut numbers.dying);
        let dropped: Vec<_> = dying.into_iter().filter(|&id| is_idle(id)).collect();
        for &id in &dropped {
            forget(id);
            let Some(series) = numbers.series[id.index()].take() else { continue };
            let hash = self.hasher.hash_one(series.identity());
            if let Ok(entry) = numbers.table.find_entry(hash, |&known| known == id) {
                entry.remove();
            }
            numbers.free.push(id);
            inner.series -= 1;
            inner.bytes -= series.identity().len();
        }
        if numbers.table.len() * 4 < numbers.table.capacity() {
            let series = &numbers.series;
            let hasher = &self.hasher;
            numbers.table.shrink_to_fit(|&id| hash_of(series, id, |s| hasher.hash_one(s.identity())));
        }
        dropped
    }
}

impl Inner {
    fn has_room_for(&self, identity: &str) -> Result<(), Full> {
        if self.series >= self.limits.series {
            return Err(Full::Series);
        }
        if self.bytes + identity.len() > self.limits.bytes { Err(Full::Bytes) } else { Ok(()) }
    }
}

impl Numbers {
    fn find(&self, hash: u64, identity: &str) -> Option<SeriesId> {
        let is_it = |id: &SeriesId| {
            self.series[id.index()].as_ref().is_some_and(|known| known.identity() == identity)
        };
        self.table.find(hash, is_it).copied()
    }

    fn register(&mut self, hash: u64, identity: &str, hash_series: impl Fn(&Series) -> u64) -> SeriesId {
        let id = self.free.pop().unwrap_or_else(|| {
            self.series.push(None);
            // Below max_series, which the configuration keeps below 2^32.
            SeriesId(self.series.len() as u32 - 1)
        });
        self.series[id.index()] = Some(Series::from_identity(identity));
        let series = &self.series;
        self.table.insert_unique(hash, id, |&known| hash_of(series, known, &hash_series));
        self.added.push(id);
        id
    }
}

fn hash_of(series: &[Option<Series>], id: SeriesId, hash_series: impl Fn(&Series) -> u64) -> u64 {
    series[id.index()].as_ref().map_or(0, hash_series)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registry(series: usize) -> Registry {
        Registry::new(Limits { series, bytes: 1000 })
    }

    #[test]
    fn a_series_keeps_its_number_and_gives_it_back_when_dropped() {
        let registry = registry(10);
        let a = registry.resolve(Class::Counter, "a\nc").unwrap();
        let b = registry.resolve(Class::Counter, "b\nc").unwrap();
        assert_eq!(registry.resolve(Class::Counter, "a\nc"), Ok(a));
        registry.mark_dying(Class::Counter, [a]);
        assert_eq!(registry.drop_dying(Class::Counter, |_| true, |_| ()), [a]);
        assert_eq!(registry.inner.read().series, 1);
        assert_eq!(registry.resolve(Class::Counter, "c\nc"), Ok(a));
        assert_eq!(registry.resolve(Class::Counter, "b\nc"), Ok(b));
    }

    #[test]
    fn a_dying_series_lives_on_if_a_shard_asks_for_it() {
        let registry = registry(10);
        let a = registry.resolve(Class::Set, "a\ns").unwrap();
        registry.mark_dying(Class::Set, [a]);
        assert_eq!(registry.resolve(Class::Set, "a\ns"), Ok(a));
        assert_eq!(registry.drop_dying(Class::Set, |_| true, |_| ()), []);
        assert_eq!(registry.resolve(Class::Set, "a\ns"), Ok(a));
    }

    #[test]
    fn what_is_kept_of_a_dropped_series_is_forgotten_while_nobody_can_have_its_number() {
        let registry = registry(10);
        let a = registry.resolve(Class::Gauge, "a\ng").unwrap();
        registry.mark_dying(Class::Gauge, [a]);
        let forgotten = std::cell::Cell::new(None);
        registry.drop_dying(
            Class::Gauge,
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
        let a = registry.resolve(Class::Counter, "a\nc");
        registry.resolve(Class::Gauge, "a\ng").unwrap();
        assert_eq!(registry.resolve(Class::Set, "a\ns"), Err(Full::Series));
        assert_eq!(registry.resolve(Class::Counter, "a\nc"), a);
    }

    #[test]
    fn what_is_new_is_told_once() {
        let registry = registry(10);
        registry.resolve(Class::Counter, "a\nc").unwrap();
        assert_eq!(registry.take_added(Class::Counter).len(), 1);
        assert_eq!(registry.take_added(Class::Counter), []);
    }

    #[test]
    fn identities_are_limited_in_bytes_too_and_dropped_ones_make_room() {
        let registry = Registry::new(Limits { series: 10, bytes: 7 });
        let a = registry.resolve(Class::Set, "a\ns").unwrap();
        assert_eq!(registry.resolve(Class::Set, "long\ns"), Err(Full::Bytes));
        assert!(registry.resolve(Class::Set, "bb\ns").is_ok());
        assert_eq!(registry.resolve(Class::Set, "c\ns"), Err(Full::Bytes));
        registry.mark_dying(Class::Set, [a]);
        registry.drop_dying(Class::Set, |_| true, |_| ());
        assert!(registry.resolve(Class::Set, "c\ns").is_ok());
    }
}
