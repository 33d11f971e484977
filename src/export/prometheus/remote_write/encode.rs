//! Encodes running totals as requests of remote write.
//!
//! A walk over the members of all families makes the series that a scrape of the page would make. What differs from a scrape:
//!
//! - A series that has ended gets the mark that Prometheus itself writes when a series is missing on a page.
//! - A counter, a summary or a histogram that has begun gets a sample of 0 just after the start of its first interval, so that
//!   `rate()` and `increase()` see its first increase. Version 2.0 also has a field for the time when a series began.

use std::borrow::Cow;
use std::collections::HashMap;
use std::mem;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use foldhash::fast::RandomState;
use prost::Message;

use super::message::{
    FamilyMetadata, Histogram, Label, Metadata, MetricType, Request, STALE, Sample, SymbolSeries, TimeSeries,
    WriteRequest,
};
use crate::deliver::Batch;
use crate::export::prometheus::encode::{LabelValues, PolicyLabels, canonical, help, native_message};
use crate::export::prometheus::families::{Family, Member, Total};
use crate::export::prometheus::family_type::{FamilyType, LineKind};
use crate::export::prometheus::names::pairs;
use crate::export::prometheus::totals::{Gone, Totals};
use crate::model::NameFilter;

/// The size in bytes, before compression, after which a request is sent.
const REQUEST: usize = 1 << 20;

/// The content that an endpoint gets.
#[derive(Debug, Clone, PartialEq)]
pub struct RemoteWriteContent {
    /// The version of the protocol.
    pub version: Version,
    /// Whether native histograms are sent. If not, only the classic buckets are.
    pub native: bool,
    /// The labels of all series that do not have a label of that name.
    pub labels: Vec<(String, String)>,
    /// The names of the families that are sent.
    pub(crate) families: NameFilter,
}

impl RemoteWriteContent {
    /// Returns the content of an endpoint that gets everything.
    #[must_use]
    pub fn all(version: Version) -> Self {
        Self { version, native: true, labels: Vec::new(), families: NameFilter::default() }
    }
}

/// The version of the protocol in which requests are encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// `prometheus.WriteRequest`.
    V1,
    /// `io.prometheus.write.v2.Request`.
    V2,
}

/// Encodes the totals after an interval that ended at `time`. Calls `push` with the compressed body of each request, after a byte
/// that says its version.
pub fn encode_remote_write(
    totals: &Totals,
    content: &RemoteWriteContent,
    time: SystemTime,
    mut push: impl FnMut(&[u8]),
) {
    encode(totals, content, (time, false), |batch| push(&batch.body));
}

/// Encodes the totals after an interval that ended at `time`. Calls `push` with each request. If `with_metadata` is true,
/// requests of version 1.0 also have the types and the help of the families.
pub(super) fn encode(
    totals: &Totals,
    content: &RemoteWriteContent,
    (time, with_metadata): (SystemTime, bool),
    push: impl FnMut(Batch),
) {
    let millis = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as i64;
    let mut encoder = Encoder {
        content,
        time,
        millis,
        label_values: LabelValues::of(totals, canonical),
        request: Body::new(content.version),
        push,
    };
    for (family, members) in totals.families.iter().filter(|(family, _)| content.families.has(&family.name)) {
        let help = help(&totals.policies, family, &[]);
        encoder.request.begin_family((&family.name, family.metric_type), &help, with_metadata);
        for member in members {
            encoder.encode_member(family, member, totals);
        }
    }
    // New rules can drop a member and begin it again. A server refuses a second point of one time.
    let has_ended = |gone: &&Gone| !totals.families.contains(&gone.name, &gone.labels);
    for gone in totals.gone().iter().filter(|gone| content.families.has(&gone.name)).filter(has_ended) {
        encoder.request.begin_family((&gone.name, gone.metric_type), "", false);
        encoder.encode_gone(gone);
    }
    encoder.send();
}

struct Encoder<'a, P> {
    content: &'a RemoteWriteContent,
    time: SystemTime,
    millis: i64,
    label_values: LabelValues,
    request: Body,
    push: P,
}

impl<P: FnMut(Batch)> Encoder<'_, P> {
    /// Encodes the series of a member.
    fn encode_member(&mut self, family: &Family, member: &Member, totals: &Totals) {
        let Self { content, millis, label_values, request, .. } = self;
        let labels = Labels::new(content, &family.name, &member.labels);
        let created = (member.began * 1e3).round() as i64;
        let beginning = (family.metric_type != FamilyType::Gauge)
            .then(|| Beginning { created, is_now: member.began == totals.interval_began() });
        match &member.total {
            Total::Distribution(total) if content.native && total.native.is_some() => {
                let native = native_message(total).expect("the guard has found one");
                let histogram = Histogram::at(*millis, native);
                request.push(labels.series("", None), Point::Histogram(histogram), beginning);
            }
            _ => label_values.for_each_line(family.metric_type.lines(), member, |line, label, value| {
                // A quantile does not count from a beginning.
                let beginning = beginning.filter(|_| line != LineKind::Value || label.is_none());
                let sample = Sample { value, timestamp: *millis };
                request.push(labels.series(line.suffix(), label), Point::Sample(sample), beginning);
            }),
        }
        if let Total::Distribution(total) = &member.total
            && family.metric_type == FamilyType::Summary
            && total.quantiles_ended == totals.clock
        {
            for quantile in label_values.quantiles(member) {
                let stale = Point::Sample(Sample { value: STALE, timestamp: *millis });
                request.push(labels.series("", Some(("quantile", quantile))), stale, None);
            }
        }
        self.send_full();
    }

    /// Encodes the marks for the end of the series of a member that has left the page.
    fn encode_gone(&mut self, gone: &Gone) {
        let Self { content, millis, request, .. } = self;
        let labels = Labels::new(content, &gone.name, &gone.labels);
        if content.native && gone.metric_type == FamilyType::NativeHistogram {
            request.push(labels.series("", None), Point::Histogram(Histogram::stale(*millis)), None);
        } else {
            let stale = || Point::Sample(Sample { value: STALE, timestamp: *millis });
            PolicyLabels::of(&gone.statistics, canonical).for_each(gone.metric_type, |line, label| {
                request.push(labels.series(line.suffix(), label), stale(), None);
            });
        }
        self.send_full();
    }

    fn send_full(&mut self) {
        if self.request.bytes() >= REQUEST {
            self.send();
        }
    }

    fn send(&mut self) {
        let points = mem::take(&mut self.request.points);
        if points > 0 {
            (self.push)(Batch { body: self.request.take(), points, time: self.time });
        }
    }
}

/// The time when a series began, in milliseconds since 1970.
#[derive(Debug, Clone, Copy)]
struct Beginning {
    created: i64,
    /// Whether this is its first interval.
    is_now: bool,
}

enum Point {
    Sample(Sample),
    Histogram(Histogram),
}

/// The labels that all series of a member have.
struct Labels<'a> {
    family: &'a str,
    /// Sorted by name.
    pairs: Vec<(&'a str, Cow<'a, str>)>,
}

/// The labels of a series. `name` consists of the name of the family and a suffix.
struct SeriesLabels<'a> {
    name: [&'a str; 2],
    /// Sorted by name, without the name of the series.
    pairs: Vec<(&'a str, &'a str)>,
}

const NAME: &str = "__name__";

impl<'a> Labels<'a> {
    fn new(content: &'a RemoteWriteContent, family: &'a str, own: &'a str) -> Self {
        let mut all: Vec<_> = pairs(own).collect();
        for (name, value) in &content.labels {
            if !all.iter().any(|(own, _)| own == name) {
                all.push((name, value.as_str().into()));
            }
        }
        all.sort_unstable_by_key(|(name, _)| *name);
        Self { family, pairs: all }
    }

    fn series<'b>(&'b self, suffix: &'b str, label: Option<(&'b str, &'b str)>) -> SeriesLabels<'b> {
        let mut pairs: Vec<(&str, &str)> = Vec::with_capacity(self.pairs.len() + 2);
        pairs.push((NAME, ""));
        pairs.extend(self.pairs.iter().map(|(name, value)| (*name, &**value)));
        pairs.extend(label);
        // Most labels are in order. Only labels with capitals come before the name.
        pairs.sort_by_key(|(name, _)| *name);
        SeriesLabels { name: [self.family, suffix], pairs }
    }
}

/// A request that is being encoded.
struct Body {
    points: u64,
    /// The series, encoded as fields of the request.
    series: Vec<u8>,
    version: VersionBody,
}

enum VersionBody {
    V1 {
        /// The message of the latest series. It is reused for its memory.
        message: WriteRequest,
    },
    V2 {
        message: Request,
        symbols: HashMap<String, u32, RandomState>,
        /// The symbols, encoded as fields of the request.
        encoded_symbols: Vec<u8>,
        metadata: Metadata,
        /// The help of the current family. It becomes a symbol in each request.
        help: String,
    },
}

/// The field of a request of version 2.0 with its symbols.
const SYMBOLS_TAG: u32 = 4;

const GROWS: &str = "a Vec grows until the message fits";

impl Body {
    fn new(version: Version) -> Self {
        let version = match version {
            Version::V1 => {
                let message =
                    WriteRequest { timeseries: vec![TimeSeries::default()], ..WriteRequest::default() };
                VersionBody::V1 { message }
            }
            Version::V2 => {
                let message = Request { timeseries: vec![SymbolSeries::default()], ..Request::default() };
                let mut body = VersionBody::V2 {
                    message,
                    symbols: HashMap::default(),
                    encoded_symbols: Vec::new(),
                    metadata: Metadata::default(),
                    help: String::new(),
                };
                body.clear();
                body
            }
        };
        Self { points: 0, series: Vec::with_capacity(REQUEST + REQUEST / 8), version }
    }

    fn bytes(&self) -> usize {
        let symbols = match &self.version {
            VersionBody::V1 { .. } => 0,
            VersionBody::V2 { encoded_symbols, .. } => encoded_symbols.len(),
        };
        self.series.len() + symbols
    }

    /// Prepares for the series of a family.
    fn begin_family(&mut self, (name, family_type): (&str, FamilyType), help: &str, with_metadata: bool) {
        let metric_type = match family_type {
            FamilyType::Counter => MetricType::Counter,
            FamilyType::Gauge => MetricType::Gauge,
            FamilyType::Summary => MetricType::Summary,
            FamilyType::Histogram | FamilyType::NativeHistogram => MetricType::Histogram,
        };
        match &mut self.version {
            VersionBody::V1 { .. } if with_metadata => {
                let mut metadata = FamilyMetadata {
                    metric_family_name: name.to_owned(),
                    help: help.to_owned(),
                    ..FamilyMetadata::default()
                };
                metadata.set_type(metric_type);
                let message = WriteRequest { timeseries: Vec::new(), metadata: vec![metadata] };
                message.encode(&mut self.series).expect(GROWS);
            }
            VersionBody::V1 { .. } => {}
            VersionBody::V2 { metadata, help: current, .. } => {
                metadata.set_type(metric_type);
                help.clone_into(current);
            }
        }
    }

    fn push(&mut self, labels: SeriesLabels<'_>, point: Point, beginning: Option<Beginning>) {
        let SeriesLabels { name, pairs } = labels;
        match &mut self.version {
            VersionBody::V1 { message } => {
                let TimeSeries { labels, samples, histograms } = &mut message.timeseries[0];
                labels.resize_with(pairs.len(), Label::default);
                for (label, (key, value)) in labels.iter_mut().zip(pairs) {
                    label.name.clear();
                    label.name.push_str(key);
                    label.value.clear();
                    if key == NAME { label.value.extend(name) } else { label.value.push_str(value) }
                }
                self.points += put(point, beginning, samples, histograms);
                message.encode(&mut self.series).expect(GROWS);
            }
            VersionBody::V2 { message, symbols, encoded_symbols, metadata, help } => {
                let mut position = |text: &str| {
                    if let Some(&position) = symbols.get(text) {
                        return position;
                    }
                    let (position, text) = (symbols.len() as u32, text.to_owned());
                    prost::encoding::string::encode(SYMBOLS_TAG, &text, encoded_symbols);
                    symbols.insert(text, position);
                    position
                };
                let SymbolSeries { labels_refs, samples, histograms, metadata: own, created_timestamp } =
                    &mut message.timeseries[0];
                labels_refs.clear();
                for (key, value) in pairs {
                    labels_refs.push(position(key));
                    labels_refs.push(if key == NAME { position(&name.concat()) } else { position(value) });
                }
                *own = Some(Metadata { help_ref: position(help), ..*metadata });
                *created_timestamp = beginning.map_or(0, |beginning| beginning.created);
                self.points += put(point, beginning, samples, histograms);
                message.encode(&mut self.series).expect(GROWS);
            }
        }
    }

    /// Takes the request, compressed, and begins another one.
    fn take(&mut self) -> Bytes {
        let whole;
        let (mark, uncompressed) = match &self.version {
            VersionBody::V1 { .. } => (MARK_V1, &self.series),
            VersionBody::V2 { encoded_symbols, .. } => {
                whole = [&**encoded_symbols, &*self.series].concat();
                (MARK_V2, &whole)
            }
        };
        let body = compressed(mark, uncompressed);
        self.series.clear();
        self.version.clear();
        body
    }
}

/// Replaces the points of another series. Returns their number.
fn put(
    point: Point,
    beginning: Option<Beginning>,
    samples: &mut Vec<Sample>,
    histograms: &mut Vec<Histogram>,
) -> u64 {
    // The latest point of an earlier series of this name can be at the start of the interval, so the 0 comes after it.
    let zero_at = beginning.filter(|beginning| beginning.is_now).map(|beginning| beginning.created + 1);
    samples.clear();
    histograms.clear();
    match point {
        Point::Sample(sample) => {
            samples.extend(zero_at.map(|timestamp| Sample { value: 0.0, timestamp }));
            samples.push(sample);
        }
        Point::Histogram(histogram) => {
            histograms.extend(zero_at.map(|timestamp| Histogram::empty_like(&histogram, timestamp)));
            histograms.push(histogram);
        }
    }
    (samples.len() + histograms.len()) as u64
}

impl VersionBody {
    /// Drops the symbols of the previous request. The first symbol is empty.
    fn clear(&mut self) {
        if let VersionBody::V2 { symbols, encoded_symbols, .. } = self {
            symbols.clear();
            symbols.insert(String::new(), 0);
            encoded_symbols.clear();
            prost::encoding::string::encode(SYMBOLS_TAG, &String::new(), encoded_symbols);
        }
    }
}

/// The first byte of a batch in the queue, which says how the rest is encoded. It is not sent.
const MARK_V1: u8 = b'1';
const MARK_V2: u8 = b'2';

/// Compresses a request as one block of snappy, after the mark.
fn compressed(mark: u8, request: &[u8]) -> Bytes {
    let mut body = vec![0; 1 + snap::raw::max_compress_len(request.len())];
    body[0] = mark;
    let length = snap::raw::Encoder::new()
        .compress(request, &mut body[1..])
        .expect("the buffer has the greatest length, and a request is shorter than 4 GiB");
    body.truncate(1 + length);
    body.into()
}

/// Compresses a request of version 1.0 that does not go through a queue.
pub(super) fn compressed_v1(request: &[u8]) -> Bytes {
    compressed(MARK_V1, request).slice(1..)
}

/// Returns the version of a batch in the queue, and what is sent.
pub(super) fn version_of(batch: &Batch) -> Option<(Version, Bytes)> {
    let version = match *batch.body.first()? {
        MARK_V1 => Version::V1,
        MARK_V2 => Version::V2,
        _ => return None,
    };
    Some((version, batch.body.slice(1..)))
}

/// Converts a request of version 2.0 to version 1.0. `compressed_v2` and the result are compressed. Returns `None` if it is not
/// such a request.
pub(super) fn downgraded(compressed_v2: &[u8]) -> Option<Bytes> {
    let request = Request::decode(&*snap::raw::Decoder::new().decompress_vec(compressed_v2).ok()?).ok()?;
    let mut series = Vec::new();
    for SymbolSeries { labels_refs, samples, histograms, .. } in request.timeseries {
        let text = |position: u32| request.symbols.get(position as usize).cloned();
        let label = |pair: &[u32]| Some(Label { name: text(pair[0])?, value: text(pair[1])? });
        let labels = labels_refs.chunks_exact(2).map(label).collect::<Option<_>>()?;
        let message = TimeSeries { labels, samples, histograms };
        WriteRequest { timeseries: vec![message], metadata: Vec::new() }.encode(&mut series).expect(GROWS);
    }
    Some(compressed_v1(&series))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;
    use std::time::Duration;

    use super::super::message::Count;
    use super::*;
    use crate::export::prometheus::tests::{add, add_under, row, text, totals};
    use crate::export::prometheus::{Format, Naming};
    use crate::model::{
        Exposition, Kind, NativeHistogram, NativeSettings, Policies, Policy, Series, Statistics, Summary,
        Value,
    };

    fn content(version: Version) -> RemoteWriteContent {
        RemoteWriteContent::all(version)
    }

    fn requests(totals: &Totals, content: &RemoteWriteContent) -> Vec<Batch> {
        let mut batches = Vec::new();
        let time = UNIX_EPOCH + Duration::from_secs(1010);
        encode(totals, content, (time, true), |batch| batches.push(batch));
        batches
    }

    /// A series with its points, as a server stores it.
    #[derive(Debug, PartialEq)]
    struct Stored {
        /// As on the page: `name{label="value"}`.
        series: String,
        samples: Vec<(i64, f64)>,
        histograms: Vec<Histogram>,
    }

    fn stored(labels: &[(String, String)], samples: &[Sample], histograms: Vec<Histogram>) -> Stored {
        assert!(labels.is_sorted_by(|a, b| a.0 < b.0), "labels must be sorted and unique: {labels:?}");
        assert!(labels.iter().all(|(name, value)| !name.is_empty() && !value.is_empty()), "{labels:?}");
        let name = labels.iter().find(|(name, _)| name == NAME).map(|(_, name)| name.clone()).unwrap();
        let others: Vec<_> = labels
            .iter()
            .filter(|(name, _)| name != NAME)
            .map(|(name, value)| format!("{name}={value:?}"))
            .collect();
        let series = if others.is_empty() { name } else { format!("{name}{{{}}}", others.join(",")) };
        assert!(samples.is_empty() != histograms.is_empty(), "{series} has one kind of points");
        assert!(samples.is_sorted_by(|a, b| a.timestamp < b.timestamp), "{series}: {samples:?}");
        Stored {
            series,
            samples: samples.iter().map(|sample| (sample.timestamp, sample.value)).collect(),
            histograms,
        }
    }

    fn decompressed(body: &[u8]) -> Vec<u8> {
        snap::raw::Decoder::new().decompress_vec(body).unwrap()
    }

    /// Decodes a request of version 1.0.
    fn decode_v1(body: &[u8]) -> Vec<Stored> {
        let request = WriteRequest::decode(&*decompressed(body)).unwrap();
        let series = |series: TimeSeries| {
            let labels: Vec<_> = series.labels.into_iter().map(|label| (label.name, label.value)).collect();
            stored(&labels, &series.samples, series.histograms)
        };
        request.timeseries.into_iter().map(series).collect()
    }

    /// Decodes a request of version 2.0, and refuses all that its specification forbids.
    fn decode_v2(body: &[u8]) -> Vec<Stored> {
        let Request { symbols, timeseries } = Request::decode(&*decompressed(body)).unwrap();
        assert_eq!(symbols[0], "", "the first symbol is empty");
        assert_eq!(symbols.iter().collect::<BTreeSet<_>>().len(), symbols.len(), "each symbol is there once");
        let mut used = BTreeSet::from([0]);
        let mut text = |position: u32| {
            used.insert(position as usize);
            symbols[position as usize].clone()
        };
        let series = timeseries.into_iter().map(|series| {
            assert_eq!(series.labels_refs.len() % 2, 0);
            let labels: Vec<_> =
                series.labels_refs.chunks(2).map(|pair| (text(pair[0]), text(pair[1]))).collect();
            let metadata = series.metadata.unwrap();
            text(metadata.help_ref);
            assert_ne!(metadata.r#type(), MetricType::Unknown);
            stored(&labels, &series.samples, series.histograms)
        });
        let series = series.collect();
        assert_eq!(used.len(), symbols.len(), "each symbol is used");
        series
    }

    fn decode(batch: &Batch) -> Vec<Stored> {
        let (version, body) = version_of(batch).unwrap();
        let series = if version == Version::V1 { decode_v1(&body) } else { decode_v2(&body) };
        let points: usize = series.iter().map(|one| one.samples.len() + one.histograms.len()).sum();
        assert_eq!(points as u64, batch.points);
        series
    }

    fn all(totals: &Totals, content: &RemoteWriteContent) -> Vec<Stored> {
        requests(totals, content).iter().flat_map(decode).collect()
    }

    #[test]
    fn requests_say_the_same_as_the_page() {
        for exposition in [Exposition::Summary, Exposition::Histogram] {
            let mut totals = totals(Naming::Prometheus, exposition);
            let rows = || {
                vec![
                    row(Kind::Timing, "api.latency", &[("env", "a\"b\\c\n"), ("Zone", "1")], 100.0),
                    row(Kind::Counter, "hits", &[], 5.0),
                    row(Kind::Counter, "hits", &[("a", "🦀,")], 0.5),
                    row(Kind::Gauge, "queue", &[("le", "1")], -1.5),
                    row(Kind::Set, "users", &[], 7.0),
                ]
            };
            (0..2).for_each(|_| assert_eq!(add(&mut totals, rows()), []));
            for version in [Version::V1, Version::V2] {
                let written: Vec<_> = all(&totals, &RemoteWriteContent { native: false, ..content(version) });
                let mut lines: Vec<_> = written
                    .iter()
                    .map(|one| format!("{} {}", one.series.replace("\\u{1f980}", "🦀"), one.samples[0].1))
                    .collect();
                let page = text(&totals, Format::OpenMetrics);
                let mut expected: Vec<_> = page
                    .lines()
                    .filter(|line| !line.starts_with('#') && !line.contains("_created"))
                    .map(str::to_owned)
                    .collect();
                // Remote write sorts labels by bytes, and the page sorts them alike.
                lines.sort();
                expected.sort();
                assert_eq!(lines, expected, "{version:?}");
                assert!(written.iter().all(|one| one.samples.len() == 1 && one.samples[0].0 == 1_010_000));
            }
        }
    }

    #[test]
    fn a_counter_begins_with_zero_and_ends_with_the_mark_of_prometheus() {
        for version in [Version::V1, Version::V2] {
            let mut totals = totals(Naming::Prometheus, Exposition::Summary).with_gone_members();
            add(&mut totals, vec![row(Kind::Counter, "c", &[], 3.0), row(Kind::Gauge, "g", &[], 3.0)]);
            let samples = |totals: &Totals| {
                all(totals, &content(version))
                    .into_iter()
                    .map(|one| (one.series, one.samples))
                    .collect::<Vec<_>>()
            };
            // The first interval of the tests begins at 1000.25 s.
            let begun = [
                ("c_total".to_owned(), vec![(1_000_251, 0.0), (1_010_000, 3.0)]),
                ("g".to_owned(), vec![(1_010_000, 3.0)]),
            ];
            assert_eq!(samples(&totals), begun);
            add(&mut totals, vec![row(Kind::Counter, "c", &[], 1.0)]);
            let [(c, c_samples), (g, g_samples)] = &samples(&totals)[..] else { panic!() };
            assert_eq!((&**c, &c_samples[..]), ("c_total", &[(1_010_000, 4.0)][..]));
            assert_eq!((&**g, g_samples[0].1.to_bits()), ("g", STALE.to_bits()));
            add(&mut totals, vec![row(Kind::Counter, "c", &[], 1.0)]);
            assert_eq!(samples(&totals).len(), 1, "an end is marked once");
        }
    }

    #[test]
    fn a_family_that_begins_again_under_new_rules_has_one_point_per_time() {
        let mut totals = totals(Naming::Prometheus, Exposition::Histogram).with_gone_members();
        let rows = || vec![row(Kind::Histogram, "h", &[("a", "b")], 1.0)];
        add(&mut totals, rows());
        let old = totals.policies.iter().next().unwrap().clone();
        let statistics = Statistics { bounds: vec![5.0, 6.0], ..old.statistics.clone() };
        let rules = Arc::new(Policies::new(vec![Policy { statistics, ..old }]));
        add_under(&mut totals, rules, rows());
        assert_eq!(totals.gone().len(), 1);
        let mut batches = Vec::new();
        let end = UNIX_EPOCH + Duration::from_millis(1_020_250);
        encode(&totals, &content(Version::V1), (end, false), |batch| batches.push(batch));
        let all: Vec<_> = batches.iter().flat_map(decode).collect();
        let names: BTreeSet<_> = all.iter().map(|one| &one.series).collect();
        assert_eq!(names.len(), all.len(), "{all:#?}");
        assert!(all.iter().all(|one| one.samples.last().unwrap().1.to_bits() != STALE.to_bits()));
    }

    #[test]
    fn quantiles_end_when_a_summary_gets_no_samples() {
        let mut totals = totals(Naming::Prometheus, Exposition::Summary);
        add(&mut totals, vec![row(Kind::Histogram, "h", &[], 1.0)]);
        let quantiles = |totals: &Totals| {
            let all = all(totals, &content(Version::V1));
            let quantiles = all.into_iter().filter(|one| one.series.contains("quantile"));
            quantiles.map(|one| one.samples[0].1.to_bits() == STALE.to_bits()).collect::<Vec<_>>()
        };
        assert_eq!(quantiles(&totals), [false, false]);
        add(&mut totals, Vec::new());
        assert_eq!(quantiles(&totals), [true, true]);
        add(&mut totals, Vec::new());
        assert_eq!(quantiles(&totals), [false; 0]);
    }

    #[test]
    fn labels_of_the_endpoint_give_way_to_those_of_a_series_and_families_are_filtered() {
        let mut totals = totals(Naming::Prometheus, Exposition::Summary);
        let rows = ["app.a", "app.b", "other"].map(|name| row(Kind::Gauge, name, &[("env", "own")], 1.0));
        add(&mut totals, rows.into());
        let labels = [("env", "all"), ("A", "1"), ("zone", "z")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()));
        for version in [Version::V1, Version::V2] {
            let content = RemoteWriteContent {
                labels: labels.to_vec(),
                families: NameFilter::new(&["app_*".to_owned()]),
                ..content(version)
            };
            let series: Vec<_> = all(&totals, &content).into_iter().map(|one| one.series).collect();
            let labels = "A=\"1\",env=\"own\",zone=\"z\"";
            assert_eq!(series, [format!("app_a{{{labels}}}"), format!("app_b{{{labels}}}")]);
        }
    }

    #[test]
    fn many_series_become_several_requests_that_are_complete() {
        let mut totals = totals(Naming::Prometheus, Exposition::Summary);
        let name = |n: u32| format!("name.of.a.counter.{n:06}");
        add(
            &mut totals,
            (0..30_000).map(|n| row(Kind::Counter, &name(n), &[("k", "v")], f64::from(n))).collect(),
        );
        for version in [Version::V1, Version::V2] {
            let requests = requests(&totals, &content(version));
            assert!(requests.len() > 1);
            let series: BTreeSet<_> = requests.iter().flat_map(decode).map(|one| one.series).collect();
            assert_eq!(series.len(), 30_000);
        }
    }

    #[test]
    fn a_request_for_an_old_server_has_the_same_points() {
        let mut totals = totals(Naming::Prometheus, Exposition::Summary);
        let rows = || vec![row(Kind::Counter, "c", &[("a", "b")], 3.0), row(Kind::Timing, "t", &[], 3.0)];
        (0..2).for_each(|_| _ = add(&mut totals, rows()));
        let [batch] = &requests(&totals, &content(Version::V2))[..] else { panic!() };
        let (_, body) = version_of(batch).unwrap();
        assert_eq!(decode_v1(&downgraded(&body).unwrap()), decode_v2(&body));
        assert_eq!(downgraded(b"rubbish"), None);
    }

    #[test]
    fn native_histograms_are_written_instead_of_buckets_if_the_endpoint_takes_them() {
        let mut totals = totals(Naming::Prometheus, Exposition::Native);
        let statistics = Statistics {
            native: Some(NativeSettings { schema: 3, max_buckets: 0 }),
            ..totals.policies.iter().next().unwrap().statistics.clone()
        };
        let policy = Policy { statistics, exposition: Exposition::Native, ..Policy::default() };
        let native = NativeHistogram::new(3, 0.0, [(1, 2.0), (4, 1.0)], []);
        let summary = Summary { count: 3.0, sum: 4.0, native: Some(Box::new(native)), ..Summary::default() };
        let value = Value::Summary(Box::new(summary));
        let policies = Arc::new(Policies::new(vec![policy]));
        add_under(&mut totals, policies, vec![(Series::new(Kind::Histogram, "h", &[]), value)]);
        for version in [Version::V1, Version::V2] {
            let [one] = &all(&totals, &content(version))[..] else { panic!() };
            assert_eq!(one.series, "h");
            let counts: Vec<_> = one.histograms.iter().map(|histogram| histogram.count).collect();
            assert_eq!(counts, [Some(Count::Whole(0)), Some(Count::Whole(3))]);
            let classic = all(&totals, &RemoteWriteContent { native: false, ..content(version) });
            assert!(classic.iter().any(|one| one.series == "h_count"), "{classic:?}");
        }
    }
}
