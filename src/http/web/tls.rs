//! Translates the TLS section of a web configuration file into a configuration of rustls.
//!
//! Versions, cipher suites and curves that rustls lacks are left out, and nothing weaker replaces them. If nothing
//! is left, the file is refused.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::{CryptoProvider, SupportedKxGroup, ring};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{
    NamedGroup, RootCertStore, ServerConfig, SupportedCipherSuite, SupportedProtocolVersion, version,
};
use serde_saphyr::Spanned;
use webpki::{EndEntityCert, KeyUsage};

use super::client_certificates::{AllowedName, AnyCertificate, NamedCertificate};
use super::file::{Text, TlsSection, WebProblem, given};
use super::pem::{self, PemReader};
use super::watched_files::WatchedFiles;

/// The TLS settings of a server.
#[derive(Debug)]
pub(super) struct Tls {
    pub(super) config: Arc<ServerConfig>,
    /// The names in the file that tallyd does not offer.
    pub(super) left_out: Vec<String>,
    /// The source of the server's certificates: the key, and the path if the key names a file.
    pub(super) source: String,
    /// The time at which the first certificate expires. `None` if tallyd can read it from none of them.
    pub(super) expiry: Option<UnixTime>,
    /// Whether each client must have a certificate that an authority has issued.
    pub(super) verifies_clients: bool,
    /// The problem if every user of the machine can read the file of the private key.
    pub(super) exposed_key: Option<WebProblem>,
}

/// The mode bit of a file that every user may read.
const READABLE_BY_ALL: u32 = 0o004;

/// The versions in ascending order. rustls lacks the first two.
const VERSIONS: [&str; 4] = ["TLS10", "TLS11", "TLS12", "TLS13"];

/// Cipher suites that Go knows and rustls lacks. Files may name them. Each lacks forward secrecy, authenticated
/// encryption, or both.
const SUITES_LEFT_OUT: [&str; 8] = [
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA",
    "TLS_RSA_WITH_AES_256_CBC_SHA",
    "TLS_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_RSA_WITH_AES_256_GCM_SHA384",
];

const CURVES: [(&str, NamedGroup); 3] = [
    ("X25519", NamedGroup::X25519),
    ("CurveP256", NamedGroup::secp256r1),
    ("CurveP384", NamedGroup::secp384r1),
];

const CURVES_LEFT_OUT: [&str; 1] = ["CurveP521"];

/// The error for versions, cipher suites and curves that tallyd cannot combine.
const NOTHING_LEFT: &str = "tls_server_config: nothing is left to offer; change min_version, max_version, cipher_suites \
                            or curve_preferences";

impl Tls {
    /// Reads a section that is not empty.
    pub(super) fn read(
        section: &Spanned<TlsSection>,
        directory: &Path,
        files: &mut WatchedFiles,
    ) -> Result<Self, WebProblem> {
        let tls = &section.value;
        let mut reader = PemReader { directory, files };
        let missing =
            |key: &str| WebProblem::at(section, format!("tls_server_config: no {key}_file and no {key}"));
        let chain = reader.read("cert", &tls.cert, &tls.cert_file)?.ok_or_else(|| missing("cert"))?;
        let key = reader.read("key", &tls.key, &tls.key_file)?.ok_or_else(|| missing("key"))?;
        let mut left_out = Vec::new();
        let suites = suites(tls, &mut left_out)?;
        let versions = versions(tls, &suites, &mut left_out)?;
        let provider = Arc::new(CryptoProvider {
            cipher_suites: suites,
            kx_groups: curves(tls, &mut left_out)?,
            ..ring::default_provider()
        });
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider));
        let builder =
            builder.with_protocol_versions(&versions).map_err(|_| WebProblem::at(section, NOTHING_LEFT))?;
        let builder = match clients(tls, &mut reader, &provider)? {
            Some(verifier) => builder.with_client_cert_verifier(verifier),
            None => builder.with_no_client_auth(),
        };
        let private = key.private_key()?;
        let certificates = chain.certificates()?;
        let expiry = certificates.iter().filter_map(expiry).min();
        let mut config = builder
            .with_single_cert(certificates, private)
            .map_err(|error| pem::server_problem(&error, &chain, &key))?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.ignore_client_order = tls.prefer_server_cipher_suites.unwrap_or(true);
        let verifies_clients =
            given(&tls.client_auth_type).is_some_and(|kind| kind.value == "RequireAndVerifyClientCert");
        let key_file = given(&tls.key_file).and_then(|file| fs::metadata(directory.join(&file.value)).ok());
        let is_exposed = key_file.is_some_and(|file| file.mode() & READABLE_BY_ALL != 0);
        let exposed_key = is_exposed
            .then(|| key.problem("every user of this machine can read the private key; run `chmod o-r`"));
        let config = Arc::new(config);
        Ok(Self { config, left_out, source: chain.name, expiry, verifies_clients, exposed_key })
    }
}

/// Returns all cipher suites of TLS 1.3, and then the chosen ones of TLS 1.2. As in Go, files cannot choose among the
/// first.
fn suites(tls: &TlsSection, left_out: &mut Vec<String>) -> Result<Vec<SupportedCipherSuite>, WebProblem> {
    let chosen = tls.cipher_suites.as_deref().unwrap_or_default();
    if chosen.is_empty() {
        return Ok(ring::ALL_CIPHER_SUITES.to_vec());
    }
    let is_new = |suite: &SupportedCipherSuite| suite.tls13().is_some();
    let mut suites: Vec<_> = ring::ALL_CIPHER_SUITES.iter().copied().filter(is_new).collect();
    for name in chosen {
        let mut offered = ring::ALL_CIPHER_SUITES.iter().copied();
        match offered.find(|suite| go_name(*suite) == name.value) {
            Some(suite) if !suites.contains(&suite) => suites.push(suite),
            Some(_) => {}
            None if SUITES_LEFT_OUT.contains(&&*name.value) => left_out.push(name.value.clone()),
            None => {
                let known: Vec<_> = ring::ALL_CIPHER_SUITES.iter().map(|suite| go_name(*suite)).collect();
                let problem =
                    format!("cipher_suites: unknown {:?}; offered: {}", name.value, known.join(", "));
                return Err(WebProblem::at(name, problem));
            }
        }
    }
    Ok(suites)
}

/// Returns the name of a cipher suite in Go, which lacks the version.
fn go_name(suite: SupportedCipherSuite) -> String {
    let name = suite.suite().as_str().unwrap_or_default();
    name.replacen("TLS13_", "TLS_", 1)
}

fn versions(
    tls: &TlsSection,
    suites: &[SupportedCipherSuite],
    left_out: &mut Vec<String>,
) -> Result<Vec<&'static SupportedProtocolVersion>, WebProblem> {
    let find = |key: &str, text: &Text, default: usize| match given(text) {
        None => Ok(default),
        Some(text) => VERSIONS.iter().position(|version| *version == text.value).ok_or_else(|| {
            WebProblem::at(text, format!("{key}: {:?} is not one of {}", text.value, VERSIONS.join(", ")))
        }),
    };
    let least = find("min_version", &tls.min_version, 2)?;
    let most = find("max_version", &tls.max_version, 3)?;
    let chosen = least..=most;
    left_out.extend(VERSIONS[..2].iter().skip(least).map(|version| (*version).to_owned()));
    let has_old_suite = suites.iter().any(|suite| suite.tls13().is_none());
    let offered = [(2, &version::TLS12, has_old_suite), (3, &version::TLS13, true)];
    let versions: Vec<_> = offered
        .into_iter()
        .filter(|(version, _, has_suite)| chosen.contains(version) && *has_suite)
        .map(|(_, version, _)| version)
        .collect();
    if versions.is_empty() {
        // Only `max_version` can cause this, because TLS 1.3 would be left without it.
        let line = given(&tls.max_version).map(|version| version.referenced.line());
        let text = "max_version: nothing is left to offer; tallyd offers TLS12, if cipher_suites names one for it, and TLS13";
        return Err(WebProblem { line, text: text.to_owned() });
    }
    Ok(versions)
}

fn curves(
    tls: &TlsSection,
    left_out: &mut Vec<String>,
) -> Result<Vec<&'static dyn SupportedKxGroup>, WebProblem> {
    let chosen = tls.curve_preferences.as_deref().unwrap_or_default();
    let mut groups = Vec::new();
    let find = |group: NamedGroup| ring::ALL_KX_GROUPS.iter().copied().find(|known| known.name() == group);
    for name in chosen {
        match CURVES.iter().find(|(known, _)| *known == name.value) {
            Some((_, group)) => groups.extend(find(*group)),
            None if CURVES_LEFT_OUT.contains(&&*name.value) => left_out.push(name.value.clone()),
            None => {
                let known = CURVES.map(|(known, _)| known).join(", ");
                let problem = format!("curve_preferences: unknown {:?}; offered: {known}", name.value);
                return Err(WebProblem::at(name, problem));
            }
        }
    }
    match chosen.first() {
        None => Ok(ring::ALL_KX_GROUPS.to_vec()),
        Some(first) if groups.is_empty() => {
            let known = CURVES.map(|(known, _)| known).join(", ");
            Err(WebProblem::at(
                first,
                format!("curve_preferences: tallyd offers none of them; offered: {known}"),
            ))
        }
        Some(_) => Ok(groups),
    }
}

/// Returns the verifier of client certificates, or `None` if tallyd requests none.
fn clients(
    tls: &TlsSection,
    reader: &mut PemReader<'_>,
    provider: &Arc<CryptoProvider>,
) -> Result<Option<Arc<dyn ClientCertVerifier>>, WebProblem> {
    let authorities = reader.read("client_ca", &tls.client_ca, &tls.client_ca_file)?;
    let names = tls.client_allowed_sans.as_deref().unwrap_or_default();
    let policy = given(&tls.client_auth_type);
    let kind = policy.map_or("NoClientCert", |policy| &*policy.value);
    // An authority that verifies nothing would look like a protection.
    if let Some(authorities) = &authorities
        && !matches!(kind, "VerifyClientCertIfGiven" | "RequireAndVerifyClientCert")
    {
        return Err(authorities.problem(&format!(
            "client_auth_type {kind} verifies nothing with it; write RequireAndVerifyClientCert"
        )));
    }
    if let Some(name) = names.first()
        && !matches!(kind, "RequireAnyClientCert" | "RequireClientCert" | "RequireAndVerifyClientCert")
    {
        return Err(WebProblem::at(
            name,
            format!(
                "client_allowed_sans: client_auth_type {kind} admits clients without a certificate; write \
                     RequireAndVerifyClientCert"
            ),
        ));
    }
    let any = |mandatory| -> Arc<dyn ClientCertVerifier> {
        Arc::new(AnyCertificate { mandatory, provider: Arc::clone(provider) })
    };
    let verifier = match (kind, policy) {
        ("NoClientCert", _) => return Ok(None),
        ("RequestClientCert", _) => any(false),
        // `RequireClientCert` is an old name of `RequireAnyClientCert`.
        ("RequireAnyClientCert" | "RequireClientCert", _) => any(true),
        ("VerifyClientCertIfGiven" | "RequireAndVerifyClientCert", Some(policy)) => {
            let Some(authorities) = authorities else {
                let problem = format!("client_auth_type: {kind} needs client_ca_file or client_ca");
                return Err(WebProblem::at(policy, problem));
            };
            let mut roots = RootCertStore::empty();
            for certificate in authorities.certificates()? {
                roots
                    .add(certificate)
                    .map_err(|error| authorities.problem(pem::certificate_problem(&error)))?;
            }
            let builder = WebPkiClientVerifier::builder_with_provider(roots.into(), Arc::clone(provider));
            let builder =
                if kind == "VerifyClientCertIfGiven" { builder.allow_unauthenticated() } else { builder };
            builder.build().map_err(|_| authorities.problem("no certificate of an authority"))?
        }
        (_, Some(policy)) => {
            return Err(WebProblem::at(
                policy,
                format!(
                    "client_auth_type: {kind:?} is not one of NoClientCert, RequestClientCert, \
                         RequireAnyClientCert, VerifyClientCertIfGiven, RequireAndVerifyClientCert"
                ),
            ));
        }
        (_, None) => return Ok(None),
    };
    if names.is_empty() {
        return Ok(Some(verifier));
    }
    let names = names.iter().map(|name| {
        let problem = "an e-mail address cannot be compared; name a host, an IP address or a URI";
        let problem = || WebProblem::at(name, format!("client_allowed_sans: {:?}: {problem}", name.value));
        AllowedName::parse(&name.value).ok_or_else(problem)
    });
    Ok(Some(Arc::new(NamedCertificate { inner: verifier, names: names.collect::<Result<_, _>>()? })))
}

/// Returns the last moment at which a certificate is valid (`notAfter`).
///
/// webpki does not expose it, but the error for an expired certificate contains it. At the end of time, every
/// certificate is expired. webpki checks that before it needs an issuer.
///
/// Returns `None` if webpki cannot read the certificate, for example because it has version 1 or ends before it begins.
fn expiry(certificate: &CertificateDer<'_>) -> Option<UnixTime> {
    let end_of_time = UnixTime::since_unix_epoch(Duration::from_secs(u64::MAX));
    let read = EndEntityCert::try_from(certificate).ok()?;
    match read.verify_for_usage(&[], &[], &[], end_of_time, KeyUsage::server_auth(), None, None) {
        Err(webpki::Error::CertExpired { not_after, .. }) => Some(not_after),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyPair, date_time_ymd};

    use super::*;

    #[test]
    fn the_expiry_of_every_kind_of_certificate_is_read() {
        let key = KeyPair::generate().unwrap();
        let kinds: [fn(&mut CertificateParams); 4] = [
            |_| {},
            |params| params.is_ca = IsCa::ExplicitNoCa,
            |params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained),
            |params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth],
        ];
        // Until 2049, years have two digits. The last date marks certificates without an end (RFC 5280, 4.1.2.5).
        for (year, month, day) in [(1999, 12, 31), (2049, 12, 31), (2050, 1, 1), (9999, 12, 31)] {
            for kind in kinds {
                let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
                params.not_before = date_time_ymd(1990, 1, 1);
                params.not_after = date_time_ymd(year, month, day);
                kind(&mut params);
                let read = expiry(params.self_signed(&key).unwrap().der()).unwrap();
                assert_eq!(i64::try_from(read.as_secs()), Ok(params.not_after.unix_timestamp()), "{year}");
            }
        }
        assert_eq!(expiry(&CertificateDer::from_slice(b"none")), None);
    }
}
