//! Splits a list of tags.

/// The key of a tag, and its value if it has one.
pub type Tag<'a> = (&'a [u8], Option<&'a [u8]>);

/// Iterates over the tags of a section after its `#`, also over those without a key. Some clients write a `#` before
/// each tag.
pub(super) fn tags_of_section(list: &[u8]) -> impl Iterator<Item = Tag<'_>> {
    list.split(|&byte| byte == b',')
        .map(|tag| tag.strip_prefix(b"#").unwrap_or(tag))
        .filter(|tag| !tag.is_empty())
        .map(|tag| key_and_value(tag, b':'))
}

/// Returns true if a section, after its `#`, has a tag without a key, such as `:b`.
pub(super) fn has_tag_without_key(list: &[u8]) -> bool {
    tags_of_section(list).any(|(key, _)| key.is_empty())
}

/// Splits a tag at the first separator.
pub(super) fn key_and_value(tag: &[u8], separator: u8) -> Tag<'_> {
    match memchr::memchr(separator, tag) {
        Some(at) => (&tag[..at], Some(&tag[at + 1..])),
        None => (tag, None),
    }
}
