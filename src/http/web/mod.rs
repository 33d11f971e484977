//! Protects an HTTP server by the TLS, users, headers and rate limit of a web configuration file of exporter-toolkit.
//!
//! ```text
//!  connection --> TLS, with certificates -------+
//!                                               +--> the configuration in force, read again when a file changes
//!  request ----> rate limit --> user, password -+
//! ```

mod access;
mod client_certificates;
mod file;
mod pem;
mod tls;
mod users;
mod watched_files;

pub(crate) use file::WebError;

use std::cell::RefCell;
use std::error::Error;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, UNIX_EPOCH};

use hyper::HeaderMap;
use rustls::ServerConfig;
use rustls::pki_types::UnixTime;

use crate::model::{Gauge, Telemetry};
use crate::net::Threads;
use access::{PasswordChecker, RateLimit};
use file::WebProblem;
use tls::Tls;
use users::{Credentials, Users};
use watched_files::WatchedFiles;

/// The shortest time between two checks of the files. A check takes a few microseconds per file.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// The checks that connections and requests have to pass.
#[derive(Debug)]
pub(super) struct AccessControl {
    path: PathBuf,
    /// The configuration key of the path.
    key: &'static str,
    state: RefCell<State>,
    passwords: PasswordChecker,
    last_reload_successful: Gauge,
    /// The time at which the first of the server's certificates expires, in seconds since 1970. Without TLS it has no
    /// value.
    certificate_expiry: Gauge,
}

#[derive(Debug)]
struct State {
    in_force: Arc<WebConfig>,
    /// The files of the latest reading, whether it took effect or was refused.
    files: WatchedFiles,
    checked_at: Instant,
}

/// The protection that a web configuration file gives a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Protection {
    /// Whether connections are encrypted.
    pub tls: bool,
    /// The number of users.
    pub users: usize,
}

/// The reason for refusing a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The rate limit was reached.
    TooManyRequests,
    /// The client sent no valid user and password.
    Unauthorized,
}

impl AccessControl {
    /// Reads the file, and registers its telemetry. `key` is the configuration key of the path.
    pub(super) fn open(
        path: PathBuf,
        key: &'static str,
        telemetry: &Telemetry,
        threads: &Threads,
    ) -> Result<Self, Box<dyn Error + Send + Sync>> {
        let mut files = WatchedFiles::default();
        let in_force = Arc::new(WebConfig::read(&path, key, &mut files)?);
        in_force.warn();
        let access = Self {
            path,
            key,
            state: RefCell::new(State { in_force: Arc::clone(&in_force), files, checked_at: Instant::now() }),
            passwords: PasswordChecker::start(threads)?,
            last_reload_successful: telemetry.gauge("web_config_last_reload_successful", &[]),
            certificate_expiry: telemetry.gauge("tls_certificate_expiry_timestamp_seconds", &[]),
        };
        access.report(&in_force, true);
        Ok(access)
    }

    /// Returns the configuration in force. If the files have changed, it reads them again first.
    fn in_force(&self) -> Arc<WebConfig> {
        let mut state = self.state.borrow_mut();
        if state.checked_at.elapsed() >= CHECK_INTERVAL {
            state.checked_at = Instant::now();
            if state.files.have_changed() {
                state.files = WatchedFiles::default();
                self.reload(&mut state);
            }
        }
        Arc::clone(&state.in_force)
    }

    fn reload(&self, State { in_force, files, .. }: &mut State) {
        let read = WebConfig::read(&self.path, self.key, files)
            .and_then(|next| in_force.replaced_by(next, &self.path));
        let is_successful = read.is_ok();
        match read {
            Ok(next) => {
                tracing::info!(path = %self.path.display(), "the web configuration was read again");
                next.warn();
                *in_force = Arc::new(next);
            }
            Err(error) => {
                tracing::error!("the web configuration is refused, the previous one stays in force: {error}");
            }
        }
        self.report(in_force, is_successful);
    }

    fn report(&self, in_force: &WebConfig, is_successful: bool) {
        self.last_reload_successful.set(f64::from(u8::from(is_successful)));
        let expiry = in_force.tls.as_ref().and_then(|tls| tls.expiry);
        self.certificate_expiry.set(expiry.map_or(f64::NAN, |expiry| expiry.as_secs() as f64));
    }

    /// Returns the TLS configuration, or `None` if connections are not encrypted.
    pub(super) fn tls(&self) -> Option<Arc<ServerConfig>> {
        self.in_force().tls.as_ref().map(|tls| Arc::clone(&tls.config))
    }

    /// Returns the protection in force.
    pub(super) fn protection(&self) -> Protection {
        let config = self.in_force();
        Protection { tls: config.tls.is_some(), users: config.users.len() }
    }

    /// Decides whether to answer a request from the address `client`. Also returns the headers that every response
    /// gets.
    pub(super) async fn admit(
        &self,
        request: &HeaderMap,
        client: IpAddr,
    ) -> (Result<(), Refusal>, HeaderMap) {
        let config = self.in_force();
        let admitted = if config.limit.as_ref().is_some_and(|limit| !limit.take(Instant::now())) {
            Err(Refusal::TooManyRequests)
        } else if self.is_user(&config.users, request, client).await {
            Ok(())
        } else {
            Err(Refusal::Unauthorized)
        };
        (admitted, config.headers.clone())
    }

    async fn is_user(&self, users: &Arc<Users>, request: &HeaderMap, client: IpAddr) -> bool {
        if users.len() == 0 {
            return true;
        }
        let Some(credentials) = Credentials::of(request) else { return false };
        users.is_remembered(&credentials) || self.passwords.check(users, credentials, client).await
    }
}

/// A web configuration that was checked and can take effect.
#[derive(Debug)]
struct WebConfig {
    tls: Option<Tls>,
    users: Arc<Users>,
    /// The headers of all responses.
    headers: HeaderMap,
    limit: Option<RateLimit>,
}

/// The findings in a valid web configuration file.
#[derive(Debug)]
pub(crate) struct WebReport {
    /// Whether every client needs a password or a certificate of an authority.
    pub authenticates: bool,
    /// The problem if every user of the machine can read the private key.
    pub exposed_key: Option<WebError>,
}

/// Checks a web configuration file and the files that it names. `key` is the configuration key of the path.
///
/// # Errors
///
/// Fails at the first problem.
pub(crate) fn check(path: &Path, key: &str) -> Result<WebReport, WebError> {
    let WebConfig { tls, users, .. } = WebConfig::read(path, key, &mut WatchedFiles::default())?;
    let verifies_clients = tls.as_ref().is_some_and(|tls| tls.verifies_clients);
    Ok(WebReport {
        authenticates: users.len() > 0 || verifies_clients,
        exposed_key: tls.and_then(|tls| tls.exposed_key).map(|problem| problem.in_file(path)),
    })
}

impl WebConfig {
    /// Reads the file and the files that it names.
    fn read(path: &Path, key: &str, files: &mut WatchedFiles) -> Result<Self, WebError> {
        Self::try_read(path, key, files).map_err(|problem| problem.in_file(path))
    }

    fn try_read(path: &Path, key: &str, files: &mut WatchedFiles) -> Result<Self, WebProblem> {
        let text = files
            .read(path)
            .map_err(|error| WebProblem::of_file(format!("cannot be read: {error}; see {key}")))?;
        let text = String::from_utf8(text).map_err(|_| WebProblem::of_file("is not UTF-8"))?;
        let file = file::parse(&text)?;
        let directory = path.parent().unwrap_or(Path::new(""));
        let tls = match file.tls_server_config {
            Some(section) if !section.value.is_empty() => Some(Tls::read(&section, directory, files)?),
            _ => None,
        };
        Ok(Self {
            tls,
            users: Arc::new(Users::new(file.basic_auth_users.unwrap_or_default())?),
            headers: file::headers(file.http_server_config)?,
            limit: file.rate_limit.map(|section| RateLimit::new(&section)).transpose()?.flatten(),
        })
    }

    /// Returns the configuration that replaces this one. A file may be empty for a moment while it is written, and an
    /// empty file is valid. So only a restart removes TLS or all users.
    fn replaced_by(&self, mut next: Self, path: &Path) -> Result<Self, WebError> {
        let needs_restart = |what: &str| {
            let problem = format!("the {what} were removed, which takes effect only after a restart");
            Err(WebError { path: path.to_owned(), line: None, problem })
        };
        if self.tls.is_some() && next.tls.is_none() {
            return needs_restart("certificates (tls_server_config)");
        }
        if self.users.len() > 0 && next.users.len() == 0 {
            return needs_restart("users (basic_auth_users)");
        }
        if self.users.have_same_hashes(&next.users) {
            // This keeps the remembered passwords.
            next.users = Arc::clone(&self.users);
        }
        Ok(next)
    }

    /// Warns of TLS settings that have no effect, and of an expired certificate.
    fn warn(&self) {
        let Some(tls) = &self.tls else { return };
        if !tls.left_out.is_empty() {
            let left_out = tls.left_out.join(", ");
            tracing::warn!(left_out, "TLS does not offer everything that tls_server_config names");
        }
        if let Some(expiry) = tls.expiry.filter(|expiry| *expiry < UnixTime::now()) {
            let expiry = UNIX_EPOCH + Duration::from_secs(expiry.as_secs());
            let expired = humantime::format_rfc3339_seconds(expiry);
            tracing::warn!(
                certificate = tls.source,
                %expired,
                "the server's certificate or one of its chain has expired; renew it"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rcgen::{CertificateParams, CertifiedKey, KeyPair, date_time_ymd};
    use tempfile::TempDir;

    use super::*;

    /// Returns a directory with a certificate, its key, and a key that does not match.
    fn directory() -> TempDir {
        let directory = TempDir::new().unwrap();
        let CertifiedKey { cert, signing_key } =
            rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let other = KeyPair::generate().unwrap();
        for (name, pem) in [
            ("cert.pem", cert.pem()),
            ("key.pem", signing_key.serialize_pem()),
            ("other.pem", other.serialize_pem()),
            ("empty.pem", String::new()),
        ] {
            fs::write(directory.path().join(name), pem).unwrap();
        }
        directory
    }

    fn read(directory: &TempDir, yaml: &str) -> Result<WebConfig, WebError> {
        let path = directory.path().join("web.yml");
        fs::write(&path, yaml).unwrap();
        WebConfig::read(&path, "the.key", &mut WatchedFiles::default())
    }

    const CERTIFIED: &str = "tls_server_config:\n  cert_file: cert.pem\n  key_file: key.pem\n";

    #[test]
    fn errors_name_the_line_and_the_valid_values() {
        let directory = directory();
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
            (&tls("client_allowed_sans: [a]"), 4, "without a certificate"),
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
            let error = read(&directory, yaml).expect_err(yaml);
            assert_eq!(error.line, Some(line), "{yaml}{error}");
            assert!(error.problem.contains(hint), "{yaml}{error}");
        }
        let missing = check(&directory.path().join("missing.yml"), "the.key").unwrap_err().to_string();
        assert!(missing.contains("missing.yml: cannot be read: "), "{missing}");
        assert!(missing.contains("the.key"), "{missing}");
    }

    #[test]
    fn a_chain_expires_when_its_first_certificate_expires() {
        let directory = directory();
        let key = KeyPair::generate().unwrap();
        fs::write(directory.path().join("key.pem"), key.serialize_pem()).unwrap();
        for years in [[2035, 2040], [2040, 2035]] {
            let pem = years.map(|year| {
                let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
                params.not_after = date_time_ymd(year, 1, 1);
                params.self_signed(&key).unwrap().pem()
            });
            fs::write(directory.path().join("cert.pem"), pem.concat()).unwrap();
            let expiry = read(&directory, CERTIFIED).unwrap().tls.unwrap().expiry.unwrap();
            let expected = date_time_ymd(2035, 1, 1).unix_timestamp();
            assert_eq!(i64::try_from(expiry.as_secs()), Ok(expected), "{years:?}");
        }
    }

    #[test]
    fn valid_files_of_exporter_toolkit_are_accepted() {
        let directory = directory();
        for yaml in [
            "",
            "# nothing\n",
            "---\n",
            "{}",
            "tls_server_config:\n",
            "basic_auth_users: {}\n",
            "rate_limit:\n",
        ] {
            let web = read(&directory, yaml).expect(yaml);
            assert!(
                web.tls.is_none() && web.users.len() == 0 && web.headers.is_empty() && web.limit.is_none()
            );
        }
        let tls = |rest: &str| read(&directory, &format!("{CERTIFIED}  {rest}\n")).expect(rest).tls.unwrap();
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
            let pem = fs::read_to_string(directory.path().join(file)).unwrap();
            format!("  {key}: |\n    {}\n", pem.trim_end().replace('\n', "\n    "))
        };
        let yaml = format!("tls_server_config:\n{}{}", inline("cert", "cert.pem"), inline("key", "key.pem"));
        assert!(read(&directory, &yaml).unwrap().tls.is_some());

        let web = read(
            &directory,
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
    fn outdated_parts_of_tls_are_left_out_and_nothing_weaker_is_added() {
        let directory = directory();
        let tls = |rest: &str| read(&directory, &format!("{CERTIFIED}  {rest}\n")).expect(rest).tls.unwrap();
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
