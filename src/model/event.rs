//! Events: messages about something that happened.

use enum_map::Enum;
use strum::{IntoStaticStr, VariantArray};

/// The urgency of an event. The names are those on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Enum, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Priority {
    /// The default.
    #[default]
    Normal,
    /// Less urgent.
    Low,
}

/// The severity of an event. The names are those on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Enum, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum AlertType {
    /// The default.
    #[default]
    Info,
    /// Something succeeded.
    Success,
    /// Something may fail soon.
    Warning,
    /// Something failed.
    Error,
}

/// An event, as exporters show it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Event {
    /// The time at which it happened, in seconds since 1970, if the client sent it.
    pub timestamp: Option<u64>,
    /// The title, which is not empty.
    pub title: String,
    /// The body, which may be empty.
    pub text: String,
    /// The severity.
    pub alert_type: AlertType,
    /// The urgency.
    pub priority: Priority,
    /// The host that it happened on.
    pub hostname: Option<String>,
    /// The key by which it is grouped with other events.
    pub aggregation_key: Option<String>,
    /// The kind of program that sent it.
    pub source_type: Option<String>,
    /// Keys and values, sorted. A tag without a value has an empty one.
    pub tags: Vec<(String, String)>,
}
