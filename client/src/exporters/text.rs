//! Writes names, tags and set members, with `_` for each character that would break a line or a page. All exporters
//! write the same names and tags.

use std::cell::RefCell;

use crate::sample::Sample;

thread_local! {
    static BUFFER: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Calls `write` with an empty buffer. The thread keeps the buffer, so that calls do not allocate.
pub(super) fn with_buffer<T>(write: impl Fn(&mut String) -> T) -> T {
    let written = BUFFER.try_with(|buffer| {
        let mut buffer = buffer.try_borrow_mut().ok()?;
        buffer.clear();
        Some(write(&mut buffer))
    });
    // An ending thread has lost its buffer. If the log records metrics itself, an outer call is using the buffer.
    written.ok().flatten().unwrap_or_else(|| write(&mut String::new()))
}

/// A part of a line. Each part has its own forbidden characters.
#[derive(Clone, Copy)]
pub(super) enum Part {
    Name = 1,
    Key = 2,
    Value = 4,
    Member = 8,
}

/// The parts in which each byte is forbidden, as bits. A table is faster than comparing each byte with all forbidden
/// bytes.
const FORBIDDEN: [u8; 256] = {
    const NAME: u8 = Part::Name as u8;
    const KEY: u8 = Part::Key as u8;
    const VALUE: u8 = Part::Value as u8;
    const MEMBER: u8 = Part::Member as u8;
    let mut forbidden = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        forbidden[byte] = match byte as u8 {
            // These characters end a part of a line, or the line itself.
            b'|' | ..b' ' | 0x7f => NAME | KEY | VALUE | MEMBER,
            b',' => NAME | KEY | VALUE,
            b':' | b'#' => NAME | KEY,
            // Some servers read these characters in a name as tags or as an event.
            b'@' | b';' | b'=' | b'[' | b']' | b'{' | b'}' => NAME,
            _ => 0,
        };
        byte += 1;
    }
    forbidden
};

/// Appends text, and replaces each byte that is forbidden in this part with `_`. Forbidden bytes are ASCII, so the text
/// stays UTF-8.
pub(super) fn push(buffer: &mut String, text: &str, part: Part) {
    let all = text.bytes().fold(0, |all, byte| all | FORBIDDEN[usize::from(byte)]);
    if all & part as u8 == 0 {
        return buffer.push_str(text);
    }
    buffer.extend(text.chars().map(|character| {
        let is_forbidden = character.is_ascii() && FORBIDDEN[character as usize] & part as u8 != 0;
        if is_forbidden { '_' } else { character }
    }));
}

/// Returns the text before all names: the configured prefix and a dot, or nothing.
pub(super) fn name_prefix(prefix: &str) -> String {
    let mut buffer = String::new();
    push_with_dot(&mut buffer, prefix);
    buffer
}

/// Appends the full name of a metric: `prefix.component.name`.
#[inline]
pub(super) fn push_metric_name(buffer: &mut String, name_prefix: &str, sample: &Sample<'_>) {
    buffer.push_str(name_prefix);
    push_with_dot(buffer, sample.component);
    push(buffer, sample.name, Part::Name);
}

#[inline]
fn push_with_dot(buffer: &mut String, text: &str) {
    if !text.is_empty() {
        push(buffer, text, Part::Name);
        buffer.push('.');
    }
}

/// Appends `key:value,key:value`. If the sample has tags, `introduction` precedes them.
#[inline]
pub(super) fn push_tags(buffer: &mut String, introduction: &str, sample: &Sample<'_>) {
    let mut separator = introduction;
    sample.for_each_tag(|key, value| {
        buffer.push_str(separator);
        push(buffer, key, Part::Key);
        buffer.push(':');
        push(buffer, value, Part::Value);
        separator = ",";
    });
}
