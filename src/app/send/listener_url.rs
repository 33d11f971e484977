//! Parses the URL of the listener that receives the lines.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use crate::listen::{Framing, ListenOptions, UnixDatagramOptions};

/// A listener of tallyd, or of another server with the same protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::app) enum ListenerUrl {
    /// `udp://host:port`
    Udp(String),
    /// `tcp://host:port`
    Tcp(String),
    /// Datagrams to `unix:///path`, or `unixgram:///path` as some clients write it.
    UnixDatagram(PathBuf),
    /// `unixstream:///path`
    UnixStream(PathBuf),
}

impl ListenerUrl {
    /// Returns the section of `[listeners]` that configures this kind of listener.
    pub(super) fn listener(&self) -> &'static str {
        match self {
            Self::Udp(_) => "udp",
            Self::Tcp(_) => "tcp",
            Self::UnixDatagram(_) => "unix_datagram",
            Self::UnixStream(_) => "unix_stream",
        }
    }

    /// Returns the default framing of tallyd's listener, if it receives a stream.
    pub(super) fn framing(&self) -> Option<Framing> {
        match self {
            Self::Udp(_) | Self::UnixDatagram(_) => None,
            Self::Tcp(_) => Some(Framing::Lines),
            Self::UnixStream(_) => Some(Framing::Length),
        }
    }
}

/// The default is tallyd's own default listener.
impl Default for ListenerUrl {
    fn default() -> Self {
        Self::Udp("127.0.0.1:8125".to_owned())
    }
}

impl ListenerUrl {
    /// Returns the first listener of a configuration: UDP, a Unix socket for datagrams, TCP, or a Unix stream.
    ///
    /// # Errors
    ///
    /// Returns the reason in words if the configuration does not say where that listener is.
    pub(in crate::app) fn first_of(listening: &ListenOptions) -> Result<Self, String> {
        let ListenOptions { udp, tcp, unix_datagram, unix_stream, .. } = listening;
        let at = |address: SocketAddr| match address.port() {
            0 => Err("the configuration chooses a free port (0); give the port with --to".to_owned()),
            _ => Ok(reachable(address).to_string()),
        };
        if let Some(address) = udp.as_ref().and_then(|udp| udp.addresses.first()) {
            Ok(Self::Udp(at(*address)?))
        } else if let Some(UnixDatagramOptions { file, .. }) = unix_datagram {
            Ok(Self::UnixDatagram(file.path.clone()))
        } else if let Some((address, _)) = tcp {
            Ok(Self::Tcp(at(*address)?))
        } else if let Some((file, _)) = unix_stream {
            Ok(Self::UnixStream(file.path.clone()))
        } else {
            Err("the configuration has no listener; give one with --to".to_owned())
        }
    }

    /// Returns the framing of the listener of this kind in a configuration.
    pub(in crate::app) fn framing_in(&self, listening: &ListenOptions) -> Option<Framing> {
        match self {
            Self::Udp(_) | Self::UnixDatagram(_) => None,
            Self::Tcp(_) => listening.tcp.as_ref().map(|(_, options)| options.framing),
            Self::UnixStream(_) => listening.unix_stream.as_ref().map(|(_, options)| options.framing),
        }
    }
}

/// Returns an address at which a listener of this machine can be reached. A wildcard address is not one.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
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
