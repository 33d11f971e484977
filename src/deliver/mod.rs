//! Delivers batches to servers. Each server has a queue of its own, in memory and then on disk, and a thread that sends.
//!
//! ```text
//!  exporter --> batch --> queue: memory, then disk --> sender --> transport --> server
//!                           |                            |
//!                           +--> dropped: counted        +--> acknowledged, refused: counted; otherwise sent again
//! ```
//!
//! This room knows no format. It accounts for the points of batches: each point that was queued is acknowledged, refused,
//! dropped, or still in the queue.

mod batch;
mod counts;
mod endpoint;
mod http;
mod queue;
mod sender;
mod spool;
mod transport;

pub(crate) use batch::Batch;
pub(crate) use endpoint::{Delivery, DeliveryOptions, Endpoint};
pub(crate) use http::{Authentication, HttpClient, HttpOptions, gzipped};
pub(crate) use queue::DeliveryLimits;
pub(crate) use transport::{Failure, Receipt, Transport};
