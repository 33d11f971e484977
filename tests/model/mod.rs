//! The plainest aggregation there is: the specification that the fast one is compared with.
//!
//! One map from series to all that was sent for it, no buffers, no shards, no shortcuts. Only the parser is shared,
//! which the conformance cases test on its own.
#![allow(unreachable_pub, reason = "a module of tests")]

use std::collections::{BTreeMap, BTreeSet};

use tallyd::aggregate::{RESERVED_PREFIX, Tally};
use tallyd::protocol::{self, Kind, Value};
use tallyd::series::Series;

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
    pub tally: Tally,
}

impl Model {
    pub fn record(&mut self, datagram: &[u8]) {
        self.tally.datagrams += 1;
        self.tally.bytes += datagram.len() as u64;
        for line in protocol::lines(datagram) {
            self.tally.lines += 1;
            match protocol::parse(line) {
                Err(error) => self.tally.rejected[error.reason() as usize] += 1,
                Ok(metric) => {
                    for note in metric.notes().iter() {
                        self.tally.noted[note as usize] += 1;
                    }
                    assert!(!metric.name().starts_with(RESERVED_PREFIX), "the model knows no reserved names");
                    let tags: Vec<_> = metric
                        .tags()
                        .iter()
                        .map(|(key, value)| (String::from_utf8_lossy(key), String::from_utf8_lossy(value)))
                        .collect();
                    let tags: Vec<_> = tags.iter().map(|(key, value)| (&**key, &**value)).collect();
                    for sample in metric.samples() {
                        self.tally.samples[sample.kind as usize] += 1;
                        let series = Series::new(sample.kind, metric.name(), &tags);
                        self.add(&series, sample.value, sample.rate.weight());
                    }
                }
            }
        }
    }

    fn add(&mut self, series: &Series, value: Value<'_>, weight: f64) {
        let state = self.series.entry(series.clone()).or_insert_with(|| match series.kind() {
            Kind::Counter => State::Counter(0.0),
            Kind::Gauge => State::Gauge(0.0),
            Kind::Set => State::Set(BTreeSet::new()),
            Kind::Timing | Kind::Histogram | Kind::Distribution => State::Values(Vec::new()),
        });
        match (state, value) {
            (State::Counter(sum), Value::Number(value)) => *sum += value * weight,
            (State::Gauge(present), Value::Number(value)) => *present = value,
            (State::Gauge(present), Value::Signed(change)) => *present += change,
            (State::Set(members), Value::Member(member)) => _ = members.insert(member.to_vec()),
            (State::Values(values), Value::Number(value)) => values.push((value, weight)),
            (state, value) => panic!("{value:?} for {state:?}"),
        }
    }

    /// Ends the interval: gauges stay.
    pub fn end(&mut self) {
        self.series.retain(|_, state| matches!(state, State::Gauge(_)));
        self.tally = Tally::default();
    }
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
