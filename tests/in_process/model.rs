//! A plain aggregation, which is the specification for the fast one.
//!
//! One map holds everything that was sent for each series, without buffers, shards or shortcuts. Of tallyd, it uses
//! only the parser, `resolve::event` and plain types. The conformance cases test the parser on its own.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;

use tallyd::aggregate::IngestCounts;
use tallyd::mapping::Mapping;
use tallyd::model::{Event, Kind, RESERVED_PREFIX, Series};
use tallyd::protocol::{self, Dialects, Line, Metric, Notes, SampleValue, Tags};
use tallyd::resolve::{OverflowLimit, RefuseReason};

/// Everything that was sent for one series in an interval. A gauge also has its value from before.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum State {
    Counter(f64),
    Gauge(f64),
    Set(BTreeSet<Vec<u8>>),
    /// The values and their weights.
    Values(Vec<(f64, f64)>),
}

/// All series, and the events and counts of the open interval.
#[derive(Debug, Default)]
pub(crate) struct Model {
    pub(crate) series: BTreeMap<Series, State>,
    pub(crate) events: Vec<Event>,
    pub(crate) counts: IngestCounts,
    /// The largest number of series with tags that a metric may have.
    pub(crate) max_series_per_metric: Option<usize>,
    /// All series that ever had samples. None of them expires.
    pub(crate) known: BTreeSet<Series>,
}

/// Returns the counts that the model has, too. The model does not notice samples that change no sum, because that
/// depends on the order of the additions.
pub(crate) fn without_absorbed(counts: &IngestCounts) -> IngestCounts {
    IngestCounts { absorbed: IngestCounts::default().absorbed, ..counts.clone() }
}

/// The series that records a sample, and the limit because of which it is an overflow series, if it is one.
pub(crate) type Admitted = (Series, Option<OverflowLimit>);

/// Decides which series records a sample.
pub(crate) type Admit<'a> = dyn FnMut(Series) -> Result<Admitted, RefuseReason> + 'a;

impl Model {
    /// Records a datagram without rules. Of all limits, only that of each metric applies.
    pub(crate) fn record(&mut self, datagram: &[u8]) {
        let (limit, mut known) = (self.max_series_per_metric, mem::take(&mut self.known));
        self.record_admitted(datagram, &mut |series| {
            assert!(!series.name().starts_with(RESERVED_PREFIX), "the model knows no reserved names");
            Ok(admit(&mut known, limit, series))
        });
        self.known = known;
    }

    /// Records the samples of a datagram that `admit` does not refuse.
    pub(crate) fn record_admitted(&mut self, datagram: &[u8], admit: &mut Admit<'_>) {
        self.counts.datagrams += 1;
        self.counts.bytes += datagram.len() as u64;
        for line in protocol::lines(datagram) {
            self.counts.lines += 1;
            match protocol::parse(line, Dialects::ALL) {
                Err(error) => self.counts.rejected[error.reason()] += 1,
                Ok(Line::Metric(metric)) => self.record_metric(&metric, admit),
                Ok(Line::Event(event)) => {
                    self.note(event.notes);
                    self.counts.events[event.priority][event.alert_type] += 1;
                    self.events.push(tallyd::resolve::event(&event, false, &Mapping::default()));
                }
                Ok(Line::ServiceCheck(check)) => {
                    self.note(check.notes);
                    let mut tags = owned(check.tags);
                    for (key, _) in &mut tags {
                        if key == "check" || check.hostname.is_some() && key == "host" {
                            key.insert_str(0, "exported_");
                        }
                    }
                    tags.push(("check".to_owned(), check.name.to_owned()));
                    tags.extend(check.hostname.map(|host| ("host".to_owned(), lossy(host))));
                    let admitted = admit(series(Kind::Gauge, "service_check", &tags));
                    if self.add(&admitted, SampleValue::Number(f64::from(check.status as u8)), 1.0) {
                        self.counts.service_checks[check.status] += 1;
                    }
                }
            }
        }
    }

    fn record_metric(&mut self, metric: &Metric<'_>, admit: &mut Admit<'_>) {
        self.note(metric.notes());
        let tags = owned(metric.tags());
        // A limit applies to all samples of a line or to none.
        let mut admitted = BTreeMap::new();
        for sample in metric.samples() {
            let admitted = admitted
                .entry(sample.kind as usize)
                .or_insert_with(|| admit(series(sample.kind, &metric.name().to_string(), &tags)));
            if self.add(admitted, sample.value, sample.rate.weight()) {
                self.counts.samples[sample.kind] += 1;
            }
        }
    }

    fn note(&mut self, notes: Notes) {
        notes.iter().for_each(|note| self.counts.noted[note] += 1);
    }

    /// Adds a sample to the series that records it, or counts why none does. Returns false if it is refused.
    fn add(
        &mut self,
        admitted: &Result<Admitted, RefuseReason>,
        value: SampleValue<'_>,
        weight: f64,
    ) -> bool {
        let (series, overflow) = match admitted {
            Ok(admitted) => admitted,
            Err(reason) => {
                self.counts.refused[*reason] += 1;
                return false;
            }
        };
        if let Some(limit) = overflow {
            self.counts.overflowed[*limit] += 1;
        }
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
        true
    }

    /// Ends the interval. Gauges keep their values.
    pub(crate) fn end(&mut self) {
        self.series.retain(|_, state| matches!(state, State::Gauge(_)));
        self.events.clear();
        self.counts = IngestCounts::default();
    }
}

/// Returns the overflow series of a series: that of its metric.
pub(crate) fn overflow_of(series: &Series) -> Series {
    Series::new(series.kind(), series.name(), &[("tallyd_overflow", "true")])
}

pub(crate) fn is_tagged(series: &Series) -> bool {
    series.tags().next().is_some()
}

/// Returns true if two series count towards the limit of one metric.
pub(crate) fn share_metric(one: &Series, other: &Series) -> bool {
    one.name() == other.name() && one.kind() == other.kind() && is_tagged(one) && is_tagged(other)
}

/// Returns the series that records a sample of `series`: itself, or the overflow series of its metric.
fn admit(known: &mut BTreeSet<Series>, max_series_per_metric: Option<usize>, series: Series) -> Admitted {
    let used = || known.iter().filter(|other| share_metric(&series, other)).count();
    let is_full = max_series_per_metric.is_some_and(|limit| used() >= limit);
    let admitted = if is_full && is_tagged(&series) && !known.contains(&series) {
        (overflow_of(&series), Some(OverflowLimit::MaxSeriesPerMetric))
    } else {
        (series, None)
    };
    known.insert(admitted.0.clone());
    admitted
}

fn series(kind: Kind, name: &str, tags: &[(String, String)]) -> Series {
    let tags: Vec<_> = tags.iter().map(|(key, value)| (&**key, &**value)).collect();
    Series::new(kind, name, &tags)
}

fn owned(tags: Tags<'_>) -> Vec<(String, String)> {
    tags.iter().map(|(key, value)| (lossy(key), lossy(value.unwrap_or_default()))).collect()
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Returns the smallest value such that it and all smaller ones have at least `percent` of the total weight.
pub(crate) fn nearest_rank(values: &[(f64, f64)], percent: f64) -> f64 {
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
