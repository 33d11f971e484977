//! Lists all live series in sorted order, with the state that the flush keeps of each.

use std::mem;
use std::sync::Arc;

use enum_map::EnumMap;
use strum::VariantArray;

use crate::model::{Kind, PolicyId, RESERVED_PREFIX, Series, TopNames};
use crate::resolve::{AggregateKind, Registry, SeriesId};

/// All live series. A series is found by its position in the sorted order, or by its number.
#[derive(Debug, Default)]
pub(super) struct Catalog {
    /// The series, sorted. Snapshots share this list until a series is added or removed.
    series: Arc<Vec<Series>>,
    /// The policies, in the order of the series. Snapshots share this list until it changes.
    policies: Arc<Vec<PolicyId>>,
    /// The numbers and kinds, in the order of the series.
    entries: Vec<Entry>,
    /// The states, indexed by the number of the series.
    states: EnumMap<AggregateKind, Vec<SeriesState>>,
    /// The names with the most series when [`count_names`](Self::count_names) was last called.
    most_series: TopNames,
    /// Whether series were added or removed since then.
    is_changed: bool,
}

/// The number and the kind of a series.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    id: SeriesId,
    pub(super) kind: Kind,
    /// Whether the series is one of tallyd's own.
    pub(super) is_own: bool,
    /// Whether the series was added since [`Catalog::count_names`] was last called.
    is_new: bool,
}

impl Entry {
    fn aggregate(self) -> AggregateKind {
        AggregateKind::of(self.kind)
    }
}

/// A series without samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct IdleSeries {
    /// The time of the latest samples, in seconds.
    pub(super) seen: u32,
    pub(super) aggregate: AggregateKind,
    pub(super) id: SeriesId,
    /// The length of its identity.
    pub(super) bytes: usize,
}

/// A series to add.
#[derive(Debug, Clone)]
struct NewSeries {
    entry: Entry,
    policy: PolicyId,
    series: Series,
}

#[derive(Debug, Clone, Copy, Default)]
struct SeriesState {
    /// The time at which it last had samples, in seconds.
    seen: u32,
    /// The position in the sorted order, counted from 0.
    position: u32,
}

impl Catalog {
    pub(super) fn series(&self) -> &Arc<Vec<Series>> {
        &self.series
    }

    /// Returns the policies, in the order of the series.
    pub(super) fn policies(&self) -> &Arc<Vec<PolicyId>> {
        &self.policies
    }

    pub(super) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Returns the position of a series in the sorted order, counted from 0.
    pub(super) fn position(&self, kind: AggregateKind, id: SeriesId) -> usize {
        self.states[kind][id.index()].position as usize
    }

    /// Returns the position of a series in the sorted order, or `None` if it is not alive.
    pub(super) fn find(&self, series: &Series) -> Option<usize> {
        self.series.binary_search(series).ok()
    }

    /// Returns the kind and the number of a series of clients, or `None` if it is not alive.
    pub(super) fn number(&self, series: &Series) -> Option<(AggregateKind, SeriesId)> {
        let entry = self.entries[self.find(series)?];
        (!entry.is_own).then_some((entry.aggregate(), entry.id))
    }

    /// Notes that a series has samples at `now`, in seconds. Returns its position.
    pub(super) fn mark_seen(&mut self, kind: AggregateKind, id: SeriesId, now: u32) -> usize {
        let state = &mut self.states[kind][id.index()];
        state.seen = now;
        state.position as usize
    }

    /// Returns the time at which a series last had samples, in seconds.
    pub(super) fn seen(&self, kind: AggregateKind, id: SeriesId) -> u32 {
        self.states[kind][id.index()].seen
    }

    /// Returns true if the catalog has the series, and it last had samples at `time`, in seconds.
    pub(super) fn is_seen_at(&self, kind: AggregateKind, id: SeriesId, time: u32) -> bool {
        self.states[kind].get(id.index()).is_some_and(|state| state.seen == time)
    }

    /// Returns the names with the most series of clients, and those with the most series added since the last call.
    pub(super) fn count_names(&mut self) -> (TopNames, TopNames) {
        let mut added = TopNames::default();
        if mem::take(&mut self.is_changed) {
            self.most_series = TopNames::default();
            let mut rest = 0..self.entries.len();
            while !rest.is_empty() {
                let count = self.count_same_name(rest.start);
                let entries = &mut self.entries[rest.start..][..count];
                let new: usize =
                    entries.iter_mut().map(|entry| usize::from(mem::take(&mut entry.is_new))).sum();
                if count > 1 && !self.entries[rest.start].is_own {
                    let name = self.series[rest.start].name();
                    self.most_series.offer(name, count as u64);
                    if new > 1 {
                        added.offer(name, new as u64);
                    }
                }
                rest.start += count;
            }
        }
        (self.most_series.clone(), added)
    }

    /// Returns the number of series, from a position on, that have the same name. It reads the texts of few of them,
    /// because each one read is likely to miss the CPU cache: it doubles its steps, and then halves the last one.
    fn count_same_name(&self, start: usize) -> usize {
        let name = self.series[start].name();
        let has_name =
            |series: &Series| series.identity().strip_prefix(name).is_some_and(|rest| rest.starts_with('\n'));
        let series = &self.series[start..];
        let mut known = 1;
        while series.get(2 * known - 1).is_some_and(has_name) {
            known *= 2;
        }
        let unknown = &series[known..series.len().min(2 * known)];
        known + unknown.partition_point(has_name)
    }

    /// Returns how long each series has had no samples at `now`, in seconds, in the order of the series.
    pub(super) fn idle(&self, now: u32) -> Vec<u32> {
        let idle = |entry: &Entry| now.saturating_sub(self.seen(entry.aggregate(), entry.id));
        self.entries.iter().map(idle).collect()
    }

    pub(super) fn kind(&self, kind: AggregateKind, id: SeriesId) -> Kind {
        self.entries[self.position(kind, id)].kind
    }

    pub(super) fn policy(&self, kind: AggregateKind, id: SeriesId) -> PolicyId {
        self.policies[self.position(kind, id)]
    }

    /// Returns the series of clients without samples since `before`, in seconds. The series that has been idle longest
    /// comes first.
    pub(super) fn longest_idle(&self, before: u32) -> Vec<IdleSeries> {
        let idle = self.entries.iter().zip(&**self.series).filter_map(|(entry, series)| {
            let (aggregate, id) = (entry.aggregate(), entry.id);
            let seen = self.seen(aggregate, id);
            let bytes = series.identity_len();
            (!entry.is_own && seen < before).then_some(IdleSeries { seen, aggregate, id, bytes })
        });
        let mut idle: Vec<_> = idle.collect();
        // A stable sort keeps the order of the series, so the result does not depend on their numbers.
        idle.sort_by_key(|series| series.seen);
        idle
    }

    /// Brings the catalog up to date with the registry. New series count as seen at `now`, in seconds.
    pub(super) fn update(&mut self, registry: &Registry, now: u32) {
        for &kind in AggregateKind::VARIANTS {
            let changed = registry.take_changed(kind);
            self.add(kind, registry.take_added(kind), now);
            self.change_policies(kind, changed);
        }
    }

    fn change_policies(&mut self, kind: AggregateKind, changed: Vec<(SeriesId, PolicyId)>) {
        for (id, policy) in changed {
            let position = self.position(kind, id);
            // The first change copies the list if a snapshot still holds it.
            Arc::make_mut(&mut self.policies)[position] = policy;
        }
    }

    /// Gives each series its policy in a new generation of rules. `carried` holds the new id of each old policy.
    pub(super) fn carry_policies_over(&mut self, carried: &[PolicyId]) {
        self.policies = Arc::new(self.policies.iter().map(|policy| carried[policy.index()]).collect());
    }

    /// Adds series whose first samples came at `now`, in seconds.
    fn add(&mut self, kind: AggregateKind, new: Vec<(SeriesId, Series, PolicyId)>, now: u32) {
        if new.is_empty() {
            return;
        }
        let entry = |id, series: &Series| {
            let is_own = series.name().starts_with(RESERVED_PREFIX);
            Entry { id, kind: series.kind(), is_own, is_new: true }
        };
        let mut new: Vec<_> = new
            .into_iter()
            .map(|(id, series, policy)| NewSeries { entry: entry(id, &series), policy, series })
            .collect();
        new.sort_unstable_by(|a, b| a.series.cmp(&b.series));
        let states = &mut self.states[kind];
        for NewSeries { entry: Entry { id, .. }, .. } in &new {
            states.resize(states.len().max(id.index() + 1), SeriesState::default());
            states[id.index()].seen = now;
        }
        self.merge(new);
        self.is_changed = true;
        self.renumber();
    }

    /// Merges sorted new series into the sorted list. It works in place and from the end, so it needs no second list of
    /// all series.
    fn merge(&mut self, mut new: Vec<NewSeries>) {
        let Some(filler) = new.last().cloned() else { return };
        let Self { entries, series, policies, .. } = self;
        // This copies the lists if a snapshot still holds them.
        let (series, policies) = (Arc::make_mut(series), Arc::make_mut(policies));
        let (mut old, mut position) = (series.len(), series.len() + new.len());
        entries.reserve_exact(new.len());
        entries.resize(position, filler.entry);
        policies.reserve_exact(new.len());
        policies.resize(position, filler.policy);
        series.reserve_exact(new.len());
        series.resize(position, filler.series);
        while let Some(next) = new.last() {
            position -= 1;
            if old > 0 && series[old - 1] > next.series {
                old -= 1;
                entries.swap(old, position);
                policies.swap(old, position);
                series.swap(old, position);
            } else if let Some(NewSeries { entry, policy, series: one }) = new.pop() {
                (entries[position], policies[position], series[position]) = (entry, policy, one);
            }
        }
    }

    /// Removes dropped series of a kind, and replaces the handles of series whose text has moved. Both lists are sorted
    /// by number.
    pub(super) fn remove(&mut self, kind: AggregateKind, dropped: &[SeriesId], moved: &[(SeriesId, Series)]) {
        let entries = mem::take(&mut self.entries).into_iter();
        let series = Arc::unwrap_or_clone(mem::take(&mut self.series));
        let policies = Arc::unwrap_or_clone(mem::take(&mut self.policies));
        let kept = entries.zip(series).zip(policies).filter_map(|((entry, series), policy)| {
            if entry.aggregate() != kind {
                return Some((entry, series, policy));
            }
            if dropped.binary_search(&entry.id).is_ok() {
                return None;
            }
            let moved_to = moved.binary_search_by_key(&entry.id, |(id, _)| *id).ok();
            Some((entry, moved_to.map_or(series, |at| moved[at].1.clone()), policy))
        });
        let (mut entries, mut series, mut policies): (Vec<_>, Vec<_>, Vec<_>) = kept.collect();
        entries.shrink_to_fit();
        series.shrink_to_fit();
        policies.shrink_to_fit();
        (self.entries, self.series, self.policies) = (entries, Arc::new(series), Arc::new(policies));
        self.is_changed = true;
        self.renumber();
    }

    /// Stores the position of each series by its number.
    fn renumber(&mut self) {
        for (position, entry) in (0..).zip(&self.entries) {
            self.states[entry.aggregate()][entry.id.index()].position = position;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn catalog(names: &[&str]) -> Catalog {
        let mut catalog = Catalog::default();
        for (id, name) in (0..).zip(names) {
            let series = Series::new(Kind::Counter, name, &[]);
            catalog.add(AggregateKind::Counter, vec![(SeriesId(id), series, policy(id))], id);
        }
        catalog
    }

    fn policy(number: u32) -> PolicyId {
        PolicyId::new(number)
    }

    fn names(catalog: &Catalog) -> Vec<&str> {
        catalog.series.iter().map(Series::name).collect()
    }

    #[test]
    fn a_series_is_found_at_its_position_as_others_come_and_go() {
        let mut catalog = catalog(&["c", "a", "d", "b"]);
        let timing = Series::new(Kind::Timing, "bb", &[]);
        catalog.add(AggregateKind::Timing, vec![(SeriesId(0), timing, policy(9))], 9);
        assert_eq!(names(&catalog), ["a", "b", "bb", "c", "d"]);
        assert_eq!(
            (0..4).map(|id| catalog.position(AggregateKind::Counter, SeriesId(id))).collect::<Vec<_>>(),
            [3, 0, 4, 1]
        );
        assert_eq!(catalog.kind(AggregateKind::Timing, SeriesId(0)), Kind::Timing);
        let before = Arc::clone(&catalog.series);
        let elsewhere = Series::new(Kind::Counter, "d", &[]);
        catalog.remove(AggregateKind::Counter, &[SeriesId(0), SeriesId(1)], &[(SeriesId(2), elsewhere)]);
        assert_eq!(names(&catalog), ["b", "bb", "d"]);
        assert_eq!(catalog.position(AggregateKind::Counter, SeriesId(2)), 2);
        assert_eq!(**catalog.policies(), [3, 9, 2].map(policy));
        catalog.change_policies(AggregateKind::Counter, vec![(SeriesId(2), policy(7))]);
        assert_eq!(**catalog.policies(), [3, 9, 7].map(policy));
        assert_eq!(before.len(), 5, "a snapshot keeps its own list of series");
    }

    #[test]
    fn the_names_with_the_most_series_and_the_most_new_series_are_found() {
        let mut catalog = Catalog::default();
        let mut id = 0;
        let mut add = |catalog: &mut Catalog, name: &str, count: u32| {
            for tag in 0..count {
                let series = Series::new(Kind::Counter, name, &[("t", &tag.to_string())]);
                catalog.add(AggregateKind::Counter, vec![(SeriesId(id), series, policy(0))], 0);
                id += 1;
            }
        };
        for (name, count) in [("a", 33), ("b", 1), ("bb", 16), ("c", 7), ("tallyd.own", 50)] {
            add(&mut catalog, name, count);
        }
        let lists = catalog.count_names();
        let expected = [("a", 33), ("bb", 16), ("c", 7)];
        assert_eq!(lists.0.iter().collect::<Vec<_>>(), expected);
        assert_eq!(lists.1.iter().collect::<Vec<_>>(), expected);
        let lists = catalog.count_names();
        assert_eq!(lists.0.iter().collect::<Vec<_>>(), expected, "nothing has changed");
        assert_eq!(lists.1.iter().count(), 0);
        add(&mut catalog, "d", 8);
        catalog.remove(AggregateKind::Counter, &(0..30).map(SeriesId).collect::<Vec<_>>(), &[]);
        let lists = catalog.count_names();
        assert_eq!(lists.0.iter().collect::<Vec<_>>(), [("bb", 16), ("d", 8), ("c", 7), ("a", 3)]);
        assert_eq!(lists.1.iter().collect::<Vec<_>>(), [("d", 8)]);
    }

    #[test]
    fn the_catalog_knows_when_a_series_last_had_samples() {
        let mut catalog = catalog(&["a", "b"]);
        assert_eq!(catalog.mark_seen(AggregateKind::Counter, SeriesId(0), 20), 0);
        let seen = |id| catalog.seen(AggregateKind::Counter, SeriesId(id));
        assert_eq!((seen(0), seen(1)), (20, 1));
        let longest_idle =
            |before| catalog.longest_idle(before).iter().map(|idle| idle.id.0).collect::<Vec<_>>();
        assert_eq!([longest_idle(1), longest_idle(10), longest_idle(21)], [vec![], vec![1], vec![1, 0]]);
    }
}
