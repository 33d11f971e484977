//! Asks the kernel for the memory of a socket.

use std::os::fd::AsFd;

use nix::libc;
use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::GetStruct;

/// The memory of a socket and its number of drops, as nine numbers of the socket option `SO_MEMINFO`.
///
/// It needs no file, so it works in a sandbox without `/proc`.
#[derive(Debug, Clone, Copy)]
pub(super) struct SocketMemory([u32; FIELDS]);

/// The number of fields of `SO_MEMINFO`.
const FIELDS: usize = 9;

#[derive(Debug, Clone, Copy)]
struct MemoryInfo;

// nix has this macro for options that it lacks. The kernel has written nine numbers since the option exists (Linux
// 4.12), and nix compares the length.
nix::getsockopt_impl!(
    MemoryInfo,
    libc::SOL_SOCKET,
    libc::SO_MEMINFO,
    [u32; FIELDS],
    GetStruct<[u32; FIELDS]>
);

impl SocketMemory {
    /// # Errors
    ///
    /// Fails if the kernel is older than 4.12 or a sandbox forbids the call.
    pub(super) fn of(socket: &impl AsFd) -> nix::Result<Self> {
        getsockopt(socket, MemoryInfo).map(Self)
    }

    /// Returns the bytes that datagrams take which nothing has read, with the kernel's overhead.
    pub(super) fn used(self) -> u32 {
        self.0[libc::SK_MEMINFO_RMEM_ALLOC as usize]
    }

    /// Returns the bytes that datagrams may take.
    pub(super) fn limit(self) -> u32 {
        self.0[libc::SK_MEMINFO_RCVBUF as usize]
    }

    /// Returns the number of datagrams that the kernel has dropped since the socket was opened. It wraps around.
    pub(super) fn drops(self) -> u32 {
        self.0[libc::SK_MEMINFO_DROPS as usize]
    }
}
