//! What [`Totals`] must come to, as short as it can be said: sorted maps, and everything looked at again each time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use proptest::collection::vec;
use proptest::prelude::*;

use super::names::labels;
use super::{Format, Naming, Quarantine, Totals, protobuf};
use crate::aggregate::{Percentile, RESERVED_PREFIX, Statistics, Summary, finite};
use crate::export::Exported;
use crate::export::number::push_number;
use crate::policy::{Form, Policies, Policy};
use crate::protocol::Kind;
use crate::series::Series;
use crate::snapshot::{Overview, Row, Rows, Snapshot, Value};

const PERCENTILE: f64 = 50.0;
const BOUND: f64 = 2.0;

struct Plain {
    naming: Naming,
    /// Of all series.
    policy: Policy,
    clock: Duration,
    /// By name, then by labels.
    families: BTreeMap<String, (&'static str, BTreeMap<String, Member>)>,
    /// By series: name of the family, labels, and whether labels or series were merged.
    places: BTreeMap<Series, Result<(String, String, [bool; 2]), Quarantine>>,
}

struct Member {
    kind: Kind,
    seen: Duration,
    /// A counter's total, or a gauge's value.
    value: f64,
    count: f64,
    sum: f64,
    quantile: Option<f64>,
    bucket: f64,
}

impl Plain {
    fn add(&mut self, snapshot: &Snapshot) -> Exported {
        self.clock += snapshot.interval;
        let mut exported = Exported::default();
        for Row { series, value, .. } in &snapshot.rows {
            if !self.places.contains_key(series) {
                let place = self.admit(series);
                self.places.insert(series.clone(), place);
            }
            let added = self.places[series].clone().and_then(|(family, labels, merges)| {
                exported.merged.iter_mut().zip(merges).for_each(|(sum, merged)| *sum += u64::from(merged));
                let member = self.families.get_mut(&family).unwrap().1.get_mut(&labels).unwrap();
                member.add(value).map(|()| member.seen = self.clock)
            });
            if let Err(reason) = added {
                exported.quarantined[reason as usize] += 1;
            }
        }
        self.expire();
        exported
    }

    fn admit(&mut self, series: &Series) -> Result<(String, String, [bool; 2]), Quarantine> {
        let name = self.naming.family(series);
        let (labels, labels_merge) = labels(series);
        if name == "up" || name.starts_with("tallyd_") && !series.name().starts_with(RESERVED_PREFIX) {
            return Err(Quarantine::ReservedName);
        }
        let kind = series.kind();
        let shape = match (kind, self.policy.form) {
            (Kind::Counter, _) => "counter",
            (Kind::Gauge | Kind::Set, _) => "gauge",
            (_, Form::Summary) => "summary",
            (_, Form::Histogram | Form::Native) => "histogram",
        };
        match self.families.get(&name) {
            Some((other, _)) if *other != shape => return Err(Quarantine::TypeConflict),
            Some(_) => {}
            None => self.claim(&name, shape)?,
        }
        let members = &mut self.families.entry(name.clone()).or_insert((shape, BTreeMap::new())).1;
        let series_merge = members.contains_key(&labels);
        if series_merge && kind != Kind::Counter {
            return Err(Quarantine::DuplicateSeries);
        }
        members.entry(labels.clone()).or_insert(Member {
            kind,
            seen: self.clock,
            value: 0.0,
            count: 0.0,
            sum: 0.0,
            quantile: None,
            bucket: 0.0,
        });
        Ok((name, labels, [labels_merge, series_merge]))
    }

    /// Distributions take the names of all their lines, and only from what is none.
    fn claim(&mut self, name: &str, shape: &str) -> Result<(), Quarantine> {
        let lines = |name: &str, shape: &str| match shape {
            "summary" => vec![format!("{name}_sum"), format!("{name}_count")],
            "histogram" => {
                vec![format!("{name}_sum"), format!("{name}_count"), format!("{name}_bucket")]
            }
            _ => Vec::new(),
        };
        let own = lines(name, shape);
        for (other, (other_shape, _)) in &self.families {
            let theirs = lines(other, other_shape);
            let is_distribution = !theirs.is_empty();
            if theirs.iter().any(|line| line == name || own.contains(line))
                || is_distribution && own.contains(other)
            {
                return Err(Quarantine::NameTaken);
            }
        }
        for line in own {
            if self.families.remove(&line).is_some() {
                for place in self.places.values_mut() {
                    if matches!(place, Ok((family, ..)) if *family == line) {
                        *place = Err(Quarantine::NameTaken);
                    }
                }
            }
        }
        Ok(())
    }

    fn expire(&mut self) {
        let mut dropped = false;
        for (_, members) in self.families.values_mut() {
            members.retain(|_, member| {
                let unseen = self.clock.saturating_sub(member.seen);
                if unseen > Duration::ZERO {
                    member.quantile = None;
                }
                let is_alive = match member.kind {
                    Kind::Gauge | Kind::Set => unseen == Duration::ZERO,
                    kind => unseen < self.policy.expire_after[kind as usize],
                };
                dropped |= !is_alive;
                is_alive
            });
        }
        self.families.retain(|_, (_, members)| !members.is_empty());
        if dropped {
            let families = &self.families;
            self.places.retain(|_, place| {
                place.as_ref().is_ok_and(|(family, labels, _)| {
                    families.get(family).is_some_and(|(_, members)| members.contains_key(labels))
                })
            });
        }
    }

    fn page(&self) -> String {
        let mut page = Vec::new();
        for (name, (shape, members)) in &self.families {
            page.push(format!("# TYPE {name} {shape}\n"));
            for (labels, member) in members {
                let mut line = |suffix: &str, extra: &str, value: f64| {
                    let comma = if labels.is_empty() || extra.is_empty() { "" } else { "," };
                    let labels = format!("{{{labels}{comma}{extra}}}");
                    let mut number = String::new();
                    push_number(&mut number, value);
                    let labels = if labels == "{}" { "" } else { &labels };
                    page.push(format!("{name}{suffix}{labels} {number}\n"));
                };
                match *shape {
                    "summary" => {
                        member.quantile.into_iter().for_each(|value| line("", "quantile=\"0.5\"", value));
                    }
                    "histogram" => {
                        line("_bucket", "le=\"2\"", member.bucket);
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
}

impl Member {
    fn add(&mut self, value: &Value) -> Result<(), Quarantine> {
        match value {
            Value::Counter(increase) if *increase < 0.0 => return Err(Quarantine::NegativeIncrease),
            Value::Counter(increase) => self.value = finite(self.value + increase),
            Value::Gauge(value) | Value::Set(value) => self.value = *value,
            Value::Summary(summary) => {
                let divisor = if self.kind == Kind::Timing { 1e3 } else { 1.0 };
                self.count = finite(self.count + summary.count);
                self.sum = finite(self.sum + summary.sum / divisor);
                self.quantile = Some(summary.percentiles[0] / divisor);
                self.bucket = finite(self.bucket + summary.buckets[0]);
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

/// A row of a series that may have a sample in this interval.
fn row(series: &Series, number: f64) -> (Series, Value) {
    let value = match series.kind() {
        Kind::Counter => Value::Counter(number),
        Kind::Gauge => Value::Gauge(number),
        Kind::Set => Value::Set(number),
        Kind::Timing | Kind::Histogram | Kind::Distribution => Value::Summary(Box::new(Summary {
            count: 3.0,
            sum: 3.0 * number,
            percentiles: [number].into(),
            buckets: [2.0].into(),
            ..Summary::default()
        })),
    };
    (series.clone(), value)
}

fn snapshot(interval: Duration, policy: &Policy, rows: Rows) -> Snapshot {
    Snapshot {
        time: SystemTime::UNIX_EPOCH,
        interval,
        policies: Arc::new(Policies::new(vec![policy.clone()])),
        rows,
        events: Vec::new(),
        overview: Overview::default(),
    }
}

/// The page without its HELP.
fn page(totals: &Totals) -> String {
    text(totals, Format::Text).split_inclusive('\n').filter(|line| !line.starts_with("# HELP ")).collect()
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

/// The lines with values of a page in OpenMetrics, as the text format has them: without times, and with another bound.
/// Checks on the way that no family could have a line of another one.
fn lines_of_openmetrics(page: &str) -> Vec<String> {
    let mut claimed = BTreeSet::new();
    let mut time = None;
    let mut lines = Vec::new();
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
            for suffix in suffixes {
                assert!(claimed.insert(format!("{name}{suffix}")), "{name}{suffix} clashes: {page}");
            }
            time = suffixes.contains(&"_created").then(|| format!("{name}_created"));
        } else if line.split(['{', ' ']).next() != time.as_deref() {
            lines.push(line.replace("le=\"2.0\"", "le=\"2\""));
        }
    }
    lines.sort();
    lines
}

proptest! {
    #[test]
    fn totals_come_to_what_the_plain_ones_come_to(
        naming in prop::sample::select(&[Naming::Prometheus, Naming::StatsdExporter][..]),
        form in prop::sample::select(&[Form::Summary, Form::Histogram][..]),
        expire_after in prop::array::uniform6((1..40_u64).prop_map(Duration::from_secs)),
        pool in vec(series(), 1..20),
        intervals in vec(
            (1..20_u64, vec(prop::option::of(prop_oneof![4 => 0.0..9.0, 1 => -3.0..0.0, 1 => Just(1e308)]), 20)),
            1..12,
        ),
    ) {
        let pool: BTreeSet<_> = pool.into_iter().collect();
        let statistics = Statistics {
            percentiles: Percentile::new(PERCENTILE).into_iter().collect(),
            bounds: if form == Form::Histogram { vec![BOUND] } else { Vec::new() },
            ..Statistics::default()
        };
        let policy = Policy { statistics, form, expire_after, ..Policy::default() };
        let mut plain = Plain {
            naming,
            policy: policy.clone(),
            clock: Duration::ZERO,
            families: BTreeMap::new(),
            places: BTreeMap::new(),
        };
        let mut totals = Totals::new(naming);
        for (seconds, numbers) in intervals {
            let rows = pool.iter().zip(numbers).filter_map(|(series, number)| Some(row(series, number?)));
            let snapshot = snapshot(Duration::from_secs(seconds), &policy, rows.collect());
            prop_assert_eq!(totals.add(&snapshot), plain.add(&snapshot));
            prop_assert_eq!(page(&totals), plain.page());
            let page = page(&totals);
            let mut lines: Vec<_> = page.lines().filter(|line| !line.starts_with('#')).collect();
            lines.sort_unstable();
            prop_assert_eq!(lines_of_openmetrics(&text(&totals, Format::OpenMetrics)), lines);
            let messages = bytes(&totals, Format::Protobuf);
            prop_assert_eq!(protobuf::tests::as_text(&messages), text(&totals, Format::Text));
        }
    }
}
