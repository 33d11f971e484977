//! Receives datagrams and streams, and records their lines.
//!
//! ```text
//!  UDP socket, one per receiver --> datagrams --------------------+--> shard, one per receiver
//!  Unix datagram socket ----------> datagrams --------------------+
//!  TCP or Unix stream socket -----> streams --> framing (lines) --+
//! ```
//!
//! Each receiver is a thread with a shard of its own. It sleeps in the kernel until data arrives or the idle timeout of
//! a connection expires. While much arrives, a receiver rests between two looks at its sockets, so it is not woken for
//! each datagram or write (`coalesce`). At the end of an interval, the flush wakes receivers that rest (`drain`).

mod coalesce;
mod datagrams;
mod drain;
mod framing;
mod held;
mod listeners;
mod machine_errors;
mod socket_drops;
mod socket_memory;
mod socket_watch;
mod stream_rests;
mod streams;

pub use datagrams::{UdpOptions, bind_udp};
pub(crate) use drain::DrainRequests;
pub use framing::{Deframer, End, Frame, FrameTooLong, Framing};
pub(crate) use held::HeldSockets;
pub(crate) use listeners::{ListenOptions, Listeners, UnixDatagramOptions, open};
pub use socket_drops::CountedDrops;
pub(crate) use streams::StreamOptions;
