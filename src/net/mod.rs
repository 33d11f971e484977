//! Binds sockets, accepts connections, and counts them.

mod back_off;
mod bind;
mod connections;

pub(crate) use back_off::BackOff;
pub use bind::{BindError, Protocol};
pub use connections::{ConnectionCounts, Connections};
