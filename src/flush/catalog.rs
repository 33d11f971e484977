//! All series that are alive, in sorted order, and what is known of each.

use std::mem;
use std::sync::Arc;

use crate::model::{Kind, PolicyId, Series};
use crate::resolve::{AggregateKind, SeriesId};

/// Every series is found by its place in the sorted order, and by its number.
#[derive(Debug, Default)]
pub(super) struct Catalog {
    /// Sorted. Shared with the snapshots of all intervals between which no series came or went.
    series: Arc<Vec<Series>>,
    /// Of each series, in the same order; shared likewise.
    policies: Arc<Vec<PolicyId>>,
    /// Of each series, in the same order.
    entries: Vec<Entry>,
    /// By number, for each [`AggregateKind`].
    lives: [Vec<Life>; AggregateKind::ALL.len()],
}

/// What a series is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    id: SeriesId,
    pub(super) kind: Kind,
}

impl Entry {
    fn class(self) -> AggregateKind {
        AggregateKind::of(self.kind)
    }
}

/// A series that is to be added.
#[derive(Debug, Clone)]
struct New {
    entry: Entry,
    policy: PolicyId,
    series: Series,
}

/// What is known of the series with a number.
#[derive(Debug, Clone, Copy, Default)]
struct Life {
    /// When it last had samples, in seconds.
    seen: u32,
    /// Its place in the sorted order.
    place: u32,
}

impl Catalog {
    pub(super) fn series(&self) -> &Arc<Vec<Series>> {
        &self.series
    }

    /// Of each series, in their order.
    pub(super) fn policies(&self) -> &Arc<Vec<PolicyId>> {
        &self.policies
    }

    pub(super) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The place of the series with a number.
    pub(super) fn place(&self, class: AggregateKind, id: SeriesId) -> usize {
        self.lives[class as usize][id.index()].place as usize
    }

    /// The place of a series that has samples now, in seconds.
    pub(super) fn see(&mut self, class: AggregateKind, id: SeriesId, now: u32) -> usize {
        let life = &mut self.lives[class as usize][id.index()];
        life.seen = now;
        life.place as usize
    }

    /// When a series last had samples, in seconds.
    pub(super) fn seen(&self, class: AggregateKind, id: SeriesId) -> u32 {
        self.lives[class as usize][id.index()].seen
    }

    pub(super) fn kind(&self, class: AggregateKind, id: SeriesId) -> Kind {
        self.entries[self.place(class, id)].kind
    }

    /// The policy of the series with a number.
    pub(super) fn policy(&self, class: AggregateKind, id: SeriesId) -> PolicyId {
        self.policies[self.place(class, id)]
    }

    /// The numbers of a class for which a condition holds, in the order of the series.
    pub(super) fn ids(
        &self,
        class: AggregateKind,
        condition: impl Fn(SeriesId, Kind, PolicyId) -> bool,
    ) -> Vec<SeriesId> {
        let of_class = self.entries.iter().zip(&**self.policies).filter(|(entry, _)| entry.class() == class);
        let holds = of_class.filter(|(entry, policy)| condition(entry.id, entry.kind, **policy));
        holds.map(|(entry, _)| entry.id).collect()
    }

    /// Gives series other policies.
    pub(super) fn change(&mut self, class: AggregateKind, changed: Vec<(SeriesId, PolicyId)>) {
        for (id, policy) in changed {
            let place = self.place(class, id);
            // Copied, the first time, if a snapshot is not exported yet.
            Arc::make_mut(&mut self.policies)[place] = policy;
        }
    }

    /// Adds series that have samples now, in seconds, for the first time.
    pub(super) fn add(&mut self, class: AggregateKind, new: Vec<(SeriesId, Series, PolicyId)>, now: u32) {
        if new.is_empty() {
            return;
        }
        let of_new = |(id, series, policy): (_, Series, _)| New {
            entry: Entry { id, kind: series.kind() },
            policy,
            series,
        };
        let mut new: Vec<_> = new.into_iter().map(of_new).collect();
        new.sort_unstable_by(|a, b| a.series.cmp(&b.series));
        let lives = &mut self.lives[class as usize];
        for New { entry: Entry { id, .. }, .. } in &new {
            lives.resize(lives.len().max(id.index() + 1), Life::default());
            lives[id.index()].seen = now;
        }
        self.merge(new);
        self.number();
    }

    /// Both are sorted. From the end and within the lists, so that there is no second list of all series.
    fn merge(&mut self, mut new: Vec<New>) {
        let Some(filler) = new.last().cloned() else { return };
        let Self { entries, series, policies, .. } = self;
        // Copied if a snapshot is not exported yet.
        let (series, policies) = (Arc::make_mut(series), Arc::make_mut(policies));
        let (mut old, mut place) = (series.len(), series.len() + new.len());
        entries.reserve_exact(new.len());
        entries.resize(place, filler.entry);
        policies.reserve_exact(new.len());
        policies.resize(place, filler.policy);
        series.reserve_exact(new.len());
        series.resize(place, filler.series);
        while let Some(next) = new.last() {
            place -= 1;
            if old > 0 && series[old - 1] > next.series {
                old -= 1;
                entries.swap(old, place);
                policies.swap(old, place);
                series.swap(old, place);
            } else if let Some(New { entry, policy, series: one }) = new.pop() {
                (entries[place], policies[place], series[place]) = (entry, policy, one);
            }
        }
    }

    /// Removes the series with some numbers of a class, and puts others, whose texts moved, in place of those that have
    /// the same number. Both are sorted by number.
    pub(super) fn remove(
        &mut self,
        class: AggregateKind,
        dropped: &[SeriesId],
        moved: &[(SeriesId, Series)],
    ) {
        let entries = mem::take(&mut self.entries).into_iter();
        let series = Arc::unwrap_or_clone(mem::take(&mut self.series));
        let policies = Arc::unwrap_or_clone(mem::take(&mut self.policies));
        let kept = entries.zip(series).zip(policies).filter_map(|((entry, series), policy)| {
            if entry.class() != class {
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
        *self = Self {
            entries,
            series: Arc::new(series),
            policies: Arc::new(policies),
            lives: mem::take(&mut self.lives),
        };
        self.number();
    }

    /// Tells each number its place.
    fn number(&mut self) {
        for (place, entry) in (0..).zip(&self.entries) {
            self.lives[entry.class() as usize][entry.id.index()].place = place;
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
        PolicyId::default().plus(number)
    }

    fn names(catalog: &Catalog) -> Vec<&str> {
        catalog.series.iter().map(Series::name).collect()
    }

    #[test]
    fn every_series_is_found_in_its_place_as_others_come_and_go() {
        let mut catalog = catalog(&["c", "a", "d", "b"]);
        let timing = Series::new(Kind::Timing, "bb", &[]);
        catalog.add(AggregateKind::Timing, vec![(SeriesId(0), timing, policy(9))], 9);
        assert_eq!(names(&catalog), ["a", "b", "bb", "c", "d"]);
        assert_eq!(
            (0..4).map(|id| catalog.place(AggregateKind::Counter, SeriesId(id))).collect::<Vec<_>>(),
            [3, 0, 4, 1]
        );
        assert_eq!(catalog.kind(AggregateKind::Timing, SeriesId(0)), Kind::Timing);
        let before = Arc::clone(&catalog.series);
        let elsewhere = Series::new(Kind::Counter, "d", &[]);
        catalog.remove(AggregateKind::Counter, &[SeriesId(0), SeriesId(1)], &[(SeriesId(2), elsewhere)]);
        assert_eq!(names(&catalog), ["b", "bb", "d"]);
        assert_eq!(catalog.place(AggregateKind::Counter, SeriesId(2)), 2);
        assert_eq!(**catalog.policies(), [3, 9, 2].map(policy));
        catalog.change(AggregateKind::Counter, vec![(SeriesId(2), policy(7))]);
        assert_eq!(**catalog.policies(), [3, 9, 7].map(policy));
        assert_eq!(before.len(), 5, "a snapshot keeps the list that it was made with");
    }

    #[test]
    fn it_is_known_when_a_series_last_had_samples() {
        let mut catalog = catalog(&["a", "b"]);
        assert_eq!(catalog.see(AggregateKind::Counter, SeriesId(0), 20), 0);
        let seen = |id| catalog.seen(AggregateKind::Counter, SeriesId(id));
        assert_eq!((seen(0), seen(1)), (20, 1));
        assert_eq!(catalog.ids(AggregateKind::Counter, |id, _, _| seen(id.0) < 10), [SeriesId(1)]);
        assert!(catalog.ids(AggregateKind::Set, |_, _, _| true).is_empty());
    }
}
