//! Names, tags and members as all exporters write them: what cannot be on the wire or on the page is nowhere.

use std::cell::RefCell;

use crate::sample::Sample;

thread_local! {
    static TEXT: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Lends an empty text that this thread keeps, so that calls allocate none.
pub(super) fn with_text<T>(write: impl Fn(&mut String) -> T) -> T {
    let written = TEXT.try_with(|text| {
        let mut text = text.try_borrow_mut().ok()?;
        text.clear();
        Some(write(&mut text))
    });
    // A thread that ends may have dropped it, and it is lent already where the log measures what it is told.
    written.ok().flatten().unwrap_or_else(|| write(&mut String::new()))
}

/// What stands before all names: the prefix with a dot behind it, if there is one.
pub(super) fn before_names(prefix: &str) -> String {
    let mut text = String::new();
    push_with_dot(&mut text, prefix);
    text
}

/// Appends the name of a sample's metric: `prefix.component.name`.
#[inline]
pub(super) fn push_metric(text: &mut String, before_names: &str, sample: &Sample<'_>) {
    text.push_str(before_names);
    push_with_dot(text, sample.component);
    push_name(text, sample.name);
}

/// Appends the tags of a sample: `key:value,key:value`.
#[inline]
pub(super) fn push_tags(text: &mut String, before_first: &str, sample: &Sample<'_>) {
    let mut before = before_first;
    sample.each_tag(|key, value| {
        text.push_str(before);
        push_key(text, key);
        text.push(':');
        push_value(text, value);
        before = ",";
    });
}

#[inline]
fn push_with_dot(text: &mut String, part: &str) {
    if !part.is_empty() {
        push_name(text, part);
        text.push('.');
    }
}

/// Appends a name, in which nothing stands that any server would read as its end, as tags or as an event.
fn push_name(text: &mut String, name: &str) {
    push(text, name, NAME);
}

/// Appends the key of a tag.
pub(super) fn push_key(text: &mut String, key: &str) {
    push(text, key, KEY);
}

/// Appends the value of a tag.
pub(super) fn push_value(text: &mut String, value: &str) {
    push(text, value, VALUE);
}

/// Appends a member of a set.
pub(super) fn push_member(text: &mut String, member: &str) {
    push(text, member, MEMBER);
}

const NAME: u8 = 1;
const KEY: u8 = 2;
const VALUE: u8 = 4;
const MEMBER: u8 = 8;

/// In what each byte may not be. Where each was compared with all that are wrong, a call of a timed function took 275 ns
/// instead of 246.
const WRONG: [u8; 256] = {
    let mut wrong = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        wrong[byte] = match byte as u8 {
            // What ends a part of a line, or the line.
            b'|' | ..b' ' | 0x7f => NAME | KEY | VALUE | MEMBER,
            b',' => NAME | KEY | VALUE,
            b':' | b'#' => NAME | KEY,
            b'@' | b';' | b'=' | b'[' | b']' | b'{' | b'}' => NAME,
            _ => 0,
        };
        byte += 1;
    }
    wrong
};

/// Appends a text with `_` in place of each byte that may not be in it; those are ASCII, so it stays UTF-8.
fn push(text: &mut String, other: &str, place: u8) {
    let all = other.bytes().fold(0, |all, byte| all | WRONG[usize::from(byte)]);
    if all & place == 0 {
        return text.push_str(other);
    }
    text.extend(other.chars().map(|character| {
        let is_wrong = character.is_ascii() && WRONG[character as usize] & place != 0;
        if is_wrong { '_' } else { character }
    }));
}
