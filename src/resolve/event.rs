//! Turns parsed events into the events that snapshots hold.

use super::tags::{draft, lossy, origin_tags, protect};
use crate::mapping::Mapping;
use crate::model::Event;
use crate::protocol;

/// Converts a parsed event to the event that snapshots hold. If `container_id_tag` is true, the container's id that the
/// client sent becomes a tag. The mapping changes the tags.
#[must_use]
pub fn event(event: &protocol::Event<'_>, container_id_tag: bool, mapping: &Mapping) -> Event {
    let own = if container_id_tag { origin_tags(event.origin) } else { [None; 2] };
    let mut tags = draft("".into(), event.tags, own).tags;
    mapping.shape_tags(&mut tags);
    protect(&mut tags, own);
    let mut tags: Vec<_> = tags.into_iter().map(|(key, value)| (key, value.unwrap_or_default())).collect();
    tags.sort();
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
