//! Opens sockets, accepts connections on them, and counts these. It knows no configuration key: callers pass the names.

mod bind;
mod connections;
mod server;

pub(crate) use bind::{BACKLOG, UdpSockets, bind_tcp, bind_udp, receive_buffer};
pub use bind::{BindError, BindKeys};
pub(crate) use connections::{Connections, RefusedWarning};
pub(crate) use server::{Server, ServerOptions, Service, Stop, Stopped};
