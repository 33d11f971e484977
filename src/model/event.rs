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

/// An event that exporters show.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Event {
    /// The time of the event, in seconds since 1970, if the client sent one.
    pub timestamp: Option<u64>,
    /// The title, which is not empty.
    pub title: String,
    /// The body, which may be empty.
    pub text: String,
    /// The severity.
    pub alert_type: AlertType,
    /// The urgency.
    pub priority: Priority,
    /// The host on which the event happened.
    pub hostname: Option<String>,
    /// The key that groups the event with others.
    pub aggregation_key: Option<String>,
    /// The kind of program that sent the event.
    pub source_type: Option<String>,
    /// The keys and values of the tags, sorted. A tag without a value has an empty value.
    pub tags: Vec<(String, String)>,
}

impl Event {
    /// Returns the memory of the event, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        let Self { title, text, hostname, aggregation_key, source_type, tags, .. } = self;
        let optional = [hostname, aggregation_key, source_type].into_iter().flatten();
        let of_texts: usize = optional.chain([title, text]).map(String::len).sum();
        let of_tags: usize =
            tags.iter().map(|(key, value)| size_of::<(String, String)>() + key.len() + value.len()).sum();
        size_of::<Self>() + of_texts + of_tags
    }
}
