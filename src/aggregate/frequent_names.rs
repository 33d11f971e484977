//! Counts by metric names, of which there can be any number.

use std::borrow::Cow;
use std::hash::BuildHasher;

use foldhash::fast::RandomState;

use crate::protocol::Name;

/// The names with the largest counts.
///
/// The space-saving algorithm counts them (Metwally, Agrawal, El Abbadi 2005). A count is too high by at most the smallest
/// count in the list.
#[derive(Debug, Clone, Default)]
pub struct FrequentNames {
    entries: Vec<Entry>,
    /// Each list has its own random key, so no sender can choose names that collide.
    hasher: RandomState,
}

#[derive(Debug, Clone)]
struct Entry {
    /// Comparing hashes takes a tenth of the time of comparing names.
    hash: u64,
    /// 0 is left over from an earlier interval.
    count: u64,
    /// The count of the names that this one replaced. The true count is smaller by at most this much.
    error: u64,
    name: String,
}

impl FrequentNames {
    /// The largest number of names in the list.
    const WATCHED: usize = 32;

    pub(super) fn add(&mut self, name: Name<'_>, count: u64) {
        self.add_inexact(name, count, 0);
    }

    /// Adds a count that is too high by at most `error`.
    fn add_inexact(&mut self, name: Name<'_>, count: u64, error: u64) {
        let name = match name.pieces() {
            [first, ""] => Cow::Borrowed(first),
            pieces => Cow::Owned(pieces.concat()),
        };
        let hash = self.hasher.hash_one(&*name);
        if let Some(known) = self.entries.iter_mut().find(|entry| entry.hash == hash) {
            known.count += count;
            known.error += error;
        } else if let Some(least) = self.least() {
            // The buffer is reused, so that a flood of new names costs no allocations.
            least.name.clear();
            least.name.push_str(&name);
            least.hash = hash;
            least.error = least.count + error;
            least.count += count;
        } else {
            self.entries.push(Entry { hash, count, error, name: name.into_owned() });
        }
    }

    /// Returns the entry to replace, or `None` if there is room for another.
    fn least(&mut self) -> Option<&mut Entry> {
        let has_room = self.entries.len() < Self::WATCHED;
        let least = self.entries.iter_mut().min_by_key(|entry| entry.count);
        least.filter(|least| !has_room || least.count == 0)
    }

    /// Moves the names of another shard into this list and sorts it.
    pub(crate) fn merge(&mut self, other: &mut FrequentNames) {
        self.add_all(other);
        other.entries.iter_mut().for_each(|entry| (entry.count, entry.error) = (0, 0));
    }

    /// Adds the names of another list and sorts this one.
    pub(crate) fn add_all(&mut self, other: &FrequentNames) {
        for Entry { count, error, name, .. } in other.entries.iter().filter(|entry| entry.count > 0) {
            self.add_inexact(name.as_str().into(), *count, *error);
        }
        self.entries.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.name.cmp(&b.name)));
    }

    /// Returns the names that certainly have one in `share` of all counts. A flood of different names has none. After a merge, the
    /// largest count comes first.
    pub(crate) fn with_share(&self, share: u64) -> impl Iterator<Item = (&str, u64)> {
        let total: u64 = self.iter().map(|(_, count)| count).sum();
        let has_share =
            move |entry: &&Entry| (entry.count - entry.error).saturating_mul(share) >= total.max(1);
        self.entries.iter().filter(has_share).map(|entry| (entry.name.as_str(), entry.count))
    }

    /// Returns the names and their counts. After a merge, the largest count comes first.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.entries.iter().filter(|entry| entry.count > 0).map(|entry| (entry.name.as_str(), entry.count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_with_the_largest_count_is_found_among_many() {
        let mut names = FrequentNames::default();
        for round in 0..1000 {
            names.add("often".into(), 3);
            names.add("sometimes".into(), 1);
            names.add(format!("once.{round}").as_str().into(), 1);
        }
        let mut total = FrequentNames::default();
        total.merge(&mut names);
        let first: Vec<_> = total.iter().map(|(name, _)| name).take(1).collect();
        assert_eq!(first, ["often"]);
        assert!(total.iter().any(|(name, _)| name == "sometimes"));
        let certain: Vec<_> = total.with_share(20).map(|(name, _)| name).collect();
        assert_eq!(certain, ["often", "sometimes"], "the others come once");
        // A name takes over the count of the name that it replaces, so the sum stays exact.
        assert_eq!(total.iter().map(|(_, count)| count).sum::<u64>(), 5000);
        assert_eq!(names.iter().count(), 0);
        names.add("later".into(), 2);
        assert_eq!(names.iter().collect::<Vec<_>>(), [("later", 2)]);
    }

    #[test]
    fn a_name_that_replaced_others_in_an_earlier_interval_begins_again() {
        let mut names = FrequentNames::default();
        (0..1000).for_each(|number| names.add(format!("once.{number}").as_str().into(), 1));
        let [latest, before] = ["once.999", "once.998"];
        FrequentNames::default().merge(&mut names);
        names.add(latest.into(), 3);
        names.add(before.into(), 1);
        let mut total = FrequentNames::default();
        total.merge(&mut names);
        assert_eq!(total.with_share(2).collect::<Vec<_>>(), [(latest, 3)]);
    }
}
