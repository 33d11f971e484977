//! Says where a line came from.

use core::net::{IpAddr, SocketAddr};
use std::fmt;

/// The sender of a line, as far as the kernel knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Sender {
    /// The kernel does not say.
    #[default]
    Unknown,
    /// The address and the port.
    Address(SocketAddr),
    /// All ports of an address.
    Host(IpAddr),
    /// A process of this machine.
    Process {
        /// The id of the process that sent the datagram or opened the connection. It is 0 if the process is in another
        /// container, which tallyd cannot see.
        pid: i32,
        /// The id of its user.
        uid: u32,
    },
}

impl Sender {
    /// Returns the sender for counting. The port of another machine is left out, because it changes. On this machine, the
    /// port is all that tells programs apart.
    #[must_use]
    pub fn counted(self) -> Self {
        match self {
            Sender::Address(address) if !address.ip().to_canonical().is_loopback() => {
                Sender::Host(address.ip().to_canonical())
            }
            sender => sender,
        }
    }
}

impl fmt::Display for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Sender::Unknown => f.write_str("unknown"),
            // An IPv4 client of a socket for both versions has an address such as ::ffff:192.0.2.1.
            Sender::Address(address) => SocketAddr::new(address.ip().to_canonical(), address.port()).fmt(f),
            Sender::Host(address) => address.to_canonical().fmt(f),
            Sender::Process { pid, uid } => write!(f, "pid {pid}, uid {uid}"),
        }
    }
}

/// The container in which a sender runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// Its id: 64 hexadecimal digits.
    pub id: String,
    /// The UID of its pod. It is empty outside Kubernetes.
    pub pod_uid: String,
}

/// The listener that received a line, and the sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Origin {
    /// The name of the listener, for example `udp`. It is empty if the line came from a file.
    pub listener: &'static str,
    /// The sender.
    pub sender: Sender,
}

/// Knows the origins of lines that are recorded together. It is only asked about few of them.
pub trait Origins {
    /// Returns the origin of a line that was not recorded. The line is a part of the bytes that are being recorded.
    fn of(&self, line: &[u8]) -> Origin;

    /// Returns true if the origins of these lines are known, as far as the kernel knows them.
    fn are_known(&self) -> bool {
        true
    }
}

/// All lines have one origin.
impl Origins for Origin {
    fn of(&self, _: &[u8]) -> Origin {
        *self
    }
}
