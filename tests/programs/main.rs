//! Tests tallyd with other programs: clients in many languages, Prometheus and its tools, web servers, a browser, systemd.
//!
//! A plain `cargo test` ignores the tests that need these programs. `make test` installs the programs and runs all
//! tests.

#![allow(clippy::unwrap_used, reason = "a test that cannot continue has failed")]

mod admin;
mod clients;
mod clients_page;
mod dashboard;
mod demo;
mod endpoint;
mod grafana;
mod graphite;
mod hdr_log;
mod influxdb;
mod live_page;
mod migrate;
mod origin;
mod otlp;
mod queries;
mod relay;
mod remote_write;
mod restarts;
mod schema;
mod scrapers;
mod secured;
mod shop;
mod streams;
mod system;
mod textfile;
mod top;
mod tutorial;
