//! Replaces the `prometheus` exporter if its cargo feature is off. It cannot start, so no value of this type exists.

use std::net::SocketAddr;
use std::time::Instant;

use crate::sample::Sample;

pub(super) enum Prometheus {}

impl Prometheus {
    /// Fails. `Config::settings` has already refused this exporter.
    pub(super) fn start(_prefix: &str, _address: Option<SocketAddr>) -> Result<Self, &'static str> {
        Err("it needs the cargo feature of that name")
    }

    pub(super) fn record(&self, _sample: &Sample<'_>) -> Result<(), &'static str> {
        match *self {}
    }

    pub(super) fn run_upkeep(&self, _now: Instant) {
        match *self {}
    }

    pub(super) fn stop(&self) {
        match *self {}
    }
}
