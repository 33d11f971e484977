//! Builds Graphite's names as statsd's Graphite backend does.

use crate::model::Series;

/// How names are built. The fields are statsd's settings of the same names.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct GraphiteNames {
    /// Whether counters are `stats.NAME` and `stats_counts.NAME`, and all prefixes are fixed.
    pub(crate) legacy_namespace: bool,
    pub(crate) global_prefix: String,
    pub(crate) prefix_counter: String,
    pub(crate) prefix_timer: String,
    pub(crate) prefix_gauge: String,
    pub(crate) prefix_set: String,
    pub(crate) global_suffix: String,
    pub(crate) tags: GraphiteTags,
}

/// The place of tags in a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum GraphiteTags {
    /// They are Graphite's tags: `NAME;key=value`.
    Graphite,
    /// They are parts of the name: `NAME.key.value`.
    Append,
}

/// The group of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Group {
    Counter,
    Timer,
    Gauge,
    Set,
}

impl GraphiteNames {
    /// Appends the name of a number. `statistic` follows the name of the series; it can be empty.
    pub(super) fn push(&self, text: &mut String, group: Group, series: &Series, statistic: &str) {
        let prefixes = if self.legacy_namespace { Self::legacy(group) } else { self.prefixes(group) };
        self.push_with(text, &prefixes, series, statistic);
    }

    /// Appends the name of a counter's sum in the legacy namespace.
    pub(super) fn push_legacy_count(&self, text: &mut String, series: &Series) {
        self.push_with(text, &["stats_counts", ""], series, "");
    }

    fn push_with(&self, text: &mut String, prefixes: &[&str; 2], series: &Series, statistic: &str) {
        let begin = text.len();
        let push_part = |text: &mut String, part: &str, push: fn(&mut String, &str)| {
            if part.is_empty() {
                return;
            }
            if text.len() > begin {
                text.push('.');
            }
            push(text, part);
        };
        let as_is: fn(&mut String, &str) = |text, part| text.push_str(part);
        prefixes.iter().for_each(|prefix| push_part(text, prefix, as_is));
        push_part(text, series.name(), push_sanitized);
        if self.tags == GraphiteTags::Append {
            for (key, value) in series.tags() {
                push_part(text, key, push_node);
                push_part(text, value, push_node);
            }
        }
        push_part(text, statistic, as_is);
        push_part(text, &self.global_suffix, as_is);
        if self.tags == GraphiteTags::Graphite {
            for (key, value) in series.tags() {
                text.push(';');
                push_node(text, key);
                text.push('=');
                // Graphite refuses tags without a value.
                push_tag_value(text, if value.is_empty() { "true" } else { value });
            }
        }
    }

    fn legacy(group: Group) -> [&'static str; 2] {
        match group {
            Group::Counter => ["stats", ""],
            Group::Timer => ["stats", "timers"],
            Group::Gauge => ["stats", "gauges"],
            Group::Set => ["stats", "sets"],
        }
    }

    fn prefixes(&self, group: Group) -> [&str; 2] {
        let own = match group {
            Group::Counter => &self.prefix_counter,
            Group::Timer => &self.prefix_timer,
            Group::Gauge => &self.prefix_gauge,
            Group::Set => &self.prefix_set,
        };
        [&self.global_prefix, own]
    }
}

/// Appends a name as statsd's `keyNameSanitize` writes it: white space becomes one `_`, a slash becomes `-`, and all other characters
/// than letters, digits, `_`, `-` and `.` are left out.
fn push_sanitized(text: &mut String, name: &str) {
    let mut is_space = false;
    for character in name.chars() {
        let was_space = std::mem::replace(&mut is_space, character.is_whitespace());
        match character {
            _ if is_space && was_space => {}
            _ if is_space => text.push('_'),
            '/' => text.push('-'),
            'a'..='z' | 'A'..='Z' | '0'..='9' | '_' | '-' | '.' => text.push(character),
            _ => {}
        }
    }
}

/// Appends a key or a value as one node of a name. A dot would begin another node.
fn push_node(text: &mut String, node: &str) {
    let begin = text.len();
    push_sanitized(text, node);
    if text[begin..].contains('.') {
        let node = text[begin..].replace('.', "_");
        text.truncate(begin);
        text.push_str(&node);
    }
}

/// Appends the value of one of Graphite's tags. It has neither `;` nor white space, and does not begin with `~`.
fn push_tag_value(text: &mut String, value: &str) {
    for (index, character) in value.chars().enumerate() {
        let is_legal = character != ';' && !character.is_whitespace() && !(index == 0 && character == '~');
        text.push(if is_legal { character } else { '_' });
    }
}

#[cfg(test)]
pub(super) fn defaults() -> GraphiteNames {
    let text = |text: &str| text.to_owned();
    GraphiteNames {
        legacy_namespace: true,
        global_prefix: text("stats"),
        prefix_counter: text("counters"),
        prefix_timer: text("timers"),
        prefix_gauge: text("gauges"),
        prefix_set: text("sets"),
        global_suffix: String::new(),
        tags: GraphiteTags::Graphite,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Kind;

    fn name(
        names: &GraphiteNames,
        group: Group,
        (name, tags): (&str, &[(&str, &str)]),
        statistic: &str,
    ) -> String {
        let mut text = String::new();
        names.push(&mut text, group, &Series::new(Kind::Counter, name, tags), statistic);
        text
    }

    #[test]
    fn names_are_those_of_statsd() {
        let legacy = defaults();
        let new = GraphiteNames { legacy_namespace: false, ..defaults() };
        let custom = GraphiteNames {
            global_prefix: String::new(),
            prefix_counter: "c".to_owned(),
            prefix_gauge: String::new(),
            global_suffix: "host-1".to_owned(),
            ..new.clone()
        };
        let plain = |name| (name, &[][..]);
        let cases = [
            (&legacy, Group::Counter, plain("a.b"), "", "stats.a.b"),
            (&legacy, Group::Timer, plain("t"), "upper_90", "stats.timers.t.upper_90"),
            (&legacy, Group::Gauge, plain("g"), "", "stats.gauges.g"),
            (&legacy, Group::Set, plain("s"), "count", "stats.sets.s.count"),
            (&new, Group::Counter, plain("a.b"), "rate", "stats.counters.a.b.rate"),
            (&custom, Group::Counter, plain("a"), "rate", "c.a.rate.host-1"),
            (&custom, Group::Gauge, plain("g"), "", "g.host-1"),
            (&new, Group::Counter, plain("a b\t /c:d(é)"), "rate", "stats.counters.a_b_-cd.rate"),
        ];
        for (names, group, series, statistic, expected) in cases {
            assert_eq!(name(names, group, series, statistic), expected);
        }
        let mut count = String::new();
        legacy.push_legacy_count(&mut count, &Series::new(Kind::Counter, "a", &[]));
        assert_eq!(count, "stats_counts.a");
    }

    #[test]
    fn tags_follow_the_name_or_become_parts_of_it() {
        let tagged = ("hits", &[("env", "a b;c"), ("path", "/x.y"), ("flag", "")][..]);
        let graphite = defaults();
        assert_eq!(name(&graphite, Group::Counter, tagged, ""), "stats.hits;env=a_b_c;flag=true;path=/x.y");
        let append = GraphiteNames { tags: GraphiteTags::Append, ..defaults() };
        assert_eq!(
            name(&append, Group::Timer, tagged, "mean"),
            "stats.timers.hits.env.a_bc.flag.path.-x_y.mean"
        );
    }
}
