//! The lengths of datagrams.

/// The largest datagram for another machine, in bytes. It fits into an Ethernet frame, so it is not fragmented.
pub(super) const NETWORK_DATAGRAM: usize = 1432;
/// The largest datagram for the same machine, in bytes. Servers accept this length. Long datagrams are cheaper, because
/// half of the cost of a call is the kernel's work per datagram.
pub(super) const LOCAL_DATAGRAM: usize = 8192;
