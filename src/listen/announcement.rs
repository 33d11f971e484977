//! Says in the log what is listened on.

use std::net::SocketAddr;
use std::path::PathBuf;

/// The addresses and paths of the listeners that are enabled, as the kernel granted them.
#[derive(Debug)]
pub struct Announcement {
    pub(super) udp: Option<AnnouncedUdp>,
    pub(super) tcp: Option<SocketAddr>,
    pub(super) unix_datagram: Option<PathBuf>,
    pub(super) unix_stream: Option<PathBuf>,
}

#[derive(Debug)]
pub(super) struct AnnouncedUdp {
    pub(super) address: SocketAddr,
    pub(super) receivers: usize,
    /// Bytes of receive buffer that were asked for.
    pub(super) asked: u64,
    /// What the kernel granted.
    pub(super) granted: u64,
}

impl Announcement {
    /// A line a listener.
    pub fn log(&self) {
        let Self { udp, tcp, unix_datagram, unix_stream } = self;
        if let Some(AnnouncedUdp { address, receivers, asked, granted }) = udp {
            tracing::info!(%address, receivers, receive_buffer = granted, "listening on udp");
            if granted < asked {
                tracing::warn!(
                    granted,
                    asked,
                    "the kernel grants a smaller receive buffer; for bursts run `sysctl -w net.core.rmem_max={asked}`"
                );
            }
        }
        if let Some(address) = tcp {
            tracing::info!(%address, "listening on tcp");
        }
        if let Some(path) = unix_datagram {
            tracing::info!(path = %path.display(), "listening on unix_datagram");
        }
        if let Some(path) = unix_stream {
            tracing::info!(path = %path.display(), "listening on unix_stream");
        }
    }
}
