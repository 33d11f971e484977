//! Counts the series of each metric and of each rule with a limit, so that none takes the room of all others.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use super::limits::{Limits, Usage};
use super::tables::{TABLES, table_of};
use crate::model::{PolicyId, split_name};

/// The series that share a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Group {
    /// The series of a metric, by the hash of its name and type.
    Metric(u64),
    /// The series of a rule with `max_series`, by the policy of the rule.
    Rule(PolicyId),
}

/// The live series of each group. Series of tallyd itself do not count.
#[derive(Debug)]
pub(super) struct Shares {
    /// The metrics that have series with tags, spread by hash as the registry spreads series.
    ///
    /// A metric has only one series without tags, which is not counted. So plain StatsD names take no memory here. A
    /// metric is known by its hash alone. If two metrics had the same one, they would share a limit.
    metrics: [HashTable<(u64, Usage)>; TABLES],
    /// The rules by their policies. A rule without a limit has `None`.
    rules: Vec<Option<RuleShare>>,
}

#[derive(Debug, Clone, Copy, Default)]
struct RuleShare {
    max_series: usize,
    used: Usage,
}

impl Default for Shares {
    fn default() -> Self {
        Self { metrics: [const { HashTable::new() }; TABLES], rules: Vec::new() }
    }
}

/// Returns the hash of an identity's name and type.
fn metric_of(identity: &str, hasher: &RandomState) -> u64 {
    let (name, rest) = split_name(identity);
    hasher.hash_one((name, rest.as_bytes().last()))
}

/// Returns true if the identity has tags. After the name, an identity without tags has only the type, which is one
/// character.
fn has_tags(identity: &str) -> bool {
    split_name(identity).1.len() > 1
}

impl Shares {
    /// Returns the group of a series with this identity and policy. A series without tags is in no group, unless its rule
    /// has a limit.
    pub(super) fn group(&self, identity: &str, policy: PolicyId, hasher: &RandomState) -> Option<Group> {
        if self.rule(policy).is_some() {
            return Some(Group::Rule(policy));
        }
        has_tags(identity).then(|| Group::Metric(metric_of(identity, hasher)))
    }

    /// Returns what the group uses.
    pub(super) fn used(&self, group: Group) -> Usage {
        let used = match group {
            Group::Metric(hash) => {
                self.metrics[table_of(hash)].find(hash, |(known, _)| *known == hash).map(|(_, used)| *used)
            }
            Group::Rule(policy) => self.rule(policy).map(|rule| rule.used),
        };
        used.unwrap_or_default()
    }

    /// Returns the largest number of series that the group may have.
    pub(super) fn max_series(&self, group: Group, limits: &Limits) -> usize {
        match group {
            Group::Metric(_) => limits.series_per_metric,
            Group::Rule(policy) => self.rule(policy).map_or(usize::MAX, |rule| rule.max_series),
        }
    }

    fn rule(&self, policy: PolicyId) -> Option<&RuleShare> {
        self.rules.get(policy.index())?.as_ref()
    }

    fn rule_mut(&mut self, policy: PolicyId) -> Option<&mut RuleShare> {
        self.rules.get_mut(policy.index())?.as_mut()
    }

    /// Counts a new series.
    pub(super) fn add(&mut self, identity: &str, policy: PolicyId, hasher: &RandomState) {
        self.add_to_rule(identity, policy);
        if has_tags(identity) {
            let hash = metric_of(identity, hasher);
            let table = &mut self.metrics[table_of(hash)];
            let entry = table.entry(hash, |(known, _)| *known == hash, |(known, _)| *known);
            entry.or_insert((hash, Usage::default())).into_mut().1.add(identity);
        }
    }

    /// Counts a dropped series no longer.
    pub(super) fn remove(&mut self, identity: &str, policy: PolicyId, hasher: &RandomState) {
        if let Some(rule) = self.rule_mut(policy) {
            rule.used.remove(identity);
        }
        if has_tags(identity) {
            let hash = metric_of(identity, hasher);
            if let Ok(mut entry) = self.metrics[table_of(hash)].find_entry(hash, |(known, _)| *known == hash)
            {
                entry.get_mut().1.remove(identity);
                if entry.get().1.series == 0 {
                    entry.remove();
                }
            }
        }
    }

    /// Moves a series to the share of another policy.
    pub(super) fn change_policy(&mut self, identity: &str, from: PolicyId, to: PolicyId) {
        if let Some(rule) = self.rule_mut(from) {
            rule.used.remove(identity);
        }
        self.add_to_rule(identity, to);
    }

    /// Counts a series in the share of its policy, but not in that of its metric.
    pub(super) fn add_to_rule(&mut self, identity: &str, policy: PolicyId) {
        if let Some(rule) = self.rule_mut(policy) {
            rule.used.add(identity);
        }
    }

    /// Sets the limits of the rules by their policies, and forgets what the rules use.
    pub(super) fn set_rules(&mut self, max_series: impl IntoIterator<Item = Option<usize>>) {
        let share = |max_series| RuleShare { max_series, used: Usage::default() };
        self.rules = max_series.into_iter().map(|limit| limit.map(share)).collect();
    }

    /// Returns true if a rule has a limit.
    pub(super) fn has_rules(&self) -> bool {
        self.rules.iter().any(Option::is_some)
    }

    /// Returns memory to the system if a table of metrics uses less than a quarter of its capacity.
    pub(super) fn shrink(&mut self, table: usize) {
        let table = &mut self.metrics[table];
        if table.len() * 4 < table.capacity() {
            table.shrink_to_fit(|(hash, _)| *hash);
        }
    }
}
