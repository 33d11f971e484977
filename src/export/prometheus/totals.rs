//! Adds snapshots to running totals, and drops members that the page would otherwise show forever.

use std::collections::HashSet;
use std::mem;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use super::admission::{self, Admission};
use super::families::{Distribution, Families, Family, Member, Total};
use super::family_type::FamilyType;
use super::names::{Naming, ReservedNames, labels, utf8_labels};
use super::placements::{Placed, Placement, Placements};
use crate::export::outcome::{ExportOutcome, MergeReason, QuarantineReason};
use crate::model::{
    Claim, Exposition, HeldPolicy, Kind, MILLISECONDS, Memory, MemoryPart, Named, Policies, Policy, PolicyId,
    Repeated, Row, Series, Snapshot, Statistics, Summary, Thinned, Value, WarnOnce, absorbs, nanoseconds,
};
use crate::text::visible::shortened;

/// The most rows that are remembered as kept off the page.
const MOST_KEPT_OFF: usize = 100;

/// The running totals of all series, in families.
#[derive(Debug)]
pub struct Totals {
    pub(super) naming: Naming,
    pub(super) reserved: ReservedNames,
    /// Whether OpenMetrics has `_created` lines, with the times when series began.
    pub(super) shows_created: bool,
    /// Whether the totals remember the names that clients sent, for the formats with UTF-8 names.
    pub(super) has_utf8_names: bool,
    pub(super) families: Families,
    pub(super) placements: Placements,
    /// The policies of the latest snapshot.
    pub(super) policies: Arc<Policies>,
    /// The sum of all intervals, in nanoseconds.
    pub(super) clock: u64,
    /// The start of the latest interval, in seconds since 1970.
    interval_began: f64,
    /// True if a family leaves the page at the end of this interval.
    has_leaving: bool,
    /// The rows that were named because they are kept off the page.
    named_as_kept_off: WarnOnce,
    /// The first rows of the latest interval that are kept off the page, with the reasons.
    kept_off: Vec<(Series, QuarantineReason)>,
    /// The series that were named because their total absorbs increases.
    named_as_absorbing: WarnOnce,
    /// The shortest time that the percentiles of a summary cover. `None` if no summary had samples under these rules.
    shortest_window: Option<Duration>,
    /// The memory that distributions take, in bytes, besides what every series takes.
    distribution_bytes: usize,
    /// The memory beyond which no percentile window grows, in bytes.
    max_distribution_bytes: usize,
    memory: Memory,
    /// Accounts for the memory of distributions and of UTF-8 names.
    claim: Claim,
    windows_dropped: Thinned,
    /// The members that left the page with the latest interval. `None` if no one asks for them.
    gone: Option<Vec<Gone>>,
}

/// A member that has left the page.
#[derive(Debug)]
pub(super) struct Gone {
    /// The name of the family.
    pub(super) name: Box<str>,
    pub(super) metric_type: FamilyType,
    pub(super) labels: Box<str>,
    /// The statistics of its policy, which say what lines it had.
    pub(super) statistics: Statistics,
}

impl Totals {
    /// Creates totals without families.
    #[must_use]
    pub fn new(naming: Naming) -> Self {
        Self {
            naming,
            reserved: ReservedNames::default(),
            shows_created: true,
            has_utf8_names: false,
            families: Families::default(),
            placements: Placements::default(),
            policies: Arc::default(),
            clock: 0,
            interval_began: 0.0,
            has_leaving: false,
            named_as_kept_off: WarnOnce::default(),
            kept_off: Vec::new(),
            named_as_absorbing: WarnOnce::default(),
            shortest_window: None,
            distribution_bytes: 0,
            max_distribution_bytes: usize::MAX,
            memory: Memory::default(),
            claim: Memory::default().claim(MemoryPart::Series, 0),
            windows_dropped: Thinned::default(),
            gone: None,
        }
    }

    /// Remembers which members leave the page, until the next interval.
    #[must_use]
    pub(super) fn with_gone_members(self) -> Self {
        Self { gone: Some(Vec::new()), ..self }
    }

    /// Counts the memory of the totals in `memory`.
    #[must_use]
    pub(crate) fn counted_in(mut self, memory: &Memory) -> Self {
        self.memory = memory.clone();
        self.claim = memory.claim(MemoryPart::Series, 0);
        self
    }

    /// Sets whether OpenMetrics has `_created` lines, with the times when counters, summaries and histograms began.
    #[must_use]
    pub(crate) fn with_created_lines(self, shows_created: bool) -> Self {
        Self { shows_created, ..self }
    }

    /// Sets whether the formats with UTF-8 names show the names that clients sent.
    #[must_use]
    pub fn with_utf8_names(self, has_utf8_names: bool) -> Self {
        Self { has_utf8_names, ..self }
    }

    /// Keeps a family off the page if its name begins with one of these prefixes, which belong to another program.
    #[must_use]
    pub(crate) fn with_reserved_prefixes(self, prefixes: Vec<String>) -> Self {
        Self { reserved: ReservedNames { prefixes }, ..self }
    }

    /// Adds the rows of an interval, and counts the rows that are quarantined or merged.
    ///
    /// The live series and the placed series are both sorted, so one walk over both finds the placements of all rows.
    pub fn add(&mut self, snapshot: &Snapshot) -> ExportOutcome {
        self.clock += nanoseconds(snapshot.interval);
        self.interval_began = interval_start(snapshot);
        if let Some(gone) = &mut self.gone {
            gone.clear();
        }
        if !Arc::ptr_eq(&self.policies, &snapshot.policies) {
            self.change_rules(snapshot);
        }
        let room = self.claim.bytes().saturating_add(self.memory.room(MemoryPart::Series));
        self.max_distribution_bytes = room.saturating_sub(self.families.utf8_bytes());
        self.kept_off.clear();
        let mut outcome = ExportOutcome::default();
        let placements = mem::take(&mut self.placements);
        let mut walk = placements.walk();
        let mut new = Vec::new();
        // These members have a series that added nothing.
        let mut idle = Vec::new();
        for (series, row) in snapshot.rows.live() {
            let placement = walk.find(series);
            let Some(row) = row else {
                idle.extend(placement.and_then(Placement::member));
                continue;
            };
            let placement = placement.unwrap_or_else(|| {
                let placement = self.place(row.series, row.policy);
                new.push(Placed { series: row.series.clone(), placement });
                placement
            });
            if let Err(reason) = self.add_row(placement, row, &mut outcome) {
                outcome.quarantined[reason] += 1;
                if self.kept_off.len() < MOST_KEPT_OFF {
                    self.kept_off.push((row.series.clone(), reason));
                }
                idle.extend(placement.member());
                if reason == QuarantineReason::NegativeIncrease {
                    self.warn_kept_off(row.series, reason);
                }
            }
        }
        let gone = walk.end();
        self.placements = placements;
        if gone.series > 0 {
            self.forget(&gone.members, snapshot);
            idle.extend(gone.members);
        }
        self.placements.add(new);
        self.families.sort();
        self.expire(&idle);
        self.claim.resize(self.distribution_bytes + self.families.utf8_bytes());
        // `tallyd.increases_absorbed` counts the others.
        _ = self.named_as_absorbing.end_snapshot();
        if let Some(Repeated { amount, .. }) = self.windows_dropped.round(outcome.windows_dropped) {
            tracing::warn!(
                series = amount,
                "percentiles cover only the latest interval, because the memory for series is used up; raise memory.max, or shorten percentile_window"
            );
        }
        let not_logged = self.named_as_kept_off.end_snapshot();
        if not_logged > 0 {
            tracing::warn!(
                not_logged,
                "more series are kept off the page; `tallyd check --dry-run FILE` lists all of them for a file of lines"
            );
        }
        outcome
    }

    /// Forgets the series that tallyd has dropped. Their members leave the page if no other series is added to them.
    fn forget(&mut self, members: &[u32], snapshot: &Snapshot) {
        self.placements.retain_in(snapshot.rows.live().map(|(series, _)| series));
        for &number in members {
            let member = self.families.member_mut(number);
            // Another series may have joined the member in this interval.
            member.is_gone = member.seen < self.clock;
        }
        for number in self.placements.iter().filter_map(|(_, placement)| placement.member()) {
            self.families.member_mut(number).is_gone = false;
        }
    }

    /// Returns the members that left the page with the latest interval.
    pub(super) fn gone(&self) -> &[Gone] {
        self.gone.as_deref().unwrap_or_default()
    }

    /// Returns the start of the latest interval, in seconds since 1970.
    pub(super) fn interval_began(&self) -> f64 {
        self.interval_began
    }

    /// Returns the shortest time that the percentiles of a summary cover, where zero means the latest interval. Returns
    /// `None` if no summary had samples since the rules changed.
    pub(super) fn shortest_window(&self) -> Option<Duration> {
        self.shortest_window
    }

    /// Returns rows of the latest interval that are kept off the page, in sorted order, with the reasons. There are at most
    /// 100 of them.
    pub(super) fn kept_off(&self) -> &[(Series, QuarantineReason)] {
        &self.kept_off
    }

    /// Returns each series that is kept off the page, in sorted order, with the reason.
    pub fn quarantined(&self) -> impl Iterator<Item = (&Series, QuarantineReason)> {
        self.placements.quarantined()
    }

    /// Returns each series that shares a line of the page with another one, with each reason.
    pub fn merged(&self) -> impl Iterator<Item = (&Series, MergeReason)> {
        self.placements.merged()
    }

    /// Places a new series on the page, or quarantines it.
    fn place(&mut self, series: &Series, policy: PolicyId) -> Placement {
        let family = self.naming.family(series);
        self.join_family(series, policy, &family).unwrap_or_else(|reason| {
            self.warn_kept_off(series, reason);
            Placement::Quarantined(reason)
        })
    }

    /// Logs once that a series is kept off the page, or an interval of it.
    fn warn_kept_off(&mut self, series: &Series, reason: QuarantineReason) {
        if self.named_as_kept_off.is_new((series, reason)) {
            let (series, family, reason) =
                (series.shortened(), shortened(&self.naming.family(series)), reason.name());
            tracing::warn!(series, family, reason, "a series is kept off the page");
        }
    }

    /// Makes a new series a member of the family of this name, or finds the member to which it is added.
    fn join_family(
        &mut self,
        series: &Series,
        policy: PolicyId,
        name: &str,
    ) -> Result<Placement, QuarantineReason> {
        let kind = series.kind();
        let family_type = FamilyType::of(kind, self.policies.get(policy));
        let family = match admission::admit(&self.families, &self.reserved, series, name, family_type) {
            Ok(Admission::Known(number)) => number,
            Ok(Admission::New) => {
                let policy = HeldPolicy::assigned(policy);
                let name = name.into();
                self.open(Family { name, metric_type: family_type, kind, policy, is_leaving: false }, series)
            }
            Err(reason) => {
                if reason == QuarantineReason::TypeConflict
                    && let Some(family) = self.families.find(name)
                {
                    self.mark_outdated(family, family_type);
                }
                return Err(reason);
            }
        };
        let (labels, by_labels) = labels(series);
        let member = Member {
            labels: labels.into(),
            family,
            utf8_labels: None,
            kind,
            policy: HeldPolicy::assigned(policy),
            total: Total::new(family_type, self.policies.get(policy)),
            seen: self.clock,
            is_gone: false,
            began: self.interval_began,
        };
        let bytes = member.total.bytes();
        match self.join(member, series) {
            Ok(number) => {
                self.distribution_bytes += bytes;
                self.use_help(family, policy);
                Ok(Placement::Member { number, by_labels, by_series: false })
            }
            // Only counters can be added up. The percentiles of two series cannot be combined.
            Err(number) if kind == Kind::Counter => {
                Ok(Placement::Member { number, by_labels, by_series: true })
            }
            Err(_) => Err(QuarantineReason::DuplicateSeries),
        }
    }

    /// Adds the family of its first series, and returns its number.
    pub(super) fn open(&mut self, family: Family, series: &Series) -> u32 {
        let utf8_name = self.has_utf8_names.then(|| self.naming.utf8_family(series, &family.name)).flatten();
        let number = self.families.open(family);
        if let Some(name) = utf8_name {
            self.families.set_utf8_name(number, name);
        }
        number
    }

    /// Adds the member of its first series, as [`Families::join`] does.
    pub(super) fn join(&mut self, member: Member, series: &Series) -> Result<u32, u32> {
        let number = self.families.join(member)?;
        if let Some(labels) = self.has_utf8_names.then(|| utf8_labels(series)).flatten() {
            self.families.set_utf8_labels(labels);
        }
        Ok(number)
    }

    /// Adds a row to its member.
    fn add_row(
        &mut self,
        placement: Placement,
        row: Row<'_>,
        outcome: &mut ExportOutcome,
    ) -> Result<(), QuarantineReason> {
        let (number, by_labels, by_series) = match placement {
            Placement::Member { number, by_labels, by_series } => (number, by_labels, by_series),
            Placement::Quarantined(reason) => return Err(reason),
        };
        if self.has_leaving && self.families.family_of(number).is_leaving {
            return Err(QuarantineReason::TypeConflict);
        }
        if self.families.member(number).policy != HeldPolicy::assigned(row.policy) {
            self.change_policy(number, row.policy)?;
        }
        let member = self.families.member_mut(number);
        let policy = self.policies.get(member.policy.id());
        // This divides, because no f64 is exactly 0.001: 13 ms are 0.013 s.
        let divisor = if member.kind == Kind::Timing { MILLISECONDS } else { 1.0 };
        let mut is_absorbed = false;
        match (&mut member.total, row.value) {
            (Total::Counter(total), Value::Counter(increase)) => {
                if *increase < 0.0 {
                    return Err(QuarantineReason::NegativeIncrease);
                }
                is_absorbed = absorbs(total, *increase);
            }
            (Total::Gauge(present), Value::Gauge(value) | Value::Set(value)) => *present = *value,
            (Total::Distribution(total), Value::Summary(summary)) => {
                let before = total.bytes();
                let Distribution { count, sum, quantiles, window, buckets, native, .. } = &mut **total;
                let Summary { percentiles, buckets: new, native: new_native, .. } = &**summary;
                is_absorbed = absorbs(count, summary.count) | absorbs(sum, summary.sum / divisor);
                if policy.exposition == Exposition::Summary {
                    let window = policy.percentile_window;
                    self.shortest_window =
                        Some(self.shortest_window.map_or(window, |other| other.min(window)));
                }
                let has_room = self.distribution_bytes < self.max_distribution_bytes;
                outcome.windows_dropped += u64::from(!policy.percentile_window.is_zero() && !has_room);
                match new_native {
                    Some(values) if !policy.percentile_window.is_zero() && has_room => {
                        let window = window.get_or_insert_default();
                        let extremes = summary.min / divisor..=summary.max / divisor;
                        let max_buckets = policy.statistics.native.map_or(0, |native| native.max_buckets);
                        let limits = (policy.percentile_window, max_buckets);
                        window.add(values, extremes, self.clock, limits);
                        *quantiles = window.percentiles(&policy.statistics.percentiles);
                    }
                    _ => {
                        *window = None;
                        quantiles.clear();
                        quantiles.extend(percentiles.iter().map(|value| value / divisor));
                    }
                }
                buckets.iter_mut().zip(new).for_each(|(total, new)| is_absorbed |= absorbs(total, *new));
                if let (Some(total), Some(new)) = (native, new_native) {
                    total.add(new);
                    total.limit(policy.statistics.native.map_or(0, |settings| settings.max_buckets));
                }
                self.distribution_bytes = (self.distribution_bytes + total.bytes()).saturating_sub(before);
            }
            _ => {}
        }
        member.seen = self.clock;
        outcome.merged[MergeReason::Labels] += u64::from(by_labels);
        outcome.merged[MergeReason::Series] += u64::from(by_series);
        if is_absorbed {
            outcome.absorbed += 1;
            if self.named_as_absorbing.is_new(row.series) {
                let series = row.series.shortened();
                tracing::error!(
                    series,
                    "a running total is so large that further values do not change it; restart tallyd without its state file to begin again"
                );
            }
        }
        Ok(())
    }

    /// Gives a member the policy of its row. If several counters are added up, the policy that takes precedence wins. A
    /// distribution that gets other buckets begins again.
    ///
    /// Fails if the policy wants another type for the family.
    #[cold]
    fn change_policy(&mut self, number: u32, policy: PolicyId) -> Result<(), QuarantineReason> {
        let Member { family, kind, .. } = *self.families.member(number);
        let family_type = FamilyType::of(kind, self.policies.get(policy));
        if self.families.family(family).metric_type != family_type {
            self.mark_outdated(family, family_type);
            return Err(QuarantineReason::TypeConflict);
        }
        self.use_help(family, policy);
        let member = self.families.member_mut(number);
        if member.kind == Kind::Counter && !member.policy.gives_way_to(policy) {
            return Ok(());
        }
        let [old, new] = [member.policy.id(), policy].map(|policy| self.policies.get(policy));
        member.policy = HeldPolicy::assigned(policy);
        if !continues(member, old, new) {
            member.total = Total::new(family_type, new);
            member.began = self.interval_began;
        }
        Ok(())
    }

    /// Gives a family the HELP text of this policy, if the policy takes precedence over the current one.
    fn use_help(&mut self, family: u32, policy: PolicyId) {
        let family = self.families.family_mut(family);
        if family.policy.gives_way_to(policy) {
            family.policy = HeldPolicy::assigned(policy);
        }
    }

    /// Marks a family as outdated if a series wants another type for it, and its own series had no samples since the
    /// rules changed. The family leaves the page, and its name is free in the next interval.
    fn mark_outdated(&mut self, number: u32, wanted: FamilyType) {
        let family = self.families.family_mut(number);
        let are_distributions = family.metric_type.is_distribution() && wanted.is_distribution();
        if !family.is_leaving && family.policy.is_carried() && are_distributions {
            family.is_leaving = true;
            self.has_leaving = true;
        }
    }

    /// Starts a generation of rules with its first snapshot.
    ///
    /// A family begins again if a row wants another type or other buckets for one of its members. All its members are
    /// dropped, and their series are placed as new ones. All other counters and gauges continue. A distribution without
    /// a row continues if a new policy shows it alike, and is dropped otherwise. Quarantined series are placed again,
    /// too.
    fn change_rules(&mut self, snapshot: &Snapshot) {
        let earlier = mem::replace(&mut self.policies, Arc::clone(&snapshot.policies));
        self.shortest_window = None;
        let carried = self.policies.carried_from(&earlier);
        self.families.families_mut().for_each(|family| family.policy = family.policy.carry_over(&carried));

        let placements = mem::take(&mut self.placements);
        let mut walk = placements.walk();
        let mut outdated = HashSet::new();
        for row in &snapshot.rows {
            let placement = walk.find(row.series);
            if let Some(number) = placement.and_then(Placement::member) {
                let member = self.families.member(number);
                if continues(member, earlier.get(member.policy.id()), snapshot.policy(&row)) {
                    self.use_help(member.family, row.policy);
                } else {
                    outdated.insert(member.family);
                }
            }
        }
        self.placements = placements;

        let policies = Arc::clone(&self.policies);
        let alike = |(old, &carried): (&Policy, &PolicyId)| {
            let is_alike = |new: &Policy| show_alike(old, new);
            let first = || policies.iter().position(is_alike).map(|index| PolicyId::new(index as u32));
            if is_alike(policies.get(carried)) { carried } else { first().unwrap_or(carried) }
        };
        let alike: Vec<_> = earlier.iter().zip(&carried).map(alike).collect();
        let ids = |member: &Member| if member.is_distribution() { &alike } else { &carried };
        self.drop_members(&earlier, |_, member| {
            let old = member.policy.id();
            let new = ids(member)[old.index()];
            !outdated.contains(&member.family) && continues(member, earlier.get(old), policies.get(new))
        });
        self.families.members_mut().for_each(|member| member.policy = member.policy.carry_over(ids(member)));
    }

    /// Drops the families that leave, and the members whose lifetime has ended or whose series tallyd has dropped. Live
    /// gauges and sets have a row in every snapshot.
    fn expire(&mut self, idle: &[u32]) {
        let clock = self.clock;
        let policies = Arc::clone(&self.policies);
        let unseen = |member: &Member| clock - member.seen;
        let lifetime = |member: &Member| match member.total {
            // This is less than any interval, so a gauge must be in each snapshot.
            Total::Gauge(_) => 1,
            _ => nanoseconds(policies.get(member.policy.id()).expire_after[member.kind as usize]),
        };
        let is_alive = |member: &Member| !member.is_gone && unseen(member) < lifetime(member);
        let mut frees_names = false;
        for &number in idle {
            let member = self.families.member_mut(number);
            if unseen(member) > 0
                && let Total::Distribution(total) = &mut member.total
            {
                let had_quantiles = !total.quantiles.is_empty();
                total.quantiles.clear();
                if let Some(window) = &mut total.window {
                    let policy = policies.get(member.policy.id());
                    window.advance(clock, policy.percentile_window);
                    total.quantiles = window.percentiles(&policy.statistics.percentiles);
                }
                if had_quantiles && total.quantiles.is_empty() {
                    total.quantiles_ended = clock;
                }
            }
            frees_names |= !is_alive(member);
        }
        if !frees_names && !self.has_leaving {
            return;
        }
        self.has_leaving = false;
        // Names become free, so quarantined series are placed again when they have samples.
        self.drop_members(&policies, |family, member| !family.is_leaving && is_alive(member));
    }

    /// Drops the members that `stays` rejects. Forgets their series and the quarantined ones. `policies` are those of the members.
    fn drop_members(&mut self, policies: &Policies, stays: impl Fn(&Family, &Member) -> bool) {
        if let Some(gone) = &mut self.gone {
            for member in self.families.members() {
                let family = self.families.family(member.family);
                if !stays(family, member) {
                    gone.push(Gone {
                        name: family.name.clone(),
                        metric_type: family.metric_type,
                        labels: member.labels.clone(),
                        statistics: policies.get(member.policy.id()).statistics.clone(),
                    });
                }
            }
        }
        let members = self.families.retain(stays);
        self.placements.renumber(&members);
        self.count_bytes();
    }

    /// Counts the memory of all distributions again, from the beginning.
    pub(super) fn count_bytes(&mut self) {
        self.distribution_bytes = self.families.members().iter().map(|member| member.total.bytes()).sum();
    }
}

/// Returns true if the total of a member can continue when its policy changes.
fn continues(member: &Member, old: &Policy, new: &Policy) -> bool {
    !member.is_distribution() || show_alike(old, new)
}

/// Returns true if two policies show distributions with the same type and the same buckets.
fn show_alike(one: &Policy, other: &Policy) -> bool {
    let [Statistics { bounds, native, .. }, others] = [&one.statistics, &other.statistics];
    // A summary needs its native histogram only for the percentiles of a window.
    let have_same_native = *native == others.native || one.exposition == Exposition::Summary;
    one.exposition == other.exposition && *bounds == others.bounds && have_same_native
}

/// Returns the start of an interval in seconds since 1970, rounded down to the millisecond.
fn interval_start(snapshot: &Snapshot) -> f64 {
    let end = snapshot.time.duration_since(UNIX_EPOCH).unwrap_or_default();
    end.saturating_sub(snapshot.interval).as_millis() as f64 / 1e3
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::Totals;
    use crate::export::prometheus::tests::{add, add_live, add_under, policies, row, text, totals};
    use crate::export::prometheus::{Format, Naming, SavedTotals};
    use crate::model::{Exposition, Kind, Memory, Policies, Policy, Statistics};

    #[test]
    fn totals_continue_under_new_rules_unless_type_or_buckets_change() {
        let mut totals = totals(Naming::StatsdExporter, Exposition::Histogram);
        let hits = || row(Kind::Counter, "hits", &[], 1.0);
        let size = || row(Kind::Histogram, "size", &[], 1.0);
        let mut add = |policies, rows, expected: &[&str]| {
            assert_eq!(add_under(&mut totals, policies, rows), []);
            let page = text(&totals, Format::Text);
            let values = page.lines().filter(|line| !line.starts_with('#') && !line.contains("_sum"));
            assert_eq!(values.collect::<Vec<_>>(), expected);
        };
        let present = policies(Exposition::Histogram);
        let old = present.iter().next().unwrap();
        let other_help = Policy { help: "other".into(), ..old.clone() };
        let statistics = Statistics { bounds: vec![5.0], ..old.statistics.clone() };
        let other_buckets = Policy { statistics, ..old.clone() };
        let new = |policies| Arc::new(Policies::new(policies));
        let old_size = [
            "size_bucket{le=\"0.1\"} 1",
            "size_bucket{le=\"1\"} 2",
            "size_bucket{le=\"+Inf\"} 2",
            "size_count 2",
        ];
        let new_size = ["size_bucket{le=\"5\"} 1", "size_bucket{le=\"+Inf\"} 2", "size_count 2"];
        add(Arc::clone(&present), vec![hits(), size()], &[&["hits 1"], &old_size[..]].concat());
        // An idle distribution continues if another policy shows it alike.
        add(new(vec![Policy::default(), other_help]), vec![hits()], &[&["hits 2"], &old_size[..]].concat());
        // A distribution with other buckets begins again. An idle counter always continues.
        add(new(vec![other_buckets]), vec![size()], &[&["hits 2"], &new_size[..]].concat());
        // No policy shows the idle distribution alike, so it is dropped.
        add(new(vec![Policy::default()]), vec![hits()], &["hits 3"]);
        // It may come back at once with another type.
        let summary = ["size{quantile=\"0.5\"} 1", "size{quantile=\"0.999\"} 1", "size_count 2"];
        add(policies(Exposition::Summary), vec![size()], &[&["hits 3"], &summary[..]].concat());
    }

    #[test]
    fn idle_family_makes_room_if_new_rules_want_another_type() {
        let mut totals = totals(Naming::StatsdExporter, Exposition::Summary);
        add(&mut totals, vec![row(Kind::Histogram, "x", &[("k", "old")], 1.0)]);
        let [summary, histogram] = [Exposition::Summary, Exposition::Histogram].map(policies);
        let both = histogram.iter().chain(summary.iter()).cloned().collect();
        let rules = Arc::new(Policies::new(both));
        let rows = || vec![row(Kind::Histogram, "x", &[("k", "new")], 1.0)];
        // The old series may still be sent, so the family is dropped only after this interval.
        assert_eq!(add_under(&mut totals, Arc::clone(&rules), rows()), [("type_conflict", 1)]);
        assert_eq!(add_under(&mut totals, rules, rows()), []);
        let page = text(&totals, Format::Text);
        assert!(page.contains("# TYPE x histogram\n") && !page.contains("old"), "{page}");
    }

    #[test]
    fn counters_of_one_name_are_added_up_and_other_duplicates_quarantined() {
        let mut totals = totals(Naming::Prometheus, Exposition::Summary);
        let rows = vec![
            row(Kind::Counter, "a-b", &[], 1.0),
            row(Kind::Counter, "a.b", &[], 2.0),
            row(Kind::Gauge, "g-h", &[], 1.0),
            row(Kind::Gauge, "g.h", &[], 2.0),
            row(Kind::Set, "g.h", &[("x.y", "1"), ("x_y", "2")], 3.0),
        ];
        for _ in 0..2 {
            assert_eq!(
                add(&mut totals, rows.clone()),
                [("duplicate_series", 1), ("labels", 1), ("series", 1)]
            );
        }
        assert!(text(&totals, Format::Text).contains("a_b_total 6\n"), "{}", text(&totals, Format::Text));
        assert!(
            text(&totals, Format::Text).contains("g_h 1\ng_h{x_y=\"2\"} 3\n"),
            "{}",
            text(&totals, Format::Text)
        );
    }

    #[test]
    fn family_has_one_type() {
        let mut totals = totals(Naming::StatsdExporter, Exposition::Summary);
        let rows = vec![row(Kind::Counter, "x", &[], 1.0), row(Kind::Gauge, "x", &[("a", "b")], 2.0)];
        assert_eq!(add(&mut totals, rows), [("type_conflict", 1)]);
        assert_eq!(text(&totals, Format::Text).matches("# TYPE x ").count(), 1);
    }

    #[test]
    fn what_came_first_keeps_its_name() {
        for exposition in [Exposition::Summary, Exposition::Histogram] {
            let mut totals = totals(Naming::StatsdExporter, exposition);
            assert_eq!(add(&mut totals, vec![row(Kind::Gauge, "lat.count", &[], 7.0)]), []);
            let stray = vec![row(Kind::Histogram, "lat", &[], 1.0), row(Kind::Gauge, "lat.count", &[], 8.0)];
            for _ in 0..2 {
                assert_eq!(add(&mut totals, stray.clone()), [("name_taken", 1)]);
                assert!(text(&totals, Format::Text).contains("lat_count 8\n"));
            }
            let lines_of_timing =
                vec![row(Kind::Gauge, "x_count", &[], 1.0), row(Kind::Counter, "x_sum", &[], 1.0)];
            assert_eq!(add(&mut totals, vec![row(Kind::Timing, "x", &[], 5.0)]), []);
            assert_eq!(add(&mut totals, lines_of_timing), [("name_taken", 2)]);
            let page = text(&totals, Format::Text);
            assert!(!page.contains("# TYPE x_count") && page.contains("\nx_count 2\n"), "{page}");
        }
    }

    #[test]
    fn counter_never_falls() {
        let mut totals = totals(Naming::Prometheus, Exposition::Summary);
        add(&mut totals, vec![row(Kind::Counter, "c", &[], 5.0)]);
        assert_eq!(add(&mut totals, vec![row(Kind::Counter, "c", &[], -1.0)]), [("negative_increase", 1)]);
        assert!(text(&totals, Format::Text).contains("c_total 5\n"));
    }

    #[test]
    fn totals_stay_finite() {
        let mut totals = totals(Naming::Prometheus, Exposition::Summary);
        for expected in [&[][..], &[("absorbed", 2)], &[("absorbed", 2)]] {
            let rows = vec![row(Kind::Counter, "c", &[], 1e308), row(Kind::Histogram, "h", &[], 8e307)];
            assert_eq!(add(&mut totals, rows), expected);
        }
        let page = text(&totals, Format::Text);
        assert!(page.contains("c_total 1.7976931348623157e308\n") && !page.contains("inf"), "{page}");
    }

    #[test]
    fn increase_that_changes_no_total_is_counted() {
        let mut totals = totals(Naming::Prometheus, Exposition::Summary);
        let row = |value| vec![row(Kind::Counter, "c", &[], value)];
        let exact = (1_u64 << 53) as f64;
        assert_eq!(add(&mut totals, row(exact)), []);
        assert_eq!(add(&mut totals, row(1.0)), [("absorbed", 1)]);
        assert_eq!(add(&mut totals, row(0.0)), []);
        assert_eq!(add(&mut totals, row(2.0)), []);
        assert!(text(&totals, Format::Text).contains("c_total 9007199254740994.0\n"));
    }

    #[test]
    fn first_series_of_a_line_gives_it_its_utf8_names() {
        let mut totals = totals(Naming::Prometheus, Exposition::Summary).with_utf8_names(true);
        let tagged = |name, key| row(Kind::Counter, name, &[(key, "1")], 1.0);
        assert_eq!(add(&mut totals, vec![tagged("a.b", "k.l"), tagged("a-b", "k-l")]), [("series", 1)]);
        assert!(text(&totals, Format::TextUtf8).ends_with("{\"a-b_total\",\"k-l\"=\"1\"} 2\n"));
        // The first series is gone, but the line stays.
        let policies = Arc::clone(&totals.policies);
        add_live(&mut totals, policies, vec![tagged("a.b", "k.l")], &[]);
        assert!(text(&totals, Format::TextUtf8).ends_with("{\"a-b_total\",\"k-l\"=\"1\"} 3\n"));
    }

    #[test]
    fn utf8_names_stay_with_their_lines_when_others_leave() {
        let new = || totals(Naming::StatsdExporter, Exposition::Summary).with_utf8_names(true);
        let mut totals = new().counted_in(&Memory::default());
        let gauge = |n: u32| {
            let name = format!("n{}{}", n / 2, if (n / 2).is_multiple_of(3) { "" } else { "." });
            let key = if n.is_multiple_of(5) { "k" } else { "k." };
            row(Kind::Gauge, &name, &[(key, &n.to_string())], f64::from(n))
        };
        add(&mut totals, (0..40).map(gauge).collect());
        let before = text(&totals, Format::TextUtf8);
        let bytes = totals.families.utf8_bytes();
        assert!(bytes > 32 * "\"k.\"=\"\"".len(), "{bytes}");
        assert_eq!(totals.claim.bytes(), bytes);

        let policies = Arc::clone(&totals.policies);
        let stay: Vec<_> = (0..40).filter(|n| n % 7 > 2).map(gauge).collect();
        add_live(&mut totals, Arc::clone(&policies), stay.clone(), &[]);
        let mut fresh = new();
        add(&mut fresh, stay);
        assert_eq!(text(&totals, Format::TextUtf8), text(&fresh, Format::TextUtf8));
        assert!(totals.families.utf8_bytes() < bytes && totals.claim.bytes() < bytes);

        add_live(&mut totals, policies, (0..40).map(gauge).collect(), &[]);
        assert_eq!(text(&totals, Format::TextUtf8), before);
    }

    #[test]
    fn restored_lines_have_utf8_names_if_these_are_on_now() {
        for was_on in [false, true] {
            let mut totals = totals(Naming::Prometheus, Exposition::Summary).with_utf8_names(was_on);
            add(&mut totals, vec![row(Kind::Counter, "a.b", &[("k.l", "1")], 1.0)]);
            let saved = totals.encode();
            let live: Vec<_> = totals.placements.iter().map(|(series, _)| series.clone()).collect();
            for (is_on, line) in
                [(false, "\na_b_total{k_l=\"1\"} 1\n"), (true, "\n{\"a.b_total\",\"k.l\"=\"1\"} 1\n")]
            {
                let mut restored = Totals::new(Naming::Prometheus).with_utf8_names(is_on);
                restored.restore(SavedTotals::decode(&saved).unwrap(), Duration::ZERO, &live);
                assert!(text(&restored, Format::TextUtf8).ends_with(line), "{was_on} {is_on}");
            }
        }
    }

    #[test]
    fn client_cannot_add_to_metrics_of_tallyd() {
        let mut totals = totals(Naming::Prometheus, Exposition::Summary);
        let rows =
            vec![row(Kind::Counter, "tallyd.lines", &[], 1.0), row(Kind::Counter, "tallyd_lines", &[], 9.0)];
        assert_eq!(add(&mut totals, rows), [("reserved_name", 1)]);
        assert!(text(&totals, Format::Text).contains("tallyd_lines_total 1\n"));
    }

    #[test]
    fn member_leaves_the_page_when_all_of_its_series_are_dropped() {
        let mut totals = totals(Naming::Prometheus, Exposition::Summary);
        let [one, other] = ["a.b", "a-b"].map(|name| row(Kind::Counter, name, &[], 1.0));
        let conflict = row(Kind::Gauge, "a.b_total", &[], 1.0);
        add(&mut totals, vec![one, other.clone(), conflict.clone()]);
        assert_eq!(totals.quarantined().count(), 1);
        let policies = Arc::clone(&totals.policies);
        add_live(&mut totals, Arc::clone(&policies), vec![other], &[]);
        assert!(text(&totals, Format::Text).contains("a_b_total 3\n"));
        assert_eq!(totals.quarantined().count(), 0, "the dropped gauge is forgotten");
        add_live(&mut totals, policies, Vec::new(), &[]);
        assert_eq!(text(&totals, Format::Text), "");
        assert_eq!(add(&mut totals, vec![conflict]), []);
    }

    #[test]
    fn idle_members_leave_the_page_and_free_their_names() {
        let mut totals = totals(Naming::StatsdExporter, Exposition::Summary);
        add(&mut totals, vec![row(Kind::Timing, "x", &[], 5.0), row(Kind::Gauge, "g", &[], 1.0)]);
        add(&mut totals, Vec::new());
        let after_one = text(&totals, Format::Text);
        assert!(!after_one.contains("g 1"), "a gauge that is not in the snapshot is gone: {after_one}");
        assert!(!after_one.contains("quantile") && after_one.contains("x_count 2"), "{after_one}");
        (0..5).for_each(|_| _ = add(&mut totals, Vec::new()));
        assert_eq!(text(&totals, Format::Text), "");
        assert_eq!(add(&mut totals, vec![row(Kind::Counter, "x_count", &[], 1.0)]), []);
        assert_eq!(add(&mut totals, vec![row(Kind::Counter, "x", &[], 1.0)]), []);
    }
}
