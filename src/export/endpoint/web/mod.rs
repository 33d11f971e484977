//! What a web configuration file of exporter-toolkit asks for: TLS, users, headers, and a limit of requests.
//!
//! ```text
//!  connection --> TLS, with certificates --+
//!                                          +--> as the file says, which is read again when it changes
//!  request ----> limit --> user, password -+
//! ```

mod clients;
mod expiry;
mod file;
mod files;
mod gate;
mod handshake;
mod headers;
mod limit;
mod queue;
mod tls;
mod users;
mod verifier;
mod watch;

pub(super) use gate::Gate;
pub(super) use handshake::handshake;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hyper::HeaderMap;
use serde_saphyr::Spanned;

use files::Files;
use limit::Limit;
use tls::Tls;
use users::Users;

/// All that a file asks for, ready to be put in force.
#[derive(Debug)]
pub(super) struct Web {
    tls: Option<Tls>,
    users: Arc<Users>,
    /// Of all answers.
    headers: HeaderMap,
    limit: Option<Limit>,
}

/// A web configuration file that is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebError {
    /// The web configuration file.
    pub path: PathBuf,
    /// The line of it that is to blame, from 1, if one is known.
    pub line: Option<u64>,
    /// What is wrong, and what would be right.
    pub problem: String,
}

impl fmt::Display for WebError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.path.display())?;
        if let Some(line) = self.line {
            write!(f, "{line}:")?;
        }
        write!(f, " {}", self.problem)
    }
}

impl std::error::Error for WebError {}

/// What is wrong in the file that is being read.
#[derive(Debug)]
struct Problem {
    line: Option<u64>,
    text: String,
}

impl Problem {
    fn at<T>(place: &Spanned<T>, text: impl Into<String>) -> Self {
        Self { line: Some(place.referenced.line()), text: text.into() }
    }
}

/// Whether the file, and those that it names, can be put in force.
///
/// # Errors
///
/// The first thing that is wrong.
pub fn check(path: &Path) -> Result<(), WebError> {
    Web::read(path, &mut Files::default()).map(drop)
}

impl Web {
    /// Reads the file, and those that it names.
    fn read(path: &Path, files: &mut Files) -> Result<Self, WebError> {
        Self::try_read(path, files).map_err(|Problem { line, text: problem }| WebError {
            path: path.to_owned(),
            line,
            problem,
        })
    }

    fn try_read(path: &Path, files: &mut Files) -> Result<Self, Problem> {
        let whole = |text| Problem { line: None, text };
        let text = files.read(path).map_err(|error| {
            whole(format!("cannot be read: {error}; see exporters.prometheus.web_config_file"))
        })?;
        let text = String::from_utf8(text).map_err(|_| whole("is not UTF-8".to_owned()))?;
        let file = file::parse(&text)?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let tls = match file.tls_server_config {
            Some(section) if !section.value.is_empty() => Some(Tls::read(&section, folder, files)?),
            _ => None,
        };
        let headers = file.http_server_config.and_then(|section| section.headers).unwrap_or_default();
        Ok(Self {
            tls,
            users: Arc::new(Users::new(file.basic_auth_users.unwrap_or_default())?),
            headers: headers::read(&headers)?,
            limit: file.rate_limit.map(|section| Limit::read(&section)).transpose()?.flatten(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rcgen::{CertificateParams, CertifiedKey, KeyPair, date_time_ymd};
    use tempfile::TempDir;

    use super::*;

    /// A folder with a certificate, its key, and the key of another one.
    fn folder() -> TempDir {
        let folder = TempDir::new().unwrap();
        let CertifiedKey { cert, signing_key } =
            rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let other = KeyPair::generate().unwrap();
        for (name, pem) in [
            ("cert.pem", cert.pem()),
            ("key.pem", signing_key.serialize_pem()),
            ("other.pem", other.serialize_pem()),
            ("empty.pem", String::new()),
        ] {
            fs::write(folder.path().join(name), pem).unwrap();
        }
        folder
    }

    fn read(folder: &TempDir, yaml: &str) -> Result<Web, WebError> {
        let path = folder.path().join("web.yml");
        fs::write(&path, yaml).unwrap();
        Web::read(&path, &mut Files::default())
    }

    const CERTIFIED: &str = "tls_server_config:\n  cert_file: cert.pem\n  key_file: key.pem\n";

    #[test]
    fn what_is_wrong_is_said_with_its_line_and_what_would_be_right() {
        let folder = folder();
        let tls = |rest: &str| format!("{CERTIFIED}  {rest}\n");
        let hash = "$2b$04$......................5v8vH7ySu9KFtOyyq65m4GGQ6wE6R0O";
        let cases: [(&str, u64, &str); 38] = [
            ("tls_server_config:\n  cert_filse: x\n", 2, "cert_filse"),
            ("nonsense: 1\n", 1, "nonsense"),
            ("nonsense\n", 1, ""),
            ("tls_server_config:\n  cert_file: \"\"\n  key_file: key.pem\n", 2, "no cert_file"),
            ("tls_server_config:\n  cert_file: cert.pem\n", 2, "no key_file"),
            ("tls_server_config:\n  min_version: TLS13\n", 2, "no cert_file"),
            ("tls_server_config:\n  client_auth_type: x\n", 2, "no cert_file"),
            ("tls_server_config:\n  cert_file: a\n  key_file: key.pem\n", 2, "/a: cannot be read"),
            ("tls_server_config:\n  cert_file: cert.pem\n  key_file: a\n", 3, "/a: cannot be read"),
            ("tls_server_config:\n  cert_file: empty.pem\n  key_file: key.pem\n", 2, "no certificate"),
            ("tls_server_config:\n  cert_file: cert.pem\n  key_file: cert.pem\n", 3, "no private key"),
            ("tls_server_config:\n  cert_file: cert.pem\n  key_file: other.pem\n", 3, "not the key of"),
            ("tls_server_config:\n  cert: x\n  key_file: key.pem\n", 2, "cert: no certificate"),
            (&tls("min_version: TLS111"), 4, "one of TLS10, TLS11"),
            (&tls("max_version: TLS11"), 4, "TLS12"),
            (&tls("min_version: TLS13\n  max_version: TLS12"), 5, "nothing is left"),
            (&tls("max_version: TLS12\n  cipher_suites: [TLS_AES_128_GCM_SHA256]"), 4, "nothing is left"),
            (&tls("cipher_suites:\n  - TLS_RSA_WITH_RC4_128_SHA"), 5, "TLS_ECDHE_RSA_WITH_AES_128_GCM"),
            (&tls("curve_preferences: [CurveP257]"), 4, "CurveP256"),
            (&tls("curve_preferences: [CurveP521]"), 4, "none of them"),
            (&tls("client_auth_type: x"), 4, "RequireAndVerifyClientCert"),
            (&tls("client_auth_type: RequireAndVerifyClientCert"), 4, "client_ca_file"),
            (&tls("client_auth_type: VerifyClientCertIfGiven"), 4, "client_ca_file"),
            (&tls("client_ca_file: cert.pem"), 4, "RequireAndVerifyClientCert"),
            (
                &tls("client_ca_file: cert.pem\n  client_auth_type: RequireAnyClientCert"),
                4,
                "verifies nothing",
            ),
            (&tls("client_ca_file: a\n  client_auth_type: RequireAndVerifyClientCert"), 4, "/a: cannot"),
            (&tls("client_ca_file: empty.pem\n  client_auth_type: RequireAndVerifyClientCert"), 4, "no cert"),
            (&tls("client_allowed_sans: [a]"), 4, "no certificate"),
            (&tls("client_auth_type: RequireAnyClientCert\n  client_allowed_sans: [a@b]"), 5, "e-mail"),
            ("http_server_config:\n  headers:\n    Content-Type: a\n", 3, "X-Frame-Options"),
            ("http_server_config:\n  headers:\n    X-Frame-Options: a\n", 3, "deny, sameorigin"),
            ("http_server_config:\n  headers:\n    X-XSS-Protection: \"\\n\"\n", 3, "cannot hold"),
            ("http_server_config:\n  http2: maybe\n", 2, ""),
            ("basic_auth_users:\n  ann: doe\n", 2, "htpasswd"),
            (&format!("basic_auth_users:\n  ann: {hash}\n  ann: {hash}\n"), 3, "ann"),
            ("rate_limit:\n  interval: 1s\n  burst: 0\n", 2, "refuse every request"),
            ("rate_limit: {interval: 1, burst: 1}\n", 1, "1m30s"),
            ("rate_limit:\n  interval: 2h\n  burst: 1\n", 2, "1h"),
        ];
        for (yaml, line, hint) in cases {
            let error = read(&folder, yaml).expect_err(yaml);
            assert_eq!(error.line, Some(line), "{yaml}{error}");
            assert!(error.problem.contains(hint), "{yaml}{error}");
        }
        let missing = check(&folder.path().join("missing.yml")).unwrap_err().to_string();
        assert!(missing.contains("missing.yml: cannot be read: "), "{missing}");
    }

    #[test]
    fn of_a_chain_the_certificate_counts_that_expires_first() {
        let folder = folder();
        let key = KeyPair::generate().unwrap();
        fs::write(folder.path().join("key.pem"), key.serialize_pem()).unwrap();
        for years in [[2035, 2040], [2040, 2035]] {
            let pem = years.map(|year| {
                let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
                params.not_after = date_time_ymd(year, 1, 1);
                params.self_signed(&key).unwrap().pem()
            });
            fs::write(folder.path().join("cert.pem"), pem.concat()).unwrap();
            let expiry = read(&folder, CERTIFIED).unwrap().tls.unwrap().expiry.unwrap();
            let expected = date_time_ymd(2035, 1, 1).unix_timestamp();
            assert_eq!(i64::try_from(expiry.as_secs()), Ok(expected), "{years:?}");
        }
    }

    #[test]
    fn what_exporter_toolkit_takes_is_taken() {
        let folder = folder();
        for yaml in [
            "",
            "# nothing\n",
            "---\n",
            "{}",
            "tls_server_config:\n",
            "basic_auth_users: {}\n",
            "rate_limit:\n",
        ] {
            let web = read(&folder, yaml).expect(yaml);
            assert!(
                web.tls.is_none() && web.users.len() == 0 && web.headers.is_empty() && web.limit.is_none()
            );
        }
        let tls = |rest: &str| read(&folder, &format!("{CERTIFIED}  {rest}\n")).expect(rest).tls.unwrap();
        for rest in [
            "",
            "client_auth_type: NoClientCert",
            "client_auth_type: RequestClientCert",
            "client_auth_type: RequireClientCert",
            "client_auth_type: RequireAnyClientCert\n  client_allowed_sans: [a, 10.0.0.1, \"spiffe://a/b\"]",
            "client_auth_type: VerifyClientCertIfGiven\n  client_ca_file: cert.pem",
            "client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: cert.pem\n  client_allowed_sans: [a]",
            "curve_preferences: [CurveP256, CurveP384, X25519]",
            "min_version: TLS12\n  max_version: TLS12\n  prefer_server_cipher_suites: false",
            "client_auth_type: \"\"\n  client_ca_file: \"\"\n  cipher_suites: []\n  curve_preferences: []",
        ] {
            assert!(tls(rest).left_out.is_empty(), "{rest}");
        }
        let inline = |key: &str, file: &str| {
            let pem = fs::read_to_string(folder.path().join(file)).unwrap();
            format!("  {key}: |\n    {}\n", pem.trim_end().replace('\n', "\n    "))
        };
        let yaml = format!("tls_server_config:\n{}{}", inline("cert", "cert.pem"), inline("key", "key.pem"));
        assert!(read(&folder, &yaml).unwrap().tls.is_some());

        let web = read(
            &folder,
            "http_server_config:\n  http2: true\n  headers:\n    X-Frame-Options: deny\n    X-XSS-Protection: 1\n    \
             Content-Security-Policy: \"default-src 'self'\"\n    Strict-Transport-Security: \"\"\n    \
             X-Content-Type-Options: nosniff\nrate_limit: {interval: \"1s\", burst: 20}\n",
        )
        .unwrap();
        let mut headers: Vec<_> = web.headers.iter().map(|(name, _)| name.as_str()).collect();
        headers.sort_unstable();
        let expected =
            ["content-security-policy", "x-content-type-options", "x-frame-options", "x-xss-protection"];
        assert_eq!(headers, expected);
        assert!(web.limit.is_some());
    }

    #[test]
    fn what_tls_has_no_more_is_left_out_and_nothing_weaker_takes_its_place() {
        let folder = folder();
        let tls = |rest: &str| read(&folder, &format!("{CERTIFIED}  {rest}\n")).expect(rest).tls.unwrap();
        let old = tls("min_version: TLS10");
        assert_eq!(old.left_out, ["TLS10", "TLS11"]);
        let suites =
            tls("cipher_suites:\n  - TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA\n  - TLS_AES_128_GCM_SHA256\n  \
                          - TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256\n  - TLS_RSA_WITH_AES_128_GCM_SHA256");
        assert_eq!(
            suites.left_out,
            ["TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA", "TLS_RSA_WITH_AES_128_GCM_SHA256"]
        );
        let offered = &suites.config.crypto_provider().cipher_suites;
        let of_old: Vec<_> = offered.iter().filter(|suite| suite.tls13().is_none()).collect();
        assert_eq!((of_old.len(), offered.len()), (1, 4));
        let curves = tls("curve_preferences: [CurveP521, CurveP384, X25519]");
        assert_eq!(curves.left_out, ["CurveP521"]);
        let groups: Vec<_> = curves
            .config
            .crypto_provider()
            .kx_groups
            .iter()
            .map(|group| format!("{:?}", group.name()))
            .collect();
        assert_eq!(groups, ["secp384r1", "X25519"]);
    }
}
