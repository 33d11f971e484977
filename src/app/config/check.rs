//! Refuses keys whose values contradict each other.

use std::path::Path;
use std::time::Duration;

use super::read::Problem;
use super::sections::{Config, ExportersSection, ListenersSection, LogOutput, MappingSection};
use super::values::Size;
use crate::mapping::{Mapping, MappingError};

/// The most memory that the lines of all connections of one listener may take, in bytes.
const MOST_LINE_BYTES: usize = 1 << 30;

/// Refuses keys whose values contradict each other. Disabled sections are checked, too. Returns the rules in
/// `mapping.mappings`, because compiling them is slow.
pub(super) fn check_together(config: &Config) -> Result<Mapping, Problem> {
    check_listeners(&config.listeners)?;
    let own_rules = check_mapping(&config.mapping)?;
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
