//! Finds the glob that a name matches, among many.

use std::collections::HashMap;

/// Globs as a tree of their segments.
///
/// ```text
///  test.*.count  test.a.*      test --+-- *  -- count: 0
///       0           1                 +-- a  -- *:     1
/// ```
///
/// A name walks down with its segments; where a segment is there by name and as `*`, it takes both ways. Each node is
/// visited at most once, so a search takes no longer than there are globs, whatever the name.
#[derive(Debug, Default)]
pub(super) struct Globs {
    root: Node,
    /// The most special glob counts, not the first one.
    by_speciality: bool,
}

#[derive(Debug, Default)]
struct Node {
    named: HashMap<String, Node>,
    any: Option<Box<Node>>,
    /// The rules whose globs end here, in their order.
    rules: Vec<usize>,
}

/// A rule, and what its stars stand for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found<'a> {
    pub(super) rule: usize,
    pub(super) captures: Vec<&'a str>,
}

impl Globs {
    /// `by_speciality`: of two globs that match, the one counts whose segment is no `*` where they first differ.
    pub(super) fn new(by_speciality: bool) -> Self {
        Self { root: Node::default(), by_speciality }
    }

    /// Rules are added in their order.
    pub(super) fn add(&mut self, glob: &str, rule: usize) {
        let mut node = &mut self.root;
        for segment in glob.split('.') {
            node = match segment {
                "*" => node.any.get_or_insert_default(),
                _ => node.named.entry(segment.to_owned()).or_default(),
            };
        }
        node.rules.push(rule);
    }

    /// The first rule whose glob matches, among those that are wanted.
    pub(super) fn find<'a>(&self, name: &'a str, is_wanted: impl Fn(usize) -> bool) -> Option<Found<'a>> {
        let segments: Vec<_> = name.split('.').collect();
        let mut search =
            Search { by_speciality: self.by_speciality, is_wanted, stars: Vec::new(), found: None };
        search.visit(&self.root, &segments);
        search.found
    }
}

struct Search<'a, W> {
    by_speciality: bool,
    is_wanted: W,
    /// What the stars on the way stand for.
    stars: Vec<&'a str>,
    found: Option<Found<'a>>,
}

impl<'a, W: Fn(usize) -> bool> Search<'a, W> {
    /// The depth is that of the tree.
    fn visit(&mut self, node: &Node, segments: &[&'a str]) {
        let [segment, rest @ ..] = segments else {
            if let Some(&rule) = node.rules.iter().find(|rule| (self.is_wanted)(**rule))
                && self.found.as_ref().is_none_or(|found| rule < found.rule)
            {
                self.found = Some(Found { rule, captures: self.stars.clone() });
            }
            return;
        };
        if let Some(named) = node.named.get(*segment) {
            self.visit(named, rest);
        }
        if let Some(any) = &node.any
            && !(self.by_speciality && self.found.is_some())
        {
            self.stars.push(segment);
            self.visit(any, rest);
            self.stars.pop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find<'a>(globs: &[&str], by_speciality: bool, name: &'a str) -> Option<(usize, Vec<&'a str>)> {
        let mut tree = Globs::new(by_speciality);
        globs.iter().enumerate().for_each(|(rule, glob)| tree.add(glob, rule));
        tree.find(name, |_| true).map(|found| (found.rule, found.captures))
    }

    #[test]
    fn a_star_is_one_segment_which_may_be_empty() {
        let find = |name| find(&["a.*.c", "*"], false, name);
        assert_eq!(find("a.b.c"), Some((0, vec!["b"])));
        assert_eq!(find("a..c"), Some((0, vec![""])));
        assert_eq!(find("a"), Some((1, vec!["a"])));
        assert_eq!(find(""), Some((1, vec![""])));
        assert_eq!(find("a.b"), None);
        assert_eq!(find("a.b.c.d"), None);
    }

    #[test]
    fn the_first_that_matches_counts_also_where_a_later_one_is_met_first() {
        let globs = ["*.dummy.*", "full.name.*", "full.*.x", "*.*.*"];
        assert_eq!(find(&globs, false, "full.dummy.x"), Some((0, vec!["full", "x"])));
        assert_eq!(find(&globs, false, "full.name.x"), Some((1, vec!["x"])));
        assert_eq!(find(&globs, false, "full.other.x"), Some((2, vec!["other"])));
        assert_eq!(find(&globs, false, "full.other.y"), Some((3, vec!["full", "other", "y"])));
    }

    #[test]
    fn the_most_special_counts_if_order_does_not() {
        let globs = ["a.*.*", "a.b.*", "*.*.c"];
        assert_eq!(find(&globs, false, "a.b.c"), Some((0, vec!["b", "c"])));
        assert_eq!(find(&globs, true, "a.b.c"), Some((1, vec!["c"])));
        assert_eq!(find(&globs, true, "x.b.c"), Some((2, vec!["x", "b"])));
    }

    #[test]
    fn a_rule_that_is_not_wanted_leaves_the_name_to_others() {
        let mut tree = Globs::new(false);
        ["a.*", "a.*", "*.b"].iter().enumerate().for_each(|(rule, glob)| tree.add(glob, rule));
        let find =
            |unwanted: &[usize]| tree.find("a.b", |rule| !unwanted.contains(&rule)).map(|found| found.rule);
        assert_eq!(
            (find(&[]), find(&[0]), find(&[0, 1]), find(&[0, 1, 2])),
            (Some(0), Some(1), Some(2), None)
        );
    }
}
