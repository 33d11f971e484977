//! The kernel's clock for the time that a thread was ready without a core.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

pub(crate) struct WaitClock(File);

impl WaitClock {
    /// Opens the clock of a thread, given its directory in `/proc`.
    pub(crate) fn of(thread: impl AsRef<Path>) -> io::Result<Self> {
        File::open(thread.as_ref().join("schedstat")).map(Self)
    }

    /// Returns the thread's total waiting time. The call takes about a microsecond, like a system call for datagrams.
    pub(crate) fn read(&self) -> io::Result<Duration> {
        let mut text = [0; 64];
        let length = self.0.read_at(&mut text, 0)?;
        // The file holds nanoseconds on a core, nanoseconds waiting for one, and the number of time slices.
        let waited = text[..length].split(|&byte| byte == b' ').nth(1);
        let waited = waited.and_then(|number| std::str::from_utf8(number).ok()?.parse().ok());
        waited.map(Duration::from_nanos).ok_or_else(|| io::Error::other("the format of schedstat is unknown"))
    }
}
