//! The running totals that outlive the process.

use std::iter::Peekable;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use strum::VariantArray;

use super::admission::{self, Admission};
use super::families::{Distribution, Family, Member, Total};
use super::family_type::FamilyType;
use super::names::{Naming, labels};
use super::percentile_window::{Part, PercentileWindow};
use super::placements::{Placed, Placement};
use super::totals::Totals;
use crate::model::{
    Decoder, Encoder, HeldPolicy, InvalidState, Kind, NativeHistogram, Policies, Policy, PolicyId, Series,
    TOUCHED_AT_ONCE, nanoseconds,
};

/// Decoded totals.
#[derive(Debug)]
pub struct SavedTotals<'a> {
    naming: SavedNaming,
    policies: Policies,
    clock: u64,
    members: Vec<SavedMember>,
    placements: Vec<SavedPlacement<'a>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum SavedNaming {
    Prometheus,
    StatsdExporter,
}

impl From<Naming> for SavedNaming {
    fn from(naming: Naming) -> Self {
        match naming {
            Naming::Prometheus => Self::Prometheus,
            Naming::StatsdExporter => Self::StatsdExporter,
        }
    }
}

/// The saved form of a [`Member`]. Its name and labels follow from its series.
#[derive(Debug, Serialize, Deserialize)]
struct SavedMember {
    policy: u32,
    /// The policy of the HELP text of the family.
    help: u32,
    /// The number of the family's kind.
    kind: u8,
    /// In nanoseconds, on the clock of the totals.
    seen: u64,
    /// In seconds since 1970.
    began: f64,
    total: SavedTotal,
}

#[derive(Debug, Serialize, Deserialize)]
enum SavedTotal {
    Counter(f64),
    Gauge(f64),
    /// Most totals are only a number.
    Distribution(Box<SavedDistribution>),
}

/// The saved form of a [`Distribution`].
#[derive(Debug, Serialize, Deserialize)]
struct SavedDistribution {
    count: f64,
    sum: f64,
    quantiles: Vec<f64>,
    window: Option<Vec<SavedPart>>,
    buckets: Vec<f64>,
    native: Option<SavedNative>,
}

/// The saved form of a [`Part`] of a window.
#[derive(Debug, Serialize, Deserialize)]
struct SavedPart {
    begin: u64,
    end: u64,
    min: f64,
    max: f64,
    values: SavedNative,
}

/// The saved form of a [`NativeHistogram`].
#[derive(Debug, Serialize, Deserialize)]
struct SavedNative {
    schema: i8,
    zero: f64,
    positive: Vec<(i32, f64)>,
    negative: Vec<(i32, f64)>,
}

/// A series that is added to a member. Quarantined series are not saved: they are placed again when they have samples.
#[derive(Debug, Serialize, Deserialize)]
struct SavedPlacement<'a> {
    identity: &'a str,
    /// The number of the member among the saved ones.
    member: u32,
    by_labels: bool,
    by_series: bool,
}

impl SavedTotal {
    fn new(total: &Total) -> Self {
        match total {
            Total::Counter(total) => Self::Counter(*total),
            Total::Gauge(value) => Self::Gauge(*value),
            Total::Distribution(total) => {
                let Distribution { count, sum, quantiles, quantiles_ended: _, window, buckets, native } =
                    &**total;
                let parts = |window: &PercentileWindow| window.parts.iter().map(SavedPart::new).collect();
                Self::Distribution(Box::new(SavedDistribution {
                    count: *count,
                    sum: *sum,
                    quantiles: quantiles.clone(),
                    window: window.as_deref().map(parts),
                    buckets: buckets.to_vec(),
                    native: native.as_deref().map(SavedNative::new),
                }))
            }
        }
    }

    fn is_valid(&self) -> bool {
        let Self::Distribution(total) = self else { return true };
        let SavedDistribution { window, native, .. } = &**total;
        let in_window = window.iter().flatten().map(|part| &part.values);
        in_window.chain(native).all(SavedNative::is_valid)
    }

    /// Returns the total, if it has the shape that the policy wants.
    fn restore(self, family_type: FamilyType, policy: &Policy) -> Option<Total> {
        match self {
            Self::Counter(total) => (family_type == FamilyType::Counter).then_some(Total::Counter(total)),
            Self::Gauge(value) => (family_type == FamilyType::Gauge).then_some(Total::Gauge(value)),
            Self::Distribution(saved) => {
                let SavedDistribution { count, sum, quantiles, window, buckets, native } = *saved;
                let empty = Distribution::new(policy);
                let is_alike = empty.buckets.len() == buckets.len()
                    && empty.native.is_some() == native.is_some()
                    && (quantiles.is_empty() || quantiles.len() == policy.statistics.percentiles.len());
                let window = window.map(|parts| {
                    let parts = parts.into_iter().map(SavedPart::restore).collect();
                    Box::new(PercentileWindow { parts })
                });
                let native = native.map(|native| Box::new(native.restore()));
                let buckets = buckets.into();
                let total =
                    Distribution { count, sum, quantiles, quantiles_ended: 0, window, buckets, native };
                (family_type.is_distribution() && is_alike).then(|| Total::Distribution(Box::new(total)))
            }
        }
    }
}

impl SavedPart {
    fn new(part: &Part) -> Self {
        let Part { begin, end, min, max, values } = part;
        Self { begin: *begin, end: *end, min: *min, max: *max, values: SavedNative::new(values) }
    }

    fn restore(self) -> Part {
        let Self { begin, end, min, max, values } = self;
        Part { begin, end, min, max, values: values.restore() }
    }
}

impl SavedNative {
    fn new(native: &NativeHistogram) -> Self {
        let NativeHistogram { schema, zero, positive, negative } = native;
        Self { schema: *schema, zero: *zero, positive: positive.clone(), negative: negative.clone() }
    }

    fn is_valid(&self) -> bool {
        let ascends = |buckets: &[(i32, f64)]| buckets.is_sorted_by(|a, b| a.0 < b.0);
        NativeHistogram::SCHEMAS.contains(&self.schema) && ascends(&self.positive) && ascends(&self.negative)
    }

    fn restore(self) -> NativeHistogram {
        let Self { schema, zero, positive, negative } = self;
        NativeHistogram { schema, zero, positive, negative }
    }
}

impl<'a> SavedTotals<'a> {
    /// Decodes totals.
    ///
    /// # Errors
    ///
    /// Fails if [`Totals::encode`] cannot have written the bytes.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, InvalidState> {
        let mut decoder = Decoder::new(bytes);
        let (naming, clock) = decoder.take()?;
        let policies = Policies::decode(&mut decoder)?;
        let members = decoder.take_list(|decoder| {
            let member: SavedMember = decoder.take()?;
            let ids = [member.policy, member.help].map(PolicyId::new);
            let is_valid = ids.into_iter().all(|id| policies.has(id)) && member.total.is_valid();
            let is_valid =
                is_valid && usize::from(member.kind) < Kind::VARIANTS.len() && member.seen <= clock;
            if is_valid { Ok(member) } else { Err(InvalidState) }
        })?;
        let placements = decoder.take_list(|decoder| {
            let placement: SavedPlacement<'_> = decoder.take()?;
            let is_valid = Series::is_identity(placement.identity);
            if is_valid && (placement.member as usize) < members.len() {
                Ok(placement)
            } else {
                Err(InvalidState)
            }
        })?;
        decoder.end()?;
        if !placements.is_sorted_by(|a, b| a.identity < b.identity) {
            return Err(InvalidState);
        }
        Ok(Self { naming, policies, clock, members, placements })
    }
}

impl Totals {
    /// Encodes the totals of all members, except tallyd's own gauges, which describe the process.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut encoder = Encoder::default();
        encoder.push(&(SavedNaming::from(self.naming), self.clock));
        self.policies.encode(&mut encoder);
        let placed = || {
            self.placements.iter().filter_map(|(series, placement)| match placement {
                Placement::Member { number, by_labels, by_series } => {
                    let is_saved =
                        !series.is_own() || !matches!(self.families.member(number).total, Total::Gauge(_));
                    is_saved.then_some((series, number, by_labels, by_series))
                }
                Placement::Quarantined(_) => None,
            })
        };
        // Members are saved in the order of their first series. So a restart finds both lists in nearly the same order.
        let mut numbers = vec![None; self.families.members().len()];
        let mut members = Vec::new();
        for (_, number, ..) in placed() {
            numbers[number as usize].get_or_insert_with(|| {
                members.push(number);
                members.len() as u32 - 1
            });
        }
        encoder.push(&(members.len() as u32));
        for member in members.into_iter().map(|number| self.families.member(number)) {
            let family = self.families.family(member.family);
            encoder.push(&SavedMember {
                policy: member.policy.id().index() as u32,
                help: family.policy.id().index() as u32,
                kind: family.kind as u8,
                seen: member.seen,
                began: member.began,
                total: SavedTotal::new(&member.total),
            });
        }
        encoder.push(&(placed().count() as u32));
        for (series, number, by_labels, by_series) in placed() {
            let member = numbers[number as usize].unwrap_or_default();
            encoder.push(&SavedPlacement { identity: series.identity(), member, by_labels, by_series });
        }
        encoder.finish()
    }

    /// Continues the totals of an earlier process, before the first snapshot is added. `live` are the series that are
    /// alive, in sorted order. The totals of other series are dropped, except those of tallyd itself.
    ///
    /// The totals are those under the policies of the earlier process. So the first snapshot changes the rules, as after a
    /// reload: what has another type or other buckets begins again.
    ///
    /// Returns false if nothing continues, because families have other names now.
    pub fn restore(&mut self, saved: SavedTotals<'_>, downtime: Duration, live: &[Series]) -> bool {
        let SavedTotals { naming, policies, clock, members, placements } = saved;
        if naming != self.naming.into() {
            return false;
        }
        let policies = Arc::new(policies);
        self.policies = Arc::clone(&policies);
        self.clock = clock.saturating_add(nanoseconds(downtime));
        self.families.reserve(members.len(), names(&placements));
        let mut members: Vec<_> = members.into_iter().map(Some).collect();
        let mut numbers = vec![None; members.len()];
        let mut placed = Vec::with_capacity(placements.len());
        let mut live = live.iter().peekable();
        for placements in placements.chunks(TOUCHED_AT_ONCE) {
            let revived: Vec<_> = placements
                .iter()
                .filter_map(|placement| {
                    let series = revive(placement.identity, &mut live)?;
                    let (family, labels) = (self.naming.family(&series), labels(&series).0);
                    self.families.touch(&family, &labels);
                    Some((series, placement, family, labels))
                })
                .collect();
            for (series, &SavedPlacement { member, by_labels, by_series, .. }, family, labels) in revived {
                let number = &mut numbers[member as usize];
                // The first of a member's series brings it back.
                if let Some(saved) = members[member as usize].take() {
                    *number = self.restore_member(saved, &series, (&family, labels), &policies);
                }
                if let Some(number) = *number {
                    placed.push(Placed {
                        series,
                        placement: Placement::Member { number, by_labels, by_series },
                    });
                }
            }
        }
        self.placements.add(placed);
        self.families.sort();
        self.count_bytes();
        true
    }

    /// Adds a member to the family of one of its series, with these labels. Returns its number, or `None` if it must begin again.
    fn restore_member(
        &mut self,
        saved: SavedMember,
        series: &Series,
        (name, labels): (&str, String),
        policies: &Policies,
    ) -> Option<u32> {
        let SavedMember { policy, help, kind: family_kind, seen, began, total } = saved;
        let (id, kind) = (PolicyId::new(policy), series.kind());
        let policy = policies.get(id);
        let metric_type = FamilyType::of(kind, policy);
        let total = total.restore(metric_type, policy)?;
        let family = match admission::admit(&self.families, &self.reserved, series, name, metric_type).ok()? {
            Admission::Known(number) => number,
            Admission::New => {
                let (name, policy) = (name.into(), HeldPolicy::assigned(PolicyId::new(help)));
                let kind = Kind::VARIANTS[usize::from(family_kind)];
                self.open(Family { name, metric_type, kind, policy, is_leaving: false }, series)
            }
        };
        let (labels, policy) = (labels.into(), HeldPolicy::assigned(id));
        let utf8_labels = None;
        let member = Member { labels, family, utf8_labels, kind, policy, total, seen, is_gone: false, began };
        self.join(member, series).ok()
    }
}

/// Counts the names of sorted series.
fn names(placements: &[SavedPlacement<'_>]) -> usize {
    let names = placements.iter().map(|placement| Series::name_of(placement.identity));
    names.clone().zip(names.skip(1)).filter(|(name, next)| name != next).count() + 1
}

/// Returns the series with this identity if it is alive or tallyd's own. It shares the text of a live series. Calls must
/// be in sorted order, as `live` is.
fn revive<'a>(identity: &str, live: &mut Peekable<impl Iterator<Item = &'a Series>>) -> Option<Series> {
    while live.next_if(|series| series.identity() < identity).is_some() {}
    match live.peek() {
        Some(series) if series.identity() == identity => Some((*series).clone()),
        _ => Some(Series::from_identity(identity)).filter(Series::is_own),
    }
}
