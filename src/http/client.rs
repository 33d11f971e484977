//! Prepares HTTP clients: TLS, authorities, and words for what went wrong.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::CertificateError;
use ureq::tls::{Certificate, ClientCert, PemItem, PrivateKey, RootCerts, TlsConfig, parse_pem};

/// The files in which distributions keep the certificates of all authorities: Debian, Fedora, SUSE.
const SYSTEM_AUTHORITIES: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem"];

/// The value of the header `User-Agent`.
pub(crate) const USER_AGENT: &str = concat!("tallyd/", env!("CARGO_PKG_VERSION"));

/// The certificates of a client.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ClientTls {
    /// The authorities that may sign the server's certificate. `None` stands for those of the system.
    pub(crate) ca_file: Option<PathBuf>,
    /// The client's own certificate and its key, if the server asks for one.
    pub(crate) certificate: Option<(PathBuf, PathBuf)>,
}

impl ClientTls {
    /// Reads the files.
    ///
    /// # Errors
    ///
    /// Returns which file cannot be used, and why.
    pub(crate) fn read(&self) -> Result<TlsConfig, String> {
        let system = || SYSTEM_AUTHORITIES.iter().map(Path::new).find(|file| file.exists());
        let file = self
            .ca_file
            .as_deref()
            .or_else(system)
            .ok_or("this system has no list of authorities; name one with ca_file")?;
        let roots = RootCerts::new_with_certs(&read_pem(file)?.0);
        let own = self.certificate.as_ref().map(|(certificate, key)| {
            let chain = read_pem(certificate)?.0;
            let key_of = |file: &Path| Ok::<_, String>(read_items(file)?.1);
            let key = key_of(key)?.ok_or_else(|| format!("{}: has no private key in PEM", key.display()))?;
            Ok::<_, String>(ClientCert::new_with_certs(&chain, key))
        });
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        Ok(TlsConfig::builder()
            .root_certs(roots)
            .client_cert(own.transpose()?)
            .unversioned_rustls_crypto_provider(provider)
            .build())
    }
}

type PemItems = (Vec<Certificate<'static>>, Option<PrivateKey<'static>>);

/// Reads a file that must have at least one certificate.
fn read_pem(file: &Path) -> Result<PemItems, String> {
    let items = read_items(file)?;
    if items.0.is_empty() {
        return Err(format!("{}: has no certificate in PEM", file.display()));
    }
    Ok(items)
}

fn read_items(file: &Path) -> Result<PemItems, String> {
    let text = fs::read(file).map_err(|error| format!("{}: cannot be read: {error}", file.display()))?;
    let (mut certificates, mut key) = (Vec::new(), None);
    for item in parse_pem(&text).flatten() {
        match item {
            PemItem::Certificate(certificate) => certificates.push(certificate),
            PemItem::PrivateKey(private) => key = Some(private),
            _ => {}
        }
    }
    Ok((certificates, key))
}

/// Says why TLS failed. `ca_file` names the option with the file of authorities.
pub(crate) fn tls_problem(error: &rustls::Error, ca_file: &str) -> String {
    match error {
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            format!("its certificate comes from an unknown authority; {ca_file} names a private one")
        }
        rustls::Error::InvalidMessage(_) => {
            "it does not answer in TLS; try http:// instead of https://".to_owned()
        }
        other => other.to_string(),
    }
}
