//! Takes datagrams off sockets and records them.
//!
//! Each receiver is a thread with a socket and a shard of its own. It sleeps in the kernel until something arrives: no
//! timer wakes it, and a lone datagram waits for no batch.

mod drops;
mod framing;
mod receiver;
mod udp;

pub use drops::{DropCounter, Drops};
pub use framing::{Deframer, End, Frame, FrameTooLong, Framing};
pub use receiver::Receiver;
pub use udp::{BindError, Udp, bind};
