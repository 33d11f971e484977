//! All listeners that are enabled: opened together, started together, stopped together.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::sync::Arc;

use parking_lot::Mutex;

use super::announcement::AnnouncedUdp;
use super::streams::{StreamReceiver, StreamSocket, tcp};
use super::unix::BoundFile;
use super::{
    Announcement, DatagramReceiver, DatagramSocket, DropCounter, SocketFile, StreamConnections, Streams, Udp,
    datagrams, unix,
};
use crate::aggregate::Shard;
use crate::net::Protocol;

/// What to listen on. What is `None` is not enabled.
#[derive(Debug, Clone, Default)]
pub struct Listening {
    /// UDP.
    pub udp: Option<Udp>,
    /// TCP.
    pub tcp: Option<(SocketAddr, Streams)>,
    /// Unix datagrams, and bytes beyond which one is truncated.
    pub unix_datagram: Option<(SocketFile, usize)>,
    /// Unix streams.
    pub unix_stream: Option<(SocketFile, Streams)>,
}

/// Sockets that nobody reads yet.
#[derive(Debug)]
pub struct Opened {
    listening: Listening,
    udp: Vec<UdpSocket>,
    tcp: Option<TcpListener>,
    unix_datagram: Option<(UnixDatagram, BoundFile)>,
    unix_stream: Option<(UnixListener, BoundFile)>,
}

/// Running receivers.
#[derive(Debug, Default)]
pub struct Listeners {
    datagrams: Vec<DatagramReceiver>,
    /// Of the Unix datagram listener.
    file: Option<BoundFile>,
    streams: Vec<StreamReceiver>,
}

/// Sockets of receivers that have ended. As long as it lives, the drops that the kernel counted can be read.
#[derive(Debug)]
pub struct Drained {
    _sockets: Vec<Arc<DatagramSocket>>,
}

/// Opens all sockets, so that all that is wrong with an address or a path shows before anything is received.
///
/// # Errors
///
/// What is wrong with the first that cannot be opened, and what to do.
pub fn open(listening: Listening) -> Result<Opened, Box<dyn std::error::Error + Send + Sync>> {
    let Listening { udp, tcp, unix_datagram, unix_stream } = &listening;
    Ok(Opened {
        udp: udp.as_ref().map(datagrams::bind).transpose()?.unwrap_or_default(),
        tcp: tcp.as_ref().map(|(address, _)| tcp::bind(Protocol::Tcp, *address)).transpose()?,
        unix_datagram: unix_datagram.as_ref().map(|(file, _)| unix::bind_datagram(file)).transpose()?,
        unix_stream: unix_stream.as_ref().map(|(file, _)| unix::bind_stream(file)).transpose()?,
        listening,
    })
}

impl Opened {
    /// What counts the datagrams that the kernel drops.
    ///
    /// # Errors
    ///
    /// If the kernel does not tell what is needed for that.
    pub fn drop_counter(&self) -> io::Result<DropCounter> {
        DropCounter::new(&self.udp)
    }

    /// What is listened on, to be told once all stages run.
    ///
    /// # Errors
    ///
    /// If the kernel does not tell an address.
    pub fn announcement(&self, drop_counter: &DropCounter) -> io::Result<Announcement> {
        let udp = match (&self.listening.udp, self.udp.first()) {
            (Some(udp), Some(socket)) => Some(AnnouncedUdp {
                address: socket.local_addr()?,
                receivers: udp.receivers,
                asked: udp.receive_buffer as u64,
                granted: drop_counter.smallest_buffer(),
            }),
            _ => None,
        };
        let path = |file: &BoundFile| file.path().to_owned();
        Ok(Announcement {
            udp,
            tcp: self.tcp.as_ref().map(TcpListener::local_addr).transpose()?,
            unix_datagram: self.unix_datagram.as_ref().map(|(_, file)| path(file)),
            unix_stream: self.unix_stream.as_ref().map(|(_, file)| path(file)),
        })
    }

    /// Starts a receiver, with a shard of its own, for each socket.
    ///
    /// # Errors
    ///
    /// If the system gives no thread.
    pub fn start(self, mut new_shard: impl FnMut() -> Arc<Mutex<Shard>>) -> io::Result<Listeners> {
        let Listening { udp, tcp, unix_datagram, unix_stream } = self.listening;
        let mut listeners = Listeners::default();
        let longest = udp.map_or(0, |udp| udp.max_datagram);
        for (index, socket) in self.udp.into_iter().enumerate() {
            listeners.receive(new_shard(), format!("udp-{index}"), DatagramSocket::Udp(socket), longest)?;
        }
        if let (Some((socket, file)), Some((_, longest))) = (self.unix_datagram, unix_datagram) {
            let name = "unix_datagram".to_owned();
            listeners.receive(new_shard(), name, DatagramSocket::Unix(socket), longest)?;
            listeners.file = Some(file);
        }
        if let (Some(socket), Some((_, streams))) = (self.tcp, tcp) {
            listeners.accept(new_shard(), "tcp", (StreamSocket::Tcp(socket), None), &streams)?;
        }
        if let (Some((socket, file)), Some((_, streams))) = (self.unix_stream, unix_stream) {
            listeners.accept(
                new_shard(),
                "unix_stream",
                (StreamSocket::Unix(socket), Some(file)),
                &streams,
            )?;
        }
        Ok(listeners)
    }
}

impl Listeners {
    fn receive(
        &mut self,
        shard: Arc<Mutex<Shard>>,
        name: String,
        socket: DatagramSocket,
        max_datagram: usize,
    ) -> io::Result<()> {
        self.datagrams.push(DatagramReceiver::start(name, socket, shard, max_datagram)?);
        Ok(())
    }

    fn accept(
        &mut self,
        shard: Arc<Mutex<Shard>>,
        listener: &'static str,
        (socket, file): (StreamSocket, Option<BoundFile>),
        streams: &Streams,
    ) -> io::Result<()> {
        self.streams.push(StreamReceiver::start(listener, socket, file, streams, shard)?);
        Ok(())
    }

    /// The counters of the stream listeners.
    #[must_use]
    pub fn connections(&self) -> Vec<(&'static str, Arc<StreamConnections>)> {
        self.streams.iter().map(StreamReceiver::connections).collect()
    }

    /// Lets nothing more in, and waits until what the kernel holds is recorded.
    #[must_use]
    pub fn stop(mut self) -> Drained {
        self.file = None;
        self.datagrams.iter().for_each(DatagramReceiver::stop);
        self.streams.iter_mut().for_each(StreamReceiver::stop);
        self.streams.into_iter().for_each(StreamReceiver::join);
        Drained { _sockets: self.datagrams.into_iter().map(DatagramReceiver::join).collect() }
    }
}
