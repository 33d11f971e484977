//! Begins TLS with a client.

use std::error::Error;
use std::sync::Arc;

use rustls::ServerConfig;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::super::Closing;

/// With this byte TLS begins: a record of the handshake. No method of HTTP does.
const HANDSHAKE: u8 = 0x16;

const NO_TLS: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n\
    Connection: close\r\nContent-Length: 32\r\n\r\nthis port speaks TLS: use https\n";

/// The connection, in which what is read and written is encrypted; or why there is none. Takes as long as the client does.
pub(in super::super) async fn handshake(
    stream: TcpStream,
    config: Arc<ServerConfig>,
) -> Result<TlsStream<TcpStream>, Closing> {
    let mut first = [0];
    match stream.peek(&mut first).await {
        Ok(0) => return Err(Closing::End),
        Ok(_) if first[0] == HANDSHAKE => {}
        Ok(_) => {
            // As much of the request as is there is read, or the client would be reset, and might not see the answer.
            _ = stream.try_read(&mut [0; 4096]);
            // The buffer of a new connection holds it; and if not, the client is told nothing.
            _ = stream.try_write(NO_TLS);
            return Err(Closing::BadHandshake);
        }
        Err(_) => return Err(Closing::Broken),
    }
    TlsAcceptor::from(config).accept(stream).await.map_err(|error| {
        let is_of_tls = error.get_ref().is_some_and(<dyn Error + Send + Sync>::is::<rustls::Error>);
        if is_of_tls { Closing::BadHandshake } else { Closing::Broken }
    })
}
