//! Finds the glob that matches a name.

use std::collections::HashMap;

/// A tree of globs. Each node is one segment.
///
/// ```text
///  test.*.count  test.a.*      test --+-- *  -- count: 0
///       0           1                 +-- a  -- *:     1
/// ```
///
/// A search follows the segments of a name down the tree. If a node has both the segment itself and `*`, the search
/// takes both branches. It visits each node at most once, so the number of globs bounds its work for any name.
#[derive(Debug, Default)]
pub(super) struct GlobTree {
    root: Node,
    /// True if the most specific matching glob wins instead of the first one.
    most_specific_wins: bool,
}

#[derive(Debug, Default)]
struct Node {
    named: HashMap<String, Node>,
    any: Option<Box<Node>>,
    /// The rules whose globs end here, in ascending order.
    rules: Vec<usize>,
}

/// A rule whose glob matches, and the segments that its stars match.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct GlobMatch<'a> {
    pub(super) rule: usize,
    pub(super) captures: Vec<&'a str>,
}

impl GlobTree {
    /// Creates an empty tree. Of two matching globs, the more specific one has no `*` in the first segment that
    /// differs.
    pub(super) fn new(most_specific_wins: bool) -> Self {
        Self { root: Node::default(), most_specific_wins }
    }

    /// Adds the glob of a rule. Rules must be added in ascending order.
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

    /// Returns the winning rule among the rules that are eligible and whose glob matches.
    pub(super) fn find<'a>(
        &self,
        name: &'a str,
        is_eligible: impl Fn(usize) -> bool,
    ) -> Option<GlobMatch<'a>> {
        let segments: Vec<_> = name.split('.').collect();
        let mut search = Search {
            most_specific_wins: self.most_specific_wins,
            is_eligible,
            stars: Vec::new(),
            found: None,
        };
        search.visit(&self.root, &segments);
        search.found
    }
}

struct Search<'a, E> {
    most_specific_wins: bool,
    is_eligible: E,
    /// The segments that the stars on the current path match.
    stars: Vec<&'a str>,
    found: Option<GlobMatch<'a>>,
}

impl<'a, E: Fn(usize) -> bool> Search<'a, E> {
    /// Visits a node and the nodes below it. The depth of the tree bounds the recursion.
    fn visit(&mut self, node: &Node, segments: &[&'a str]) {
        let [segment, rest @ ..] = segments else {
            if let Some(&rule) = node.rules.iter().find(|rule| (self.is_eligible)(**rule))
                && self.found.as_ref().is_none_or(|found| rule < found.rule)
            {
                self.found = Some(GlobMatch { rule, captures: self.stars.clone() });
            }
            return;
        };
        if let Some(named) = node.named.get(*segment) {
            self.visit(named, rest);
        }
        if let Some(any) = &node.any
            && !(self.most_specific_wins && self.found.is_some())
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

    fn find<'a>(globs: &[&str], most_specific_wins: bool, name: &'a str) -> Option<(usize, Vec<&'a str>)> {
        let mut tree = GlobTree::new(most_specific_wins);
        globs.iter().enumerate().for_each(|(rule, glob)| tree.add(glob, rule));
        tree.find(name, |_| true).map(|found| (found.rule, found.captures))
    }

    #[test]
    fn a_star_matches_one_segment_which_may_be_empty() {
        let find = |name| find(&["a.*.c", "*"], false, name);
        assert_eq!(find("a.b.c"), Some((0, vec!["b"])));
        assert_eq!(find("a..c"), Some((0, vec![""])));
        assert_eq!(find("a"), Some((1, vec!["a"])));
        assert_eq!(find(""), Some((1, vec![""])));
        assert_eq!(find("a.b"), None);
        assert_eq!(find("a.b.c.d"), None);
    }

    #[test]
    fn the_first_matching_rule_wins_even_if_it_is_found_last() {
        let globs = ["*.dummy.*", "full.name.*", "full.*.x", "*.*.*"];
        assert_eq!(find(&globs, false, "full.dummy.x"), Some((0, vec!["full", "x"])));
        assert_eq!(find(&globs, false, "full.name.x"), Some((1, vec!["x"])));
        assert_eq!(find(&globs, false, "full.other.x"), Some((2, vec!["other"])));
        assert_eq!(find(&globs, false, "full.other.y"), Some((3, vec!["full", "other", "y"])));
    }

    #[test]
    fn the_most_specific_rule_wins_if_ordering_is_disabled() {
        let globs = ["a.*.*", "a.b.*", "*.*.c"];
        assert_eq!(find(&globs, false, "a.b.c"), Some((0, vec!["b", "c"])));
        assert_eq!(find(&globs, true, "a.b.c"), Some((1, vec!["c"])));
        assert_eq!(find(&globs, true, "x.b.c"), Some((2, vec!["x", "b"])));
    }

    #[test]
    fn an_ineligible_rule_leaves_the_name_to_other_rules() {
        let mut tree = GlobTree::new(false);
        ["a.*", "a.*", "*.b"].iter().enumerate().for_each(|(rule, glob)| tree.add(glob, rule));
        let find = |ineligible: &[usize]| {
            tree.find("a.b", |rule| !ineligible.contains(&rule)).map(|found| found.rule)
        };
        assert_eq!(
            (find(&[]), find(&[0]), find(&[0, 1]), find(&[0, 1, 2])),
            (Some(0), Some(1), Some(2), None)
        );
    }
}
