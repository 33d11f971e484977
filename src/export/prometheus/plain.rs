//! What [`Totals`] must come to, as short as it can be said: sorted maps, and everything looked at again each time.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::names::labels;
use super::{Format, Naming, QuarantineReason, Totals, protobuf};
use crate::export::ExportOutcome;
use crate::model::{Exposition, Kind, Policies, Policy, PolicyId, Series};
use crate::model::{
    NativeHistogram, NativeSettings, Percentile, RESERVED_PREFIX, Statistics, Summary, finite,
};
use crate::model::{Overview, Row, Rows, Snapshot, Value};
use crate::text::number::push_number;

struct Plain {
    naming: Naming,
    /// The sum of all intervals.
    clock: Duration,
    /// Whether a family was outdated in the latest interval.
    had_outdated: bool,
    /// By name.
    families: BTreeMap<String, Family>,
    places: BTreeMap<Series, Result<Place, QuarantineReason>>,
}

struct Family {
    nature: Nature,
    /// Whose HELP is told.
    policy: PolicyId,
    /// Whether it begins anew with the next interval.
    is_outdated: bool,
    /// By labels.
    members: BTreeMap<String, Member>,
}

/// The type of a family, and whether it has exponential buckets: all members have one nature.
type Nature = (&'static str, bool);

#[derive(Clone)]
struct Place {
    family: String,
    labels: String,
    /// Whether labels or series were merged.
    merges: [bool; 2],
}

struct Member {
    kind: Kind,
    policy: PolicyId,
    seen: Duration,
    /// When the first interval began that is counted in.
    began: Duration,
    /// A counter's total, or a gauge's value.
    value: f64,
    count: f64,
    sum: f64,
    quantiles: Vec<f64>,
    buckets: Vec<f64>,
}

fn nature(kind: Kind, policy: &Policy) -> Nature {
    match (kind, policy.form) {
        (Kind::Counter, _) => ("counter", false),
        (Kind::Gauge | Kind::Set, _) => ("gauge", false),
        (_, Exposition::Summary) => ("summary", false),
        (_, Exposition::Histogram | Exposition::Native) => ("histogram", policy.statistics.native.is_some()),
    }
}

/// The newer one of two policies, and of those that came into force together the first one.
fn prevailing(policies: &Policies, one: PolicyId, other: PolicyId) -> PolicyId {
    match policies.generation(one).cmp(&policies.generation(other)) {
        Ordering::Less => other,
        Ordering::Equal => one.min(other),
        Ordering::Greater => one,
    }
}

impl Plain {
    fn add(&mut self, snapshot: &Snapshot) -> ExportOutcome {
        let end = snapshot.time.duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let began = end.saturating_sub(snapshot.interval);
        self.clock += snapshot.interval;
        if snapshot.rows.have_new_policies || self.had_outdated {
            self.follow(snapshot);
        }
        let policies = &*snapshot.policies;
        let mut exported = ExportOutcome::default();
        for row in &snapshot.rows {
            if !self.places.contains_key(row.series) {
                let place = self.admit(row, policies, began);
                self.places.insert(row.series.clone(), place);
            }
            let added = self.places[row.series].clone().and_then(|Place { family, labels, merges }| {
                let family = self.families.get_mut(&family).unwrap();
                if !family.takes_in(row, policies) {
                    return Err(QuarantineReason::TypeConflict);
                }
                exported.merged.values_mut().zip(merges).for_each(|(sum, merged)| *sum += u64::from(merged));
                family.policy = prevailing(policies, family.policy, row.policy);
                let member = family.members.get_mut(&labels).unwrap();
                member.adopt(row.policy, policies, began);
                member.add(row.value).map(|()| member.seen = self.clock)
            });
            if let Err(reason) = added {
                exported.quarantined[reason] += 1;
            }
        }
        self.had_outdated = self.families.values().any(|family| family.is_outdated);
        self.expire(policies);
        exported
    }

    /// A family begins anew if one of its series wants another nature, and what was kept off the page is judged anew.
    fn follow(&mut self, snapshot: &Snapshot) {
        let policies = &*snapshot.policies;
        let places = &self.places;
        for (name, family) in &mut self.families {
            let is_of_it =
                |row: &Row<'_>| matches!(places.get(row.series), Some(Ok(place)) if place.family == *name);
            for row in snapshot.rows.iter().filter(is_of_it) {
                if nature(row.series.kind(), policies.get(row.policy)) == family.nature {
                    family.policy = prevailing(policies, family.policy, row.policy);
                } else {
                    family.is_outdated = true;
                }
            }
        }
        self.families.retain(|_, family| !family.is_outdated);
        self.forget();
    }

    /// Of what has no place on the page, nothing is known any more.
    fn forget(&mut self) {
        let families = &self.families;
        self.places.retain(|_, place| {
            place.as_ref().is_ok_and(|Place { family, labels, .. }| {
                families.get(family).is_some_and(|family| family.members.contains_key(labels))
            })
        });
    }

    fn admit(
        &mut self,
        row: Row<'_>,
        policies: &Policies,
        began: Duration,
    ) -> Result<Place, QuarantineReason> {
        let Row { series, policy, .. } = row;
        let name = self.naming.family(series);
        let (labels, labels_merge) = labels(series);
        if name == "up" || name.starts_with("tallyd_") && !series.name().starts_with(RESERVED_PREFIX) {
            return Err(QuarantineReason::ReservedName);
        }
        let kind = series.kind();
        let nature = nature(kind, policies.get(policy));
        match self.families.get_mut(&name).map(|family| family.takes_in(row, policies)) {
            Some(true) => {}
            Some(false) => return Err(QuarantineReason::TypeConflict),
            None => self.claim(&name, nature.0)?,
        }
        let new = Family { nature, policy, is_outdated: false, members: BTreeMap::new() };
        let family = self.families.entry(name.clone()).or_insert(new);
        let series_merge = family.members.contains_key(&labels);
        if series_merge && kind != Kind::Counter {
            return Err(QuarantineReason::DuplicateSeries);
        }
        let new = || Member { seen: self.clock, ..Member::new(kind, policy, policies, began) };
        family.members.entry(labels.clone()).or_insert_with(new);
        Ok(Place { family: name, labels, merges: [labels_merge, series_merge] })
    }

    /// Distributions take the names of all their lines, and only from what is none.
    fn claim(&mut self, name: &str, shape: &str) -> Result<(), QuarantineReason> {
        let lines = |name: &str, shape: &str| match shape {
            "summary" => vec![format!("{name}_sum"), format!("{name}_count")],
            "histogram" => {
                vec![format!("{name}_sum"), format!("{name}_count"), format!("{name}_bucket")]
            }
            _ => Vec::new(),
        };
        let own = lines(name, shape);
        for (other, family) in &self.families {
            let theirs = lines(other, family.nature.0);
            let is_distribution = !theirs.is_empty();
            if theirs.iter().any(|line| line == name || own.contains(line))
                || is_distribution && own.contains(other)
            {
                return Err(QuarantineReason::NameTaken);
            }
        }
        for line in own {
            if self.families.remove(&line).is_some() {
                for place in self.places.values_mut() {
                    if matches!(place, Ok(place) if place.family == line) {
                        *place = Err(QuarantineReason::NameTaken);
                    }
                }
            }
        }
        Ok(())
    }

    fn expire(&mut self, policies: &Policies) {
        let mut dropped = false;
        for family in self.families.values_mut() {
            family.members.retain(|_, member| {
                let unseen = self.clock.saturating_sub(member.seen);
                if unseen > Duration::ZERO {
                    member.quantiles.clear();
                }
                let is_alive = match member.kind {
                    Kind::Gauge | Kind::Set => unseen == Duration::ZERO,
                    kind => unseen < policies.get(member.policy).expire_after[kind as usize],
                };
                dropped |= !is_alive;
                is_alive
            });
        }
        self.families.retain(|_, family| !family.members.is_empty());
        if dropped {
            self.forget();
        }
    }

    fn page(&self, policies: &Policies) -> String {
        let mut page = Vec::new();
        for (name, Family { nature: (shape, _), policy, members, .. }) in &self.families {
            page.push(format!("# HELP {name} {}\n# TYPE {name} {shape}\n", policies.get(*policy).help));
            for (labels, member) in members {
                let Statistics { percentiles, bounds, .. } = &policies.get(member.policy).statistics;
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

    /// The lines that may tell in OpenMetrics when members began.
    fn times_of_beginning(&self) -> BTreeSet<String> {
        let mut lines = BTreeSet::new();
        for (name, Family { nature: (shape, _), members, .. }) in &self.families {
            let stem = if *shape == "counter" { name.strip_suffix("_total").unwrap_or(name) } else { name };
            for (labels, member) in members {
                let labels = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
                lines.insert(format!("{stem}_created{labels} {}", number(member.began.as_secs_f64())));
            }
        }
        lines
    }

    /// The schema of each member of the histograms that have exponential buckets, `None` of others.
    fn schemas(&self, policies: &Policies) -> Vec<(String, Vec<Option<i32>>)> {
        let histograms = self.families.iter().filter(|(_, family)| family.nature.0 == "histogram");
        let schema = |member: &Member| {
            policies.get(member.policy).statistics.native.map(|settings| settings.schema.into())
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
    /// All members have one nature. A distribution of which no member has a policy that is as new as one that wants another
    /// nature is outdated.
    fn takes_in(&mut self, Row { series, policy, .. }: Row<'_>, policies: &Policies) -> bool {
        let wanted = nature(series.kind(), policies.get(policy));
        let are_distributions =
            [wanted, self.nature].iter().all(|(shape, _)| ["summary", "histogram"].contains(shape));
        self.is_outdated |= wanted != self.nature
            && are_distributions
            && policies.generation(policy) > policies.generation(self.policy);
        wanted == self.nature
    }
}

impl Member {
    fn new(kind: Kind, policy: PolicyId, policies: &Policies, began: Duration) -> Self {
        Self {
            kind,
            policy,
            seen: began,
            began,
            value: 0.0,
            count: 0.0,
            sum: 0.0,
            quantiles: Vec::new(),
            buckets: vec![0.0; policies.get(policy).statistics.bounds.len()],
        }
    }

    /// A member has the policy of its series, and that which prevails if several counters are added up. What is counted in
    /// other buckets from now on begins anew.
    fn adopt(&mut self, policy: PolicyId, policies: &Policies, began: Duration) {
        let is_counter = self.kind == Kind::Counter;
        let policy = if is_counter { prevailing(policies, self.policy, policy) } else { policy };
        let buckets = |policy| {
            let Statistics { bounds, native, .. } = &policies.get(policy).statistics;
            (bounds, native)
        };
        let are_others = !is_counter && buckets(policy) != buckets(self.policy);
        if are_others {
            *self = Self::new(self.kind, policy, policies, began);
        }
        self.policy = policy;
    }

    fn add(&mut self, value: &Value) -> Result<(), QuarantineReason> {
        match value {
            Value::Counter(increase) if *increase < 0.0 => return Err(QuarantineReason::NegativeIncrease),
            Value::Counter(increase) => self.value = finite(self.value + increase),
            Value::Gauge(value) | Value::Set(value) => self.value = *value,
            Value::Summary(summary) => {
                let divisor = if self.kind == Kind::Timing { 1e3 } else { 1.0 };
                self.count = finite(self.count + summary.count);
                self.sum = finite(self.sum + summary.sum / divisor);
                self.quantiles = summary.percentiles.iter().map(|value| value / divisor).collect();
                self.buckets =
                    self.buckets.iter().zip(&summary.buckets).map(|(a, b)| finite(a + b)).collect();
            }
        }
        Ok(())
    }
}

/// Names, kinds and tags that get into each other's way.
fn series() -> impl Strategy<Value = Series> {
    const NAMES: [&str; 16] = [
        "a",
        "a.b",
        "a-b",
        "a.b_total",
        "a_sum",
        "a_count",
        "a_bucket",
        "a_total",
        "a_created",
        "a.b_created",
        "a_seconds",
        "a_count_sum",
        "tallyd.a",
        "tallyd_a",
        "up",
        "z",
    ];
    const TAGS: [&[(&str, &str)]; 5] =
        [&[], &[("k", "1")], &[("k", "")], &[("k.", "1"), ("k_", "2")], &[("le", "1"), ("quantile", "1")]];
    let kinds = prop::sample::select(&Kind::ALL[..]);
    (kinds, prop::sample::select(&NAMES[..]), prop::sample::select(&TAGS[..]))
        .prop_map(|(kind, name, tags)| Series::new(kind, name, tags))
}

/// All that rules may want.
fn policy() -> impl Strategy<Value = Policy> {
    const PERCENTILES: [&[f64]; 4] = [&[], &[50.0], &[25.0, 50.0], &[50.0, 99.0]];
    const BOUNDS: [&[f64]; 5] = [&[], &[2.0], &[5.0], &[2.0, 5.0], &[-1.0, 2.0, 7.0, 9.0]];
    let form = select(&[Exposition::Summary, Exposition::Histogram, Exposition::Native][..]);
    let schema = prop_oneof![2 => Just(None), 1 => Just(Some(0)), 1 => Just(Some(3))];
    let expire_after = prop::array::uniform6((1..40_u64).prop_map(Duration::from_secs));
    (form, select(&PERCENTILES[..]), select(&BOUNDS[..]), schema, expire_after, "[a-c]").prop_map(
        |(form, percentiles, bounds, schema, expire_after, help)| {
            let bounds = if form == Exposition::Histogram { bounds.to_vec() } else { Vec::new() };
            let schema = match form {
                Exposition::Summary => None,
                Exposition::Histogram => schema,
                Exposition::Native => Some(schema.unwrap_or(1)),
            };
            let native = schema.map(|schema| NativeSettings { schema, max_buckets: 0 });
            let percentiles = percentiles.iter().copied().filter_map(Percentile::new).collect();
            let statistics = Statistics { percentiles, bounds, native };
            Policy { help: help.into(), statistics, form, expire_after }
        },
    )
}

/// What happens in an interval.
#[derive(Debug, Clone)]
struct Interval {
    seconds: u64,
    /// Whether others of the rules come into force at its end.
    reloads: bool,
    /// Whether the exporter does not keep up, and never sees the snapshot.
    is_lost: bool,
    /// Of each series, if it has a row.
    sent: Vec<Option<Sent>>,
}

#[derive(Debug, Clone)]
struct Sent {
    number: f64,
    /// Which rule a line came by. Otherwise there was none, and the series is reported all the same.
    rule: Option<usize>,
    /// Whether it was dropped and comes as a new one: time that the exporter lost is missing on its clock.
    was_dropped: bool,
}

fn interval() -> impl Strategy<Value = Interval> {
    let number = prop_oneof![4 => 0.0..9.0, 1 => -3.0..0.0, 1 => Just(1e308)];
    let rule = prop::option::weighted(0.8, 0..3_usize);
    let sent = (number, rule, prop::bool::weighted(0.05)).prop_map(|(number, rule, was_dropped)| Sent {
        number,
        rule,
        was_dropped,
    });
    (1..20_u64, prop::bool::weighted(0.2), prop::bool::weighted(0.1), vec(prop::option::of(sent), 20))
        .prop_map(|(seconds, reloads, is_lost, sent)| Interval { seconds, reloads, is_lost, sent })
}

/// Makes snapshots as the flush does.
struct Flush {
    policies: Policies,
    /// That come into force one after the other.
    reloads: std::vec::IntoIter<Vec<Policy>>,
    /// What each series has, by its latest line.
    known: BTreeMap<Series, PolicyId>,
    time: Duration,
}

impl Flush {
    fn snapshot(
        &mut self,
        pool: &BTreeSet<Series>,
        Interval { seconds, reloads, sent, .. }: Interval,
    ) -> Snapshot {
        let mut rows = Vec::new();
        let mut have_new_policies = false;
        for (series, sent) in pool.iter().zip(sent) {
            let Some(Sent { number, rule, was_dropped }) = sent else { continue };
            if was_dropped {
                self.known.remove(series);
            }
            let known = self.known.get(series).copied();
            let policy = match (rule, known) {
                (Some(rule), _) => {
                    let rules = self.policies.in_force().len();
                    let policy = self.policies.first().plus((rule % rules) as u32);
                    known.map_or(policy, |known| prevailing(&self.policies, known, policy))
                }
                (None, Some(known)) if !has_summary(series) => known,
                _ => continue,
            };
            have_new_policies |= known.is_some_and(|known| known != policy);
            self.known.insert(series.clone(), policy);
            rows.push((series.clone(), value(series, number, self.policies.get(policy)), policy));
        }
        // Rules that were read in this interval hold from the next one on, but the snapshot has their policies already.
        if reloads && let Some(policies) = self.reloads.next() {
            self.policies = self.policies.renewed(&policies);
        }
        let interval = Duration::from_secs(seconds);
        self.time += interval;
        let mut all = Rows::new(
            Arc::new(rows.iter().map(|(series, ..)| series.clone()).collect()),
            Arc::new(rows.iter().map(|(.., policy)| *policy).collect()),
            rows.into_iter().map(|(_, value, _)| Some(value)).collect(),
        );
        all.have_new_policies = have_new_policies;
        Snapshot {
            time: SystemTime::UNIX_EPOCH + self.time,
            interval,
            policies: Arc::new(self.policies.clone()),
            rows: all,
            events: Vec::new(),
            overview: Overview::default(),
        }
    }
}

fn has_summary(series: &Series) -> bool {
    matches!(series.kind(), Kind::Timing | Kind::Histogram | Kind::Distribution)
}

/// What a series' samples came to, with what its policy asks for.
fn value(series: &Series, number: f64, policy: &Policy) -> Value {
    let Statistics { percentiles, bounds, native } = &policy.statistics;
    match series.kind() {
        Kind::Counter => Value::Counter(number),
        Kind::Gauge => Value::Gauge(number),
        Kind::Set => Value::Set(number),
        Kind::Timing | Kind::Histogram | Kind::Distribution => Value::Summary(Box::new(Summary {
            count: 3.0,
            sum: 3.0 * number,
            percentiles: percentiles.iter().map(|percentile| number + percentile.percent()).collect(),
            buckets: (1..=bounds.len()).map(|place| place.min(3) as f64).collect(),
            native: native.map(|NativeSettings { schema, .. }| {
                Box::new(NativeHistogram::new(schema, 1.0, [(number as i32 % 100, 2.0)], []))
            }),
            ..Summary::default()
        })),
    }
}

fn text(totals: &Totals, format: Format) -> String {
    String::from_utf8(bytes(totals, format)).unwrap()
}

fn bytes(totals: &Totals, format: Format) -> Vec<u8> {
    let mut page = Vec::new();
    let Ok(()) = format.render(totals, |piece| -> Result<(), std::convert::Infallible> {
        page.extend_from_slice(piece);
        Ok(())
    });
    page
}

/// The lines with values of a page in OpenMetrics, sorted, with bounds as the text format has them; and, apart from them, those
/// that tell when members began. Checks on the way that families are contiguous, and that none could have a line of another one.
fn lines_of_openmetrics(page: &str) -> [Vec<String>; 2] {
    let mut claimed = BTreeSet::new();
    let mut own = Vec::new();
    let mut time = None;
    let [mut lines, mut times] = [Vec::new(), Vec::new()];
    let body = page.strip_suffix("# EOF\n").unwrap();
    for line in body.lines().filter(|line| !line.starts_with("# HELP ")) {
        if let Some(family) = line.strip_prefix("# TYPE ") {
            let (name, type_name) = family.split_once(' ').unwrap();
            let suffixes: &[&str] = match type_name {
                "counter" => &["", "_total", "_created"],
                "summary" => &["", "_sum", "_count", "_created"],
                "histogram" => &["", "_bucket", "_sum", "_count", "_created"],
                _ => &[""],
            };
            own = suffixes.iter().map(|suffix| format!("{name}{suffix}")).collect();
            for name in &own {
                assert!(claimed.insert(name.clone()), "{name} clashes: {page}");
            }
            time = suffixes.contains(&"_created").then(|| format!("{name}_created"));
        } else {
            let name = line.split(['{', ' ']).next().unwrap();
            assert!(own.iter().any(|own| own == name), "{line} is not of {own:?}: {page}");
            let lines = if Some(name) == time.as_deref() { &mut times } else { &mut lines };
            lines.push(line.replace(".0\"", "\""));
        }
    }
    lines.sort();
    [lines, times]
}

proptest! {
    // A case takes half a millisecond, and what policies do to each other takes many.
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn totals_come_to_what_the_plain_ones_come_to(
        naming in select(&[Naming::Prometheus, Naming::StatsdExporter][..]),
        pool in vec(series(), 1..20),
        rules in vec(vec(policy(), 1..4), 1..4),
        intervals in vec(interval(), 1..12),
    ) {
        let pool: BTreeSet<_> = pool.into_iter().collect();
        let mut rules = rules.into_iter();
        let policies = Policies::new(rules.next().unwrap());
        let mut flush = Flush {
            policies,
            reloads: rules,
            known: BTreeMap::new(),
            time: Duration::ZERO,
        };
        let mut plain = Plain {
            naming,
            clock: Duration::ZERO,
            had_outdated: false,
            families: BTreeMap::new(),
            places: BTreeMap::new(),
        };
        let mut totals = Totals::new(naming);
        for interval in intervals {
            let is_lost = interval.is_lost;
            let snapshot = flush.snapshot(&pool, interval);
            if is_lost {
                continue;
            }
            let policies = &*snapshot.policies;
            prop_assert_eq!(totals.add(&snapshot), plain.add(&snapshot));
            let page = text(&totals, Format::Text);
            prop_assert_eq!(&page, &plain.page(policies));
            let mut lines: Vec<_> = page.lines().filter(|line| !line.starts_with('#')).collect();
            lines.sort_unstable();
            let [values, times] = lines_of_openmetrics(&text(&totals, Format::OpenMetrics));
            prop_assert_eq!(values, lines);
            let expected = plain.times_of_beginning();
            prop_assert!(times.iter().all(|line| expected.contains(line)), "{:?} {:?}", times, expected);
            let messages = bytes(&totals, Format::Protobuf);
            prop_assert_eq!(protobuf::tests::as_text(&messages), page);
            prop_assert_eq!(protobuf::tests::schemas(&messages), plain.schemas(policies));
        }
    }
}
