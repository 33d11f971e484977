//! Lists the metric names that take the most.

/// The names with the largest counts, at most five. The largest count comes first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TopNames(Vec<(String, u64)>);

impl TopNames {
    /// The largest number of names in a list.
    pub(super) const LENGTH: usize = 5;

    /// Adds a name if its count is among the largest. Of two names with the same count, the first one added comes first.
    pub(super) fn offer(&mut self, name: &str, count: u64) {
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

/// The names that take the most. A name with a single series is in no list.
#[derive(Debug, Clone, Default)]
pub struct TopLists {
    /// The names with the most live series.
    pub series: TopNames,
    /// The names with the most series that are new in the interval.
    pub added: TopNames,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_five_largest_counts_are_kept_in_order() {
        let mut names = TopNames::default();
        for (name, count) in [("a", 3), ("b", 9), ("c", 3), ("d", 1), ("e", 4), ("f", 3), ("g", 2)] {
            names.offer(name, count);
        }
        assert_eq!(names.iter().collect::<Vec<_>>(), [("b", 9), ("e", 4), ("a", 3), ("c", 3), ("f", 3)]);
    }
}
