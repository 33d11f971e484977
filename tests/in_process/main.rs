//! Tests the parser, the rules, the aggregation and the Prometheus page, within one process and without a network.

#![allow(clippy::unwrap_used, reason = "a test that cannot continue has failed")]

mod aggregates;
mod client_lines;
mod conformance;
mod differential;
mod exporter;
mod hostile_streams;
mod laws;
mod mapping;
mod mapping_options;
mod model;
mod pipeline;
mod plain;
mod plain_parser;
mod protocol_page;
mod rooms;
mod simulation;
