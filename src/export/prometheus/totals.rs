//! Adds snapshots up, and drops what the page would otherwise show for ever.

use std::collections::HashSet;
use std::mem;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use super::merge::merge;
use super::news::News;
use super::page::{Distribution, Family, Member, Nature, Page, Total};
use super::reserved::Reserved;
use super::{MergeReason, Naming, QuarantineReason};
use crate::export::ExportOutcome;
use crate::model::{
    Kind, MILLISECONDS, NativeHistogram, NativeSettings, Policies, Policy, PolicyId, Row, Series, Snapshot,
    Statistics, Summary, Value, finite,
};

/// Where a series of the snapshots stands on the page.
#[derive(Debug)]
struct Place {
    series: Series,
    stand: Stand,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Stand {
    /// It is added to this member.
    At {
        member: u32,
        merges: [bool; 2],
    },
    Nowhere(QuarantineReason),
}

/// What all series came to since they began, in families.
#[derive(Debug)]
pub struct Totals {
    pub(super) naming: Naming,
    /// Whether OpenMetrics has lines that tell when series began.
    pub(super) tells_created: bool,
    pub(super) reserved: Reserved,
    pub(super) news: News,
    pub(super) page: Page,
    /// Whether a family gave way in this interval.
    pub(super) gave_way: bool,
    /// In the order of the series.
    places: Vec<Place>,
    /// The sum of all intervals, in nanoseconds.
    pub(super) clock: u64,
    /// The start of the latest interval, in seconds since 1970.
    pub(super) interval_began: f64,
    /// Those of the latest snapshot.
    pub(super) policies: Arc<Policies>,
    /// Whether a family is outdated.
    has_outdated: bool,
}

impl Totals {
    /// Without families.
    #[must_use]
    pub fn new(naming: Naming) -> Self {
        Self {
            naming,
            tells_created: true,
            reserved: Reserved::default(),
            news: News::default(),
            page: Page::default(),
            gave_way: false,
            places: Vec::new(),
            clock: 0,
            interval_began: 0.0,
            policies: Arc::default(),
            has_outdated: false,
        }
    }

    /// Whether OpenMetrics tells when each counter, summary and histogram began, with a line `_created` for each.
    #[must_use]
    pub fn telling_created(self, tells_created: bool) -> Self {
        Self { tells_created, ..self }
    }

    /// Keeps families off the page whose names begin with one of these, because somebody beside tallyd has them.
    #[must_use]
    pub fn reserving(self, prefixes: Vec<String>) -> Self {
        Self { reserved: Reserved { prefixes }, ..self }
    }

    /// Adds an interval's rows, and counts those that are not on the page as they were sent.
    ///
    /// Rows and places are in the order of the series, so one walk over both finds the places of all rows.
    pub fn add(&mut self, snapshot: &Snapshot) -> ExportOutcome {
        self.clock += nanoseconds(snapshot.interval);
        self.interval_began = began(snapshot);
        self.policies = Arc::clone(&snapshot.policies);
        if mem::take(&mut self.has_outdated) || snapshot.rows.have_new_policies {
            self.follow(snapshot);
        }
        let mut exported = ExportOutcome::default();
        let places = mem::take(&mut self.places);
        let mut known = &places[..];
        let mut new = Vec::new();
        // Members that a series of theirs added nothing to.
        let mut idle = Vec::new();
        for row in &snapshot.rows {
            let stand = find(&mut known, row.series, &mut idle).unwrap_or_else(|| {
                let stand = self.admit(row.series, row.policy);
                new.push(Place { series: row.series.clone(), stand });
                stand
            });
            if let Err(reason) = self.add_to(stand, row, &mut exported) {
                exported.quarantined[reason] += 1;
                idle.extend(stand.member());
            }
        }
        idle.extend(known.iter().filter_map(|place| place.stand.member()));
        self.places = places;
        merge(&mut self.places, new, |known, new| known.series < new.series);
        self.page.settle();
        self.expire(&idle);
        let untold = self.news.end();
        if untold > 0 {
            tracing::warn!(
                untold,
                "more series are kept off the page; `tallyd check --dry-run` lists those of a file of lines"
            );
        }
        exported
    }

    /// The series that are not on the page, and why.
    pub fn kept_out(&self) -> impl Iterator<Item = (&Series, QuarantineReason)> {
        self.places.iter().filter_map(|place| match place.stand {
            Stand::At { .. } => None,
            Stand::Nowhere(reason) => Some((&place.series, reason)),
        })
    }

    /// The series that are on the page in another way than they were sent.
    pub fn merged(&self) -> impl Iterator<Item = (&Series, MergeReason)> {
        self.places.iter().flat_map(|place| {
            let merges = match place.stand {
                Stand::At { merges, .. } => merges,
                Stand::Nowhere(_) => Default::default(),
            };
            let merges = [MergeReason::Labels, MergeReason::Series]
                .into_iter()
                .zip(merges)
                .filter(|(_, merges)| *merges);
            merges.map(|(merge, _)| (&place.series, merge))
        })
    }

    /// Drops families that have another nature now, so that their series come again as new ones; other rules were read. Of
    /// those that were kept off the page, all are judged anew.
    fn follow(&mut self, snapshot: &Snapshot) {
        let places = mem::take(&mut self.places);
        let mut known = &places[..];
        let mut other_nature = HashSet::new();
        for row in &snapshot.rows {
            if let Some(Stand::At { member, .. }) = find(&mut known, row.series, &mut Vec::new()) {
                let number = self.page.member(member).family;
                let family = self.page.family(number);
                if self.nature(family) == Nature::of(family.kind, snapshot.policy(&row)) {
                    self.tell(number, row.policy);
                } else {
                    other_nature.insert(number);
                }
            }
        }
        self.places = places;
        let stays = |family: &Family, number| !family.is_outdated && !other_nature.contains(&number);
        self.drop_members(|family, member| stays(family, member.family), false);
    }

    /// Whether a family can take in series of a kind that have a policy. If it cannot, and newer rules were read than any that
    /// its series have, those are idle, and the family begins anew with the next interval: it is not known before which of them
    /// have samples.
    pub(super) fn takes_in(&mut self, number: u32, kind: Kind, policy: PolicyId) -> bool {
        let family = self.page.family(number);
        let wanted = Nature::of(kind, self.policies.get(policy));
        if self.nature(family) == wanted {
            return true;
        }
        let is_newer = self.policies.generation(policy) > self.policies.generation(family.policy);
        if is_newer && family.shape.is_distribution() && wanted.is_distribution() {
            self.page.family_mut(number).is_outdated = true;
            self.has_outdated = true;
        }
        false
    }

    pub(super) fn nature(&self, family: &Family) -> Nature {
        Nature::of(family.kind, self.policies.get(family.policy))
    }

    fn add_to(
        &mut self,
        stand: Stand,
        row: Row<'_>,
        exported: &mut ExportOutcome,
    ) -> Result<(), QuarantineReason> {
        let (number, merges) = match stand {
            Stand::At { member, merges } => (member, merges),
            Stand::Nowhere(reason) => return Err(reason),
        };
        if self.gave_way && self.page.family_of(number).gave_way {
            return Err(QuarantineReason::NameTaken);
        }
        if self.page.member(number).policy != row.policy {
            self.adopt(number, row.policy)?;
        }
        exported.merged.values_mut().zip(merges).for_each(|(sum, merges)| *sum += u64::from(merges));
        let member = self.page.member_mut(number);
        // Divided, not multiplied by 0.001, which no f64 is: 13 ms are 0.013 s.
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

    /// Gives a member another policy. Of several counters that are added up, each may have one of its own, and that which
    /// prevails is the member's; what else is shown was computed as its row's policy wants it. What was counted in other
    /// buckets cannot go on: it begins anew.
    ///
    /// Fails if the family is shown in another way, which can be where a snapshot was lost whose rows had new policies.
    #[cold]
    fn adopt(&mut self, number: u32, policy: PolicyId) -> Result<(), QuarantineReason> {
        let Member { family, kind, .. } = *self.page.member(number);
        if !self.takes_in(family, kind, policy) {
            return Err(QuarantineReason::TypeConflict);
        }
        self.tell(family, policy);
        let member = self.page.member_mut(number);
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

    /// Tells of a family what this policy of a member says, if it prevails.
    pub(super) fn tell(&mut self, family: u32, policy: PolicyId) {
        let family = self.page.family_mut(family);
        if self.policies.prevails(policy, family.policy) {
            family.policy = policy;
        }
    }

    /// Drops what gave way, and what the page would otherwise show for ever. Gauges and sets are in every snapshot while
    /// they are alive; others keep their totals for a while.
    fn expire(&mut self, idle: &[u32]) {
        let clock = self.clock;
        let policies = Arc::clone(&self.policies);
        let unseen = |member: &Member| clock - member.seen;
        let is_alive = |member: &Member| match member.total {
            Total::Gauge(_) => unseen(member) == 0,
            _ => unseen(member) < nanoseconds(policies.get(member.policy).expire_after[member.kind as usize]),
        };
        let mut expired = false;
        for &number in idle {
            let member = self.page.member_mut(number);
            if unseen(member) > 0
                && let Total::Distribution(total) = &mut member.total
            {
                total.quantiles.clear();
            }
            expired |= !is_alive(member) && !self.page.family_of(number).gave_way;
        }
        if !expired && !self.gave_way {
            return;
        }
        self.gave_way = false;
        for place in &mut self.places {
            if place.stand.member().is_some_and(|number| self.page.family_of(number).gave_way) {
                place.stand = Stand::Nowhere(QuarantineReason::NameTaken);
            }
        }
        // Where something left, those kept out are judged anew when they come again.
        self.drop_members(|family, member| !family.gave_way && is_alive(member), !expired);
    }

    fn drop_members(&mut self, stays: impl Fn(&Family, &Member) -> bool, keep_out: bool) {
        let numbers = self.page.retain(stays);
        self.places.retain_mut(|place| match &mut place.stand {
            Stand::At { member, .. } => numbers.renumber(member),
            Stand::Nowhere(_) => keep_out,
        });
        self.places.shrink_to(2 * self.places.len());
    }
}

impl Distribution {
    /// Of no values, as it is wanted.
    pub(super) fn new(policy: &Policy) -> Self {
        let Statistics { bounds, native, .. } = &policy.statistics;
        Self {
            buckets: vec![0.0; bounds.len()].into(),
            native: native
                .map(|NativeSettings { schema, .. }| Box::new(NativeHistogram::new(schema, 0.0, [], []))),
            ..Self::default()
        }
    }
}

impl Stand {
    fn member(self) -> Option<u32> {
        match self {
            Stand::At { member, .. } => Some(member),
            Stand::Nowhere(_) => None,
        }
    }
}

/// 584 years of them at most.
fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// When an interval began, in seconds since 1970, to the millisecond.
fn began(snapshot: &Snapshot) -> f64 {
    let end = snapshot.time.duration_since(UNIX_EPOCH).unwrap_or_default();
    end.saturating_sub(snapshot.interval).as_millis() as f64 / 1e3
}

/// Where a series stands, and `known` behind it; the members of those before it are idle.
fn find(known: &mut &[Place], series: &Series, idle: &mut Vec<u32>) -> Option<Stand> {
    while let [place, rest @ ..] = known {
        if place.series == *series {
            *known = rest;
            return Some(place.stand);
        }
        if place.series > *series {
            break;
        }
        *known = rest;
        idle.extend(place.stand.member());
    }
    None
}
