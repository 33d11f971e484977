//! Sends plain HTTP requests, each over a connection of its own.

use std::hash::{BuildHasher, RandomState};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};

use super::wait::TIMEOUT;

/// The response to a request.
#[derive(Debug)]
pub struct Response {
    /// The status code, such as 200.
    pub code: u16,
    /// The status line and the headers, in lower case.
    pub head: String,
    /// All bytes after the empty line. They may be compressed.
    pub body: Vec<u8>,
}

impl Response {
    /// Parses the bytes of a response.
    pub fn parse(bytes: &[u8]) -> Self {
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n");
        let end = end.unwrap_or_else(|| panic!("no response: {:?}", String::from_utf8_lossy(bytes)));
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap().to_lowercase();
        let code = head.split(' ').nth(1).unwrap().parse().unwrap();
        Self { code, head, body: bytes[end + 4..].to_vec() }
    }

    /// Returns the value of a header, in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().skip(1).filter_map(|line| line.split_once(": "));
        lines.filter(|(other, _)| *other == name).map(|(_, value)| value).next()
    }

    /// Returns the body as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

/// Sends a request with these headers, and reads until the server closes the connection.
pub fn request(address: SocketAddr, method: &str, path: &str, headers: &[&str]) -> Response {
    let headers = [&["Connection: close"], headers].concat();
    Response::parse(&exchange(connect(address), &request_text(method, path, &headers)).unwrap())
}

/// Sends a GET request.
pub fn get(address: SocketAddr, path: &str) -> Response {
    request(address, "GET", path, &[])
}

/// Sends a GET request. Returns `None` if no server listens there, or if it ends the connection without a response.
pub fn try_get(address: SocketAddr, path: &str) -> Option<Response> {
    let connection = TcpStream::connect(address).ok()?;
    connection.set_read_timeout(Some(TIMEOUT)).unwrap();
    let response = exchange(connection, &request_text("GET", path, &["Connection: close"])).ok()?;
    (!response.is_empty()).then(|| Response::parse(&response))
}

/// Sends a GET request in HTTP 1.0, with which a server does not split its response into chunks.
pub fn get_unchunked(connection: impl Read + Write, path: &str) -> Response {
    Response::parse(&exchange(connection, &format!("GET {path} HTTP/1.0\r\nHost: test\r\n\r\n")).unwrap())
}

/// Opens a connection. Reads time out after [`TIMEOUT`].
pub fn connect(address: SocketAddr) -> TcpStream {
    let connection = TcpStream::connect(address).unwrap();
    connection.set_read_timeout(Some(TIMEOUT)).unwrap();
    connection
}

/// Returns an address of 127.0.0.1 that no program uses at this moment, neither for TCP nor for UDP. Its port is below those that
/// the kernel gives to clients: a client that tries such a port again and again can connect to itself, and the server for which it
/// waits cannot have the port then.
pub fn free_address() -> SocketAddr {
    loop {
        let port = 10_000 + (RandomState::new().hash_one(0) % 20_000) as u16;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok() {
            return address;
        }
    }
}

/// Returns the text of a request in HTTP 1.1.
pub(crate) fn request_text(method: &str, path: &str, headers: &[&str]) -> String {
    let host =
        if headers.iter().any(|header| header.starts_with("Host:")) { "" } else { "\r\nHost: localhost" };
    let first = format!("{method} {path} HTTP/1.1{host}");
    [&[&*first], headers, &["\r\n"]].concat().join("\r\n")
}

/// Sends a request, and reads until the server closes the connection.
pub fn exchange(mut connection: impl Read + Write, request: &str) -> io::Result<Vec<u8>> {
    connection.write_all(request.as_bytes())?;
    let mut response = Vec::new();
    connection.read_to_end(&mut response)?;
    Ok(response)
}
