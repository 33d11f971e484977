//! The formats of the page.

use super::{Totals, openmetrics, protobuf, text};

/// How the page is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, enum_map::Enum, strum::IntoStaticStr, strum::VariantArray)]
#[strum(serialize_all = "lowercase")]
pub enum Format {
    /// Prometheus' text format, version 0.0.4.
    Text,
    /// The text format of OpenMetrics, version 1.0.
    OpenMetrics,
    /// Messages of Prometheus' protobuf format, each with its length before it.
    Protobuf,
}

impl Format {
    /// All of them, in the order of their discriminants.
    pub const ALL: [Format; 3] = [Format::Text, Format::OpenMetrics, Format::Protobuf];

    /// The name by which telemetry counts it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Format::Text => "text",
            Format::OpenMetrics => "openmetrics",
            Format::Protobuf => "protobuf",
        }
    }

    /// As HTTP calls it.
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

    /// Writes the page, piece by piece: that of a million series takes more memory than the series.
    ///
    /// # Errors
    ///
    /// The first one of `write`.
    pub fn render<E>(self, totals: &Totals, mut write: impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        match self {
            Format::Text => text::render(totals, |piece| write(piece.as_bytes())),
            Format::OpenMetrics => openmetrics::render(totals, |piece| write(piece.as_bytes())),
            Format::Protobuf => protobuf::render(totals, write),
        }
    }
}
