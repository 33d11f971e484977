//! Issues certificates, and sends HTTP requests over TLS.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType, date_time_ymd};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use socket2::{Domain, Socket, Type};

use super::http::{Response, request_text};
use super::wait::TIMEOUT;

/// An authority that issues certificates.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// The authority's own certificate, in PEM.
    pub pem: String,
}

/// A certificate and its key, in PEM.
#[derive(Clone)]
pub struct Identity {
    /// The certificate, without its issuer.
    pub certificate: String,
    /// The private key.
    pub key: String,
}

impl Authority {
    /// Creates an authority with a self-signed certificate.
    pub fn new(name: &str) -> Self {
        let (params, key, pem) = self_signed(name, IsCa::Ca(BasicConstraints::Unconstrained));
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// Issues a certificate for a name and for 127.0.0.1.
    pub fn issue(&self, name: &str) -> Identity {
        self.issue_until(name, 4096)
    }

    /// Issues a certificate for a name and for 127.0.0.1 that expires when a year begins in UTC.
    pub fn issue_until(&self, name: &str, year: i32) -> Identity {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.not_after = date_time_ymd(year, 1, 1);
        params.subject_alt_names.push(SanType::IpAddress(Ipv4Addr::LOCALHOST.into()));
        let certificate = params.signed_by(&key, &self.issuer).unwrap().pem();
        Identity { certificate, key: key.serialize_pem() }
    }
}

impl Identity {
    /// Creates a self-signed identity. `is_authority` decides whether basicConstraints mark it as an authority.
    pub fn self_signed(name: &str, is_authority: bool) -> Self {
        let ca = if is_authority { IsCa::Ca(BasicConstraints::Unconstrained) } else { IsCa::ExplicitNoCa };
        let (_, key, certificate) = self_signed(name, ca);
        Self { certificate, key: key.serialize_pem() }
    }

    /// Writes the files `NAME.crt` and `NAME.key`, and replaces existing ones.
    pub fn write(&self, directory: &Path, name: &str) -> [PathBuf; 2] {
        [("crt", &self.certificate), ("key", &self.key)].map(|(extension, pem)| {
            let path = directory.join(name).with_extension(extension);
            let new = path.with_extension("new");
            std::fs::write(&new, pem).unwrap();
            std::fs::rename(new, &path).unwrap();
            path
        })
    }

    /// Returns the certificate in the binary format that rustls takes.
    pub fn der(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(self.certificate.as_bytes()).unwrap()
    }
}

/// Creates a self-signed certificate. Returns its parameters, its key and its PEM.
fn self_signed(name: &str, is_ca: IsCa) -> (CertificateParams, KeyPair, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = is_ca;
    params.distinguished_name.push(DnType::CommonName, name);
    let pem = params.self_signed(&key).unwrap().pem();
    (params, key, pem)
}

/// An HTTPS client that trusts an authority and may have a certificate of its own.
pub struct Client {
    config: Arc<ClientConfig>,
    address: Ipv4Addr,
}

/// An open connection.
pub struct Connection(StreamOwned<ClientConnection, TcpStream>);

impl Client {
    /// Creates a client that connects from 127.0.0.1.
    pub fn new(authority: &Authority, identity: Option<&Identity>) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(authority.pem.as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config =
            ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = config.with_root_certificates(roots);
        let mut config = match identity {
            None => config.with_no_client_auth(),
            Some(own) => {
                let key = PrivateKeyDer::from_pem_slice(own.key.as_bytes()).unwrap();
                config.with_client_auth_cert(vec![own.der()], key).unwrap()
            }
        };
        // Prometheus offers the same protocols.
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Self { config: Arc::new(config), address: Ipv4Addr::LOCALHOST }
    }

    /// Returns a client that connects from another address of this machine.
    #[must_use]
    pub fn at(self, address: Ipv4Addr) -> Self {
        Self { address, ..self }
    }

    /// Opens a connection and completes the TLS handshake.
    pub fn connect(&self, address: SocketAddr) -> io::Result<Connection> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.bind(&SocketAddr::from((self.address, 0)).into())?;
        socket.connect(&address.into())?;
        let mut socket = TcpStream::from(socket);
        socket.set_read_timeout(Some(TIMEOUT))?;
        let name = ServerName::from(Ipv4Addr::LOCALHOST);
        let mut connection = ClientConnection::new(Arc::clone(&self.config), name).unwrap();
        while connection.is_handshaking() {
            connection.complete_io(&mut socket)?;
        }
        assert_eq!(connection.alpn_protocol(), Some(&b"http/1.1"[..]));
        Ok(Connection(StreamOwned::new(connection, socket)))
    }

    /// Sends one request over a connection of its own.
    pub fn get(&self, address: SocketAddr, path: &str, headers: &[&str]) -> io::Result<Response> {
        self.connect(address)?.get(path, headers)
    }
}

impl Connection {
    /// Sends a request and reads its response.
    pub fn get(&mut self, path: &str, headers: &[&str]) -> io::Result<Response> {
        self.0.write_all(request_text("GET", path, headers).as_bytes())?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            self.0.read_exact(&mut byte)?;
            head.push(byte[0]);
        }
        let mut response = Response::parse(&head);
        response.body = vec![0; response.header("content-length").unwrap().parse().unwrap()];
        self.0.read_exact(&mut response.body)?;
        Ok(response)
    }

    /// Returns the certificate of the server.
    pub fn certificate(&self) -> CertificateDer<'static> {
        self.0.conn.peer_certificates().unwrap()[0].clone().into_owned()
    }
}
