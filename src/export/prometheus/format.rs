//! The formats of the page.

use super::{Totals, openmetrics, text};

/// How the page is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Prometheus' text format, version 0.0.4.
    Text,
    /// The text format of OpenMetrics, version 1.0.
    OpenMetrics,
}

impl Format {
    /// All of them, in the order of their discriminants.
    pub const ALL: [Format; 2] = [Format::Text, Format::OpenMetrics];

    /// The name by which telemetry counts it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Format::Text => "text",
            Format::OpenMetrics => "openmetrics",
        }
    }

    /// As HTTP calls it.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Format::Text => "text/plain; version=0.0.4; charset=utf-8",
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// Writes the page, piece by piece: that of a million series takes more memory than the series.
    ///
    /// # Errors
    ///
    /// The first one of `write`.
    pub fn render<E>(self, totals: &Totals, write: impl FnMut(&str) -> Result<(), E>) -> Result<(), E> {
        match self {
            Format::Text => text::render(totals, write),
            Format::OpenMetrics => openmetrics::render(totals, write),
        }
    }
}
