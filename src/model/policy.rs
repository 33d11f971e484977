//! Policies: how a series is summarized, exposed to Prometheus, and expired.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::VariantArray;

use super::{Kind, Statistics};

/// The settings of a series. They come from the mapping rule that named the series, or else from the configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// The HELP text of the Prometheus family. If it is empty, the text names the type.
    pub help: Box<str>,
    /// The statistics of timings, histograms and distributions.
    pub statistics: Statistics,
    /// The way in which Prometheus sees timings, histograms and distributions.
    pub exposition: Exposition,
    /// The time that the percentiles of a Prometheus summary cover. Zero means the latest interval.
    pub percentile_window: Duration,
    /// The time after which tallyd drops a series without samples, in whole seconds, indexed by [`Kind`]. It may be
    /// [`NEVER`](Self::NEVER).
    pub expire_after: [Duration; Kind::VARIANTS.len()],
    /// The limit that all series of the rule share. `None` means the limit of each metric.
    pub share: Option<Share>,
}

/// A limit that the series of one rule share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    /// The number of series that may be alive at a time.
    pub max_series: usize,
    /// The rule in words. It keeps the policies of different rules apart.
    pub rule: Box<str>,
}

impl Policy {
    /// The lifetime of series that tallyd drops only if another series needs their room.
    pub const NEVER: Duration = Duration::MAX;
}

/// The defaults are those of the shipped configuration, without statistics.
impl Default for Policy {
    fn default() -> Self {
        let mut expire_after = [Duration::from_hours(1); Kind::VARIANTS.len()];
        expire_after[Kind::Counter as usize] = Self::NEVER;
        Self {
            help: Box::default(),
            statistics: Statistics::default(),
            exposition: Exposition::default(),
            percentile_window: Duration::ZERO,
            expire_after,
            share: None,
        }
    }
}

/// The way in which Prometheus sees timings, histograms and distributions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Exposition {
    /// Percentiles of the latest interval or of a longer window, with a running count and sum.
    #[default]
    Summary,
    /// Running counts in classic buckets.
    Histogram,
    /// Running counts in exponential buckets, which only Prometheus' protobuf format can carry.
    Native,
}

/// The index of a policy among the [`Policies`] of its generation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PolicyId(u32);

impl PolicyId {
    /// Returns the id of the policy at an index below 2^31.
    pub(crate) fn new(index: u32) -> Self {
        Self(index)
    }

    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

/// The policy of a series or a Prometheus family. It was either assigned under the current rules or carried over from
/// earlier rules. It takes only 4 bytes because each series has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HeldPolicy(u32);

impl HeldPolicy {
    const CARRIED: u32 = 1 << 31;

    pub(crate) fn assigned(policy: PolicyId) -> Self {
        Self(policy.0)
    }

    /// Returns the policy that replaces this one when the next generation of rules starts. `carried` holds the new id
    /// of each old policy.
    pub(crate) fn carry_over(self, carried: &[PolicyId]) -> Self {
        Self(carried[self.id().index()].0 | Self::CARRIED)
    }

    pub(crate) fn id(self) -> PolicyId {
        PolicyId(self.0 & !Self::CARRIED)
    }

    /// Returns true if no line or row has assigned the policy since the rules changed.
    pub(crate) fn is_carried(self) -> bool {
        self.0 & Self::CARRIED != 0
    }

    /// Returns true if assigning `policy` replaces this one. If several rules name one series, the first rule takes
    /// precedence, regardless of the order of lines.
    pub(crate) fn gives_way_to(self, policy: PolicyId) -> bool {
        self.is_carried() || policy < self.id()
    }
}

/// The policies of one generation of rules. A reload that changes rules starts the next generation.
///
/// If several rules name one series, the first rule takes precedence: it has the smallest id.
#[derive(Debug, Clone, PartialEq)]
pub struct Policies {
    /// The policies in the order of the rules. The last one applies to series that no rule matches.
    policies: Vec<Policy>,
}

impl Default for Policies {
    fn default() -> Self {
        Self::new(vec![Policy::default()])
    }
}

/// Gives all series the same statistics.
impl From<Statistics> for Policies {
    fn from(statistics: Statistics) -> Self {
        Self::new(vec![Policy { statistics, ..Policy::default() }])
    }
}

impl Policies {
    /// Creates a generation. The policies are in the order of the rules. The last one applies to series that no rule
    /// matches.
    #[must_use]
    pub fn new(policies: Vec<Policy>) -> Self {
        debug_assert!(!policies.is_empty(), "the last policy applies to series without a rule");
        Self { policies }
    }

    /// Returns the id of the policy of series that no rule matches.
    pub(crate) fn unmatched(&self) -> PolicyId {
        PolicyId(self.policies.len() as u32 - 1)
    }

    /// Returns the policy with an id of this generation.
    #[must_use]
    pub fn get(&self, id: PolicyId) -> &Policy {
        &self.policies[id.index()]
    }

    /// Returns true if this generation has a policy with this id.
    pub(crate) fn has(&self, id: PolicyId) -> bool {
        id.index() < self.policies.len()
    }

    /// Returns the policies in the order of their ids.
    pub fn iter(&self) -> impl Iterator<Item = &Policy> {
        self.policies.iter()
    }

    /// Maps each id of an earlier generation to an id of this one: that of an equal policy, or else that of series
    /// without a rule. A series keeps the mapped policy until a line assigns another one.
    pub(crate) fn carried_from(&self, earlier: &Policies) -> Vec<PolicyId> {
        let carried = |policy: &Policy| {
            let equal = self.policies.iter().position(|own| own == policy);
            equal.map_or(self.unmatched(), |index| PolicyId(index as u32))
        };
        earlier.policies.iter().map(carried).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_carries_over_to_an_equal_one_or_the_unmatched_one() {
        let policies = |help: &[&str]| {
            let policy = |help: &&str| Policy { help: (*help).into(), ..Policy::default() };
            Policies::new(help.iter().map(policy).collect())
        };
        let earlier = policies(&["a", "b", "c", "none"]);
        let later = policies(&["x", "c", "a", "none"]);
        assert_eq!(later.carried_from(&earlier), [2, 3, 1, 3].map(PolicyId));
        assert_eq!(later.carried_from(&later), [0, 1, 2, 3].map(PolicyId));
    }
}
