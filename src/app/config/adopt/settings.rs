//! Collects the settings of another server as tallyd's own.

use std::net::UdpSocket;

use toml::{Table, Value};

use crate::app::config::error::{ConfigError, SettingSource, Warning};
use crate::app::config::layer::{Layer, nest};

/// The settings of another server, as tallyd's own.
#[derive(Default)]
pub(super) struct Settings {
    pub(super) layers: Vec<Layer>,
    pub(super) warnings: Vec<Warning>,
}

impl Settings {
    /// Sets a key. `setting` is the other server's setting, with its place.
    pub(super) fn set(&mut self, setting: &str, key: &str, value: impl Into<Value>) {
        let source = SettingSource::Adopted(setting.to_owned());
        self.layers.push(Layer { source, table: nest(key, value.into()), text: None });
    }

    /// Relays everything to a server, which is `host:port`.
    pub(super) fn relay(&mut self, setting: &str, server: &str) {
        let to = Value::Array(vec![Value::String(format!("udp://{server}"))]);
        let entry = Table::from_iter([("to".to_owned(), to)]);
        self.set(setting, "relay", Value::Array(vec![Value::Table(entry)]));
    }

    /// Notes that tallyd has nothing like a setting, with the consequence or a remedy in words.
    pub(super) fn warn(&mut self, setting: &str, problem: &str) {
        self.warnings.push(refusal(setting, problem));
    }
}

/// Returns the error for a setting that cannot be read.
pub(super) fn refusal(setting: &str, problem: &str) -> ConfigError {
    let source = SettingSource::Adopted(setting.to_owned());
    ConfigError { source, key: String::new(), problem: problem.to_owned() }
}

/// Returns the address of all interfaces: that of IPv6, which includes IPv4, unless this machine has no IPv6.
pub(super) fn all_interfaces() -> &'static str {
    if UdpSocket::bind("[::]:0").is_ok() { "[::]" } else { "0.0.0.0" }
}
