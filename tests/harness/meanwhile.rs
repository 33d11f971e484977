//! Sends samples while a test does something else.

use std::net::{SocketAddr, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

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

/// Counts the datagrams that clients have sent over UDP.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sent {
    /// The number of datagrams.
    pub datagrams: u64,
    /// The number of calls that failed.
    pub errors: u64,
}

/// The largest number of datagrams that a paced client sends at once.
const LARGEST_BURST: f64 = 50.0;

/// Sends samples of the counter `meanwhile` to a UDP address from this many clients, one per datagram, until `finished`
/// is set. All clients together send `per_second` of them per second at most.
pub fn send_paced(address: SocketAddr, clients: u32, per_second: u32, finished: &AtomicBool) -> Sent {
    let send = || {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(address).unwrap();
        let mut sent = Sent::default();
        let (mut due, mut latest) = (0.0, Instant::now());
        while !finished.load(Ordering::SeqCst) {
            thread::sleep(Duration::from_millis(1));
            let now = Instant::now();
            let passed = now.duration_since(std::mem::replace(&mut latest, now)).as_secs_f64();
            // A thread that had no CPU for a while does not make up for all of it, because a burst might be lost.
            due = f64::min(due + passed * f64::from(per_second) / f64::from(clients), LARGEST_BURST);
            while due >= 1.0 {
                due -= 1.0;
                match socket.send(b"meanwhile:1|c") {
                    Ok(_) => sent.datagrams += 1,
                    Err(_) => sent.errors += 1,
                }
            }
        }
        sent
    };
    thread::scope(|scope| {
        let clients: Vec<_> = (0..clients).map(|_| scope.spawn(send)).collect();
        let sent = clients.into_iter().map(|client| client.join().unwrap());
        sent.fold(Sent::default(), |all, one| Sent {
            datagrams: all.datagrams + one.datagrams,
            errors: all.errors + one.errors,
        })
    })
}

/// A guard that sets a flag when it is dropped, so that threads end even if the test fails.
pub struct SetOnDrop<'a>(pub &'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}
