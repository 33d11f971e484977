//! The simple version of [`Totals`](super::Totals), which specifies the results of the fast version.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::export::outcome::{ExportOutcome, QuarantineReason};
use crate::export::prometheus::Naming;
use crate::export::prometheus::names::labels;
use crate::model::{
    Exposition, HeldPolicy, Kind, Policies, Policy, PolicyId, RESERVED_PREFIX, Row, Series, Snapshot,
    Statistics, Value, absorbs,
};
use crate::text::number::push_number;

/// Running totals in sorted maps. For each snapshot, it searches all families and members.
pub(super) struct NaiveTotals {
    naming: Naming,
    /// The sum of all intervals.
    clock: Duration,
    /// The policies of the latest snapshot.
    policies: Arc<Policies>,
    /// The families, by name.
    families: BTreeMap<String, Family>,
    placed: BTreeMap<Series, Result<Placement, QuarantineReason>>,
}

struct Family {
    metric_type: FamilyType,
    /// The policy of the HELP text.
    policy: HeldPolicy,
    /// True if the family begins again with the next interval.
    is_outdated: bool,
    /// The members, by labels.
    members: BTreeMap<String, Member>,
}

/// The type of a family, and whether all of its members have exponential buckets.
type FamilyType = (&'static str, bool);

#[derive(Clone)]
struct Placement {
    family: String,
    labels: String,
    /// Whether labels were merged, and whether series were merged.
    merges: [bool; 2],
}

struct Member {
    kind: Kind,
    policy: HeldPolicy,
    seen: Duration,
    /// The start of the first interval that counts.
    began: Duration,
    /// The total of a counter, or the value of a gauge.
    value: f64,
    count: f64,
    sum: f64,
    quantiles: Vec<f64>,
    buckets: Vec<f64>,
}

fn family_type(kind: Kind, policy: &Policy) -> FamilyType {
    match (kind, policy.exposition) {
        (Kind::Counter, _) => ("counter", false),
        (Kind::Gauge | Kind::Set, _) => ("gauge", false),
        (_, Exposition::Summary) => ("summary", false),
        (_, Exposition::Histogram | Exposition::Native) => ("histogram", policy.statistics.native.is_some()),
    }
}

/// Returns true if two policies show a distribution with the same type and the same buckets.
fn show_alike(one: &Policy, other: &Policy) -> bool {
    let shown =
        |policy: &Policy| (policy.exposition, policy.statistics.bounds.clone(), policy.statistics.native);
    shown(one) == shown(other)
}

impl NaiveTotals {
    pub(super) fn new(naming: Naming) -> Self {
        Self {
            naming,
            clock: Duration::ZERO,
            policies: Arc::default(),
            families: BTreeMap::new(),
            placed: BTreeMap::new(),
        }
    }

    pub(super) fn add(&mut self, snapshot: &Snapshot) -> ExportOutcome {
        let end = snapshot.time.duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let began = end.saturating_sub(snapshot.interval);
        self.clock += snapshot.interval;
        // Equal rules start a generation, too, as after a restart.
        if !Arc::ptr_eq(&self.policies, &snapshot.policies) {
            self.change_rules(snapshot);
        }
        let policies = &*snapshot.policies;
        let mut outcome = ExportOutcome::default();
        for row in &snapshot.rows {
            if !self.placed.contains_key(row.series) {
                let placement = self.admit(row, policies, began);
                self.placed.insert(row.series.clone(), placement);
            }
            let added = self.placed[row.series].clone().and_then(|Placement { family, labels, merges }| {
                let family = self.families.get_mut(&family).unwrap();
                if !family.has_type_of(row, policies) {
                    return Err(QuarantineReason::TypeConflict);
                }
                family.use_help(row.policy);
                let member = family.members.get_mut(&labels).unwrap();
                member.change_policy(row.policy, policies, began);
                outcome.absorbed += u64::from(member.add(row.value)?);
                member.seen = self.clock;
                outcome.merged.values_mut().zip(merges).for_each(|(sum, merged)| *sum += u64::from(merged));
                Ok(())
            });
            if let Err(reason) = added {
                outcome.quarantined[reason] += 1;
            }
        }
        self.expire(policies, &snapshot.rows.live().map(|(series, _)| series).collect());
        outcome
    }

    /// Carries families and members over to other rules. Drops a family if a row wants another type or other buckets
    /// for it. Drops a member without a row if no policy shows it as before. Forgets the quarantined series.
    fn change_rules(&mut self, snapshot: &Snapshot) {
        let new = &*snapshot.policies;
        let old = mem::replace(&mut self.policies, Arc::clone(&snapshot.policies));
        let carried = new.carried_from(&old);
        for (name, family) in &mut self.families {
            family.policy = family.policy.carry_over(&carried);
            for row in &snapshot.rows {
                let Some(Ok(placement)) = self.placed.get(row.series) else { continue };
                if placement.family != *name {
                    continue;
                }
                let member = &family.members[&placement.labels];
                if member.continues(old.get(member.policy.id()), new.get(row.policy)) {
                    family.use_help(row.policy);
                } else {
                    family.is_outdated = true;
                }
            }
            family.members.retain(|_, member| {
                let before = member.policy.id();
                let candidates = [carried[before.index()]].into_iter();
                let candidates = candidates.chain((0..new.iter().count() as u32).map(PolicyId::new));
                let next = candidates.into_iter().find(|id| member.continues(old.get(before), new.get(*id)));
                if let Some(next) = next {
                    member.policy = HeldPolicy::assigned(PolicyId::default()).carry_over(&[next]);
                }
                next.is_some()
            });
        }
        self.families.retain(|_, family| !family.is_outdated && !family.members.is_empty());
        self.forget();
    }

    /// Forgets the series that are not on the page.
    fn forget(&mut self) {
        let families = &self.families;
        self.placed.retain(|_, placement| {
            placement.as_ref().is_ok_and(|Placement { family, labels, .. }| {
                families.get(family).is_some_and(|family| family.members.contains_key(labels))
            })
        });
    }

    fn admit(
        &mut self,
        row: Row<'_>,
        policies: &Policies,
        began: Duration,
    ) -> Result<Placement, QuarantineReason> {
        let Row { series, policy, .. } = row;
        let name = self.naming.family(series);
        let (labels, labels_merge) = labels(series);
        if name == "up" || name.starts_with("tallyd_") && !series.name().starts_with(RESERVED_PREFIX) {
            return Err(QuarantineReason::ReservedName);
        }
        let kind = series.kind();
        let family_type = family_type(kind, policies.get(policy));
        match self.families.get_mut(&name).map(|family| family.has_type_of(row, policies)) {
            Some(true) => {}
            Some(false) => return Err(QuarantineReason::TypeConflict),
            None => self.claim(&name, family_type.0)?,
        }
        let new = Family {
            metric_type: family_type,
            policy: HeldPolicy::assigned(policy),
            is_outdated: false,
            members: BTreeMap::new(),
        };
        let family = self.families.entry(name.clone()).or_insert(new);
        let series_merge = family.members.contains_key(&labels);
        if series_merge && kind != Kind::Counter {
            return Err(QuarantineReason::DuplicateSeries);
        }
        let new = || Member { seen: self.clock, ..Member::new(kind, policy, policies, began) };
        family.members.entry(labels.clone()).or_insert_with(new);
        Ok(Placement { family: name, labels, merges: [labels_merge, series_merge] })
    }

    /// Claims the names of all lines of a new family.
    fn claim(&self, name: &str, shape: &str) -> Result<(), QuarantineReason> {
        let lines = |name: &str, shape: &str| match shape {
            "summary" => vec![format!("{name}_sum"), format!("{name}_count")],
            "histogram" => {
                vec![format!("{name}_sum"), format!("{name}_count"), format!("{name}_bucket")]
            }
            _ => Vec::new(),
        };
        let own = lines(name, shape);
        for (other, family) in &self.families {
            let theirs = lines(other, family.metric_type.0);
            if theirs.iter().any(|line| line == name || own.contains(line)) || own.contains(other) {
                return Err(QuarantineReason::NameTaken);
            }
        }
        Ok(())
    }

    /// Drops the families that are outdated, and the members whose lifetime has ended or whose series are not alive.
    fn expire(&mut self, policies: &Policies, live: &BTreeSet<&Series>) {
        let mut dropped = false;
        let is_live = |series: &Series| live.contains(series);
        let of_live = self.placed.iter().filter(|(series, _)| is_live(series));
        let members = of_live.filter_map(|(_, placement)| placement.as_ref().ok());
        let live_members: BTreeSet<_> =
            members.map(|placement| (placement.family.clone(), placement.labels.clone())).collect();
        self.placed.retain(|series, _| is_live(series));
        for (name, family) in &mut self.families {
            family.members.retain(|labels, member| {
                let unseen = self.clock.saturating_sub(member.seen);
                if unseen > Duration::ZERO {
                    member.quantiles.clear();
                }
                let is_alive = match member.kind {
                    Kind::Gauge | Kind::Set => unseen == Duration::ZERO,
                    kind => unseen < policies.get(member.policy.id()).expire_after[kind as usize],
                };
                let is_live = live_members.contains(&(name.clone(), labels.clone()));
                let is_alive = is_alive && (is_live || unseen == Duration::ZERO);
                dropped |= !is_alive;
                is_alive
            });
        }
        dropped |= self.families.values().any(|family| family.is_outdated);
        self.families.retain(|_, family| !family.members.is_empty() && !family.is_outdated);
        if dropped {
            self.forget();
        }
    }

    pub(super) fn page(&self, policies: &Policies) -> String {
        let mut page = Vec::new();
        for (name, Family { metric_type: (shape, _), policy, members, .. }) in &self.families {
            page.push(format!("# HELP {name} {}\n# TYPE {name} {shape}\n", policies.get(policy.id()).help));
            for (labels, member) in members {
                let Statistics { percentiles, bounds, .. } = &policies.get(member.policy.id()).statistics;
                let mut line = |suffix: &str, extra: &str, value: f64| {
                    let comma = if labels.is_empty() || extra.is_empty() { "" } else { "," };
                    let labels = format!("{{{labels}{comma}{extra}}}");
                    let labels = if labels == "{}" { "" } else { &labels };
                    page.push(format!("{name}{suffix}{labels} {}\n", number(value)));
                };
                match *shape {
                    "summary" => {
                        for (percentile, value) in percentiles.iter().zip(&member.quantiles) {
                            line("", &format!("quantile=\"{}\"", percentile.percent() / 100.0), *value);
                        }
                    }
                    "histogram" => {
                        for (bound, weight) in bounds.iter().zip(&member.buckets) {
                            line("_bucket", &format!("le=\"{bound}\""), *weight);
                        }
                        line("_bucket", "le=\"+Inf\"", member.count);
                    }
                    _ => {
                        line("", "", member.value);
                        continue;
                    }
                }
                line("_sum", "", member.sum);
                line("_count", "", member.count);
            }
        }
        page.concat()
    }

    /// Returns the `_created` lines that OpenMetrics may have.
    pub(super) fn created_lines(&self) -> BTreeSet<String> {
        let mut lines = BTreeSet::new();
        for (name, Family { metric_type: (shape, _), members, .. }) in &self.families {
            let stem = if *shape == "counter" { name.strip_suffix("_total").unwrap_or(name) } else { name };
            for (labels, member) in members {
                let labels = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
                lines.insert(format!("{stem}_created{labels} {}", number(member.began.as_secs_f64())));
            }
        }
        lines
    }

    /// Returns the name of each histogram and the schemas of its members. The schema of a classic histogram is `None`.
    pub(super) fn schemas(&self, policies: &Policies) -> Vec<(String, Vec<Option<i32>>)> {
        let histograms = self.families.iter().filter(|(_, family)| family.metric_type.0 == "histogram");
        let schema = |member: &Member| {
            policies.get(member.policy.id()).statistics.native.map(|settings| settings.schema.into())
        };
        histograms
            .map(|(name, family)| (name.clone(), family.members.values().map(schema).collect()))
            .collect()
    }
}

fn number(value: f64) -> String {
    let mut text = String::new();
    push_number(&mut text, value);
    text
}

impl Family {
    /// Returns true if the family has the type that the row wants. A distribution is outdated if a row wants another
    /// type, and no row has confirmed the current type since the rules changed.
    fn has_type_of(&mut self, Row { series, policy, .. }: Row<'_>, policies: &Policies) -> bool {
        let wanted = family_type(series.kind(), policies.get(policy));
        let are_distributions =
            [wanted, self.metric_type].iter().all(|(shape, _)| ["summary", "histogram"].contains(shape));
        self.is_outdated |= wanted != self.metric_type && are_distributions && self.policy.is_carried();
        wanted == self.metric_type && !self.is_outdated
    }

    fn use_help(&mut self, policy: PolicyId) {
        if self.policy.gives_way_to(policy) {
            self.policy = HeldPolicy::assigned(policy);
        }
    }
}

impl Member {
    fn new(kind: Kind, policy: PolicyId, policies: &Policies, began: Duration) -> Self {
        Self {
            kind,
            policy: HeldPolicy::assigned(policy),
            seen: began,
            began,
            value: 0.0,
            count: 0.0,
            sum: 0.0,
            quantiles: Vec::new(),
            buckets: vec![0.0; policies.get(policy).statistics.bounds.len()],
        }
    }

    /// Returns true if the total can continue when the policy changes.
    fn continues(&self, old: &Policy, new: &Policy) -> bool {
        matches!(self.kind, Kind::Counter | Kind::Gauge | Kind::Set) || show_alike(old, new)
    }

    /// Gives a member the policy of its series. If several counters are added up, the policy that takes precedence
    /// wins. A member with other buckets begins again.
    fn change_policy(&mut self, policy: PolicyId, policies: &Policies, began: Duration) {
        if self.kind == Kind::Counter && !self.policy.gives_way_to(policy) {
            return;
        }
        if !self.continues(policies.get(self.policy.id()), policies.get(policy)) {
            *self = Self::new(self.kind, policy, policies, began);
        }
        self.policy = HeldPolicy::assigned(policy);
    }

    /// Adds a value. Returns true if it changes one of the totals too little to be kept.
    fn add(&mut self, value: &Value) -> Result<bool, QuarantineReason> {
        let mut is_absorbed = false;
        match value {
            Value::Counter(increase) if *increase < 0.0 => return Err(QuarantineReason::NegativeIncrease),
            Value::Counter(increase) => is_absorbed = absorbs(&mut self.value, *increase),
            Value::Gauge(value) | Value::Set(value) => self.value = *value,
            Value::Summary(summary) => {
                let divisor = if self.kind == Kind::Timing { 1e3 } else { 1.0 };
                is_absorbed = absorbs(&mut self.count, summary.count);
                is_absorbed |= absorbs(&mut self.sum, summary.sum / divisor);
                self.quantiles = summary.percentiles.iter().map(|value| value / divisor).collect();
                for (total, new) in self.buckets.iter_mut().zip(&summary.buckets) {
                    is_absorbed |= absorbs(total, *new);
                }
            }
        }
        Ok(is_absorbed)
    }
}
