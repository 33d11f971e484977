//! Tests the real tallyd from outside: sockets, files, signals, pages and command lines.

#![allow(clippy::unwrap_used, reason = "a test that cannot continue has failed")]

mod admin;
mod api;
mod ask;
mod client_crate;
mod command_line;
mod configuration_page;
mod containers;
mod dashboards;
mod datadog;
mod delivery;
mod endpoint;
mod examples;
mod explain;
mod faults;
mod faulty;
mod files;
mod graphite;
mod hdr_log;
mod links;
mod log;
mod mapping;
mod memory;
mod migrate;
mod mistakes;
mod relay;
mod reload;
mod restarts;
mod results;
mod secured;
mod send;
mod service_manager;
mod state;
mod statsd_exporter;
mod stopping;
mod streams;
mod supervision;
mod terminal;
mod tour;
mod udp;
