//! Reads the tags of lines as text.

use crate::mapping::Draft;
use crate::model::{CONTAINER_ID, POD_UID};
use crate::protocol::{Name, Origin, Tag, Tags};

/// Returns the tags that name the container and the pod of a sender, as far as they are known.
pub(super) fn origin_tags(origin: Origin<'_>) -> [Option<Tag<'_>>; 2] {
    let Origin { container_id, pod_uid, .. } = origin;
    [(CONTAINER_ID, container_id), (POD_UID, pod_uid.as_bytes())]
        .map(|(key, value)| (!value.is_empty()).then_some((key, Some(value))))
}

/// Returns the series that a line names, with tallyd's `own` tags.
pub(super) fn draft<const N: usize>(name: Name<'_>, tags: Tags<'_>, own: [Option<Tag<'_>>; N]) -> Draft {
    let mut tags = tags.iter().map(|(key, value)| (lossy(key), value.map(lossy))).collect();
    add_own(&mut tags, own);
    Draft { name: name.to_string(), tags }
}

/// Adds tallyd's own tags to those of a line. A tag of the line with the key of an own tag becomes `exported_…`.
pub(super) fn add_own<const N: usize>(tags: &mut Vec<(String, Option<String>)>, own: [Option<Tag<'_>>; N]) {
    for (key, value) in own.into_iter().flatten() {
        let key = lossy(key);
        tags.iter_mut()
            .filter(|(sent, _)| *sent == key)
            .for_each(|(sent, _)| sent.insert_str(0, "exported_"));
        tags.push((key, value.map(lossy)));
    }
}

/// Renames tags that shaping gave the key of one of tallyd's `own` tags, as if the client had sent them so. A rule can leave an own
/// tag out, or replace it by a label.
pub(super) fn protect<const N: usize>(tags: &mut [(String, Option<String>)], own: [Option<Tag<'_>>; N]) {
    for (key, value) in own.into_iter().flatten() {
        let own = (lossy(key), value.map(lossy));
        let Some(kept) = tags.iter().position(|tag| *tag == own) else { continue };
        for (index, (key, _)) in tags.iter_mut().enumerate() {
            if index != kept && *key == own.0 {
                key.insert_str(0, "exported_");
            }
        }
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
