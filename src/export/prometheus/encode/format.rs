//! Lists the formats of the page, and renders the page in each.

use enum_map::Enum;
use strum::{IntoStaticStr, VariantArray};

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
        }
    }

    /// Writes the page in pieces of about 64 KiB, because the page of a million series takes more memory than the
    /// series.
    ///
    /// # Errors
    ///
    /// Returns the first error of `write`.
    pub fn render<E>(self, totals: &Totals, write: impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        match self {
            Format::Text => walk(totals, Text::new(totals), write),
            Format::OpenMetrics => walk(totals, OpenMetrics::new(totals), write),
            Format::Protobuf => walk(totals, Protobuf::new(totals), write),
        }
    }
}
