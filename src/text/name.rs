//! Makes names that are legal in Prometheus.

/// Appends `character` to a name, or `_` if the character is illegal. Inserts `_` before a leading digit. Legal
/// characters are ASCII letters, digits, `_` and `also`.
pub(crate) fn push_legal(name: &mut String, character: char, also: char) {
    if name.is_empty() && character.is_ascii_digit() {
        name.push('_');
    }
    let is_legal = character.is_ascii_alphanumeric() || character == '_' || character == also;
    name.push(if is_legal { character } else { '_' });
}

/// Converts a tag's key to a label name. Illegal characters become `_`.
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
