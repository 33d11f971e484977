//! Reads certificates and private keys in PEM format. Its errors use the words of the file, not those of the library.

use std::path::Path;

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{CertificateError, Error, InconsistentKeys};
use serde_saphyr::Spanned;

use super::file::{Text, WebProblem, given};
use super::watched_files::WatchedFiles;

/// Reads PEM text from the section, or from the files that it names.
pub(super) struct PemReader<'a> {
    pub(super) directory: &'a Path,
    pub(super) files: &'a mut WatchedFiles,
}

/// A text in PEM format, and its source.
pub(super) struct Pem<'a> {
    /// The text, or the path of the file that has it.
    setting: &'a Spanned<String>,
    /// The key, and the path if the key names a file.
    pub(super) name: String,
    text: Vec<u8>,
}

impl PemReader<'_> {
    /// Returns `None` if neither the file nor the text is given.
    pub(super) fn read<'a>(
        &mut self,
        key: &str,
        text: &'a Text,
        file: &'a Text,
    ) -> Result<Option<Pem<'a>>, WebProblem> {
        if let Some(setting) = given(file) {
            let path = self.directory.join(&setting.value);
            let name = format!("{key}_file: {}", path.display());
            match self.files.read(&path) {
                Ok(text) => Ok(Some(Pem { setting, name, text })),
                Err(error) => Err(WebProblem::at(setting, format!("{name}: cannot be read: {error}"))),
            }
        } else {
            let given_pem = |setting: &'a Spanned<String>| Pem {
                setting,
                name: key.to_owned(),
                text: setting.value.clone().into_bytes(),
            };
            Ok(given(text).map(given_pem))
        }
    }
}

impl Pem<'_> {
    /// Returns a problem in the line of the setting.
    pub(super) fn problem(&self, text: &str) -> WebProblem {
        WebProblem::at(self.setting, format!("{}: {text}", self.name))
    }

    /// Returns the certificates. Fails if the text contains none.
    pub(super) fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, WebProblem> {
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&self.text).collect();
        let problem = match certificates {
            Ok(certificates) if certificates.is_empty() => "no certificate in PEM format",
            Ok(certificates) => return Ok(certificates),
            Err(error) => syntax_problem(&error),
        };
        Err(self.problem(problem))
    }

    /// Returns the first private key. Fails if the text contains none, or an encrypted one.
    pub(super) fn private_key(&self) -> Result<PrivateKeyDer<'static>, WebProblem> {
        PrivateKeyDer::from_pem_slice(&self.text).map_err(|error| {
            let is_encrypted = self.text.windows(9).any(|part| part == b"ENCRYPTED");
            self.problem(match error {
                _ if is_encrypted => {
                    "the private key is encrypted; remove its password, for example with `openssl pkey`"
                }
                pem::Error::NoItemsFound => "no private key in PEM format",
                error => syntax_problem(&error),
            })
        })
    }
}

/// Returns the reason why a text is not in PEM format.
fn syntax_problem(error: &pem::Error) -> &'static str {
    match error {
        pem::Error::MissingSectionEnd { .. } => "a \"-----BEGIN\" line has no \"-----END\" line after it",
        pem::Error::IllegalSectionStart { .. } => "a \"-----BEGIN\" line does not end in \"-----\"",
        pem::Error::Base64Decode(_) => "the lines between \"-----BEGIN\" and \"-----END\" are not base64",
        _ => "not in PEM format",
    }
}

/// Returns the reason why a server cannot use a certificate with its key.
pub(super) fn server_problem(error: &Error, chain: &Pem<'_>, key: &Pem<'_>) -> WebProblem {
    match error {
        Error::InvalidCertificate(_) => chain.problem(certificate_problem(error)),
        Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            key.problem("it is not the key of the certificate")
        }
        _ => key.problem("the private key is damaged or of an unsupported type; use RSA, ECDSA or Ed25519"),
    }
}

/// Returns the reason why a certificate is invalid.
pub(super) fn certificate_problem(error: &Error) -> &'static str {
    let Error::InvalidCertificate(CertificateError::Other(other)) = error else {
        return "a certificate is damaged";
    };
    match other.0.downcast_ref() {
        Some(webpki::Error::UnsupportedCertVersion) => {
            "a certificate has an old version; issue one of version 3"
        }
        _ => "a certificate has an extension that tallyd cannot read; issue it without unusual extensions",
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertifiedKey, generate_simple_self_signed};
    use serde_saphyr::Location;

    use super::*;

    /// Returns a text in PEM format whose content is not a certificate or key.
    fn pem(label: &str, content: &str) -> String {
        format!("-----BEGIN {label}-----\n{content}\n-----END {label}-----\n")
    }

    fn spanned(text: &str) -> Spanned<String> {
        Spanned::new(text.to_owned(), Location::UNKNOWN, Location::UNKNOWN)
    }

    /// Returns the problem of a server with this certificate and this key.
    fn problem(certificate: &str, key: &str) -> String {
        let [certificate, key] = [certificate, key].map(spanned);
        let pem = |name: &str, setting| -> Pem<'_> {
            let text: &Spanned<String> = setting;
            Pem { setting, name: name.to_owned(), text: text.value.clone().into_bytes() }
        };
        let (chain, key) = (pem("cert", &certificate), pem("key", &key));
        let read = || {
            let private = key.private_key()?;
            let certificates = chain.certificates()?;
            let provider = rustls::crypto::ring::default_provider();
            let builder = rustls::ServerConfig::builder_with_provider(provider.into());
            let builder = builder.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
            builder
                .with_single_cert(certificates, private)
                .map(drop)
                .map_err(|error| server_problem(&error, &chain, &key))
        };
        read().expect_err("is invalid").text
    }

    /// Each row holds a certificate, a key, and the error. An empty text stands for a valid one.
    #[test]
    fn errors_use_the_words_of_the_file() {
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["a".to_owned()]).unwrap();
        let (cert, key) = (cert.pem(), signing_key.serialize_pem());
        let truncated = &cert[..cert.len() / 2];
        let old = pem("CERTIFICATE", VERSION_1);
        #[rustfmt::skip]
        let cases = [
            ("x", "", "cert: no certificate in PEM format"),
            (truncated, "", "cert: a \"-----BEGIN\" line has no \"-----END\" line after it"),
            ("-----BEGIN CERTIFICATE--\n", "", "cert: a \"-----BEGIN\" line does not end in \"-----\""),
            (&pem("CERTIFICATE", "?"), "", "cert: the lines between \"-----BEGIN\" and \"-----END\" are not base64"),
            (&pem("CERTIFICATE", "AAAA"), "", "cert: a certificate is damaged"),
            (&old, "", "cert: a certificate has an old version; issue one of version 3"),
            ("", "x", "key: no private key in PEM format"),
            ("", &cert, "key: no private key in PEM format"),
            ("", &key[..key.len() / 2], "key: a \"-----BEGIN\" line has no \"-----END\" line after it"),
            ("", &pem("PRIVATE KEY", "?"), "key: the lines between \"-----BEGIN\" and \"-----END\" are not base64"),
            ("", &pem("PRIVATE KEY", "AAAA"), "key: the private key is damaged or of an unsupported type; use RSA, ECDSA or Ed25519"),
            ("", &pem("ENCRYPTED PRIVATE KEY", "AAAA"), "key: the private key is encrypted; remove its password, for example with `openssl pkey`"),
            ("", &pem("RSA PRIVATE KEY", "Proc-Type: 4,ENCRYPTED\nDEK-Info: x\n\nAAAA"), "key: the private key is encrypted; remove its password, for example with `openssl pkey`"),
            ("", &rcgen::KeyPair::generate().unwrap().serialize_pem(), "key: it is not the key of the certificate"),
        ];
        for (given_cert, given_key, expected) in cases {
            let or =
                |given: &str, valid: &str| if given.is_empty() { valid.to_owned() } else { given.to_owned() };
            assert_eq!(problem(&or(given_cert, &cert), &or(given_key, &key)), expected);
        }
    }

    /// A certificate of version 1, in base64 (`openssl req -new` and `openssl x509 -req`).
    const VERSION_1: &str = "\
        MIIBFDCBuwIUA7M3IjdNeV4XP5k7jNUaSMAuVvQwCgYIKoZIzj0EAwIwDDEKMAgGA1UEAwwBYTAgFw0yNjExMzAwMjQ4MzVa\
        GA8yMTI2MTEwNjAyNDgzNVowDDEKMAgGA1UEAwwBYTBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABPT1fXOxrOg5OCJQDa++\
        fuWWsd0zVIKcPMwD5mqNgTJSfVwJ2AVbOUpg5RSBkCCttOENXH1QMeEXNZtAitGpIcEwCgYIKoZIzj0EAwIDSAAwRQIgVBx2\
        fCigYHVqNSxH2gRTZLGWeyy9RpHu5TMD9qNtGlICIQCQ+Fp8jWAmQ4CxovAlygsrjxbXeGl0HV4kFkrQZiITpQ==";
}
