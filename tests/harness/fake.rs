//! A server that answers as tallyd's API does, or as it never would.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

/// A server on a free port of 127.0.0.1. It serves until the test process ends.
pub struct FakeServer {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
}

impl FakeServer {
    /// Starts a server. `serve` gets the first line of each request, without the version, and writes the response. Each
    /// connection has one request and a thread of its own.
    pub fn start(serve: impl Fn(&str, &mut TcpStream) + Send + Sync + 'static) -> Self {
        Self::start_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap(), serve)
    }

    /// Starts a server on a socket.
    pub fn start_on(
        listener: TcpListener,
        serve: impl Fn(&str, &mut TcpStream) + Send + Sync + 'static,
    ) -> Self {
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (seen, serve) = (Arc::clone(&requests), Arc::new(serve));
        thread::spawn(move || {
            for connection in listener.incoming().map_while(Result::ok) {
                let (seen, serve) = (Arc::clone(&seen), Arc::clone(&serve));
                thread::spawn(move || {
                    let head = BufReader::new(connection.try_clone().unwrap()).lines().map_while(Result::ok);
                    let head: Vec<_> = head.take_while(|line| !line.is_empty()).collect();
                    let Some(first) = head.first() else { return };
                    let request = first.trim_end_matches(" HTTP/1.1").to_owned();
                    seen.lock().unwrap().push(request.clone());
                    serve(&request, &mut { connection });
                });
            }
        });
        Self { address, requests }
    }

    /// Returns the URL of the server.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns the requests so far, for example `GET /api/v1/status`.
    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

/// A server that takes lines over TCP, as Graphite does. It serves until the test process ends.
pub struct LineServer {
    /// The address on 127.0.0.1.
    pub address: SocketAddr,
    lines: Arc<Mutex<Vec<String>>>,
    closed: Arc<AtomicUsize>,
}

impl LineServer {
    /// Starts a server on a free port.
    pub fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let lines = Arc::<Mutex<Vec<String>>>::default();
        let closed = Arc::<AtomicUsize>::default();
        let shared = (Arc::clone(&lines), Arc::clone(&closed));
        thread::spawn(move || {
            for connection in listener.incoming().map_while(Result::ok) {
                let (lines, closed) = shared.clone();
                thread::spawn(move || {
                    for line in BufReader::new(connection).lines().map_while(Result::ok) {
                        lines.lock().unwrap().push(line);
                    }
                    closed.fetch_add(1, Ordering::SeqCst);
                });
            }
        });
        Self { address, lines, closed }
    }

    /// Returns the lines so far.
    pub fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    /// Returns how many connections have been read to their end.
    pub fn closed(&self) -> usize {
        self.closed.load(Ordering::SeqCst)
    }
}

/// Writes a response. A client that has gone is no error.
pub fn respond(connection: &mut TcpStream, status: &str, headers: &str, body: &str) {
    let length = body.len();
    let response =
        format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}");
    _ = connection.write_all(response.as_bytes());
}

/// Writes JSON.
pub fn respond_json(connection: &mut TcpStream, body: &str) {
    respond(connection, "200 OK", "Content-Type: application/json\r\n", body);
}

/// Begins a stream of events, and writes these. The stream ends with the connection.
pub fn stream(connection: &mut TcpStream, events: &str) {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n";
    _ = connection.write_all(format!("{head}{events}").as_bytes());
}

/// Waits until the client closes the connection.
pub fn wait_for_end(connection: &TcpStream) {
    _ = BufReader::new(connection).lines().map_while(Result::ok).last();
}
