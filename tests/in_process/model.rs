//! The plainest aggregation there is: the specification that the fast one is compared with.
//!
//! One map from series to all that was sent for it, no buffers, no shards, no shortcuts. Only the parser is shared,
//! which the conformance cases test on its own.
#![allow(unreachable_pub, reason = "a module of tests")]

use std::collections::{BTreeMap, BTreeSet};

use tallyd::aggregate::IngestCounts;
use tallyd::model::{Event, Kind, RESERVED_PREFIX, Series};
use tallyd::protocol::{self, Dialects, Line, Metric, Notes, SampleValue, Tags};

/// Everything that was sent for one series in an interval.
#[derive(Debug, Clone, PartialEq)]
pub enum State {
    Counter(f64),
    Gauge(f64),
    Set(BTreeSet<Vec<u8>>),
    /// Values and weights.
    Values(Vec<(f64, f64)>),
}

/// All series.
#[derive(Debug, Default)]
pub struct Model {
    pub series: BTreeMap<Series, State>,
    pub events: Vec<Event>,
    pub tally: IngestCounts,
}

impl Model {
    pub fn record(&mut self, datagram: &[u8]) {
        self.tally.datagrams += 1;
        self.tally.bytes += datagram.len() as u64;
        for line in protocol::lines(datagram) {
            self.tally.lines += 1;
            match protocol::parse(line, Dialects::ALL) {
                Err(error) => self.tally.rejected[error.reason() as usize] += 1,
                Ok(Line::Metric(metric)) => self.record_metric(&metric),
                Ok(Line::Event(event)) => {
                    self.note(event.notes);
                    self.tally.events[event.priority as usize][event.alert_type as usize] += 1;
                    self.events.push(tallyd::resolve::event(&event, false));
                }
                Ok(Line::ServiceCheck(check)) => {
                    self.note(check.notes);
                    self.tally.service_checks[check.status as usize] += 1;
                    let mut tags = owned(check.tags);
                    for (key, _) in &mut tags {
                        if key == "check" || check.hostname.is_some() && key == "host" {
                            key.insert_str(0, "exported_");
                        }
                    }
                    tags.push(("check".to_owned(), check.name.to_owned()));
                    tags.extend(check.hostname.map(|host| ("host".to_owned(), lossy(host))));
                    let series = series(Kind::Gauge, "service_check", &tags);
                    self.add(&series, SampleValue::Number(f64::from(check.status as u8)), 1.0);
                }
            }
        }
    }

    fn record_metric(&mut self, metric: &Metric<'_>) {
        self.note(metric.notes());
        assert!(!metric.name().starts_with(RESERVED_PREFIX), "the model knows no reserved names");
        let tags = owned(metric.tags());
        for sample in metric.samples() {
            self.tally.samples[sample.kind as usize] += 1;
            let series = series(sample.kind, &metric.name().to_string(), &tags);
            self.add(&series, sample.value, sample.rate.weight());
        }
    }

    fn note(&mut self, notes: Notes) {
        notes.iter().for_each(|note| self.tally.noted[note as usize] += 1);
    }

    fn add(&mut self, series: &Series, value: SampleValue<'_>, weight: f64) {
        let state = self.series.entry(series.clone()).or_insert_with(|| match series.kind() {
            Kind::Counter => State::Counter(0.0),
            Kind::Gauge => State::Gauge(0.0),
            Kind::Set => State::Set(BTreeSet::new()),
            Kind::Timing | Kind::Histogram | Kind::Distribution => State::Values(Vec::new()),
        });
        match (state, value) {
            (State::Counter(sum), SampleValue::Number(value)) => *sum += value * weight,
            (State::Gauge(present), SampleValue::Number(value)) => *present = value,
            (State::Gauge(present), SampleValue::Signed(change)) => *present += change,
            (State::Set(members), SampleValue::Member(member)) => _ = members.insert(member.to_vec()),
            (State::Values(values), SampleValue::Number(value)) => values.push((value, weight)),
            (state, value) => panic!("{value:?} for {state:?}"),
        }
    }

    /// Ends the interval: gauges stay.
    pub fn end(&mut self) {
        self.series.retain(|_, state| matches!(state, State::Gauge(_)));
        self.events.clear();
        self.tally = IngestCounts::default();
    }
}

fn series(kind: Kind, name: &str, tags: &[(String, String)]) -> Series {
    let tags: Vec<_> = tags.iter().map(|(key, value)| (&**key, &**value)).collect();
    Series::new(kind, name, &tags)
}

fn owned(tags: Tags<'_>) -> Vec<(String, String)> {
    tags.iter().map(|(key, value)| (lossy(key), lossy(value))).collect()
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The smallest value such that the weight of it and of all below it reaches `percent` of all weight.
pub fn nearest_rank(values: &[(f64, f64)], percent: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
    let total: f64 = sorted.iter().map(|(_, weight)| weight).sum();
    let mut below = 0.0;
    for (value, weight) in &sorted {
        below += weight;
        if below * 100.0 >= total * percent * (1.0 - 1e-9) {
            return *value;
        }
    }
    sorted[sorted.len() - 1].0
}
