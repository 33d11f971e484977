//! Pushes snapshots to InfluxDB, with the names and the fields of Telegraf.

mod encode;
mod escape;
mod transport;

pub(crate) use encode::InfluxContent;
pub(crate) use transport::InfluxTransport;
