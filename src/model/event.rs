//! Events: things that happened, told in words.

use enum_map::Enum;
use strum::{IntoStaticStr, VariantArray};

/// How urgent an event is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Enum, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Priority {
    /// If nothing is said.
    #[default]
    Normal,
    /// Not urgent.
    Low,
}

impl Priority {
    /// Both, in the order of their discriminants.
    pub const ALL: [Priority; 2] = [Priority::Normal, Priority::Low];

    /// As it stands on the wire.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Priority::Normal => "normal",
            Priority::Low => "low",
        }
    }
}

/// How bad an event is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Enum, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum AlertType {
    /// If nothing is said.
    #[default]
    Info,
    /// It went well.
    Success,
    /// It may become bad.
    Warning,
    /// It is bad.
    Error,
}

impl AlertType {
    /// All of them, in the order of their discriminants.
    pub const ALL: [AlertType; 4] =
        [AlertType::Info, AlertType::Success, AlertType::Warning, AlertType::Error];

    /// As it stands on the wire.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            AlertType::Info => "info",
            AlertType::Success => "success",
            AlertType::Warning => "warning",
            AlertType::Error => "error",
        }
    }
}

/// Something that happened in an interval, told in words.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Event {
    /// When it happened, in seconds since 1970, if it was said.
    pub timestamp: Option<u64>,
    /// Not empty.
    pub title: String,
    /// More in words.
    pub text: String,
    /// How bad it is.
    pub alert_type: AlertType,
    /// How urgent it is.
    pub priority: Priority,
    /// Where it happened.
    pub hostname: Option<String>,
    /// What events to group it with.
    pub aggregation_key: Option<String>,
    /// What kind of program tells it.
    pub source_type: Option<String>,
    /// Keys and values, sorted; a value is empty where a tag has none.
    pub tags: Vec<(String, String)>,
}
