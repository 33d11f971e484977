//! Lists the metric names that take the most.

/// The names with the largest counts, at most 20. The largest count comes first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TopNames(Vec<(String, u64)>);

impl TopNames {
    /// The largest number of names in a list.
    pub(crate) const LENGTH: usize = 20;

    /// Adds a name if its count is among the largest. Of two names with the same count, the first one added comes first.
    pub(crate) fn offer(&mut self, name: &str, count: u64) {
        let place = self.0.partition_point(|(_, other)| *other >= count);
        if place < Self::LENGTH {
            self.0.truncate(Self::LENGTH - 1);
            self.0.insert(place, (name.to_owned(), count));
        }
    }

    /// Returns the names and their counts. The largest count comes first.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0.iter().map(|(name, count)| (name.as_str(), *count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_counts_are_kept_in_order() {
        let mut names = TopNames::default();
        for count in 1..=30 {
            names.offer(&format!("{count}"), count);
        }
        names.offer("another 20", 20);
        let kept: Vec<_> = names.iter().collect();
        assert_eq!((kept.len(), kept[0], kept[19]), (TopNames::LENGTH, ("30", 30), ("12", 12)));
        assert_eq!(kept[10..12], [("20", 20), ("another 20", 20)]);
    }
}
