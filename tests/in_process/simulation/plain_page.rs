//! What the Prometheus page must show: valid text, and counters that add up every snapshot that the exporter got.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tallyd::model::{Kind, Series, Snapshot, Value};
use tallyd_harness::strict;

use super::settings::Settings;

/// The running totals of the counters `hits.…`, whose names collide with no others.
#[derive(Default)]
pub(super) struct PlainPage {
    totals: BTreeMap<Series, Total>,
    /// The sum of all intervals that the exporter got.
    clock: Duration,
    /// The counts of the page that was scraped last. A restart begins the totals again, and with them this page.
    scraped: BTreeMap<String, f64>,
    /// The counters that left the page since it was last written.
    gone: BTreeSet<String>,
    /// The counters that left the pages written since the last scrape. They may have begun again.
    may_fall: BTreeSet<String>,
}

struct Total {
    value: f64,
    seen: Duration,
}

/// Returns true for the counters whose totals the page must show.
pub(super) fn is_followed(series: &Series) -> bool {
    series.kind() == Kind::Counter && series.name().starts_with("hits.")
}

fn exposed(series: &Series) -> String {
    format!("{}_total", series.name().replace('.', "_"))
}

impl PlainPage {
    /// Adds a snapshot that the exporter got. `live` has the series that were alive at its end, under `settings`.
    pub(super) fn add(&mut self, snapshot: &Snapshot, live: &BTreeSet<Series>, settings: &Settings) {
        self.clock += snapshot.interval;
        let clock = self.clock;
        for row in snapshot.rows.iter().filter(|row| is_followed(row.series)) {
            let &Value::Counter(increase) = row.value else { panic!("{:?}", row.value) };
            let total = self.totals.entry(row.series.clone()).or_insert(Total { value: 0.0, seen: clock });
            // A page cannot show a falling counter, so a negative sum is kept off it and counted.
            if increase >= 0.0 {
                *total = Total { value: total.value + increase, seen: clock };
            }
        }
        let lifetime = settings.lifetime(Kind::Counter);
        let Self { totals, gone, .. } = self;
        totals.retain(|series, total| {
            let stays = live.contains(series) && clock.saturating_sub(total.seen) < lifetime;
            if !stays {
                gone.insert(exposed(series));
            }
            stays
        });
    }

    /// Asserts that a page that was just written shows these totals, and nothing that is invalid.
    pub(super) fn assert_is(&mut self, page: &str) {
        self.may_fall.append(&mut self.gone);
        strict::check(page).unwrap_or_else(|error| panic!("{error}"));
        let shown: BTreeMap<_, _> = page
            .lines()
            .filter(|line| line.starts_with("hits_"))
            .filter_map(|line| line.split_once(' '))
            .map(|(name, value)| (name.to_owned(), value.parse::<f64>().unwrap()))
            .collect();
        let totals = self.totals.iter().map(|(series, total)| (exposed(series), total.value));
        assert_eq!(shown, totals.collect(), "the totals on the page");
    }

    /// Scrapes a page. Asserts that no counter is lower than before, unless it left the page meanwhile.
    pub(super) fn scrape(&mut self, page: &str) {
        strict::check(page).unwrap_or_else(|error| panic!("{error}"));
        let mut counters = BTreeMap::new();
        let mut is_counter = false;
        for line in page.lines() {
            if let Some(family) = line.strip_prefix("# TYPE ") {
                is_counter = family.ends_with(" counter");
            } else if is_counter
                && !line.starts_with('#')
                && let Some((name, value)) = line.rsplit_once(' ')
            {
                counters.insert(name.to_owned(), value.parse().unwrap());
            }
        }
        for (name, before) in std::mem::take(&mut self.scraped) {
            let is_steady = name.starts_with("hits_") || name.starts_with("tallyd_");
            let Some(now) = counters.get(&name).filter(|_| is_steady && !self.may_fall.contains(&name))
            else {
                continue;
            };
            assert!(*now >= before, "{name} fell from {before} to {now}");
        }
        self.may_fall.clear();
        self.scraped = counters;
    }
}
