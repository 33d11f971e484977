//! Finds settings that are legal but probably mistakes. `tallyd check` prints them, and the daemon logs them.

use std::fs;
use std::io;
use std::path::Path;

use nix::errno::Errno;
use nix::unistd::{AccessFlags, access};

use super::read::Problem;
use super::sections::{Config, LogOutput};
use crate::mapping::Mapping;

/// The keys that have an effect only if a switch is on, with the switch.
const SWITCHED: [(&str, &str, &[&str]); 7] = [
    (
        "listeners.tcp",
        "enabled",
        &["bind", "permitted_networks", "framing", "max_connections", "max_line", "idle_timeout"],
    ),
    ("listeners.unix_datagram", "enabled", &["path", "mode", "owner", "max_datagram"]),
    (
        "listeners.unix_stream",
        "enabled",
        &["path", "mode", "owner", "framing", "max_connections", "max_line", "idle_timeout"],
    ),
    (
        "exporters.prometheus",
        "start_http_server",
        &[
            "address",
            "port",
            "path",
            "permitted_networks",
            "max_connections",
            "timeout",
            "enable_reload",
            "api",
            "web_config_file",
            "socket",
            "socket_mode",
            "utf8_names",
        ],
    ),
    ("exporters.textfile", "enabled", &["path", "on_exit", "reserved_prefixes"]),
    ("exporters.hdr_log", "enabled", &["path", "digits", "scale", "max_size", "max_age", "keep"]),
    ("admin", "enabled", &["bind", "permitted_networks"]),
];

/// Returns the settings that are probably mistakes. `own_rules` are those in `mapping.mappings`. `is_set` returns true
/// if a source other than the defaults sets a key.
pub(super) fn settings(config: &Config, own_rules: &Mapping, is_set: impl Fn(&str) -> bool) -> Vec<Problem> {
    let mut suspects = Vec::new();
    let percentiles = config.flush.percentiles.iter().enumerate().filter(|&(_, &percent)| percent < 1.0);
    for (index, percent) in percentiles {
        let text = format!(
            "{percent} means that {percent} % of the values are lower; for the quantile {percent} write {}",
            super::bounds::percent(*percent)
        );
        suspects.push(Problem::new(&format!("flush.percentiles[{index}]"), text));
    }
    let mapping = &config.mapping;
    for (key, buckets) in [
        ("exporters.prometheus.buckets", &config.exporters.prometheus.buckets),
        ("mapping.defaults.histogram_options.buckets", &mapping.defaults.histogram_options.buckets),
    ] {
        suspects.extend(crate::mapping::milliseconds(buckets).map(|text| Problem::new(key, text)));
    }
    for warning in own_rules.warnings() {
        let key = warning.rule.map(|rule| format!("mapping.mappings[{rule}]"));
        suspects.push(Problem::new(key.as_deref().unwrap_or("mapping.defaults"), warning.problem.as_str()));
    }
    let is_on = |section: &str| match section {
        "listeners.tcp" => config.listeners.tcp.enabled,
        "listeners.unix_datagram" => config.listeners.unix_datagram.enabled,
        "listeners.unix_stream" => config.listeners.unix_stream.enabled,
        "exporters.prometheus" => config.exporters.prometheus.start_http_server,
        "exporters.hdr_log" => config.exporters.hdr_log.enabled,
        "admin" => config.admin.enabled,
        _ => config.exporters.textfile.enabled,
    };
    for (section, switch, keys) in SWITCHED {
        // A section that was turned off on purpose may keep its keys.
        if is_on(section) || is_set(&format!("{section}.{switch}")) {
            continue;
        }
        if let Some(key) = keys.iter().map(|key| format!("{section}.{key}")).find(|key| is_set(key)) {
            let text = format!("has no effect, because {section}.{switch} is not set; set it to true");
            suspects.push(Problem::new(&key, text));
        }
    }
    let has_file = config.logging.output.contains(&LogOutput::File);
    if !has_file && is_set("logging.file_path") && !is_set("logging.output") {
        let text = "has no effect, because logging.output is not set; set it to [\"console\", \"file\"]";
        suspects.push(Problem::new("logging.file_path", text));
    }
    if config.state.path.as_os_str().is_empty() && is_set("state.interval") && !is_set("state.path") {
        let text = "has no effect, because state.path is not set; set it to the path of a file";
        suspects.push(Problem::new("state.interval", text));
    }
    let prometheus = &config.exporters.prometheus;
    if prometheus.has_open_reload() && prometheus.web_config_file == Path::new("") {
        let text = format!(
            "everyone who can connect to {:?} can reload tallyd; set web_config_file to a file with users, or \
             permitted_networks",
            prometheus.address
        );
        suspects.push(Problem::new("exporters.prometheus.enable_reload", text));
    }
    suspects.extend(paths(config));
    suspects
}

/// Returns the paths that this user cannot write.
fn paths(config: &Config) -> Vec<Problem> {
    let (listeners, exporters) = (&config.listeners, &config.exporters);
    let (console, prometheus) = (&exporters.console, &exporters.prometheus);
    // tallyd appends to existing files of the first two kinds. It replaces files of the others.
    let paths = [
        ("exporters.console.path", console.enabled && console.path != Path::new("-"), &console.path, false),
        (
            "logging.file_path",
            config.logging.output.contains(&LogOutput::File),
            &config.logging.file_path,
            false,
        ),
        ("state.path", !config.state.path.as_os_str().is_empty(), &config.state.path, true),
        // Rotation renames the file.
        ("exporters.hdr_log.path", exporters.hdr_log.enabled, &exporters.hdr_log.path, true),
        ("exporters.textfile.path", exporters.textfile.enabled, &exporters.textfile.path, true),
        (
            "listeners.unix_datagram.path",
            listeners.unix_datagram.enabled,
            &listeners.unix_datagram.path,
            true,
        ),
        (
            "exporters.prometheus.socket",
            prometheus.start_http_server && !prometheus.socket.as_os_str().is_empty(),
            &prometheus.socket,
            true,
        ),
        ("listeners.unix_stream.path", listeners.unix_stream.enabled, &listeners.unix_stream.path, true),
    ];
    let used = paths.into_iter().filter(|&(_, is_used, ..)| is_used);
    used.filter_map(|(key, _, path, is_replaced)| Some(Problem::new(key, unwritable(path, is_replaced)?)))
        .collect()
}

/// Returns the reason why this user cannot write a file. tallyd creates a missing file, and its directory holds a file
/// that is replaced.
fn unwritable(path: &Path, is_replaced: bool) -> Option<String> {
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    if path.is_dir() {
        return Some(format!("{} is a directory; give the path of a file", path.display()));
    }
    let (checked, flags) = if path.exists() && !is_replaced {
        (&*path, AccessFlags::W_OK)
    } else {
        let directory = path.parent().filter(|directory| !directory.as_os_str().is_empty());
        (directory.unwrap_or(Path::new(".")), AccessFlags::W_OK | AccessFlags::X_OK)
    };
    let shown = checked.display();
    match access(checked, flags) {
        Ok(()) => None,
        Err(Errno::ENOENT) => Some(format!("the directory {shown} does not exist; create it")),
        Err(Errno::EACCES) => Some(format!("this user may not write to {shown}; give it the permission")),
        Err(error) => Some(format!("{shown} cannot be written: {}", io::Error::from(error))),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use toml::{Table, Value};

    use super::*;
    use crate::app::config::sections::DEFAULTS;

    /// The keys of sections with a switch that have an effect without it, because the text file uses them, too.
    const ALWAYS_USED: [&str; 7] = [
        "exporters.prometheus.timings",
        "exporters.prometheus.percentile_window",
        "exporters.prometheus.buckets",
        "exporters.prometheus.native_histogram_bucket_factor",
        "exporters.prometheus.native_histogram_max_buckets",
        "exporters.prometheus.naming",
        "exporters.prometheus.openmetrics_created",
    ];

    /// Adds the keys of each section whose switch is off by default.
    fn switched(section: &str, table: &Table, keys: &mut BTreeSet<String>) {
        let switch = ["enabled", "start_http_server"].into_iter().find(|key| table.contains_key(*key));
        let is_off = switch.is_some_and(|switch| table[switch] == Value::Boolean(false));
        for (key, value) in table {
            let name = if section.is_empty() { key.clone() } else { format!("{section}.{key}") };
            match value {
                Value::Table(inner) => switched(&name, inner, keys),
                _ if is_off && switch != Some(key) => _ = keys.insert(name),
                _ => {}
            }
        }
    }

    /// This fails if a new key is neither in [`SWITCHED`] nor in [`ALWAYS_USED`].
    #[test]
    fn the_list_has_every_key_of_a_section_that_is_off_by_default() {
        let mut expected = BTreeSet::new();
        switched("", &toml::from_str(DEFAULTS).unwrap(), &mut expected);
        expected.retain(|key| !ALWAYS_USED.contains(&&**key));
        let listed = SWITCHED
            .iter()
            .flat_map(|(section, _, keys)| keys.iter().map(move |key| format!("{section}.{key}")));
        assert_eq!(listed.collect::<BTreeSet<_>>(), expected);
    }
}
