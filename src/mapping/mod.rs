//! Gives series other names and labels by rules: those of `statsd_exporter`, unchanged.
//!
//! ```text
//!  checkout.eu.latency:5|ms
//!       | - match: "checkout.*.latency"
//!       v   name: "checkout_latency", labels: { region: "$1" }
//!  checkout_latency{region="eu"}
//! ```
//!
//! A rule is looked for when a form is first seen, so it costs known series nothing, and series that become one by it are
//! one from the start: their percentiles are those of all values.

mod check;
mod file;
mod globs;
mod policies;
mod rule;
mod template;

pub use check::MappingError;
pub use file::{
    Action, Defaults, HistogramOptions, MatchType, MetricType, ObserverType, Quantile, RuleText,
    SummaryOptions,
};
pub use rule::Rule;

use globs::Globs;

use crate::model::Kind;

/// All rules, ready to be looked for.
#[derive(Debug, Default)]
pub struct Mapping {
    rules: Vec<Rule>,
    globs: Globs,
    /// Those that are regular expressions, in their order.
    expressions: Vec<usize>,
    /// As they were written.
    defaults: Defaults,
    /// The index of the policy of series that no rule matches.
    unmatched: u32,
}

/// Whether the same was written.
impl PartialEq for Mapping {
    fn eq(&self, other: &Self) -> bool {
        self.defaults == other.defaults && self.rules == other.rules
    }
}

/// What a rule makes of a series.
#[derive(Debug, Clone)]
pub struct Mapped<'a> {
    /// The rule.
    pub rule: &'a Rule,
    /// As the rule's template has it; legal or not.
    pub name: String,
    /// Sorted by their names.
    pub labels: Vec<(&'a str, String)>,
}

impl Mapping {
    /// Reads the YAML of `statsd_exporter`.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong, with its rule and line.
    pub fn from_yaml(text: &str) -> Result<Self, MappingError> {
        let file = check::read_yaml(text)?;
        Self::new(
            &file.defaults,
            file.mappings.iter().map(|rule| (Some(rule.referenced.line()), &rule.value)),
        )
    }

    /// Rules with the lines they stand in, from 1, where that is known.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong, with its rule and line.
    pub fn new<'a>(
        defaults: &Defaults,
        rules: impl IntoIterator<Item = (Option<u64>, &'a RuleText)>,
    ) -> Result<Self, MappingError> {
        defaults
            .check()
            .map_err(|problem| MappingError { line: None, problem: format!("defaults: {problem}") })?;
        let mut mapping = Self {
            rules: Vec::new(),
            globs: Globs::new(defaults.glob_disable_ordering),
            expressions: Vec::new(),
            defaults: defaults.clone(),
            unmatched: 0,
        };
        for (number, (line, text)) in rules.into_iter().enumerate() {
            let rule = check::rule(number, text, defaults)
                .map_err(|problem| MappingError::in_rule(number, line, &text.pattern, &problem))?;
            if rule.expression.is_some() {
                mapping.expressions.push(number);
            } else {
                mapping.globs.add(&text.pattern, number);
            }
            mapping.rules.push(rule);
        }
        Ok(mapping)
    }

    /// The rules, in their order.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Whether there are no rules.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// What the rules make of a series: globs are tried first, then regular expressions. `None` if none matches.
    #[must_use]
    pub fn apply(&self, name: &str, kind: Kind) -> Option<Mapped<'_>> {
        let is_wanted = |rule: usize| self.rules[rule].wants(kind);
        if let Some(found) = self.globs.find(name, is_wanted) {
            return Some(self.rules[found.rule].fill(|number| found.captures[number - 1]));
        }
        self.expressions.iter().copied().filter(|&number| is_wanted(number)).find_map(|number| {
            let rule = &self.rules[number];
            let captures = rule.expression.as_ref()?.captures(name)?;
            Some(rule.fill(|group| captures.get(group).map_or("", |group| group.as_str())))
        })
    }
}
