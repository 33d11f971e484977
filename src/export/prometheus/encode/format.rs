//! Lists the formats of the page, and renders the page in each.

use enum_map::Enum;
use strum::{IntoStaticStr, VariantArray};

use super::lines::Names;
use super::openmetrics::OpenMetrics;
use super::protobuf::Protobuf;
use super::text::Text;
use super::walk::walk;
use crate::export::prometheus::totals::Totals;

/// The format of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "lowercase")]
pub enum Format {
    /// Prometheus' text format, version 0.0.4.
    Text,
    /// The text format of OpenMetrics, version 1.0.
    OpenMetrics,
    /// Prometheus' protobuf format: messages, each preceded by its length.
    Protobuf,
    /// Prometheus' text format, version 1.0.0, with the names that clients sent.
    #[strum(serialize = "text_utf8")]
    TextUtf8,
    /// OpenMetrics with the names that clients sent.
    #[strum(serialize = "openmetrics_utf8")]
    OpenMetricsUtf8,
    /// Protobuf with the names that clients sent.
    #[strum(serialize = "protobuf_utf8")]
    ProtobufUtf8,
}

impl Format {
    /// Returns the value of the HTTP header `Content-Type`.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Format::Text => "text/plain; version=0.0.4; charset=utf-8",
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Format::Protobuf => {
                "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
            }
            Format::TextUtf8 => "text/plain; version=1.0.0; charset=utf-8; escaping=allow-utf-8",
            Format::OpenMetricsUtf8 => {
                "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=allow-utf-8"
            }
            Format::ProtobufUtf8 => {
                "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited; escaping=allow-utf-8"
            }
        }
    }

    /// Writes the page in pieces of about 64 KiB, because the page of a million series takes more memory than the
    /// series.
    ///
    /// # Errors
    ///
    /// Returns the first error of `write`.
    pub fn render<E>(self, totals: &Totals, write: impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        let names = match self {
            Format::Text | Format::OpenMetrics | Format::Protobuf => Names::Legal,
            Format::TextUtf8 | Format::OpenMetricsUtf8 | Format::ProtobufUtf8 => {
                Names::Utf8(&totals.families)
            }
        };
        match self {
            Format::Text | Format::TextUtf8 => walk(totals, Text::new(totals, names), write),
            Format::OpenMetrics | Format::OpenMetricsUtf8 => {
                walk(totals, OpenMetrics::new(totals, names), write)
            }
            Format::Protobuf | Format::ProtobufUtf8 => walk(totals, Protobuf::new(totals, names), write),
        }
    }
}
