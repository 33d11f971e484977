//! Opens sockets, and accepts and counts connections. It knows no configuration keys: callers pass their names.

mod accept;
mod bind;
mod connections;
mod steering;
mod threads;

pub(crate) use accept::{AcceptOptions, AcceptThread, Listen, Looks, ServeConnection, Stop, Stopped};
pub(crate) use bind::{BACKLOG, UdpSockets, adopt_tcp, adopt_udp, bind_tcp, bind_udp, receive_buffer};
pub(crate) use bind::{BindError, BindKeys};
pub(crate) use connections::{ConnectionCounts, RefusedWarning};
pub(crate) use threads::{ThreadEnd, ThreadEnds, Threads, is_lasting};
