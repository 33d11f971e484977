//! Declares the messages of Prometheus' client_model (`io/prometheus/client/metrics.proto`) that the page uses.
//!
//! Numbers are declared as in Prometheus' own copy of that file: a 0 is not written, and a missing number is read as 0.
//! A field that ends in `_float` replaces the field without that ending, unless it is 0.

use prost::{Enumeration, Message};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Enumeration)]
#[repr(i32)]
pub(super) enum MetricType {
    Counter = 0,
    Gauge = 1,
    Summary = 2,
    Histogram = 4,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct MetricFamily {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    pub(super) help: String,
    #[prost(enumeration = "MetricType", tag = "3")]
    pub(super) r#type: i32,
    #[prost(message, repeated, tag = "4")]
    pub(super) metric: Vec<Metric>,
}

/// A series, with a value of its family's type.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Metric {
    #[prost(message, repeated, tag = "1")]
    pub(super) label: Vec<LabelPair>,
    #[prost(message, optional, tag = "2")]
    pub(super) gauge: Option<Gauge>,
    #[prost(message, optional, tag = "3")]
    pub(super) counter: Option<Counter>,
    #[prost(message, optional, tag = "4")]
    pub(super) summary: Option<Summary>,
    #[prost(message, optional, tag = "7")]
    pub(super) histogram: Option<Histogram>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct LabelPair {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    pub(super) value: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Gauge {
    #[prost(double, tag = "1")]
    pub(super) value: f64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Counter {
    #[prost(double, tag = "1")]
    pub(super) value: f64,
    #[prost(message, optional, tag = "3")]
    pub(super) created_timestamp: Option<Timestamp>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Summary {
    #[prost(uint64, tag = "1")]
    pub(super) sample_count: u64,
    #[prost(double, tag = "2")]
    pub(super) sample_sum: f64,
    #[prost(message, repeated, tag = "3")]
    pub(super) quantile: Vec<Quantile>,
    #[prost(message, optional, tag = "4")]
    pub(super) created_timestamp: Option<Timestamp>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Quantile {
    #[prost(double, tag = "1")]
    pub(super) quantile: f64,
    #[prost(double, tag = "2")]
    pub(super) value: f64,
}

/// A classic histogram, which has `bucket`, or a native one, which has `zero_threshold`. A native histogram counts in
/// the fields `_delta`, or in `_count` and `_float`.
#[derive(Clone, PartialEq, Message)]
pub(in crate::export::prometheus) struct Histogram {
    #[prost(uint64, tag = "1")]
    pub(in crate::export::prometheus) sample_count: u64,
    #[prost(double, tag = "4")]
    pub(in crate::export::prometheus) sample_count_float: f64,
    #[prost(double, tag = "2")]
    pub(in crate::export::prometheus) sample_sum: f64,
    #[prost(message, repeated, tag = "3")]
    pub(in crate::export::prometheus) bucket: Vec<Bucket>,
    #[prost(message, optional, tag = "15")]
    pub(in crate::export::prometheus) created_timestamp: Option<Timestamp>,
    /// The schema, from -4 to 8. The upper bound of a bucket is 2^(2^-schema) times its lower bound.
    #[prost(sint32, tag = "5")]
    pub(in crate::export::prometheus) schema: i32,
    #[prost(double, tag = "6")]
    pub(in crate::export::prometheus) zero_threshold: f64,
    #[prost(uint64, tag = "7")]
    pub(in crate::export::prometheus) zero_count: u64,
    #[prost(double, tag = "8")]
    pub(in crate::export::prometheus) zero_count_float: f64,
    #[prost(message, repeated, tag = "9")]
    pub(in crate::export::prometheus) negative_span: Vec<BucketSpan>,
    /// The difference between each bucket and the one before it, over all spans. The first difference is to 0.
    #[prost(sint64, repeated, tag = "10")]
    pub(in crate::export::prometheus) negative_delta: Vec<i64>,
    #[prost(double, repeated, tag = "11")]
    pub(in crate::export::prometheus) negative_count: Vec<f64>,
    #[prost(message, repeated, tag = "12")]
    pub(in crate::export::prometheus) positive_span: Vec<BucketSpan>,
    #[prost(sint64, repeated, tag = "13")]
    pub(in crate::export::prometheus) positive_delta: Vec<i64>,
    #[prost(double, repeated, tag = "14")]
    pub(in crate::export::prometheus) positive_count: Vec<f64>,
}

#[derive(Clone, PartialEq, Message)]
pub(in crate::export::prometheus) struct Bucket {
    #[prost(uint64, tag = "1")]
    pub(in crate::export::prometheus) cumulative_count: u64,
    #[prost(double, tag = "4")]
    pub(in crate::export::prometheus) cumulative_count_float: f64,
    #[prost(double, tag = "2")]
    pub(in crate::export::prometheus) upper_bound: f64,
}

/// Consecutive buckets of a native histogram.
#[derive(Clone, PartialEq, Message)]
pub(in crate::export::prometheus) struct BucketSpan {
    /// The number of buckets between the previous span and this one. For the first span, it is the index of the first
    /// bucket.
    #[prost(sint32, tag = "1")]
    pub(in crate::export::prometheus) offset: i32,
    #[prost(uint32, tag = "2")]
    pub(in crate::export::prometheus) length: u32,
}

/// `google.protobuf.Timestamp`: the time since 1970.
#[derive(Clone, Copy, PartialEq, Message)]
pub(in crate::export::prometheus) struct Timestamp {
    #[prost(int64, tag = "1")]
    pub(super) seconds: i64,
    #[prost(int32, tag = "2")]
    pub(super) nanos: i32,
}
