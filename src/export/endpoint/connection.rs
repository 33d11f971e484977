//! Serves a connection until it ends, or has to.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::io::IoSlice;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Sleep, sleep_until};

use super::answer::answer;
use super::pages::{Page, Pages};
use super::progress::Progress;
use super::server::Stopping;
use super::web::{Gate, handshake};
use super::{Closing, Reload, Requests};

/// The longest header of a request, in bytes. Prometheus' takes some 500.
const MAX_HEADER: usize = 16 << 10;

/// What the connections of the endpoint share.
#[derive(Debug)]
pub(super) struct Clerk {
    pub(super) pages: Arc<Pages>,
    pub(super) requests: Arc<Requests>,
    /// How long a client may take to ask, and to take its answer.
    pub(super) timeout: Duration,
    /// Whom to ask to read the configuration again, if clients may.
    pub(super) reloads: Option<mpsc::Sender<Reload>>,
    /// What clients have to pass, if there is anything.
    pub(super) gate: Option<Gate>,
}

impl Clerk {
    /// Answers what is asked from this address until the connection ends, or is to be ended; then closes it, and says why.
    pub(super) async fn serve(&self, stream: TcpStream, address: IpAddr, mut stop: Stopping) -> Closing {
        let progress = Rc::new(Progress::new(self.timeout));
        let Some(tls) = self.gate.as_ref().and_then(Gate::tls) else {
            return self.converse(stream, address, progress, stop).await;
        };
        let shaken = tokio::select! {
            biased;
            shaken = handshake(stream, tls) => shaken,
            () = sleep_until(progress.deadline()) => return Closing::HandshakeTimeout,
            _ = stop.wait_for(Option::is_some) => return Closing::Stop,
        };
        match shaken {
            Ok(stream) => self.converse(stream, address, progress, stop).await,
            Err(closing) => closing,
        }
    }

    async fn converse<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
        address: IpAddr,
        progress: Rc<Progress>,
        mut stop: Stopping,
    ) -> Closing {
        let socket = Socket { stream: TokioIo::new(stream), progress: Rc::clone(&progress) };
        let service = service_fn(|request| self.answer(request, address, Rc::clone(&progress)));
        let mut server = http1::Builder::new();
        let connection = server.max_buf_size(MAX_HEADER).serve_connection(socket, service);
        let mut connection = pin!(connection);
        let mut alarm = pin!(sleep_until(progress.deadline()));
        let mut stopping = false;
        loop {
            tokio::select! {
                biased;
                ended = connection.as_mut() => return match ended {
                    Ok(()) if stopping => Closing::Stop,
                    Ok(()) => Closing::End,
                    Err(error) if error.is_parse() => Closing::BadRequest,
                    Err(_) => Closing::Broken,
                },
                () = overdue(alarm.as_mut(), &progress) => return progress.overdue(),
                _ = stop.wait_for(Option::is_some), if !stopping => {
                    if !progress.is_answering() {
                        return Closing::Stop;
                    }
                    stopping = true;
                    connection.as_mut().graceful_shutdown();
                }
            }
        }
    }

    async fn answer(
        &self,
        request: Request<Incoming>,
        address: IpAddr,
        progress: Rc<Progress>,
    ) -> Result<Response<Answer>, Infallible> {
        progress.asked();
        let response = answer(&request, self, address).await;
        Ok(response.map(|page| Answer::new(page, progress)))
    }
}

/// Resolves at the deadline, which moves while the connection is served.
fn overdue(mut alarm: Pin<&mut Sleep>, progress: &Progress) -> impl Future<Output = ()> {
    poll_fn(move |context| {
        if alarm.deadline() != progress.deadline() {
            alarm.as_mut().reset(progress.deadline());
        }
        alarm.as_mut().poll(context)
    })
}

/// A page on its way to a client.
struct Answer {
    page: Page,
    /// The number of the next piece.
    next: usize,
    progress: Rc<Progress>,
}

impl Answer {
    fn new(page: Page, progress: Rc<Progress>) -> Self {
        Self { page, next: 0, progress }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = self.page.get(self.next).cloned();
        self.next += 1;
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.next >= self.page.len()
    }

    fn size_hint(&self) -> SizeHint {
        let left = self.page.iter().skip(self.next).map(|piece| piece.len() as u64).sum();
        SizeHint::with_exact(left)
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.progress.handed_over();
    }
}

/// A socket that tells what happens on it.
struct Socket<S> {
    stream: TokioIo<S>,
    progress: Rc<Progress>,
}

impl<S: AsyncRead + Unpin> Read for Socket<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if read.is_ready() {
            self.progress.received();
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> Write for Socket<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Only called once everything was written.
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        if flushed.is_ready() {
            self.progress.flushed();
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, pieces)
    }
}
