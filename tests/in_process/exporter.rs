//! A pipeline with one receiver and a Prometheus page.

use std::convert::Infallible;
use std::time::{Duration, SystemTime};

use tallyd::aggregate::AggregationOptions;
use tallyd::export::ExportOutcome;
use tallyd::export::prometheus::{Format, Naming, Totals};
use tallyd::flush::ReloadableSettings;
use tallyd::model::Snapshot;

use crate::pipeline::Pipeline;

/// The length of an interval.
pub(crate) const INTERVAL: Duration = Duration::from_secs(10);

/// Turns lines into a page, interval by interval.
pub(crate) struct Exporter {
    pipeline: Pipeline,
    totals: Totals,
    now: Duration,
}

impl Exporter {
    pub(crate) fn new(naming: Naming, options: AggregationOptions, settings: ReloadableSettings) -> Self {
        let pipeline = Pipeline::new(1, options, settings);
        let totals = Totals::new(naming).with_utf8_names(true);
        Self { pipeline, totals, now: Duration::ZERO }
    }

    pub(crate) fn reload(&mut self, settings: ReloadableSettings) {
        self.pipeline.reload(settings);
    }

    /// Ends an interval with these lines, and adds its snapshot to the page.
    pub(crate) fn add(&mut self, lines: impl AsRef<[u8]>) -> ExportOutcome {
        let snapshot = self.lose(lines);
        self.totals.add(&snapshot)
    }

    /// Ends an interval with these lines. Its snapshot does not reach the page.
    pub(crate) fn lose(&mut self, lines: impl AsRef<[u8]>) -> Snapshot {
        self.pipeline.record(0, lines);
        self.now += INTERVAL;
        let results = self.pipeline.end_interval_at(self.now);
        results.into_snapshot(SystemTime::UNIX_EPOCH + self.now, INTERVAL)
    }

    pub(crate) fn page(&self, format: Format) -> String {
        let mut page = Vec::new();
        let Ok(()) = format.render(&self.totals, |piece| -> Result<(), Infallible> {
            page.extend_from_slice(piece);
            Ok(())
        });
        String::from_utf8(page).unwrap()
    }

    /// Returns the page in the text format.
    pub(crate) fn text(&self) -> String {
        self.page(Format::Text)
    }
}
