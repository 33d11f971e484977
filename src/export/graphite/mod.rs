//! Pushes snapshots to Graphite, with the names and the numbers of statsd.

mod encode;
mod names;
mod timer;
mod transport;

pub(crate) use encode::GraphiteContent;
pub(crate) use names::{GraphiteNames, GraphiteTags};
pub(crate) use transport::{GraphiteProtocol, GraphiteTransport};
