//! The characters of names that Prometheus takes.

/// Appends a character of a name, or `_` in its place; before a leading digit, `_` as well.
pub(crate) fn push_legal(name: &mut String, character: char, also: char) {
    if name.is_empty() && character.is_ascii_digit() {
        name.push('_');
    }
    let is_legal = character.is_ascii_alphanumeric() || character == '_' || character == also;
    name.push(if is_legal { character } else { '_' });
}

/// A tag's key as a label: what is illegal becomes `_`.
pub(crate) fn label(key: &str) -> String {
    let mut label = String::with_capacity(key.len() + 1);
    for character in key.chars() {
        push_legal(&mut label, character, '_');
    }
    if label.is_empty() {
        label.push('_');
    }
    label
}
