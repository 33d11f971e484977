//! Parses the URL of a listener, of tallyd or of another server.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// A listener of tallyd, or of another server with the same protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ListenerUrl {
    /// `udp://host:port`
    Udp(String),
    /// `tcp://host:port`
    Tcp(String),
    /// Datagrams to `unix:///path`, or `unixgram:///path` as some clients write it.
    UnixDatagram(PathBuf),
    /// `unixstream:///path`
    UnixStream(PathBuf),
}

impl FromStr for ListenerUrl {
    type Err = String;

    fn from_str(url: &str) -> Result<Self, String> {
        let wrong = |problem: &str| {
            Err(format!(
                "{problem}; give udp://HOST:PORT, tcp://HOST:PORT, unix:///PATH or unixstream:///PATH"
            ))
        };
        let Some((scheme, rest)) = url.split_once("://") else {
            return wrong("not a URL");
        };
        match scheme {
            "udp" | "tcp" => {
                let has_port = rest.rsplit_once(':').is_some_and(|(host, port)| {
                    let in_brackets = host.starts_with('[') && host.ends_with(']');
                    !host.is_empty() && (in_brackets || !host.contains(':')) && port.parse::<u16>().is_ok()
                });
                if !has_port {
                    return wrong("no host and port (write an IPv6 address in brackets)");
                }
                let make = if scheme == "udp" { Self::Udp } else { Self::Tcp };
                Ok(make(rest.to_owned()))
            }
            "unix" | "unixgram" | "unixstream" => {
                if !rest.starts_with('/') {
                    return wrong("no absolute path");
                }
                let make = if scheme == "unixstream" { Self::UnixStream } else { Self::UnixDatagram };
                Ok(make(PathBuf::from(rest)))
            }
            _ => wrong("an unknown scheme"),
        }
    }
}

impl fmt::Display for ListenerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Udp(host_and_port) => write!(f, "udp://{host_and_port}"),
            Self::Tcp(host_and_port) => write!(f, "tcp://{host_and_port}"),
            Self::UnixDatagram(path) => write!(f, "unix://{}", path.display()),
            Self::UnixStream(path) => write!(f, "unixstream://{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_shown_as_it_was_given() {
        for url in [
            "udp://localhost:8125",
            "udp://[::1]:8125",
            "tcp://10.0.0.1:1",
            "unix:///run/s",
            "unixstream:///s",
        ] {
            assert_eq!(url.parse::<ListenerUrl>().unwrap().to_string(), url);
        }
        assert_eq!("unixgram:///s".parse::<ListenerUrl>().unwrap().to_string(), "unix:///s");
    }

    #[test]
    fn invalid_urls_are_refused_with_the_valid_forms() {
        let wrong = [
            "",
            "localhost:8125",
            "udp://localhost",
            "udp://:1",
            "udp://::1:8125",
            "tcp://h:x",
            "unix://s",
            "http://h:1",
        ];
        for url in wrong {
            let problem = url.parse::<ListenerUrl>().unwrap_err();
            assert!(problem.contains("udp://HOST:PORT"), "{url}: {problem}");
        }
    }
}
