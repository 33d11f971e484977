//! Verifies the certificates of clients.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, IpAddr, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use webpki::EndEntityCert;

/// A name that a client's certificate may have.
#[derive(Debug)]
pub(super) enum AllowedName {
    Dns(String),
    Ip(IpAddr),
    Uri(String),
}

impl AllowedName {
    /// Reads a name. Returns `None` for an e-mail address, because webpki reads none from a certificate.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if let Ok(address) = text.parse::<std::net::IpAddr>() {
            Some(Self::Ip(address.into()))
        } else if text.contains(':') {
            Some(Self::Uri(text.to_owned()))
        } else {
            (!text.contains('@')).then(|| Self::Dns(text.to_owned()))
        }
    }

    /// Returns true if the certificate has exactly this name. The name `a.example` does not match a certificate for
    /// `*.example`.
    fn is_in(&self, certificate: &EndEntityCert<'_>) -> bool {
        match self {
            Self::Dns(name) => certificate.valid_dns_names().any(|other| other == name),
            Self::Ip(address) => {
                certificate.verify_is_valid_for_subject_name(&ServerName::IpAddress(*address)).is_ok()
            }
            Self::Uri(name) => certificate.valid_uri_names().any(|other| other == name),
        }
    }
}

/// Accepts the certificate of any issuer, if the client has its key.
#[derive(Debug)]
pub(super) struct AnyCertificate {
    pub(super) mandatory: bool,
    pub(super) provider: Arc<CryptoProvider>,
}

impl ClientCertVerifier for AnyCertificate {
    fn client_auth_mandatory(&self) -> bool {
        self.mandatory
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Accepts the certificates that `inner` accepts, if they have one of the names.
#[derive(Debug)]
pub(super) struct NamedCertificate {
    pub(super) inner: Arc<dyn ClientCertVerifier>,
    pub(super) names: Vec<AllowedName>,
}

impl ClientCertVerifier for NamedCertificate {
    fn offer_client_auth(&self) -> bool {
        self.inner.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.inner.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.inner.verify_client_cert(certificate, intermediates, now)?;
        let read = EndEntityCert::try_from(certificate)
            .map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))?;
        if self.names.iter().any(|name| name.is_in(&read)) {
            Ok(verified)
        } else {
            Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, SanType};

    use super::*;

    #[test]
    fn a_certificate_must_have_exactly_one_of_the_names() {
        let key = KeyPair::generate().unwrap();
        let mut params =
            CertificateParams::new(["one.example".to_owned(), "*.two.example".to_owned()]).unwrap();
        params.subject_alt_names.push(SanType::IpAddress("10.0.0.1".parse().unwrap()));
        params.subject_alt_names.push(SanType::URI("spiffe://example/scraper".try_into().unwrap()));
        let certificate = params.self_signed(&key).unwrap();
        let certificate = EndEntityCert::try_from(certificate.der()).unwrap();
        let cases = [
            ("one.example", true),
            ("*.two.example", true),
            ("a.two.example", false),
            ("example", false),
            ("10.0.0.1", true),
            ("10.0.0.2", false),
            ("spiffe://example/scraper", true),
            ("spiffe://example/", false),
        ];
        for (name, expected) in cases {
            assert_eq!(AllowedName::parse(name).unwrap().is_in(&certificate), expected, "{name}");
        }
        assert!(AllowedName::parse("ann@example.com").is_none());
    }
}
