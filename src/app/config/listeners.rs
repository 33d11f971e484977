//! Refuses listeners that would do harm.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use super::error::Problem;
use super::{HumanDuration, ListenersSection, Size, UdpSection};

/// The first harmful value, if there is one. Sections that are not enabled are checked, too.
pub(super) fn problem(listeners: &ListenersSection) -> Option<Problem> {
    let ListenersSection { udp, tcp, unix_datagram, unix_stream } = listeners;
    if ![udp.enabled, tcp.enabled, unix_datagram.enabled, unix_stream.enabled].contains(&true) {
        let text = "nothing is listened on; set it, or that of another listener, to true";
        return Some(("listeners.udp.enabled", text.to_owned()));
    }
    let limits = |max_connections, max_line, idle_timeout| Limits { max_connections, max_line, idle_timeout };
    udp_problem(udp)
        .or_else(|| {
            let keys =
                ["listeners.tcp.max_connections", "listeners.tcp.max_line", "listeners.tcp.idle_timeout"];
            limits(tcp.max_connections, tcp.max_line, tcp.idle_timeout).problem(keys)
        })
        .or_else(|| path_problem("listeners.unix_datagram.path", &unix_datagram.path))
        .or_else(|| {
            let in_range = (512..=1 << 20).contains(&unix_datagram.max_datagram.bytes());
            let text = "not between \"512B\" and \"1MiB\"";
            (!in_range).then(|| ("listeners.unix_datagram.max_datagram", text.to_owned()))
        })
        .or_else(|| path_problem("listeners.unix_stream.path", &unix_stream.path))
        .or_else(|| {
            let keys = [
                "listeners.unix_stream.max_connections",
                "listeners.unix_stream.max_line",
                "listeners.unix_stream.idle_timeout",
            ];
            limits(unix_stream.max_connections, unix_stream.max_line, unix_stream.idle_timeout).problem(keys)
        })
        .or_else(|| {
            let both = unix_datagram.enabled && unix_stream.enabled;
            let text = "the same as listeners.unix_datagram.path; each needs a path of its own";
            (both && unix_datagram.path == unix_stream.path)
                .then(|| ("listeners.unix_stream.path", text.to_owned()))
        })
}

fn udp_problem(udp: &UdpSection) -> Option<Problem> {
    let problem = |key, text: &str| Some((key, text.to_owned()));
    if udp.receivers > 256 {
        return problem("listeners.udp.receivers", "more than 256; more than one a core is of no use");
    }
    if !(4 << 10..=1 << 30).contains(&udp.receive_buffer.bytes()) {
        return problem("listeners.udp.receive_buffer", "not between \"4KiB\" and \"1GiB\"");
    }
    if !(512..=64 << 10).contains(&udp.max_datagram.bytes()) {
        return problem(
            "listeners.udp.max_datagram",
            "not between \"512B\" and \"64KiB\", the most UDP carries",
        );
    }
    None
}

/// What clients of a stream listener may take.
struct Limits {
    max_connections: usize,
    max_line: Size,
    idle_timeout: HumanDuration,
}

impl Limits {
    /// `keys`: those of the fields, in their order.
    fn problem(&self, keys: [&'static str; 3]) -> Option<Problem> {
        let [max_connections, max_line, idle_timeout] = keys;
        let problem = |key, text: &str| Some((key, text.to_owned()));
        if !(1..=65_536).contains(&self.max_connections) {
            return problem(max_connections, "not between 1 and 65_536");
        }
        if !(512..=1 << 20).contains(&self.max_line.bytes()) {
            return problem(max_line, "not between \"512B\" and \"1MiB\"");
        }
        if self.max_connections * self.max_line.bytes() > 1 << 30 {
            return problem(
                max_connections,
                "times max_line more than \"1GiB\" of memory; lower one of them",
            );
        }
        let bounds = Duration::from_secs(1)..=Duration::from_hours(30 * 24);
        if !bounds.contains(&self.idle_timeout.get()) {
            return problem(idle_timeout, "not between \"1s\" and \"30days\"");
        }
        None
    }
}

fn path_problem(key: &'static str, path: &Path) -> Option<Problem> {
    match path.as_os_str().as_bytes() {
        [] => Some((key, "empty; give a file".to_owned())),
        bytes if bytes.contains(&0) => Some((key, "has a NUL byte".to_owned())),
        bytes if bytes.len() > 107 => {
            Some((key, format!("{} bytes long; Unix sockets have paths of at most 107 bytes", bytes.len())))
        }
        _ => None,
    }
}
