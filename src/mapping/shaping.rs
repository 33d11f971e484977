//! Shapes series: the changes for all of them, and those of rules.

use std::collections::BTreeMap;

use super::Rule;
use super::tag_edits::{TagEdits, TagEditsSpec};

/// The changes for all series, as configured.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ShapingSpec {
    /// The text before each name.
    pub prefix: String,
    /// Names that begin with one of these texts get no prefix.
    pub prefix_except: Vec<String>,
    /// Tags that each series gets, unless it has one with the key.
    pub tags: Vec<(String, Option<String>)>,
    /// Only tags with these keys stay. `*` stands for any text. Without a key, all stay.
    pub keep_tags: Vec<String>,
    /// Tags with these keys do not stay.
    pub drop_tags: Vec<String>,
    /// The new keys of tags.
    pub rename_tags: BTreeMap<String, String>,
    /// The new values of tags, by key and value.
    pub map_values: BTreeMap<String, BTreeMap<String, String>>,
}

/// The changes for all series, compiled.
#[derive(Debug, Default)]
pub(super) struct Shaping {
    pub(super) spec: ShapingSpec,
    /// True if something is configured. It is stored so that an unknown line does not compare `spec`.
    pub(super) has_effect: bool,
    pub(super) edits: TagEdits,
}

/// A step in which a series changed.
#[derive(Debug, Clone, Copy)]
pub enum Step<'a> {
    /// The changes to the tags of all series.
    Tags,
    /// A rule that matches.
    Rule(&'a Rule),
    /// The prefix of all names and the tags of all series.
    Additions,
}

/// The effect of the rules on a series, except for its name and tags.
#[derive(Debug, Clone, Copy)]
pub struct Shaped<'a> {
    /// The rule without `continue` that matches, if any. Its options apply to the series.
    pub rule: Option<&'a Rule>,
    /// The factor that multiplies the values.
    pub scale: f64,
}

/// The reason why the rules leave a series out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unshaped {
    /// A rule drops it.
    Dropped,
    /// A rule gives it an empty name.
    EmptyName,
}

impl Shaping {
    pub(super) fn new(spec: ShapingSpec) -> Self {
        let edits = TagEdits::new(TagEditsSpec {
            keep: &spec.keep_tags,
            drop: &spec.drop_tags,
            rename: &spec.rename_tags,
            values: &spec.map_values,
        });
        Self { has_effect: spec != ShapingSpec::default(), spec, edits }
    }

    /// Puts the prefix before a name.
    pub(super) fn prefix(&self, name: &mut String) {
        if !self.spec.prefix_except.iter().any(|except| name.starts_with(except)) {
            name.insert_str(0, &self.spec.prefix);
        }
    }

    /// Adds the tags of all series.
    pub(super) fn add_tags(&self, tags: &mut Vec<(String, Option<String>)>) {
        let sent = tags.len();
        for tag in &self.spec.tags {
            if !tags[..sent].iter().any(|(key, _)| *key == tag.0) {
                tags.push(tag.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Draft, Mapping};
    use super::*;
    use crate::model::Kind;

    /// Returns each step of a series, and the series after it.
    fn steps(mapping: &Mapping, name: &str, tags: &[(&str, &str)]) -> Vec<String> {
        let tags = tags.iter().map(|(key, value)| ((*key).to_owned(), Some((*value).to_owned()))).collect();
        let mut draft = Draft { name: name.to_owned(), tags };
        let mut steps = Vec::new();
        let outcome = mapping.shape(Kind::Counter, &mut draft, |step, draft| {
            let step = match step {
                Step::Tags => "tags".to_owned(),
                Step::Rule(rule) => rule.spec.pattern.clone(),
                Step::Additions => "additions".to_owned(),
            };
            let tags = draft.tags.iter();
            let tags = tags.map(|(key, value)| format!("{key}:{}", value.as_deref().unwrap_or_default()));
            steps.push(format!("{step} {} {}", draft.name, tags.collect::<Vec<_>>().join(",")));
        });
        if let Err(reason) = outcome {
            steps.push(format!("{reason:?}"));
        }
        steps
    }

    fn shaping(spec: ShapingSpec) -> Mapping {
        Mapping::from_yaml(
            "mappings:\n\
             - {match: '^shop\\.(.*)', match_type: regex, name: '$1', continue: true, scale: 2}\n\
             - {match: 'eu.*', name: '${1}', labels: {region: eu}, continue: true, scale: 3}\n\
             - {match: '*', name: 'n_$1', labels: {rule: '$1'}, drop_tags: [pod]}\n",
        )
        .unwrap()
        .with_shaping(spec)
    }

    #[test]
    fn steps_apply_one_after_the_other() {
        let spec = ShapingSpec {
            prefix: "p.".into(),
            tags: vec![
                ("env".into(), Some("prod".into())),
                ("env".into(), Some("eu".into())),
                ("region".into(), Some("us".into())),
                ("own".into(), None),
            ],
            rename_tags: [("kube_pod".to_owned(), "pod".to_owned())].into(),
            ..ShapingSpec::default()
        };
        assert_eq!(
            steps(&shaping(spec), "shop.eu.hits", &[("kube_pod", "a")]),
            [
                "tags shop.eu.hits pod:a",
                r"^shop\.(.*) eu.hits pod:a",
                "eu.* hits pod:a,region:eu",
                "* n_hits region:eu,rule:hits",
                "additions p.n_hits region:eu,rule:hits,env:prod,env:eu,own:"
            ]
        );
    }

    #[test]
    fn scales_of_all_rules_multiply_but_not_for_sets() {
        let mapping = shaping(ShapingSpec::default());
        let scale = |kind, name| mapping.shape(kind, &mut Draft::named(name), |_, _| ()).unwrap().scale;
        assert_eq!(scale(Kind::Counter, "shop.eu.hits"), 6.0);
        assert_eq!(scale(Kind::Counter, "shop.a.b"), 2.0);
        assert_eq!(scale(Kind::Set, "shop.eu.hits"), 1.0);
    }

    #[test]
    fn match_prefix_restricts_globs_and_expressions() {
        for rule in ["match: 'a.*'", "match: '^a', match_type: regex"] {
            let yaml =
                format!("mappings: [{{{rule}, match_prefix: 'a.b', name: x}}, {{match: 'a.*', name: 'y'}}]");
            let mapping = Mapping::from_yaml(&yaml).unwrap();
            let name = |name| {
                let mut draft = Draft::named(name);
                mapping.shape(Kind::Gauge, &mut draft, |_, _| ()).unwrap();
                draft.name
            };
            let expected = if rule.contains("regex") { ["y", "y"] } else { ["x", "y"] };
            assert_eq!([name("a.bc"), name("a.cb")], expected, "{rule}");
        }
        let mapping =
            Mapping::from_yaml("mappings: [{match: a, match_type: regex, match_prefix: b, name: x}]")
                .unwrap();
        let matches = |name| mapping.last_rule(name, Kind::Gauge).is_some();
        assert_eq!([matches("ba"), matches("ab")], [true, false]);
    }

    #[test]
    fn names_that_begin_with_an_exception_get_no_prefix() {
        let spec =
            ShapingSpec { prefix: "p.".into(), prefix_except: vec!["own.".into()], ..ShapingSpec::default() };
        let mapping = Mapping::default().with_shaping(spec);
        assert_eq!(steps(&mapping, "own.a", &[]), ["additions own.a "]);
        assert_eq!(steps(&mapping, "owner", &[]), ["additions p.owner "]);
    }

    #[test]
    fn a_series_without_a_name_is_left_out_in_spite_of_a_prefix() {
        let mapping =
            Mapping::from_yaml("mappings: [{match: '(a)|.', match_type: regex, name: '$1'}]").unwrap();
        let mapping = mapping.with_shaping(ShapingSpec { prefix: "p".into(), ..ShapingSpec::default() });
        assert_eq!(steps(&mapping, "b", &[]), ["(a)|.  ", "EmptyName"]);
    }
}
