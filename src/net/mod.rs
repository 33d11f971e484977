//! Opens sockets, decides who may connect, and accepts and counts connections. It knows no configuration keys: callers
//! pass their names.

mod accept;
mod backoff;
mod bind;
mod connect;
mod connections;
mod container;
mod listener_url;
mod owner;
mod permitted;
mod slots;
mod socket_file;
mod steering;
mod threads;

pub(crate) use accept::{AcceptOptions, AcceptThread, Listen, Looks, ServeConnection, Stop, Stopped};
pub(crate) use backoff::Backoff;
pub(crate) use bind::{BindError, BindKeys};
pub(crate) use bind::{UdpSockets, adopt_tcp, adopt_udp, bind_tcp, bind_udp, receive_buffer};
pub(crate) use connect::connect_first;
pub(crate) use connections::{ClientKeys, ConnectionCounts};
pub(crate) use container::{Containers, container_of};
pub(crate) use listener_url::ListenerUrl;
pub(crate) use owner::Owner;
pub(crate) use permitted::{PermittedNetworks, Refused};
pub(crate) use slots::Activity;
pub(crate) use socket_file::{BoundFile, FileId, LOCK_PATIENCE, SocketFile, bind_datagram, bind_stream};
pub(crate) use threads::{ThreadEnd, ThreadEnds, Threads, is_lasting};
