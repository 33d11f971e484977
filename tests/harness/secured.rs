//! Starts tallyd with an endpoint that uses TLS, client certificates or passwords.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use base64::prelude::{BASE64_STANDARD, Engine};
use tempfile::TempDir;

use super::daemon::Daemon;
use super::scraped;
use super::tls::{Authority, Client};

/// The hash of the password `secret`, made with `htpasswd -nbBC 4 ann secret`.
pub const SECRET: &str = "$2y$04$n59TvKzysibUZ5lJyc70cuJFxxO6ZZl5iCDGc5nhyHI6Zgy16DIPG";

/// A tallyd with a web configuration file.
pub struct Secured {
    /// The running tallyd.
    pub daemon: Daemon,
    /// The address of the endpoint.
    pub address: SocketAddr,
    /// The directory with its web configuration file.
    pub site: Site,
}

/// A directory with a web configuration file and the certificates that the file names.
pub struct Site {
    directory: TempDir,
    /// The authority that issued the certificate of the server.
    pub authority: Authority,
}

/// A web configuration that names the server's certificate in a [`Site`].
pub const TLS: &str = "tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n";

impl Site {
    /// Creates a directory with the server's certificate and the certificate of the authority that issued it.
    pub fn create() -> Self {
        let site = Self { directory: TempDir::new().unwrap(), authority: Authority::new("tests") };
        site.authority.issue("localhost").write(site.directory.path(), "server");
        fs::write(site.path("ca.crt"), &site.authority.pem).unwrap();
        site
    }

    /// Returns the directory of the web configuration file and its certificates.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Returns the path of a file in the directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Replaces the web configuration file in one step.
    pub fn configure(&self, yaml: &str) {
        fs::write(self.path("web.new"), yaml).unwrap();
        fs::rename(self.path("web.new"), self.path("web.yml")).unwrap();
    }

    /// Returns a client that trusts the server and has no certificate.
    pub fn client(&self) -> Client {
        Client::new(&self.authority, None)
    }
}

/// Starts a tallyd with this web configuration and further settings.
pub fn start(yaml: &str, settings: &[&str]) -> Secured {
    start_at(Site::create(), yaml, settings)
}

/// Starts a tallyd with this web configuration, the files of a site, and further settings.
pub fn start_at(site: Site, yaml: &str, settings: &[&str]) -> Secured {
    site.configure(yaml);
    let own = [
        "flush.interval=100ms",
        &format!("exporters.prometheus.web_config_file={}", site.path("web.yml").display()),
    ];
    let (daemon, address) = scraped::start(&[&own, settings].concat());
    Secured { daemon, address, site }
}

/// Returns the `Authorization` header for a user and a password.
pub fn authorization(user: &str, password: &str) -> String {
    format!("Authorization: Basic {}", BASE64_STANDARD.encode(format!("{user}:{password}")))
}
