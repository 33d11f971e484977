//! The thread that reads a socket.

use std::io::{self, IoSliceMut};
use std::net::{Shutdown, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, MultiHeaders, recvmmsg};
use parking_lot::Mutex;
use socket2::{SockFilter, SockRef};

use crate::aggregate::Shard;

/// Datagrams taken from the kernel in one call.
const BATCH: usize = 32;

/// Classic BPF: `ret #0`, which accepts no byte of any datagram.
const DROP_ALL: SockFilter = SockFilter::new(0x06, 0, 0, 0);

/// A running receiver.
#[derive(Debug)]
pub struct Receiver {
    socket: UdpSocket,
    stopping: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Receiver {
    /// Starts a thread that records what arrives at `socket` in `shard`. Datagrams longer than `max_datagram` bytes
    /// are truncated.
    ///
    /// # Errors
    ///
    /// If the system gives no thread.
    pub fn start(
        index: usize,
        socket: UdpSocket,
        shard: Arc<Mutex<Shard>>,
        max_datagram: usize,
    ) -> io::Result<Self> {
        let stopping = Arc::new(AtomicBool::new(false));
        let work = Work { socket: socket.try_clone()?, shard, stopping: Arc::clone(&stopping), max_datagram };
        let thread = thread::Builder::new().name(format!("receive-{index}")).spawn(move || work.run())?;
        Ok(Self { socket, stopping, thread })
    }

    /// Lets nothing more in, and tells the thread to end. What the kernel holds already will still be recorded; what
    /// comes later the kernel drops and counts.
    pub fn stop(&self) {
        if let Err(error) = SockRef::from(&self.socket).attach_filter(&[DROP_ALL]) {
            tracing::warn!(%error, "could not close the socket to new datagrams before draining it");
        }
        self.stopping.store(true, Ordering::Release);
        // Wakes the thread. Linux does so although it also says that the socket is not connected.
        _ = SockRef::from(&self.socket).shutdown(Shutdown::Both);
    }

    /// Waits until the thread has drained its socket and ended. The socket stays open with the returned value, so
    /// that its drop counter can still be read.
    #[must_use]
    pub fn join(self) -> UdpSocket {
        if self.thread.join().is_err() {
            tracing::error!("a receiver ended by a panic; its last datagrams may be lost");
        }
        self.socket
    }
}

struct Work {
    socket: UdpSocket,
    shard: Arc<Mutex<Shard>>,
    stopping: Arc<AtomicBool>,
    max_datagram: usize,
}

impl Work {
    fn run(self) {
        let mut buffers: [Box<[u8]>; BATCH] =
            std::array::from_fn(|_| vec![0; self.max_datagram].into_boxed_slice());
        let mut headers = MultiHeaders::preallocate(BATCH, None);
        loop {
            // Sleeps until there is one datagram, then takes what else is there.
            let received = self.receive(&mut headers, &mut buffers, MsgFlags::MSG_WAITFORONE);
            if self.stopping.load(Ordering::Acquire) {
                break;
            }
            if let Err(error) = received {
                tracing::error!(%error, "receiving failed");
                // Nothing the kernel is known to report here lasts; do not turn if it does.
                thread::sleep(std::time::Duration::from_millis(100));
            }
        }
        while self.receive(&mut headers, &mut buffers, MsgFlags::MSG_DONTWAIT).is_ok() {}
    }

    /// Takes up to a batch of datagrams and records them.
    fn receive(
        &self,
        headers: &mut MultiHeaders<()>,
        buffers: &mut [Box<[u8]>; BATCH],
        flags: MsgFlags,
    ) -> Result<(), Errno> {
        let mut lengths = [(0, false); BATCH];
        let mut count = 0;
        {
            let mut slices = buffers.each_mut().map(|buffer| [IoSliceMut::new(buffer)]);
            match recvmmsg(self.socket.as_raw_fd(), headers, slices.iter_mut(), flags, None) {
                Ok(datagrams) => {
                    for (length, datagram) in lengths.iter_mut().zip(datagrams) {
                        *length = (datagram.bytes, datagram.flags.contains(MsgFlags::MSG_TRUNC));
                        count += 1;
                    }
                }
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error),
            }
        }
        // A socket that was shut down also returns datagrams that nobody sent, all of them empty.
        let phantoms = self.stopping.load(Ordering::Acquire);
        let mut shard = self.shard.lock();
        for (buffer, &(length, truncated)) in buffers.iter().zip(&lengths[..count]) {
            if truncated {
                shard.record_truncated(&buffer[..length]);
            } else if length > 0 || !phantoms {
                shard.record(&buffer[..length]);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::{Parameters, Shared};
    use crate::listen::DropCounter;

    fn shard() -> Arc<Mutex<Shard>> {
        let parameters = Parameters { max_series: 10, ..Parameters::default() };
        Arc::new(Mutex::new(Shard::new(Shared::new(parameters))))
    }

    #[test]
    fn a_stop_records_what_the_kernel_holds_and_counts_what_comes_later_as_dropped() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        sender.connect(socket.local_addr().unwrap()).unwrap();
        let mut drops = DropCounter::new(std::slice::from_ref(&socket)).unwrap();
        // More than one batch, and few enough for the smallest receive buffer that is usual.
        let held = 3 * BATCH as u64;
        (0..held).for_each(|_| _ = sender.send(b"a:1|c").unwrap());
        let shard = shard();
        let blocked = shard.lock();
        let receiver = Receiver::start(0, socket, Arc::clone(&shard), 65_536).unwrap();
        receiver.stop();
        (0..7).for_each(|_| _ = sender.send(b"late:1|c").unwrap());
        drop(blocked);
        let socket = receiver.join();
        assert_eq!(shard.lock().tally().datagrams, held);
        assert_eq!(shard.lock().tally().lines, held);
        assert_eq!(drops.read()[0].datagrams, 7);
        drop(socket);
    }

    #[test]
    fn an_idle_receiver_is_woken_by_a_stop_and_counts_no_datagram_that_nobody_sent() {
        let shard = shard();
        let receiver =
            Receiver::start(0, UdpSocket::bind("127.0.0.1:0").unwrap(), Arc::clone(&shard), 512).unwrap();
        receiver.stop();
        drop(receiver.join());
        assert_eq!(shard.lock().tally().datagrams, 0);
    }
}
