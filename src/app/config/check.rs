//! Refuses keys whose values contradict each other.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::Path;
use std::time::Duration;

use super::read::Problem;
use super::sections::{Config, ExportersSection, ListenersSection, LogOutput, MappingSection};
use super::values::Size;
use crate::mapping::{Mapping, MappingError};
use crate::net::ListenerUrl;
use crate::relay::TargetOptions;

/// The most memory that the lines of all connections of one listener may take, in bytes.
const MOST_LINE_BYTES: usize = 1 << 30;

/// Refuses keys whose values contradict each other. Disabled sections are checked, too. Returns the rules in
/// `mapping.mappings` and the changes for all series, because compiling them is slow.
pub(super) fn check_together(config: &Config) -> Result<Mapping, Problem> {
    check_listeners(&config.listeners)?;
    check_relays(config)?;
    let shaping = config.shaping.spec().map_err(|problem| Problem::new("shaping.tags", problem))?;
    let own_rules = check_mapping(&config.mapping)?.with_shaping(shaping);
    let interval = config.flush.interval;
    for (kind, expire_after) in config.aggregation.expire_after.by_name() {
        if expire_after.get() < interval.get().max(Duration::from_secs(1)) {
            let key = format!("aggregation.expire_after.{kind}");
            let text = format!("{expire_after:?} is shorter than flush.interval ({interval:?}) or \"1s\"");
            return Err(Problem::new(&key, text));
        }
    }
    check_exporters(&config.exporters)?;
    let logging = &config.logging;
    if logging.output.contains(&LogOutput::File) && logging.file_path.as_os_str().is_empty() {
        return Err(Problem::new("logging.file_path", "empty, although logging.output has \"file\""));
    }
    Ok(own_rules)
}

fn check_listeners(listeners: &ListenersSection) -> Result<(), Problem> {
    let ListenersSection { udp, tcp, unix_datagram, unix_stream, .. } = listeners;
    if !(udp.enabled || tcp.enabled || unix_datagram.enabled || unix_stream.enabled) {
        let text = "every listener is turned off; set this one, or another, to true";
        return Err(Problem::new("listeners.udp.enabled", text));
    }
    if udp.share_port && udp.receivers != 1 {
        let text =
            "must be 1 if share_port is set, because the receivers of one process would get all datagrams";
        return Err(Problem::new("listeners.udp.receivers", text));
    }
    check_line_memory("listeners.tcp", tcp.max_connections, tcp.max_line)?;
    check_line_memory("listeners.unix_stream", unix_stream.max_connections, unix_stream.max_line)?;
    if unix_datagram.enabled && unix_stream.enabled && unix_datagram.path == unix_stream.path {
        let text = "the same as listeners.unix_datagram.path; each needs a path of its own";
        return Err(Problem::new("listeners.unix_stream.path", text));
    }
    Ok(())
}

/// Refuses servers that are one of tallyd's own listeners. The relay finds out about longer loops while it runs.
fn check_relays(config: &Config) -> Result<(), Problem> {
    let ListenersSection { udp, tcp, unix_datagram, unix_stream, .. } = &config.listeners;
    for TargetOptions { url, .. } in config.relay_targets() {
        let own = match &url {
            ListenerUrl::Udp(target) if udp.enabled => {
                udp.bind.get().iter().any(|own| reaches(target, *own)).then_some("listeners.udp.bind")
            }
            ListenerUrl::Tcp(target) if tcp.enabled => {
                reaches(target, tcp.bind.get()).then_some("listeners.tcp.bind")
            }
            ListenerUrl::UnixDatagram(path) if unix_datagram.enabled => {
                (*path == unix_datagram.path).then_some("listeners.unix_datagram.path")
            }
            ListenerUrl::UnixStream(path) if unix_stream.enabled => {
                (*path == unix_stream.path).then_some("listeners.unix_stream.path")
            }
            _ => None,
        };
        if let Some(listener) = own {
            let text = format!(
                "{url} is tallyd's own listener ({listener}), so everything would run in circles; name another server"
            );
            return Err(Problem::new("relay", text));
        }
    }
    Ok(())
}

/// Returns true if a host and port certainly lead to a listener of this machine. Names other than `localhost` are not
/// looked up.
fn reaches(host_and_port: &str, own: SocketAddr) -> bool {
    let Some((host, port)) = host_and_port.rsplit_once(':') else { return false };
    // A port of 0 is not known yet.
    if port.parse() != Ok(own.port()) || own.port() == 0 {
        return false;
    }
    let host = host.trim_matches(['[', ']']);
    let own_ip = own.ip().to_canonical();
    match host.parse::<IpAddr>().map(|ip| ip.to_canonical()) {
        Ok(ip) => {
            // An IPv6 wildcard listens on both.
            let is_family = own.is_ipv6() || ip.is_ipv4();
            ip == own_ip || (own_ip.is_unspecified() && is_family && is_local(ip))
        }
        Err(_) => host.eq_ignore_ascii_case("localhost") && (own_ip.is_loopback() || own_ip.is_unspecified()),
    }
}

/// Returns true if an address is one of this machine's.
fn is_local(ip: IpAddr) -> bool {
    // A socket can be bound only to a local address.
    ip.is_loopback() || ip.is_unspecified() || UdpSocket::bind((ip, 0)).is_ok()
}

fn check_line_memory(section: &str, max_connections: usize, max_line: Size) -> Result<(), Problem> {
    if max_connections * max_line.get() <= MOST_LINE_BYTES {
        return Ok(());
    }
    let text = format!(
        "{max_connections} connections with lines of {max_line:?} may take more than \"1GiB\"; lower one of the two"
    );
    Err(Problem::new(&format!("{section}.max_connections"), text))
}

fn check_mapping(mapping: &MappingSection) -> Result<Mapping, Problem> {
    if mapping.mapping_file != Path::new("") && !mapping.mappings.is_empty() {
        let text = "mapping.mapping_file is set, too; put all rules in one place";
        return Err(Problem::new("mapping.mappings", text));
    }
    mapping.own_rules().map_err(|MappingError { rule, problem, .. }| {
        // The index of the rule gives its line.
        let key = rule.map(|rule| format!("mapping.mappings[{rule}]"));
        Problem::new(key.as_deref().unwrap_or("mapping.mappings"), problem)
    })
}

fn check_exporters(exporters: &ExportersSection) -> Result<(), Problem> {
    let ExportersSection { console, prometheus, textfile, hdr_log, .. } = exporters;
    let is_any_on = console.enabled
        || prometheus.start_http_server
        || textfile.enabled
        || hdr_log.enabled
        || exporters.has_endpoints();
    if is_any_on {
        return Ok(());
    }
    let text = "every exporter is turned off; set this one, or another, to true";
    Err(Problem::new("exporters.console.enabled", text))
}
