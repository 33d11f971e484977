//! Replaces Unix sockets on other systems. They cannot be opened, so no value of this type exists.

use std::io;
use std::path::Path;

pub(super) enum UnixSocket {}

impl UnixSocket {
    /// Fails. `Config::settings` has already refused the address.
    pub(super) fn open(_path: &Path) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(super) fn max_datagram(&self) -> usize {
        match *self {}
    }

    pub(super) fn send(&self, _datagram: &[u8]) -> io::Result<()> {
        match *self {}
    }
}
