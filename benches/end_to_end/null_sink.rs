//! The null sink, a process that receives datagrams in the same way as tallyd and does nothing else.

use std::io::{BufRead, BufReader, IoSliceMut, Write};
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, MultiHeaders, recvmmsg};
use tallyd::app::config::{Environment, load};
use tallyd::listen::bind_udp;

use crate::arguments::NULL_SINK;
use crate::process::{self, Cores, Error, Process};
use crate::tallyd::socket_settings;
use crate::traffic::BATCH;

/// Starts a null sink in its own process.
pub(crate) fn start(cores: Cores) -> Result<Process, Error> {
    let own = std::env::current_exe()?;
    let mut child = process::command(cores, &own.to_string_lossy(), &[NULL_SINK])?.spawn()?;
    let mut address = String::new();
    if let Some(stdout) = child.stdout.take() {
        BufReader::new(stdout).read_line(&mut address)?;
    }
    Process::new(child, address.trim().parse()?)
}

/// Runs as the null sink: prints its address and receives until it is killed.
pub(crate) fn run() -> Result<(), Error> {
    // tallyd's own code opens the socket, with the same settings as in tallyd.
    let udp = load(None, &Environment::default(), &socket_settings())?.udp();
    let socket = bind_udp(&udp)?.remove(0);
    println!("{}", socket.local_addr()?);
    std::io::stdout().flush()?;

    let mut buffers: [Box<[u8]>; BATCH] =
        std::array::from_fn(|_| vec![0; udp.max_datagram].into_boxed_slice());
    let mut headers = MultiHeaders::<()>::preallocate(BATCH, None);
    let flags = MsgFlags::MSG_WAITFORONE | MsgFlags::MSG_TRUNC;
    loop {
        let mut slices = buffers.each_mut().map(|buffer| [IoSliceMut::new(buffer)]);
        match recvmmsg(socket.as_raw_fd(), &mut headers, slices.iter_mut(), flags, None) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
