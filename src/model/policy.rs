//! What is wanted of series: what is computed of their values, how Prometheus is shown it, and how long they live.

use std::cmp::Reverse;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::{Kind, Statistics};

/// What is wanted of a series, by the rule that gave it its name, or else by the configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// What Prometheus is told of the family; empty if it is told the type.
    pub help: Box<str>,
    /// What is computed of the values of timings, histograms and distributions.
    pub statistics: Statistics,
    /// How Prometheus is shown them.
    pub form: Exposition,
    /// How long a series without samples is remembered, by [`Kind`]; in whole seconds.
    pub expire_after: [Duration; Kind::ALL.len()],
}

/// What the shipped configuration says, but for statistics, of which there are none.
impl Default for Policy {
    fn default() -> Self {
        Self {
            help: Box::default(),
            statistics: Statistics::default(),
            form: Exposition::default(),
            expire_after: [Duration::from_hours(1); Kind::ALL.len()],
        }
    }
}

/// How timings, histograms and distributions are exposed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Exposition {
    /// Percentiles of the latest interval, running count and sum.
    #[default]
    Summary,
    /// Running counts in buckets.
    Histogram,
    /// Running counts in exponential buckets, which only Prometheus' protobuf format can tell.
    Native,
}

/// The number of a policy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct PolicyId(u32);

/// All policies that were in force since the start, in the order of their numbers: series that have no samples since the
/// rules were changed still have an old one.
#[derive(Debug, Clone, PartialEq)]
pub struct Policies {
    /// Those in force come last, and the last one is that of series without a rule.
    all: Vec<Policy>,
    /// The number of the first one of all that came into force together; the last number is that of the first one in force.
    firsts: Vec<PolicyId>,
}

impl Default for Policies {
    fn default() -> Self {
        Self::new(vec![Policy::default()])
    }
}

/// One for all series.
impl From<Statistics> for Policies {
    fn from(statistics: Statistics) -> Self {
        Self::new(vec![Policy { statistics, ..Policy::default() }])
    }
}

impl Policies {
    /// Those of rules in the order of the rules, and at the end that of series without a rule.
    #[must_use]
    pub fn new(policies: Vec<Policy>) -> Self {
        debug_assert!(!policies.is_empty(), "there is one of series without a rule");
        Self { all: policies, firsts: vec![PolicyId::default()] }
    }

    /// Puts others in force.
    #[must_use]
    pub(crate) fn renewed(&self, policies: &[Policy]) -> Self {
        let first = PolicyId(self.all.len() as u32);
        Self { all: [&self.all[..], policies].concat(), firsts: [&self.firsts[..], &[first]].concat() }
    }

    /// Those in force.
    pub(crate) fn in_force(&self) -> &[Policy] {
        &self.all[self.first().index()..]
    }

    /// The number of the first one in force.
    pub(crate) fn first(&self) -> PolicyId {
        self.firsts[self.firsts.len() - 1]
    }

    /// How many times policies had come into force when this one did.
    pub(crate) fn generation(&self, id: PolicyId) -> usize {
        self.firsts.partition_point(|first| *first <= id)
    }

    /// Whether something that two policies are given to has the one rather than the other: newer ones prevail over older ones,
    /// and of those that came into force together the first one.
    pub(crate) fn prevails(&self, one: PolicyId, other: PolicyId) -> bool {
        let rank = |id| (self.generation(id), Reverse(id));
        rank(one) > rank(other)
    }

    /// The number of that of series without a rule.
    pub(crate) fn of_no_rule(&self) -> PolicyId {
        PolicyId(self.all.len() as u32 - 1)
    }

    /// What of each policy, in the order of their numbers.
    pub(crate) fn map<T>(&self, what: impl FnMut(&Policy) -> T) -> Vec<T> {
        self.all.iter().map(what).collect()
    }

    /// The policy with a number.
    #[must_use]
    pub fn get(&self, id: PolicyId) -> &Policy {
        &self.all[id.index()]
    }
}

impl PolicyId {
    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }

    /// The number of the policy that is this many behind.
    pub(crate) fn plus(self, count: u32) -> Self {
        Self(self.0 + count)
    }
}

/// What a line says of its series' policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Assignment {
    pub(crate) policy: PolicyId,
    /// The first one that came into force together with it.
    pub(crate) first: PolicyId,
}

impl Assignment {
    /// Whether a series gets this policy that had another one, of which none is newer: as with [`Policies::prevails`].
    pub(crate) fn prevails_over(self, known: PolicyId) -> bool {
        known < self.first || self.policy < known
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_rule_prevails_and_newer_rules_over_older_ones() {
        let assigned = |policy, first| Assignment { policy: PolicyId(policy), first: PolicyId(first) };
        let cases = [(3, 2, 3, false), (2, 2, 3, true), (3, 2, 2, false), (3, 2, 1, true), (3, 2, 0, true)];
        for (policy, first, known, prevails) in cases {
            assert_eq!(assigned(policy, first).prevails_over(PolicyId(known)), prevails, "{policy} {known}");
        }
    }

    #[test]
    fn policies_that_were_in_force_keep_their_numbers() {
        let policy = |help: &str| Policy { help: help.into(), ..Policy::default() };
        let old = Policies::new(vec![policy("rule"), policy("none")]);
        let new = old.renewed(&[policy("other"), policy("no other")]);
        assert_eq!(*new.get(old.of_no_rule()).help, *"none");
        assert_eq!((new.first(), new.of_no_rule()), (PolicyId(2), PolicyId(3)));
        assert_eq!(new.in_force(), [policy("other"), policy("no other")]);
    }

    #[test]
    fn of_all_policies_there_ever_were_the_newest_prevail_and_of_those_the_first() {
        let policies = [2, 1, 2].map(|count| vec![Policy::default(); count]);
        let [first, second, third] = policies;
        let policies = Policies::new(first).renewed(&second).renewed(&third);
        let mut order: Vec<_> = (0..5).map(PolicyId).collect();
        order.sort_by(|a, b| policies.prevails(*b, *a).cmp(&policies.prevails(*a, *b)));
        assert_eq!(order, [3, 4, 2, 0, 1].map(PolicyId));
        assert!(order.iter().all(|id| !policies.prevails(*id, *id)));
    }
}
