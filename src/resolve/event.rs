//! Turns parsed events into the events that snapshots hold.

use crate::model::{CONTAINER_ID, Event};
use crate::protocol::{self, Tags};

/// Converts a parsed event to the event that snapshots hold. If `container_id_tag` is true, the container's id that the
/// client sent becomes a tag.
#[must_use]
pub fn event(event: &protocol::Event<'_>, container_id_tag: bool) -> Event {
    let mut tags = sorted(event.tags);
    if container_id_tag && !event.origin.container_id.is_empty() {
        let own = lossy(CONTAINER_ID);
        // As with series, a tag that the client sent under this key is renamed.
        tags.iter_mut().filter(|(key, _)| *key == own).for_each(|(key, _)| key.insert_str(0, "exported_"));
        tags.push((own, lossy(event.origin.container_id)));
        tags.sort();
    }
    Event {
        timestamp: event.timestamp,
        title: event.title.to_string(),
        text: event.text.to_string(),
        alert_type: event.alert_type,
        priority: event.priority,
        hostname: event.hostname.map(lossy),
        aggregation_key: event.aggregation_key.map(lossy),
        source_type: event.source_type.map(lossy),
        tags,
    }
}

/// Returns the tags in sorted order, with U+FFFD for bytes that are not UTF-8. A tag without a value has an empty value.
pub(crate) fn sorted(tags: Tags<'_>) -> Vec<(String, String)> {
    let mut tags: Vec<_> =
        tags.iter().map(|(key, value)| (lossy(key), lossy(value.unwrap_or_default()))).collect();
    tags.sort();
    tags
}

/// Converts bytes to text, with U+FFFD for bytes that are not UTF-8.
pub(crate) fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
