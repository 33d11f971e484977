//! Leaves out tags, and changes their keys and values.

use std::collections::BTreeMap;

use crate::model::Pattern;

/// Changes to the tags of a series: which of them stay, their new keys, and their new values.
#[derive(Debug, Default)]
pub(super) struct TagEdits {
    /// Only tags with these keys stay. Without a pattern, all do.
    keep: Vec<Pattern>,
    /// Tags with these keys do not stay, even if `keep` has them.
    drop: Vec<Pattern>,
    /// The new key of a key.
    keys: BTreeMap<String, String>,
    /// The new values of a key's values.
    values: BTreeMap<String, Values>,
}

/// The changes to tags as written. In keys to keep or to drop, `*` stands for any text.
#[derive(Debug, Clone, Copy)]
pub(super) struct TagEditsSpec<'a> {
    pub(super) keep: &'a [String],
    pub(super) drop: &'a [String],
    pub(super) rename: &'a BTreeMap<String, String>,
    pub(super) values: &'a BTreeMap<String, BTreeMap<String, String>>,
}

/// The new values of a key's values.
#[derive(Debug)]
struct Values {
    exact: BTreeMap<String, String>,
    /// The longest pattern is first.
    patterns: Vec<(Pattern, String)>,
}

impl Values {
    fn new(spec: &BTreeMap<String, String>) -> Self {
        let (mut patterns, exact): (Vec<_>, Vec<_>) =
            spec.clone().into_iter().partition(|(old, _)| old.contains('*'));
        patterns.sort_by(|(a, _), (b, _)| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        let patterns = patterns.into_iter().map(|(old, new)| (Pattern::new(&old), new)).collect();
        Self { exact: exact.into_iter().collect(), patterns }
    }

    fn new_of(&self, old: &str) -> Option<&String> {
        let by_pattern =
            || self.patterns.iter().find(|(pattern, _)| pattern.matches(old)).map(|(_, new)| new);
        self.exact.get(old).or_else(by_pattern)
    }
}

impl TagEdits {
    pub(super) fn new(spec: TagEditsSpec<'_>) -> Self {
        let patterns = |keys: &[String]| keys.iter().map(|key| Pattern::new(key)).collect();
        Self {
            keep: patterns(spec.keep),
            drop: patterns(spec.drop),
            keys: spec.rename.clone(),
            values: spec.values.iter().map(|(key, values)| (key.clone(), Values::new(values))).collect(),
        }
    }

    /// Returns true if all tags stay as they are.
    pub(super) fn is_empty(&self) -> bool {
        self.keep.is_empty() && self.drop.is_empty() && self.keys.is_empty() && self.values.is_empty()
    }

    /// Changes tags. A tag gets its new key before its new value, so values are listed under the new key.
    pub(super) fn apply(&self, tags: &mut Vec<(String, Option<String>)>) {
        let is_among = |patterns: &[Pattern], key: &str| patterns.iter().any(|pattern| pattern.matches(key));
        tags.retain(|(key, _)| {
            (self.keep.is_empty() || is_among(&self.keep, key)) && !is_among(&self.drop, key)
        });
        for (key, value) in tags {
            if let Some(new) = self.keys.get(key) {
                key.clone_from(new);
            }
            let new =
                self.values.get(key).and_then(|values| values.new_of(value.as_deref().unwrap_or_default()));
            if let Some(new) = new {
                *value = Some(new.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edited(toml: &str, tags: &[(&str, Option<&str>)]) -> String {
        #[derive(Default, serde::Deserialize)]
        #[serde(default)]
        struct Spec {
            keep: Vec<String>,
            drop: Vec<String>,
            rename: BTreeMap<String, String>,
            values: BTreeMap<String, BTreeMap<String, String>>,
        }
        let Spec { keep, drop, rename, values } = toml::from_str(toml).unwrap();
        let edits =
            TagEdits::new(TagEditsSpec { keep: &keep, drop: &drop, rename: &rename, values: &values });
        let owned = |(key, value): &(&str, Option<&str>)| ((*key).to_owned(), value.map(str::to_owned));
        let mut tags = tags.iter().map(owned).collect();
        edits.apply(&mut tags);
        let text = |(key, value): (String, Option<String>)| match value {
            Some(value) => format!("{key}:{value}"),
            None => key,
        };
        tags.into_iter().map(text).collect::<Vec<_>>().join(",")
    }

    #[test]
    fn tags_stay_get_new_keys_and_then_new_values() {
        let tags = [("env", Some("prod")), ("pod_a", Some("1")), ("pod_b", None), ("code", Some("404"))];
        for (spec, expected) in [
            ("", "env:prod,pod_a:1,pod_b,code:404"),
            ("keep = ['env', 'pod_*']", "env:prod,pod_a:1,pod_b"),
            ("drop = ['*']", ""),
            ("keep = ['env', 'pod_*']\ndrop = ['pod_b']", "env:prod,pod_a:1"),
            ("rename = {env = 'stage', no = 'x'}", "stage:prod,pod_a:1,pod_b,code:404"),
            (
                "[values]\ncode = {'4*' = '4xx', '*' = 'other'}\nenv = {'p*' = 'a', 'prod' = 'b'}",
                "env:b,pod_a:1,pod_b,code:4xx",
            ),
            ("[values]\npod_b = {'' = 'none'}", "env:prod,pod_a:1,pod_b:none,code:404"),
            (
                "[rename]\ncode = 'status'\n[values]\nstatus = {404 = 'missing'}\ncode = {404 = 'x'}",
                "env:prod,pod_a:1,pod_b,status:missing",
            ),
        ] {
            assert_eq!(edited(spec, &tags), expected, "{spec}");
        }
    }

    #[test]
    fn the_longest_pattern_of_a_value_wins() {
        let spec = "[values]\na = {'*' = '1', '4*' = '2', '40*' = '3'}";
        let values = ["404", "410", "x"].map(|value| edited(spec, &[("a", Some(value))]));
        assert_eq!(values, ["a:3", "a:2", "a:1"]);
    }
}
