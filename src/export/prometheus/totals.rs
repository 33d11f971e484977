//! Adds snapshots to running totals, and drops what the page would otherwise show forever.

use std::collections::HashSet;
use std::mem;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use super::admission::{self, Admission};
use super::families::{Distribution, Families, Family, Member, Total, merge_sorted};
use super::family_type::FamilyType;
use super::names::{Naming, ReservedNames, labels};
use super::warn_once::WarnOnce;
use crate::export::outcome::{ExportOutcome, MergeReason, QuarantineReason};
use crate::model::{
    Kind, MILLISECONDS, Named, Policies, PolicyId, Row, Series, Snapshot, Summary, Value, finite,
};

/// The running totals of all series, in families.
#[derive(Debug)]
pub struct Totals {
    naming: Naming,
    reserved: ReservedNames,
    /// True if OpenMetrics has lines with the times when series began.
    pub(super) shows_created: bool,
    pub(super) families: Families,
    /// The series of the snapshots, in sorted order.
    placed: Vec<Placed>,
    /// The policies of the latest snapshot.
    pub(super) policies: Arc<Policies>,
    /// The sum of all intervals, in nanoseconds.
    pub(super) clock: u64,
    /// The start of the latest interval, in seconds since 1970.
    interval_began: f64,
    /// True if a family gave way in this interval.
    gave_way: bool,
    /// True if a family is outdated.
    has_outdated: bool,
    warned: WarnOnce,
}

/// A series of the snapshots, and where it is on the page.
#[derive(Debug)]
struct Placed {
    series: Series,
    placement: Placement,
}

#[derive(Debug, Clone, Copy)]
enum Placement {
    /// The series is added to this member. `by_labels` and `by_series` tell whether [`MergeReason`] applies to it.
    Member { number: u32, by_labels: bool, by_series: bool },
    /// The series is kept off the page.
    Quarantined(QuarantineReason),
}

impl Placement {
    fn member(self) -> Option<u32> {
        match self {
            Placement::Member { number, .. } => Some(number),
            Placement::Quarantined(_) => None,
        }
    }
}

impl Totals {
    /// Creates totals without families.
    #[must_use]
    pub fn new(naming: Naming) -> Self {
        Self {
            naming,
            reserved: ReservedNames::default(),
            shows_created: true,
            families: Families::default(),
            placed: Vec::new(),
            policies: Arc::default(),
            clock: 0,
            interval_began: 0.0,
            gave_way: false,
            has_outdated: false,
            warned: WarnOnce::default(),
        }
    }

    /// Sets whether OpenMetrics has a line `_created` with the time when each counter, summary and histogram began.
    #[must_use]
    pub fn telling_created(self, shows_created: bool) -> Self {
        Self { shows_created, ..self }
    }

    /// Keeps families off the page whose names begin with one of these prefixes, because they belong to another program.
    #[must_use]
    pub fn reserving(self, prefixes: Vec<String>) -> Self {
        Self { reserved: ReservedNames { prefixes }, ..self }
    }

    /// Adds the rows of an interval, and counts those that are not on the page as they were sent.
    ///
    /// The rows and the placed series are both sorted, so one walk over the two finds the placements of all rows.
    pub fn add(&mut self, snapshot: &Snapshot) -> ExportOutcome {
        self.clock += nanoseconds(snapshot.interval);
        self.interval_began = interval_start(snapshot);
        self.policies = Arc::clone(&snapshot.policies);
        if mem::take(&mut self.has_outdated) || snapshot.rows.have_new_policies {
            self.drop_outdated(snapshot);
        }
        let mut outcome = ExportOutcome::default();
        let placed = mem::take(&mut self.placed);
        let mut rest = &placed[..];
        let mut new = Vec::new();
        // Members with a series that added nothing.
        let mut idle = Vec::new();
        for row in &snapshot.rows {
            let placement = find_placement(&mut rest, row.series, &mut idle).unwrap_or_else(|| {
                let placement = self.place(row.series, row.policy);
                new.push(Placed { series: row.series.clone(), placement });
                placement
            });
            if let Err(reason) = self.add_row(placement, row, &mut outcome) {
                outcome.quarantined[reason] += 1;
                idle.extend(placement.member());
            }
        }
        idle.extend(rest.iter().filter_map(|placed| placed.placement.member()));
        self.placed = placed;
        merge_sorted(&mut self.placed, new, |known, new| known.series < new.series);
        self.families.sort();
        self.expire(&idle);
        let not_logged = self.warned.end_snapshot();
        if not_logged > 0 {
            tracing::warn!(
                not_logged,
                "more series are kept off the page; `tallyd check --dry-run` lists those of a file of lines"
            );
        }
        outcome
    }

    /// Returns the series that are kept off the page, and why.
    pub fn kept_out(&self) -> impl Iterator<Item = (&Series, QuarantineReason)> {
        self.placed.iter().filter_map(|placed| match placed.placement {
            Placement::Member { .. } => None,
            Placement::Quarantined(reason) => Some((&placed.series, reason)),
        })
    }

    /// Returns the series that are on the page in another way than they were sent, and why.
    pub fn merged(&self) -> impl Iterator<Item = (&Series, MergeReason)> {
        self.placed.iter().flat_map(|placed| {
            let (by_labels, by_series) = match placed.placement {
                Placement::Member { by_labels, by_series, .. } => (by_labels, by_series),
                Placement::Quarantined(_) => (false, false),
            };
            let reasons =
                [by_labels.then_some(MergeReason::Labels), by_series.then_some(MergeReason::Series)];
            reasons.into_iter().flatten().map(|reason| (&placed.series, reason))
        })
    }

    /// Places a new series on the page, or keeps it off.
    fn place(&mut self, series: &Series, policy: PolicyId) -> Placement {
        let family = self.naming.family(series);
        self.join_family(series, policy, &family).unwrap_or_else(|reason| {
            if self.warned.is_new((series, reason)) {
                let reason = reason.name();
                tracing::warn!(?series, family, reason, "a series is kept off the page");
            }
            Placement::Quarantined(reason)
        })
    }

    /// Makes a new series a member of the family of this name, or finds the member that it is added to.
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
            Ok(Admission::New { gives_way }) => {
                gives_way.into_iter().for_each(|number| self.give_way(number, name));
                let name = name.into();
                self.families.open(Family {
                    name,
                    metric_type: family_type,
                    kind,
                    policy,
                    gave_way: false,
                    is_outdated: false,
                })
            }
            Err(reason) => {
                if reason == QuarantineReason::TypeConflict
                    && let Some(family) = self.families.find(name)
                {
                    self.mark_outdated(family, family_type, policy);
                }
                return Err(reason);
            }
        };
        let (labels, by_labels) = labels(series);
        let member = Member {
            labels: labels.into(),
            family,
            kind,
            policy,
            total: Total::new(family_type, self.policies.get(policy)),
            seen: self.clock,
            began: self.interval_began,
        };
        match self.families.join(member) {
            Ok(number) => {
                self.use_help(family, policy);
                Ok(Placement::Member { number, by_labels, by_series: false })
            }
            // Only counters can be added up: the percentiles of two series do not make those of one.
            Err(number) if kind == Kind::Counter => {
                Ok(Placement::Member { number, by_labels, by_series: true })
            }
            Err(_) => Err(QuarantineReason::DuplicateSeries),
        }
    }

    /// Makes a family give way to a line of the distribution `owner`.
    fn give_way(&mut self, number: u32, owner: &str) {
        let family = self.families.family_mut(number);
        family.gave_way = true;
        self.gave_way = true;
        if self.warned.is_new((&family.name, owner)) {
            tracing::warn!(
                family = &*family.name,
                of = owner,
                "a family gives way to a line of a distribution"
            );
        }
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
        if self.gave_way && self.families.family_of(number).gave_way {
            return Err(QuarantineReason::NameTaken);
        }
        if self.families.member(number).policy != row.policy {
            self.change_policy(number, row.policy)?;
        }
        outcome.merged[MergeReason::Labels] += u64::from(by_labels);
        outcome.merged[MergeReason::Series] += u64::from(by_series);
        let member = self.families.member_mut(number);
        // Divided, because no f64 is exactly 0.001: 13 ms are 0.013 s.
        let divisor = if member.kind == Kind::Timing { MILLISECONDS } else { 1.0 };
        match (&mut member.total, row.value) {
            (Total::Counter(total), Value::Counter(increase)) => {
                if *increase < 0.0 {
                    return Err(QuarantineReason::NegativeIncrease);
                }
                *total = finite(*total + increase);
            }
            (Total::Gauge(present), Value::Gauge(value) | Value::Set(value)) => *present = *value,
            (Total::Distribution(total), Value::Summary(summary)) => {
                let Distribution { count, sum, quantiles, buckets, native } = &mut **total;
                let Summary { percentiles, buckets: new, native: new_native, .. } = &**summary;
                *count = finite(*count + summary.count);
                *sum = finite(*sum + summary.sum / divisor);
                quantiles.clear();
                quantiles.extend(percentiles.iter().map(|value| value / divisor));
                buckets.iter_mut().zip(new).for_each(|(total, new)| *total = finite(*total + new));
                if let (Some(total), Some(new)) = (native, new_native) {
                    total.add(new);
                    let settings = self.policies.get(member.policy).statistics.native;
                    total.limit(settings.map_or(0, |settings| settings.max_buckets));
                }
            }
            _ => {}
        }
        member.seen = self.clock;
        Ok(())
    }

    /// Gives a member the policy of its row. If several counters are added up, the policy that takes precedence is the member's.
    /// What was counted in other buckets begins again.
    ///
    /// Fails if the policy wants another type than the family has. That can happen if the snapshot that brought the policy was
    /// dropped.
    #[cold]
    fn change_policy(&mut self, number: u32, policy: PolicyId) -> Result<(), QuarantineReason> {
        let Member { family, kind, .. } = *self.families.member(number);
        let family_type = FamilyType::of(kind, self.policies.get(policy));
        if self.families.family(family).metric_type != family_type {
            self.mark_outdated(family, family_type, policy);
            return Err(QuarantineReason::TypeConflict);
        }
        self.use_help(family, policy);
        let member = self.families.member_mut(number);
        if member.kind == Kind::Counter && !self.policies.prevails(policy, member.policy) {
            return Ok(());
        }
        let [old, new] = [member.policy, policy].map(|policy| self.policies.get(policy));
        member.policy = policy;
        if let Total::Distribution(total) = &mut member.total
            && (&old.statistics.bounds, old.statistics.native)
                != (&new.statistics.bounds, new.statistics.native)
        {
            **total = Distribution::new(new);
            member.began = self.interval_began;
        }
        Ok(())
    }

    /// Gives a family the HELP text of this policy, if it takes precedence over the present one.
    fn use_help(&mut self, family: u32, policy: PolicyId) {
        let family = self.families.family_mut(family);
        if self.policies.prevails(policy, family.policy) {
            family.policy = policy;
        }
    }

    /// Marks a family as outdated if a series wants another type for it by newer rules than those of any of its members. All of
    /// its members are idle then. The family begins again with the next interval, because it is not known before which of its
    /// series have samples.
    fn mark_outdated(&mut self, number: u32, wanted: FamilyType, policy: PolicyId) {
        let family = self.families.family_mut(number);
        let is_newer = self.policies.generation(policy) > self.policies.generation(family.policy);
        if is_newer && family.metric_type.is_distribution() && wanted.is_distribution() {
            family.is_outdated = true;
            self.has_outdated = true;
        }
    }

    /// Drops the families that have another type by new rules, so that their series come again as new ones. Series that were
    /// kept off the page are placed again, too.
    fn drop_outdated(&mut self, snapshot: &Snapshot) {
        let placed = mem::take(&mut self.placed);
        let mut rest = &placed[..];
        let mut outdated = HashSet::new();
        for row in &snapshot.rows {
            let placement = find_placement(&mut rest, row.series, &mut Vec::new());
            if let Some(member) = placement.and_then(Placement::member) {
                let number = self.families.member(member).family;
                let family = self.families.family(number);
                if family.metric_type == FamilyType::of(family.kind, snapshot.policy(&row)) {
                    self.use_help(number, row.policy);
                } else {
                    outdated.insert(number);
                }
            }
        }
        self.placed = placed;
        let stays = |family: &Family, number| !family.is_outdated && !outdated.contains(&number);
        self.drop_members(|family, member| stays(family, member.family), false);
    }

    /// Drops the families that gave way and the members that expired. Gauges and sets are in every snapshot while they are alive.
    /// All others keep their totals for the time that their policy says.
    fn expire(&mut self, idle: &[u32]) {
        let clock = self.clock;
        let policies = Arc::clone(&self.policies);
        let unseen = |member: &Member| clock - member.seen;
        let is_alive = |member: &Member| match member.total {
            Total::Gauge(_) => unseen(member) == 0,
            _ => unseen(member) < nanoseconds(policies.get(member.policy).expire_after[member.kind as usize]),
        };
        let mut has_expired = false;
        for &number in idle {
            let member = self.families.member_mut(number);
            if unseen(member) > 0
                && let Total::Distribution(total) = &mut member.total
            {
                total.quantiles.clear();
            }
            has_expired |= !is_alive(member) && !self.families.family_of(number).gave_way;
        }
        if !has_expired && !self.gave_way {
            return;
        }
        self.gave_way = false;
        for placed in &mut self.placed {
            let member = placed.placement.member();
            if member.is_some_and(|number| self.families.family_of(number).gave_way) {
                placed.placement = Placement::Quarantined(QuarantineReason::NameTaken);
            }
        }
        // Where a member expired, quarantined series are placed again when they have samples.
        self.drop_members(|family, member| !family.gave_way && is_alive(member), !has_expired);
    }

    /// Drops the members that `stays` rejects, and forgets their series. The quarantined series are forgotten, too, unless
    /// `keeps_quarantined`.
    fn drop_members(&mut self, stays: impl Fn(&Family, &Member) -> bool, keeps_quarantined: bool) {
        let numbers = self.families.retain(stays);
        self.placed.retain_mut(|placed| match &mut placed.placement {
            Placement::Member { number, .. } => numbers.renumber(number),
            Placement::Quarantined(_) => keeps_quarantined,
        });
        self.placed.shrink_to(2 * self.placed.len());
    }
}

/// Converts a duration to nanoseconds, of at most 584 years.
fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Returns the start of an interval in seconds since 1970, to the millisecond.
fn interval_start(snapshot: &Snapshot) -> f64 {
    let end = snapshot.time.duration_since(UNIX_EPOCH).unwrap_or_default();
    end.saturating_sub(snapshot.interval).as_millis() as f64 / 1e3
}

/// Finds the placement of a series, and moves `rest` behind it. The members of the series that are passed over are idle.
fn find_placement(rest: &mut &[Placed], series: &Series, idle: &mut Vec<u32>) -> Option<Placement> {
    while let [first, others @ ..] = rest {
        if first.series == *series {
            *rest = others;
            return Some(first.placement);
        }
        if first.series > *series {
            break;
        }
        *rest = others;
        idle.extend(first.placement.member());
    }
    None
}

#[cfg(test)]
mod tests {
    use crate::export::prometheus::tests::{add, row, text, totals};
    use crate::export::prometheus::{Format, Naming};
    use crate::model::{Exposition, Kind};

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
    fn lines_of_a_distribution_displace_families_of_their_names() {
        for form in [Exposition::Summary, Exposition::Histogram] {
            let mut totals = totals(Naming::StatsdExporter, form);
            assert_eq!(add(&mut totals, vec![row(Kind::Gauge, "x_count", &[], 1.0)]), []);
            let rows = vec![
                row(Kind::Timing, "x", &[], 5.0),
                row(Kind::Gauge, "x_count", &[], 1.0),
                row(Kind::Counter, "x_sum", &[], 1.0),
            ];
            add(&mut totals, rows.clone());
            assert_eq!(add(&mut totals, rows), [("name_taken", 2)]);
            let page = text(&totals, Format::Text);
            assert!(!page.contains("# TYPE x_count") && !page.contains("# TYPE x_sum"), "{page}");
            assert_eq!(page.matches("\nx_count ").count(), 1, "{page}");
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
        for _ in 0..3 {
            add(
                &mut totals,
                vec![row(Kind::Counter, "c", &[], 1e308), row(Kind::Histogram, "h", &[], 8e307)],
            );
        }
        let page = text(&totals, Format::Text);
        assert!(page.contains("c_total 1.7976931348623157e308\n") && !page.contains("inf"), "{page}");
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
