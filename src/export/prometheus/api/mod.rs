//! Answers questions with JSON, for people and their programs.
//!
//! ```text
//!  snapshot --> latest interval, talkers, rejected lines, history --+
//!     |                                                             +--> answers
//!     '--> viewers: server-sent events             totals: series --+
//! ```

mod distribution;
mod history;
mod identity;
mod interval;
mod live;
mod origin;
mod query;
mod rejected;
mod sender;
mod series;
mod status;
mod talkers;

use std::collections::VecDeque;
use std::net::IpAddr;

use hyper::{HeaderMap, StatusCode};
use parking_lot::Mutex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::totals::Totals;
use crate::export::exporter_status::ExporterStatuses;
use crate::http::response::{Response, events, json, method_not_allowed, text};
use crate::model::{FlushRequests, Memory, Snapshot, Telemetry};
use history::{History, MOST_INTERVALS};
use interval::Report;
use live::Viewers;
pub(super) use origin::is_of_another_site;
use query::Query;
use rejected::RejectedHistory;
use series::Search;
pub(crate) use status::ConfigurationInForce;
use status::StatusSource;
use talkers::LatestTalkers;

/// The most results in an event.
const MOST_RESULTS: usize = 1000;

/// The answer to a path that does not exist.
const PATHS: &str = "not found: there are /api/v1/status, /api/v1/intervals, /api/v1/live, /api/v1/talkers, /api/v1/tags, /api/v1/rejected, \
                     /api/v1/series, /api/v1/history and /api/v1/delete\n";

/// The clients to which the API answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ApiAccess {
    /// None.
    Off,
    /// Those on the same machine.
    Local,
    /// All that may connect, with a user and password if the endpoint wants them.
    On,
}

/// What the API needs from the rest of the program.
#[derive(Debug)]
pub(crate) struct ApiOptions {
    pub(crate) access: ApiAccess,
    pub(crate) configuration: ConfigurationInForce,
    pub(crate) exporters: ExporterStatuses,
    pub(crate) requests: FlushRequests,
}

#[cfg(test)]
impl ApiOptions {
    /// Returns options with which the API answers nobody.
    pub(super) fn off() -> Self {
        let (configuration, exporters, requests) = Default::default();
        Self { access: ApiAccess::Off, configuration, exporters, requests }
    }
}

/// The API of the endpoint.
#[derive(Debug)]
pub(super) struct Api {
    access: ApiAccess,
    status: StatusSource,
    reports: Mutex<Reports>,
    rejected: Mutex<RejectedHistory>,
    history: Mutex<History>,
    viewers: Viewers,
}

/// What happened in the latest intervals.
#[derive(Debug, Default)]
struct Reports {
    /// Oldest first.
    intervals: VecDeque<Report>,
    talkers: Option<LatestTalkers>,
}

/// The answer to `/api/v1/intervals`.
#[derive(Debug, Serialize)]
struct Intervals<'a> {
    intervals: &'a VecDeque<Report>,
}

impl Api {
    pub(super) fn new(options: ApiOptions, memory: &Memory, telemetry: &Telemetry) -> Self {
        let ApiOptions { access, configuration, exporters, requests } = options;
        Self {
            access,
            status: StatusSource::new(exporters, configuration),
            reports: Mutex::default(),
            rejected: Mutex::default(),
            history: Mutex::new(History::new(requests, memory.clone())),
            viewers: Viewers::register(telemetry),
        }
    }

    /// Takes over what happened in an interval, and shows it to viewers.
    pub(super) fn add(&self, snapshot: &Snapshot) {
        if self.access == ApiAccess::Off {
            return;
        }
        self.rejected.lock().add(snapshot);
        self.history.lock().add(snapshot);
        let report = Report::new(snapshot);
        self.viewers.show(&report, snapshot);
        let mut reports = self.reports.lock();
        reports.talkers = Some(LatestTalkers::new(snapshot));
        reports.intervals.push_back(report);
        while reports.intervals.len() > MOST_INTERVALS
            || reports.intervals.front().is_some_and(|oldest| oldest.is_old(snapshot.time))
        {
            reports.intervals.pop_front();
        }
    }

    /// Returns the reason if the API does not answer this client.
    pub(super) fn refusal(&self, client: IpAddr, headers: &HeaderMap) -> Option<Response> {
        let why = match self.access {
            ApiAccess::On => return None,
            ApiAccess::Local if client.to_canonical().is_loopback() => {
                if origin::names_this_machine(headers) {
                    return None;
                }
                "the API answers only if the address has an IP address or localhost in it, so that no web page can read it; \
                 set exporters.prometheus.api to \"on\" to open it to others\n"
            }
            ApiAccess::Local => {
                "the API answers only clients on the same machine; set exporters.prometheus.api to \"on\" to open it to others\n"
            }
            ApiAccess::Off => "turned off: set exporters.prometheus.api\n",
        };
        Some(text(StatusCode::FORBIDDEN, why))
    }

    /// Answers a request to change something. `path` is the part after `/api/v1/`.
    pub(super) fn change(&self, path: &str, query: Option<&str>) -> Response {
        if path != "delete" {
            return method_not_allowed("GET, HEAD");
        }
        let deleted =
            Query::parse(query.unwrap_or_default()).and_then(|query| self.history.lock().delete(query));
        deleted.map_or_else(|error| bad_request(&error), |deleted| json(&deleted))
    }

    /// Answers a request. Its time is proportional to the number of series at most. `path` is the part after `/api/v1/`.
    pub(super) fn respond(&self, path: &str, query: Option<&str>, totals: &Totals) -> Response {
        let answer =
            Query::parse(query.unwrap_or_default()).and_then(|query| self.answer(path, query, totals));
        answer.unwrap_or_else(|error| bad_request(&error))
    }

    fn answer(&self, path: &str, query: Query, totals: &Totals) -> Result<Response, String> {
        Ok(match path {
            "status" => {
                query.end()?;
                json(&self.status.answer(self.reports.lock().intervals.back()))
            }
            "intervals" => {
                query.end()?;
                json(&Intervals { intervals: &self.reports.lock().intervals })
            }
            "live" => self.join(query)?,
            "talkers" => {
                query.end()?;
                match &self.reports.lock().talkers {
                    Some(talkers) => json(&talkers.to_answer()),
                    None => text(StatusCode::SERVICE_UNAVAILABLE, "the first interval has not ended yet\n"),
                }
            }
            "tags" => found(talkers::Tags::answer(query, totals)?, "no series has this name\n"),
            "delete" => method_not_allowed("POST"),
            "rejected" => {
                query.end()?;
                json(&self.rejected.lock().to_answer(totals))
            }
            "series" => json(&Search::answer(query, totals)?),
            "history" => found(self.history.lock().answer(query)?, "there is no such series\n"),
            _ => text(StatusCode::NOT_FOUND, PATHS),
        })
    }

    /// Begins to send intervals to a viewer.
    fn join(&self, mut query: Query) -> Result<Response, String> {
        let has_search = query.has("match");
        let search = Search::take(&mut query, MOST_RESULTS)?;
        query.end()?;
        let reports = self.reports.lock();
        Ok(match self.viewers.join(has_search.then_some(search), reports.intervals.back()) {
            Some(stream) => events(stream),
            None => text(
                StatusCode::SERVICE_UNAVAILABLE,
                "too many viewers: close one, or ask for /api/v1/status\n",
            ),
        })
    }
}

fn bad_request(error: &str) -> Response {
    text(StatusCode::BAD_REQUEST, format!("{error}\n"))
}

/// Returns an answer, or says what was not found.
fn found<A: Serialize>(answer: Option<A>, missing: &'static str) -> Response {
    answer.map_or_else(|| text(StatusCode::NOT_FOUND, missing), |answer| json(&answer))
}
