//! The null sink, a process that receives datagrams in the same way as tallyd and does nothing else.
//!
//! It either blocks in the kernel until a datagram arrives, as servers usually do, or it rests like tallyd: after it
//! has drained its socket, it sleeps for a given time if at least two datagrams came within that time, and blocks
//! otherwise. So its cost is the least that a server can reach in that way.

use std::io::{BufRead, BufReader, IoSliceMut, Write};
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, MultiHeaders, recvmmsg};
use tallyd::app::config::{Environment, load};
use tallyd::listen::bind_udp;

use crate::arguments::NULL_SINK;
use crate::process::{self, Cores, Error, Process};
use crate::tallyd::socket_settings;
use crate::traffic::BATCH;

/// Starts a null sink in its own process. It blocks, or it rests for the given time.
pub(crate) fn start(cores: Cores, rest: Option<Duration>) -> Result<Process, Error> {
    let own = std::env::current_exe()?;
    let rest = rest.map(|rest| format!("{}us", rest.as_micros()));
    let arguments: Vec<_> = [NULL_SINK].into_iter().chain(rest.as_deref()).collect();
    let mut child = process::command(cores, &own.to_string_lossy(), &arguments)?.spawn()?;
    let mut address = String::new();
    if let Some(stdout) = child.stdout.take() {
        BufReader::new(stdout).read_line(&mut address)?;
    }
    Process::new(child, address.trim().parse()?)
}

/// Runs as the null sink: prints its address and receives until it is killed.
pub(crate) fn run(rest: Option<Duration>) -> Result<(), Error> {
    // tallyd's own code opens the socket, with the same settings as in tallyd.
    let udp = load(None, &Environment::default(), &socket_settings())?.udp();
    let socket = bind_udp(&udp)?.remove(0);
    println!("{}", socket.local_addr()?);
    std::io::stdout().flush()?;

    let mut batch = Batch::new(socket, udp.max_datagram);
    let Some(rest) = rest else {
        loop {
            batch.receive(MsgFlags::MSG_WAITFORONE)?;
        }
    };
    let mut rested = false;
    let mut latest = None;
    loop {
        let received = batch.drain(if rested { MsgFlags::MSG_DONTWAIT } else { MsgFlags::MSG_WAITFORONE })?;
        let now = Instant::now();
        let follows_closely = latest.is_some_and(|latest| now - latest < rest);
        rested = received >= 2 || received == 1 && follows_closely;
        if received > 0 {
            latest = Some(now);
        }
        if rested {
            thread::sleep(rest);
        }
    }
}

/// A socket with the buffers for a batch of datagrams.
struct Batch {
    socket: UdpSocket,
    buffers: [Box<[u8]>; BATCH],
    headers: MultiHeaders<()>,
}

impl Batch {
    fn new(socket: UdpSocket, max_datagram: usize) -> Self {
        let buffers = std::array::from_fn(|_| vec![0; max_datagram].into_boxed_slice());
        Self { socket, buffers, headers: MultiHeaders::preallocate(BATCH, None) }
    }

    /// Receives datagrams until there are no more. `flags` are those of the first call. Returns their number.
    fn drain(&mut self, flags: MsgFlags) -> Result<usize, Errno> {
        let mut last = self.receive(flags)?;
        let mut received = last;
        while last == BATCH {
            last = self.receive(MsgFlags::MSG_DONTWAIT)?;
            received += last;
        }
        Ok(received)
    }

    /// Receives up to a batch of datagrams with the same call as tallyd. Returns their number, 0 if there were none.
    fn receive(&mut self, flags: MsgFlags) -> Result<usize, Errno> {
        let mut slices = self.buffers.each_mut().map(|buffer| [IoSliceMut::new(buffer)]);
        let socket = self.socket.as_raw_fd();
        let flags = flags | MsgFlags::MSG_TRUNC;
        match recvmmsg(socket, &mut self.headers, slices.iter_mut(), flags, None) {
            Ok(datagrams) => Ok(datagrams.count()),
            Err(Errno::EINTR | Errno::EAGAIN) => Ok(0),
            Err(error) => Err(error),
        }
    }
}
