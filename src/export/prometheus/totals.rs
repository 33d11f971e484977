//! Adds snapshots up into families, and keeps out what would make the page invalid.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use super::Naming;
use super::names::labels;
use crate::aggregate::{RESERVED_PREFIX, Statistics, Summary, finite};
use crate::export::Exported;
use crate::protocol::Kind;
use crate::series::Series;
use crate::snapshot::{Snapshot, Value};

/// How timings, histograms and distributions are exposed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Timings {
    /// Percentiles of the latest interval, running count and sum.
    Summary,
    /// Running counts in buckets.
    Histogram,
}

/// How snapshots become families.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How metrics are named.
    pub naming: Naming,
    /// How distributions are exposed.
    pub timings: Timings,
    /// How long a series without samples stays, by [`Kind`].
    pub expire_after: [Duration; Kind::ALL.len()],
}

/// Why a row of a snapshot is not on the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quarantine {
    /// Its family has another type.
    TypeConflict,
    /// Its family, or a name that belongs to it such as `x_count` of a summary `x`, is another family's.
    NameTaken,
    /// Another series has the same name and labels, and the two cannot be added up.
    DuplicateSeries,
    /// A counter's samples came to less than zero; a counter on the page may not fall.
    NegativeIncrease,
    /// Its name would be one of tallyd's own.
    ReservedName,
}

impl Quarantine {
    /// All reasons, in the order of their discriminants.
    pub const ALL: [Quarantine; 5] = [
        Quarantine::TypeConflict,
        Quarantine::NameTaken,
        Quarantine::DuplicateSeries,
        Quarantine::NegativeIncrease,
        Quarantine::ReservedName,
    ];

    /// The name by which telemetry counts it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Quarantine::TypeConflict => "type_conflict",
            Quarantine::NameTaken => "name_taken",
            Quarantine::DuplicateSeries => "duplicate_series",
            Quarantine::NegativeIncrease => "negative_increase",
            Quarantine::ReservedName => "reserved_name",
        }
    }
}

/// What is on the page, but not as it was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Merge {
    /// Two of its tags became one label, of which the last counts.
    Labels,
    /// It was added to a series that has the same name and labels.
    Series,
}

impl Merge {
    /// All of them, in the order of their discriminants.
    pub const ALL: [Merge; 2] = [Merge::Labels, Merge::Series];

    /// The name by which telemetry counts it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Merge::Labels => "labels",
            Merge::Series => "series",
        }
    }
}

/// The type of a family, as Prometheus has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Counter,
    Gauge,
    Summary,
    Histogram,
}

impl Shape {
    /// What stands behind the family's name on its lines; the name itself aside.
    fn suffixes(self) -> &'static [&'static str] {
        match self {
            Shape::Counter | Shape::Gauge => &[],
            Shape::Summary => &["_sum", "_count"],
            Shape::Histogram => &["_sum", "_count", "_bucket"],
        }
    }
}

/// One metric of the page.
#[derive(Debug)]
pub(super) struct Family {
    pub(super) shape: Shape,
    pub(super) kind: Kind,
    /// By their labels as text.
    pub(super) members: BTreeMap<String, Member>,
}

/// One series of the page.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) total: Total,
    kind: Kind,
    /// When a snapshot last had it, on the clock of [`Totals`].
    seen: Duration,
}

/// What a series of the page came to since it began.
#[derive(Debug)]
pub(super) enum Total {
    Counter(f64),
    Gauge(f64),
    Distribution {
        count: f64,
        sum: f64,
        /// Percentiles of the latest interval, if it had samples.
        quantiles: Option<Box<[f64]>>,
        /// Weights up to each bound.
        buckets: Box<[f64]>,
    },
}

/// Where a series of the snapshots stands on the page.
#[derive(Debug, Clone)]
enum Place {
    At { family: String, labels: String, merges: [bool; Merge::ALL.len()] },
    Nowhere(Quarantine),
}

/// All families.
#[derive(Debug)]
pub struct Totals {
    settings: Settings,
    pub(super) families: BTreeMap<String, Family>,
    /// By name of a line that is not itself a family's: the family whose line it is.
    suffixed: HashMap<String, String>,
    places: HashMap<Series, Place>,
    /// The sum of all intervals.
    clock: Duration,
    pub(super) statistics: std::sync::Arc<Statistics>,
}

impl Totals {
    /// Without families.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            families: BTreeMap::new(),
            suffixed: HashMap::new(),
            places: HashMap::new(),
            clock: Duration::ZERO,
            statistics: std::sync::Arc::default(),
        }
    }

    /// Adds an interval's rows, and counts those that are not on the page as they were sent.
    pub fn add(&mut self, snapshot: &Snapshot) -> Exported {
        self.clock += snapshot.interval;
        self.statistics = std::sync::Arc::clone(&snapshot.statistics);
        let mut exported = Exported::default();
        for row in &snapshot.rows {
            let kept_out = match self.place(row.series) {
                Place::At { family, labels, merges } => {
                    exported
                        .merged
                        .iter_mut()
                        .zip(merges)
                        .for_each(|(sum, merges)| *sum += u64::from(merges));
                    self.add_to(&family, &labels, row.value)
                }
                Place::Nowhere(reason) => Err(reason),
            };
            if let Err(reason) = kept_out {
                exported.quarantined[reason as usize] += 1;
            }
        }
        self.expire();
        exported
    }

    fn add_to(&mut self, family: &str, labels: &str, value: &Value) -> Result<(), Quarantine> {
        let clock = self.clock;
        let Some(member) = self.families.get_mut(family).and_then(|family| family.members.get_mut(labels))
        else {
            return Ok(());
        };
        // Divided, not multiplied by 0.001, which no f64 is: 13 ms are 0.013 s.
        let divisor = if member.kind == Kind::Timing { 1e3 } else { 1.0 };
        match (&mut member.total, value) {
            (Total::Counter(total), Value::Counter(increase)) => {
                if *increase < 0.0 {
                    return Err(Quarantine::NegativeIncrease);
                }
                *total = finite(*total + increase);
            }
            (Total::Gauge(present), Value::Gauge(value) | Value::Set(value)) => *present = *value,
            (Total::Distribution { count, sum, quantiles, buckets }, Value::Summary(summary)) => {
                let Summary { percentiles, buckets: new, .. } = &**summary;
                *count = finite(*count + summary.count);
                *sum = finite(*sum + summary.sum / divisor);
                *quantiles = Some(percentiles.iter().map(|value| value / divisor).collect());
                buckets.iter_mut().zip(new).for_each(|(total, new)| *total = finite(*total + new));
            }
            _ => {}
        }
        member.seen = clock;
        Ok(())
    }

    /// Where a series stands; a new one is given a place, or none.
    fn place(&mut self, series: &Series) -> Place {
        if let Some(place) = self.places.get(series) {
            return place.clone();
        }
        let family = self.settings.naming.family(series);
        let (labels, labels_merge) = labels(series);
        let place = match self.admit(series, &family, &labels) {
            Ok(series_merges) => Place::At { family, labels, merges: [labels_merge, series_merges] },
            Err(reason) => {
                tracing::warn!(?series, family, reason = reason.name(), "a series is kept off the page");
                Place::Nowhere(reason)
            }
        };
        self.places.insert(series.clone(), place.clone());
        place
    }

    /// Makes room for a series; whether it is added to another that is there.
    fn admit(&mut self, series: &Series, name: &str, labels: &str) -> Result<bool, Quarantine> {
        let kind = series.kind();
        if name.starts_with("tallyd_") && !series.name().starts_with(RESERVED_PREFIX) {
            return Err(Quarantine::ReservedName);
        }
        let shape = match (kind, self.settings.timings) {
            (Kind::Counter, _) => Shape::Counter,
            (Kind::Gauge | Kind::Set, _) => Shape::Gauge,
            (_, Timings::Summary) => Shape::Summary,
            (_, Timings::Histogram) => Shape::Histogram,
        };
        if let Some(family) = self.families.get(name) {
            if family.shape != shape {
                return Err(Quarantine::TypeConflict);
            }
        } else {
            self.claim(name, shape)?;
        }
        let family = self.families.entry(name.to_owned()).or_insert_with(|| Family {
            shape,
            kind,
            members: BTreeMap::new(),
        });
        if family.members.contains_key(labels) {
            // Only counters can be added up: percentiles of two series do not make one.
            if kind != Kind::Counter {
                return Err(Quarantine::DuplicateSeries);
            }
            return Ok(true);
        }
        let total = match shape {
            Shape::Counter => Total::Counter(0.0),
            Shape::Gauge => Total::Gauge(0.0),
            Shape::Summary | Shape::Histogram => {
                let Statistics { bounds, .. } = &*self.statistics;
                Total::Distribution {
                    count: 0.0,
                    sum: 0.0,
                    quantiles: None,
                    buckets: vec![0.0; bounds.len()].into(),
                }
            }
        };
        family.members.insert(labels.to_owned(), Member { total, kind, seen: self.clock });
        Ok(false)
    }

    /// Takes the names of a family that is to be. A distribution's `x_count` and the like are its own: a client's
    /// counter or gauge of that name gives way.
    fn claim(&mut self, name: &str, shape: Shape) -> Result<(), Quarantine> {
        let suffixed: Vec<_> = shape.suffixes().iter().map(|suffix| format!("{name}{suffix}")).collect();
        let is_plain = |family: &Family| family.shape.suffixes().is_empty();
        let is_taken = self.suffixed.contains_key(name)
            || suffixed.iter().any(|name| {
                self.suffixed.contains_key(name)
                    || self.families.get(name).is_some_and(|family| !is_plain(family))
            });
        if is_taken {
            return Err(Quarantine::NameTaken);
        }
        for suffixed in suffixed {
            if self.families.remove(&suffixed).is_some() {
                tracing::warn!(
                    family = suffixed,
                    of = name,
                    "a family gives way to a line of a distribution"
                );
                for place in self.places.values_mut() {
                    if matches!(place, Place::At { family, .. } if *family == suffixed) {
                        *place = Place::Nowhere(Quarantine::NameTaken);
                    }
                }
            }
            self.suffixed.insert(suffixed, name.to_owned());
        }
        Ok(())
    }

    /// Drops what the page would otherwise show for ever. Gauges and sets are in every snapshot while they are alive;
    /// others keep their totals for a while.
    fn expire(&mut self) {
        let clock = self.clock;
        let expire_after = self.settings.expire_after;
        let mut dropped = false;
        self.families.retain(|_, family| {
            family.members.retain(|_, member| {
                let unseen = clock.saturating_sub(member.seen);
                if let Total::Distribution { quantiles, .. } = &mut member.total
                    && unseen > Duration::ZERO
                {
                    *quantiles = None;
                }
                let is_alive = match member.total {
                    Total::Gauge(_) => unseen == Duration::ZERO,
                    _ => unseen < expire_after[member.kind as usize],
                };
                dropped |= !is_alive;
                is_alive
            });
            !family.members.is_empty()
        });
        if dropped {
            let families = &self.families;
            let is_there = |family: &str, labels: &str| {
                families.get(family).is_some_and(|family| family.members.contains_key(labels))
            };
            // Those kept out are judged anew when they come again.
            self.places.retain(
                |_, place| matches!(place, Place::At { family, labels, .. } if is_there(family, labels)),
            );
            self.suffixed.retain(|_, family| families.contains_key(family));
        }
    }
}
