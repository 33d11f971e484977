//! Matches the names of series with patterns.

use super::Series;

/// A pattern for names, in which `*` stands for any text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pattern {
    /// The parts between the `*`.
    parts: Vec<String>,
}

impl Pattern {
    pub(crate) fn new(pattern: &str) -> Self {
        Self { parts: pattern.split('*').map(str::to_owned).collect() }
    }

    /// Returns the series whose names match. All series of a name must follow each other, so that each name is compared
    /// once.
    pub(crate) fn filter<'a, T>(
        &self,
        series: impl Iterator<Item = (&'a Series, T)>,
    ) -> impl Iterator<Item = (&'a Series, T)> {
        let mut latest: Option<(&str, bool)> = None;
        series.filter(move |(series, _)| {
            let name = series.name();
            let is_match = match latest {
                Some((same, is_match)) if same == name => is_match,
                _ => self.matches(name),
            };
            latest = Some((name, is_match));
            is_match
        })
    }

    /// Returns true if a name has the parts in their order, the first at its beginning and the last at its end.
    pub(crate) fn matches(&self, name: &str) -> bool {
        let [first, middle @ .., last] = &*self.parts else { return self.parts.concat() == name };
        let inner = name.strip_prefix(first.as_str()).and_then(|rest| rest.strip_suffix(last.as_str()));
        let Some(mut rest) = inner else { return false };
        middle.iter().all(|part| match rest.find(part.as_str()) {
            Some(at) => {
                rest = &rest[at + part.len()..];
                true
            }
            None => false,
        })
    }
}

/// A choice of names by patterns. Without a pattern, it has all names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct NameFilter(Vec<Pattern>);

impl NameFilter {
    pub(crate) fn new(patterns: &[String]) -> Self {
        Self(patterns.iter().map(|pattern| Pattern::new(pattern)).collect())
    }

    /// Returns true if a name is among the chosen ones.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.is_empty() || self.0.iter().any(|pattern| pattern.matches(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_in_a_pattern_stands_for_any_text() {
        for (pattern, name, expected) in [
            ("*", "a.b", true),
            ("", "", true),
            ("a.b", "a.b", true),
            ("a.b", "a.bc", false),
            ("a.*", "a.b", true),
            ("*.b", "a.b", true),
            ("a*a", "a", false),
            ("a*a", "aa", true),
            ("*b*d*", "abcde", true),
            ("*d*b*", "abcde", false),
            ("a**e", "abcde", true),
        ] {
            assert_eq!(Pattern::new(pattern).matches(name), expected, "{pattern} {name}");
        }
    }
}
