//! Unix datagram sockets. No other file of the client uses an interface that only Unix systems have.

use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use super::datagram::LOCAL_DATAGRAM;

/// The largest datagram in bytes. macOS and the BSDs refuse longer ones by default (`net.local.dgram.maxdgram`).
const MAX_DATAGRAM: usize = if cfg!(target_os = "linux") { LOCAL_DATAGRAM } else { 2048 };

/// An unconnected socket, which also reaches a server that was restarted.
pub(super) struct UnixSocket {
    socket: UnixDatagram,
    path: PathBuf,
}

impl UnixSocket {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, path: path.to_owned() })
    }

    #[expect(clippy::unused_self, reason = "the other implementation of this type has no value")]
    pub(super) fn max_datagram(&self) -> usize {
        MAX_DATAGRAM
    }

    pub(super) fn send(&self, datagram: &[u8]) -> io::Result<()> {
        self.socket.send_to(datagram, &self.path).map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// Returns the source files in a directory and in the directories below it.
    fn sources(directory: &Path) -> Vec<PathBuf> {
        let paths = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
        paths.flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] }).collect()
    }

    /// The client would not build on Windows if another file used such an interface.
    #[test]
    fn only_this_file_uses_interfaces_of_unix_systems() {
        let interface = ["std::os", "::"].concat();
        let mut users = sources(Path::new(env!("CARGO_MANIFEST_DIR")).join("src").as_path());
        users.retain(|path| fs::read_to_string(path).unwrap().contains(&interface));
        assert!(matches!(&users[..], [only] if only.ends_with("statsd/unix/mod.rs")), "{users:?}");
    }
}
