//! Opens sockets, accepts connections on them, and counts these. It knows no configuration key: callers pass the names.

mod accept;
mod bind;
mod connections;

pub(crate) use accept::{AcceptOptions, AcceptThread, Listen, ServeConnection, Stop, Stopped};
pub(crate) use bind::{BACKLOG, UdpSockets, bind_tcp, bind_udp, receive_buffer};
pub use bind::{BindError, BindKeys};
pub(crate) use connections::{Connections, RefusedWarning};
