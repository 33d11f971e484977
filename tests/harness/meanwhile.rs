//! Sends samples while a test does something else.

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// Sends samples of the counter `meanwhile` until `finished` is set. Returns their number.
pub fn send_until(path: &Path, finished: &AtomicBool) -> f64 {
    let socket = UnixDatagram::unbound().unwrap();
    let mut sent = 0.0;
    while !finished.load(Ordering::SeqCst) {
        socket.send_to(b"meanwhile:1|c", path).unwrap();
        sent += 1.0;
        thread::sleep(Duration::from_micros(100));
    }
    sent
}

/// A guard that sets a flag when it is dropped, so that threads end even if the test fails.
pub struct SetOnDrop<'a>(pub &'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}
