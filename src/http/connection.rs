//! Serves one connection: TLS handshake, requests and responses, each with a deadline.

use std::convert::Infallible;
use std::error::Error;
use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::unix::SocketAddr as UnixAddr;
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, Sleep, sleep, sleep_until};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::deadline::{CloseReason, Progress, SIGN_OF_LIFE};
use super::response::{
    Body, Complete, EventStream, Response, ResponseCounts, too_many_requests, unauthorized,
};
use super::web::{AccessControl, Refusal};
use crate::net::{Activity, ServeConnection, Stop};

/// The length in bytes of the longest header of a request. The header that Prometheus sends takes about 500 bytes.
const MAX_HEADER: usize = 16 << 10;

/// The first byte of a TLS connection, which is the type of a handshake record. No HTTP method begins with it.
const TLS_HANDSHAKE: u8 = 0x16;

const TLS_REQUIRED: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n\
    Connection: close\r\nContent-Length: 32\r\n\r\nthis port speaks TLS: use https\n";

/// A request. Services do not read its body.
pub(crate) type Request = hyper::Request<Incoming>;

/// Answers requests. It runs only on the server's thread.
pub(crate) trait Service: Send + 'static {
    /// Returns the response to an admitted request of a client.
    fn respond(&self, request: &Request, client: IpAddr) -> impl Future<Output = Response>;
}

/// Serves the connections of a server, and hands their requests to `service`.
#[derive(Debug)]
pub(super) struct HttpService<S> {
    pub(super) service: S,
    /// The time that a client has to send the header of a request, and again to receive the response.
    pub(super) timeout: Duration,
    /// The checks of connections and requests. `None` if the server is not protected.
    pub(super) access: Option<AccessControl>,
    pub(super) responses: ResponseCounts,
}

impl<S: Service> ServeConnection<(TcpStream, SocketAddr)> for HttpService<S> {
    type CloseReason = CloseReason;

    const PANICKED: CloseReason = CloseReason::Broken;

    const SERVES_BACKLOG: bool = false;

    async fn serve(
        &self,
        (stream, peer): (TcpStream, SocketAddr),
        stop: Stop,
        activity: Rc<Activity>,
    ) -> CloseReason {
        self.until_evicted(activity, async |progress| self.serve_stream(stream, peer, progress, stop).await)
            .await
    }
}

/// A client of a Unix socket is on the same machine.
impl<S: Service> ServeConnection<(UnixStream, UnixAddr)> for HttpService<S> {
    type CloseReason = CloseReason;

    const PANICKED: CloseReason = CloseReason::Broken;

    const SERVES_BACKLOG: bool = false;

    async fn serve(
        &self,
        (stream, _): (UnixStream, UnixAddr),
        stop: Stop,
        activity: Rc<Activity>,
    ) -> CloseReason {
        let client = Ipv4Addr::LOCALHOST.into();
        self.until_evicted(activity, async |progress| self.serve_http(stream, client, progress, stop).await)
            .await
    }
}

impl<S: Service + Clone> HttpService<S> {
    /// Returns a service with neither TLS nor users, for a socket whose file says who may connect.
    pub(super) fn without_protection(&self) -> Self {
        let Self { service, timeout, access: _, responses } = self;
        Self { service: service.clone(), timeout: *timeout, access: None, responses: responses.clone() }
    }
}

impl<S: Service> HttpService<S> {
    /// Serves a connection until it ends, or gives way to a new one.
    async fn until_evicted(
        &self,
        activity: Rc<Activity>,
        serve: impl AsyncFnOnce(Rc<Progress>) -> CloseReason,
    ) -> CloseReason {
        let progress = Rc::new(Progress::new(self.timeout, Rc::clone(&activity)));
        tokio::select! {
            biased;
            reason = serve(progress) => reason,
            () = activity.evicted() => CloseReason::Evicted,
        }
    }

    async fn serve_stream(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        progress: Rc<Progress>,
        mut stop: Stop,
    ) -> CloseReason {
        let Some(tls) = self.access.as_ref().and_then(AccessControl::tls) else {
            return self.serve_http(stream, peer.ip(), progress, stop).await;
        };
        let encrypted = tokio::select! {
            biased;
            encrypted = handshake(stream, tls) => encrypted,
            () = sleep_until(progress.deadline()) => return CloseReason::HandshakeTimeout,
            () = no_more_requests(&mut stop, &progress) => return CloseReason::Stop,
        };
        match encrypted {
            Ok(stream) => self.serve_http(stream, peer.ip(), progress, stop).await,
            Err(reason) => reason,
        }
    }

    async fn serve_http(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin,
        client: IpAddr,
        progress: Rc<Progress>,
        mut stop: Stop,
    ) -> CloseReason {
        let socket = Socket { stream: TokioIo::new(stream), progress: Rc::clone(&progress) };
        let service = service_fn(async |request| {
            progress.received_request();
            let response = self.respond(&request, client).await;
            progress.made_response();
            let progress = Rc::clone(&progress);
            Ok::<_, Infallible>(response.map(|body| SentBody::new(body, progress)))
        });
        let mut server = http1::Builder::new();
        let connection = server.max_buf_size(MAX_HEADER).serve_connection(socket, service);
        let mut connection = pin!(connection);
        let mut alarm = pin!(sleep_until(progress.deadline()));
        let mut is_stopping = false;
        loop {
            tokio::select! {
                biased;
                ended = connection.as_mut() => return match ended {
                    Ok(()) if is_stopping => CloseReason::Stop,
                    Ok(()) => CloseReason::End,
                    Err(error) if error.is_parse() => CloseReason::BadRequest,
                    Err(_) => CloseReason::Broken,
                },
                () = deadline(alarm.as_mut(), &progress) => return progress.reason_at_deadline(),
                () = no_more_requests(&mut stop, &progress), if !is_stopping => {
                    if !progress.is_answering() {
                        return CloseReason::Stop;
                    }
                    is_stopping = true;
                    connection.as_mut().graceful_shutdown();
                }
            }
        }
    }

    /// Answers a request and counts the response.
    async fn respond(&self, request: &Request, client: IpAddr) -> Response {
        let response = match &self.access {
            None => self.service.respond(request, client).await,
            Some(access) => {
                let (admitted, headers) = access.admit(request.headers(), client).await;
                let mut response = match admitted {
                    Ok(()) => self.service.respond(request, client).await,
                    Err(Refusal::TooManyRequests) => too_many_requests(),
                    Err(Refusal::Unauthorized) => unauthorized(),
                };
                response.headers_mut().extend(headers);
                response
            }
        };
        self.responses.count(response.status());
        response
    }
}

/// Performs the TLS handshake. It sets no time limit.
async fn handshake(
    stream: TcpStream,
    config: Arc<ServerConfig>,
) -> Result<TlsStream<TcpStream>, CloseReason> {
    let mut first = [0];
    match stream.peek(&mut first).await {
        Ok(0) => return Err(CloseReason::End),
        Ok(_) if first[0] == TLS_HANDSHAKE => {}
        Ok(_) => {
            // This reads the part of the request that has arrived. Otherwise closing would reset the connection, and
            // the client might not see the response.
            _ = stream.try_read(&mut [0; 4096]);
            // The buffer of a new connection has room for the response. If it has none, the client gets no response.
            _ = stream.try_write(TLS_REQUIRED);
            return Err(CloseReason::BadHandshake);
        }
        Err(_) => return Err(CloseReason::Broken),
    }
    TlsAcceptor::from(config).accept(stream).await.map_err(|error| {
        let is_tls_error = error.get_ref().is_some_and(<dyn Error + Send + Sync>::is::<rustls::Error>);
        if is_tls_error { CloseReason::BadHandshake } else { CloseReason::Broken }
    })
}

/// Waits until tallyd stops, and then for a request that may be on its way.
async fn no_more_requests(stop: &mut Stop, progress: &Progress) {
    stop.requested().await;
    sleep(progress.patience_at_stop()).await;
}

/// Waits until the deadline, which moves with the progress of the connection.
fn deadline(mut alarm: Pin<&mut Sleep>, progress: &Progress) -> impl Future<Output = ()> {
    poll_fn(move |context| {
        if alarm.deadline() != progress.deadline() {
            alarm.as_mut().reset(progress.deadline());
        }
        alarm.as_mut().poll(context)
    })
}

/// A body on its way to a client.
struct SentBody {
    left: Left,
    progress: Rc<Progress>,
}

/// What is left of a body.
enum Left {
    /// The pieces from an index on.
    Pieces(Complete, usize),
    /// Events as they come. The alarm ends when the client must get a sign of life.
    Events(EventStream, Pin<Box<Sleep>>),
}

impl SentBody {
    fn new(body: Body, progress: Rc<Progress>) -> Self {
        let left = match body {
            Body::Complete(pieces) => Left::Pieces(pieces, 0),
            Body::Events(events) => {
                progress.begin_events();
                Left::Events(events, Box::pin(sleep(SIGN_OF_LIFE)))
            }
        };
        Self { left, progress }
    }

    /// Returns the next piece of the body.
    fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let (events, alarm) = match &mut self.left {
            Left::Pieces(pieces, next) => {
                let piece = pieces.get(*next).cloned();
                *next += 1;
                return Poll::Ready(piece);
            }
            Left::Events(events, alarm) => (events, alarm),
        };
        let mut next = events.poll_recv(context);
        if next.is_pending() && alarm.as_mut().poll(context).is_ready() {
            next = Poll::Ready(Some(Bytes::from_static(b": alive\n\n")));
        }
        if next.is_ready() {
            alarm.as_mut().reset(Instant::now() + SIGN_OF_LIFE);
        }
        next
    }
}

impl hyper::body::Body for SentBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.poll_piece(context).map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(&self.left, Left::Pieces(pieces, next) if *next >= pieces.len())
    }

    fn size_hint(&self) -> SizeHint {
        match &self.left {
            Left::Pieces(pieces, next) => {
                SizeHint::with_exact(pieces.iter().skip(*next).map(|piece| piece.len() as u64).sum())
            }
            Left::Events(..) => SizeHint::default(),
        }
    }
}

impl Drop for SentBody {
    fn drop(&mut self) {
        self.progress.buffered_response();
    }
}

/// A socket that reports its progress.
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
            self.progress.received_bytes();
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
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.progress.note_sent(&written);
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // hyper calls this only after it has written everything.
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
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, pieces);
        self.progress.note_sent(&written);
        written
    }
}
