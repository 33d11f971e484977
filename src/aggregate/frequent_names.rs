//! Counts by metric names, of which there can be any number.

use crate::protocol::Name;

/// The names with the largest counts.
///
/// The space-saving algorithm counts them (Metwally, Agrawal, El Abbadi 2005). A count is too high by at most the smallest
/// count in the list.
#[derive(Debug, Clone, Default)]
pub struct FrequentNames(Vec<(String, u64)>);

impl FrequentNames {
    /// The largest number of names in the list.
    const WATCHED: usize = 32;

    pub(super) fn add(&mut self, name: Name<'_>, count: u64) {
        if let Some((_, known)) = self.0.iter_mut().find(|(known, _)| name == **known) {
            *known += count;
        } else if let Some((least, known)) = self.least() {
            // The buffer is reused, so that a flood of new names costs no allocations.
            least.clear();
            least.extend(name.pieces());
            *known += count;
        } else {
            self.0.push((name.to_string(), count));
        }
    }

    /// Returns the name to replace, or `None` if there is room for another. A count of 0 is left over from an earlier
    /// interval.
    fn least(&mut self) -> Option<&mut (String, u64)> {
        let has_room = self.0.len() < Self::WATCHED;
        self.0.iter_mut().min_by_key(|(_, count)| *count).filter(|(_, count)| !has_room || *count == 0)
    }

    /// Moves the names of another shard into this list and sorts it.
    pub(crate) fn merge(&mut self, other: &mut FrequentNames) {
        self.add_all(other);
        other.0.iter_mut().for_each(|(_, count)| *count = 0);
    }

    /// Adds the names of another list and sorts this one.
    pub(crate) fn add_all(&mut self, other: &FrequentNames) {
        for (name, count) in other.iter() {
            self.add(name.into(), count);
        }
        self.0.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    }

    /// Returns the names and their counts. After a merge, the largest count comes first.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0.iter().filter(|(_, count)| *count > 0).map(|(name, count)| (name.as_str(), *count))
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
        // A name takes over the count of the name that it replaces, so the sum stays exact.
        assert_eq!(total.iter().map(|(_, count)| count).sum::<u64>(), 5000);
        assert_eq!(names.iter().count(), 0);
        names.add("later".into(), 2);
        assert_eq!(names.iter().collect::<Vec<_>>(), [("later", 2)]);
    }
}
