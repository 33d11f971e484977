//! Takes datagrams and streams off sockets and records their lines.
//!
//! Each receiver is a thread with a shard of its own: one for each socket of datagrams, and one for all connections of a
//! stream listener. It sleeps in the kernel until something arrives: no timer wakes it, and a lone datagram waits for no
//! batch.

mod announcement;
mod bind_error;
mod connection;
mod connections;
mod datagrams;
mod drops;
mod framing;
mod listeners;
mod owner;
mod stream;
mod streams;
mod tcp;
mod udp;
mod unix;

pub use announcement::Announcement;
pub use bind_error::BindError;
pub use connections::{Closed, ConnectionCounts, Connections};
pub use datagrams::{DatagramReceiver, DatagramSocket};
pub use drops::{DropCounter, Drops};
pub use framing::{Deframer, End, Frame, FrameTooLong, Framing};
pub use listeners::{Drained, Listeners, Listening, Opened, open};
pub use owner::Owner;
pub use streams::Streams;
pub use udp::{Udp, bind};
pub use unix::{SocketFile, SocketFileError};
