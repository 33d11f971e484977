//! Takes datagrams and streams off sockets and records their lines.
//!
//! Each receiver is a thread with a shard of its own: one for each socket of datagrams, and one for all connections of a
//! stream listener. It sleeps in the kernel until something arrives: nothing else wakes it but the end of a connection's
//! idle time, and a lone datagram waits for no batch.

mod announcement;
mod datagrams;
mod listeners;
mod streams;
mod unix;

pub use announcement::Announcement;
pub use datagrams::{DatagramReceiver, DatagramSocket, DropCounter, Drops, Udp, bind};
pub use listeners::{Drained, Listeners, Listening, Opened, open};
pub(crate) use streams::tcp::bind as bind_tcp;
pub use streams::{Closed, StreamConnections, Streams};
pub use streams::{Deframer, End, Frame, FrameTooLong, Framing};
pub use unix::{Owner, SocketFile, SocketFileError};

/// Connections that the kernel keeps until they are accepted. A larger number is cut to `net.core.somaxconn`.
const BACKLOG: i32 = 1024;
