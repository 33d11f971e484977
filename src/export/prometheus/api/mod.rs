//! Answers questions with JSON: which lines were not recorded, and which series there are.

mod query;
mod rejected;
mod series;

use std::net::IpAddr;

use hyper::StatusCode;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::totals::Totals;
use crate::http::response::{Response, json, text};
use crate::model::Snapshot;
use query::Query;
use rejected::RejectedHistory;
use series::Search;

/// The clients to which the API answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ApiAccess {
    /// None.
    Off,
    /// Those on the same machine.
    Local,
    /// All that may connect, with a user and password if the endpoint wants them.
    On,
}

/// The API of the endpoint.
#[derive(Debug)]
pub(super) struct Api {
    access: ApiAccess,
    rejected: Mutex<RejectedHistory>,
}

impl Api {
    pub(super) fn new(access: ApiAccess) -> Self {
        Self { access, rejected: Mutex::default() }
    }

    /// Notes what was not recorded in an interval.
    pub(super) fn add(&self, snapshot: &Snapshot) {
        if self.access != ApiAccess::Off && !snapshot.rejected.is_empty() {
            self.rejected.lock().add(snapshot);
        }
    }

    /// Returns the reason if the API does not answer this client.
    pub(super) fn refusal(&self, client: IpAddr) -> Option<Response> {
        let why = match self.access {
            ApiAccess::On => return None,
            ApiAccess::Local if client.to_canonical().is_loopback() => return None,
            ApiAccess::Local => {
                "the API answers only clients on the same machine; set exporters.prometheus.api to \"on\" to open it to others\n"
            }
            ApiAccess::Off => "turned off: set exporters.prometheus.api\n",
        };
        Some(text(StatusCode::FORBIDDEN, why))
    }

    /// Answers a request. Its time is proportional to the number of series at most. `path` is the part after `/api/v1/`.
    pub(super) fn respond(&self, path: &str, query: Option<&str>, totals: &Totals) -> Response {
        let query = Query::parse(query.unwrap_or_default());
        let answer = match path {
            "rejected" => query.and_then(Query::end).map(|()| json(&self.rejected.lock().to_answer(totals))),
            "series" => query.and_then(Search::new).map(|search| json(&search.answer(totals))),
            _ => {
                let why = "not found: there are /api/v1/rejected and /api/v1/series\n";
                Ok(text(StatusCode::NOT_FOUND, why))
            }
        };
        answer.unwrap_or_else(|error| text(StatusCode::BAD_REQUEST, format!("{error}\n")))
    }
}
