//! Declares the messages of remote write: `prometheus.WriteRequest` of version 1.0, and `io.prometheus.write.v2.Request`.
//!
//! Samples and native histograms are alike in both versions.

use prost::{Enumeration, Message, Oneof};

use crate::export::prometheus::encode::{BucketSpan, NativeMessage};

/// A request of version 1.0.
#[derive(Clone, PartialEq, Message)]
pub(super) struct WriteRequest {
    #[prost(message, repeated, tag = "1")]
    pub(super) timeseries: Vec<TimeSeries>,
    #[prost(message, repeated, tag = "3")]
    pub(super) metadata: Vec<FamilyMetadata>,
}

/// A series of version 1.0.
#[derive(Clone, PartialEq, Message)]
pub(super) struct TimeSeries {
    /// Sorted by name. The name of the metric is the label `__name__`.
    #[prost(message, repeated, tag = "1")]
    pub(super) labels: Vec<Label>,
    #[prost(message, repeated, tag = "2")]
    pub(super) samples: Vec<Sample>,
    #[prost(message, repeated, tag = "4")]
    pub(super) histograms: Vec<Histogram>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Label {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    pub(super) value: String,
}

/// The type and the help of a family, in version 1.0.
#[derive(Clone, PartialEq, Message)]
pub(super) struct FamilyMetadata {
    #[prost(enumeration = "MetricType", tag = "1")]
    pub(super) r#type: i32,
    #[prost(string, tag = "2")]
    pub(super) metric_family_name: String,
    #[prost(string, tag = "4")]
    pub(super) help: String,
}

/// A request of version 2.0. Each text is in it once.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Request {
    /// The first one is empty.
    #[prost(string, repeated, tag = "4")]
    pub(super) symbols: Vec<String>,
    #[prost(message, repeated, tag = "5")]
    pub(super) timeseries: Vec<SymbolSeries>,
}

/// A series of version 2.0. Its texts are positions in the symbols.
#[derive(Clone, PartialEq, Message)]
pub(super) struct SymbolSeries {
    /// The name and the value of each label, sorted by name.
    #[prost(uint32, repeated, tag = "1")]
    pub(super) labels_refs: Vec<u32>,
    #[prost(message, repeated, tag = "2")]
    pub(super) samples: Vec<Sample>,
    #[prost(message, repeated, tag = "3")]
    pub(super) histograms: Vec<Histogram>,
    #[prost(message, optional, tag = "5")]
    pub(super) metadata: Option<Metadata>,
    /// When the series began, in milliseconds since 1970. 0 means unknown.
    #[prost(int64, tag = "6")]
    pub(super) created_timestamp: i64,
}

/// The type and the help of a series, in version 2.0.
#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct Metadata {
    #[prost(enumeration = "MetricType", tag = "1")]
    pub(super) r#type: i32,
    #[prost(uint32, tag = "3")]
    pub(super) help_ref: u32,
}

/// The type of a family. Both versions have the same numbers for these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Enumeration)]
#[repr(i32)]
pub(super) enum MetricType {
    Unknown = 0,
    Counter = 1,
    Gauge = 2,
    Histogram = 3,
    Summary = 5,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct Sample {
    #[prost(double, tag = "1")]
    pub(super) value: f64,
    /// In milliseconds since 1970.
    #[prost(int64, tag = "2")]
    pub(super) timestamp: i64,
}

/// A native histogram. It counts in integers and differences, or in floats.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Histogram {
    #[prost(oneof = "Count", tags = "1, 2")]
    pub(super) count: Option<Count>,
    #[prost(double, tag = "3")]
    pub(super) sum: f64,
    #[prost(sint32, tag = "4")]
    pub(super) schema: i32,
    #[prost(double, tag = "5")]
    pub(super) zero_threshold: f64,
    #[prost(oneof = "ZeroCount", tags = "6, 7")]
    pub(super) zero_count: Option<ZeroCount>,
    #[prost(message, repeated, tag = "8")]
    pub(super) negative_spans: Vec<BucketSpan>,
    #[prost(sint64, repeated, tag = "9")]
    pub(super) negative_deltas: Vec<i64>,
    #[prost(double, repeated, tag = "10")]
    pub(super) negative_counts: Vec<f64>,
    #[prost(message, repeated, tag = "11")]
    pub(super) positive_spans: Vec<BucketSpan>,
    #[prost(sint64, repeated, tag = "12")]
    pub(super) positive_deltas: Vec<i64>,
    #[prost(double, repeated, tag = "13")]
    pub(super) positive_counts: Vec<f64>,
    /// In milliseconds since 1970.
    #[prost(int64, tag = "15")]
    pub(super) timestamp: i64,
}

#[derive(Clone, Copy, PartialEq, Oneof)]
pub(super) enum Count {
    #[prost(uint64, tag = "1")]
    Whole(u64),
    #[prost(double, tag = "2")]
    Float(f64),
}

#[derive(Clone, Copy, PartialEq, Oneof)]
pub(super) enum ZeroCount {
    #[prost(uint64, tag = "6")]
    Whole(u64),
    #[prost(double, tag = "7")]
    Float(f64),
}

impl Histogram {
    /// Returns a histogram as a scrape would have it, at a time.
    pub(super) fn at(timestamp: i64, native: NativeMessage) -> Self {
        let is_float = native.sample_count_float > 0.0;
        let (count, zero_count) = if is_float {
            (Count::Float(native.sample_count_float), ZeroCount::Float(native.zero_count_float))
        } else {
            (Count::Whole(native.sample_count), ZeroCount::Whole(native.zero_count))
        };
        Self {
            count: Some(count),
            sum: native.sample_sum,
            schema: native.schema,
            zero_threshold: native.zero_threshold,
            zero_count: Some(zero_count),
            negative_spans: native.negative_span,
            negative_deltas: native.negative_delta,
            negative_counts: native.negative_count,
            positive_spans: native.positive_span,
            positive_deltas: native.positive_delta,
            positive_counts: native.positive_count,
            timestamp,
        }
    }

    /// Returns a histogram without values in the buckets of another one.
    pub(super) fn empty_like(&self, timestamp: i64) -> Self {
        let (count, zero_count) = match self.count {
            Some(Count::Float(_)) => (Count::Float(0.0), ZeroCount::Float(0.0)),
            _ => (Count::Whole(0), ZeroCount::Whole(0)),
        };
        Self {
            count: Some(count),
            schema: self.schema,
            zero_threshold: self.zero_threshold,
            zero_count: Some(zero_count),
            positive_spans: vec![BucketSpan { offset: 0, length: 0 }],
            timestamp,
            ..Self::default()
        }
    }

    /// Returns the mark for a native histogram that has ended.
    pub(super) fn stale(timestamp: i64) -> Self {
        Self {
            count: Some(Count::Whole(0)),
            sum: STALE,
            zero_count: Some(ZeroCount::Whole(0)),
            timestamp,
            ..Self::default()
        }
    }
}

/// The value that marks the end of a series. It is one of the many values that are not a number.
pub(super) const STALE: f64 = f64::from_bits(0x7ff0_0000_0000_0002);
