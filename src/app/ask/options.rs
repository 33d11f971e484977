//! Declares the commands that ask a running tallyd, and the options that say where it is and who asks.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, Subcommand};
use ureq::http::Uri;

/// A command that asks a running tallyd through its endpoint.
#[derive(Debug, Clone, Subcommand)]
pub(in crate::app) enum AskCommand {
    /// Show live what a running tallyd receives: the busiest names and senders, rejected lines, exporters, losses.
    Top {
        #[command(flatten)]
        server: ServerOptions,
    },
    /// Print the results of each interval as a running tallyd computes them, until SIGINT.
    Tail {
        #[command(flatten)]
        find: Find,
        #[command(flatten)]
        server: ServerOptions,
    },
    /// Print series of a running tallyd, or the tags of a metric.
    Series {
        #[command(flatten)]
        find: Find,
        /// Print the tags of this metric instead, with the number of their values.
        #[arg(long, value_name = "NAME", conflicts_with_all = ["pattern", "limit"])]
        tags: Option<String>,
        #[command(flatten)]
        server: ServerOptions,
    },
    /// Print the latest lines that a running tallyd did not record, with the reason and the sender.
    Rejected {
        /// Print the answer of the API as JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        server: ServerOptions,
    },
    /// Print who sent most in the latest interval: names and senders.
    Talkers {
        /// Print the answer of the API as JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        server: ServerOptions,
    },
    /// Check that a running tallyd works, for health checks of containers. Exits with 1 if it does not work or does not answer.
    Health {
        /// Check also that the first interval has ended, so that the Prometheus page has results.
        #[arg(long)]
        ready: bool,
        #[command(flatten)]
        server: ServerOptions,
    },
    /// Delete series of a running tallyd, so that they leave the Prometheus page. A series begins again with its next
    /// sample.
    Delete {
        /// The name of the series; `*` stands for any text.
        pattern: String,
        /// Delete only series of this type.
        #[arg(long = "type", value_name = "TYPE", value_parser = SERIES_TYPES)]
        series_type: Option<String>,
        /// Delete without a question. Without a terminal, tallyd never asks.
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        server: ServerOptions,
    },
}

/// The types of series, as the API names them.
const SERIES_TYPES: [&str; 6] = ["counter", "gauge", "timing", "histogram", "distribution", "set"];

/// The options of commands that find series.
#[derive(Debug, Clone, Args)]
pub(in crate::app) struct Find {
    /// The name of the series; `*` stands for any text.
    #[arg(default_value = "*")]
    pub pattern: String,
    /// The most series.
    #[arg(long, default_value_t = 100)]
    pub limit: u32,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// The options that say where tallyd is, and who asks.
#[derive(Debug, Clone, Args)]
pub(in crate::app) struct ServerOptions {
    /// The endpoint of the tallyd to ask: http://HOST:PORT, https://HOST:PORT or unix:PATH.
    #[arg(long, env = "TALLYD_URL", default_value = "http://127.0.0.1:9102")]
    pub url: ServerUrl,
    /// A user of the endpoint. The password is in --password-file or in `TALLYD_PASSWORD`.
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,
    /// The file with the password of the user.
    #[arg(long, value_name = "FILE", requires = "user")]
    pub password_file: Option<PathBuf>,
    /// The file with the certificate of a private authority, in PEM. By default, the authorities of the system count.
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// How long to wait for an answer.
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = parse_timeout)]
    pub timeout: Duration,
}

fn parse_timeout(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(timeout) if timeout >= Duration::from_millis(1) => Ok(timeout),
        _ => Err("give a duration of at least 1ms, such as \"500ms\" or \"5s\"".to_owned()),
    }
}

/// The URL of an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::app) enum ServerUrl {
    /// A URL without a slash at its end.
    Http(String),
    /// The path of a Unix socket.
    Unix(PathBuf),
}

impl ServerUrl {
    /// Returns the URL of a path, which begins with a slash.
    pub(super) fn of(&self, path: &str) -> String {
        match self {
            ServerUrl::Http(url) => format!("{url}{path}"),
            // The connection does not depend on the address, but HTTP wants one.
            ServerUrl::Unix(_) => format!("http://127.0.0.1{path}"),
        }
    }

    /// Returns true if the URL begins with `https`.
    pub(super) fn has_tls(&self) -> bool {
        matches!(self, ServerUrl::Http(url) if url.starts_with("https:"))
    }

    /// Returns true if a network can read what is sent: without TLS, to a host that is not certainly this machine.
    pub(super) fn is_readable_by_others(&self) -> bool {
        let ServerUrl::Http(url) = self else { return false };
        let uri = url.parse::<Uri>().ok().filter(|_| !self.has_tls());
        uri.is_some_and(|uri| !is_loopback(uri.host().unwrap_or_default()))
    }

    /// Returns the path of the Unix socket, if it is one.
    pub(super) fn socket(&self) -> Option<&Path> {
        match self {
            ServerUrl::Http(_) => None,
            ServerUrl::Unix(path) => Some(path),
        }
    }
}

/// Returns true if a host of a URL is this machine by definition. An IPv6 address is in brackets.
fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    address.map_or_else(
        |_| host.eq_ignore_ascii_case("localhost"),
        |address| address.to_canonical().is_loopback(),
    )
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ServerUrl::Http(url) => f.write_str(url),
            ServerUrl::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl FromStr for ServerUrl {
    type Err = String;

    fn from_str(url: &str) -> Result<Self, String> {
        let wrong =
            |problem: &str| Err(format!("{problem}; give http://HOST:PORT, https://HOST:PORT or unix:PATH"));
        if let Some(path) = url.strip_prefix("unix:") {
            let path = PathBuf::from(path);
            return if path.is_absolute() {
                Ok(Self::Unix(path))
            } else {
                wrong("the path does not begin with /")
            };
        }
        let Ok(uri) = url.parse::<Uri>() else { return wrong("not a URL") };
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return wrong("not a URL");
        };
        if !["http", "https"].contains(&scheme) {
            return wrong("tallyd can ask only over HTTP");
        }
        if authority.as_str().contains('@') {
            return wrong("users and passwords do not belong here: use --user and --password-file");
        }
        if authority.host().is_empty() || uri.query().is_some() {
            return wrong("not the URL of an endpoint");
        }
        Ok(Self::Http(format!("{scheme}://{authority}{}", uri.path().trim_end_matches('/'))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_endpoints_are_accepted_and_others_refused_with_the_reason() {
        for (url, expected) in [
            ("http://127.0.0.1:9102", "http://127.0.0.1:9102"),
            ("http://127.0.0.1:9102/", "http://127.0.0.1:9102"),
            ("https://[::1]:9102", "https://[::1]:9102"),
            ("https://example.com/tallyd/", "https://example.com/tallyd"),
            ("unix:/run/tallyd/http.socket", "unix:/run/tallyd/http.socket"),
        ] {
            assert_eq!(url.parse::<ServerUrl>().unwrap().to_string(), expected);
        }
        for (url, problem) in [
            ("127.0.0.1:9102", "not a URL"),
            ("", "not a URL"),
            ("unix:tallyd.socket", "does not begin with /"),
            ("unix:", "does not begin with /"),
            ("udp://127.0.0.1:8125", "only over HTTP"),
            ("http://anna:secret@127.0.0.1:9102", "--password-file"),
            ("http://127.0.0.1:9102/?a=b", "not the URL of an endpoint"),
        ] {
            let refused = url.parse::<ServerUrl>().unwrap_err();
            assert!(
                refused.contains(problem) && refused.contains("https://HOST:PORT or unix:PATH"),
                "{url}: {refused}"
            );
        }
    }
    #[test]
    fn others_can_read_what_is_sent_without_tls_to_another_machine() {
        for (url, expected) in [
            ("http://127.0.0.1:9102", false),
            ("http://127.8.9.10", false),
            ("http://[::1]:9102", false),
            ("http://[::ffff:127.0.0.1]:9102", false),
            ("http://LocalHost:9102/tallyd", false),
            ("unix:/run/tallyd/http.socket", false),
            ("https://example.com", false),
            ("http://example.com", true),
            ("http://localhost.example.com", true),
            ("http://192.0.2.1:9102", true),
            ("http://[2001:db8::1]:9102", true),
        ] {
            assert_eq!(url.parse::<ServerUrl>().unwrap().is_readable_by_others(), expected, "{url}");
        }
    }
}
