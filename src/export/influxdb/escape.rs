//! Writes names and tags so that InfluxDB reads them back.

/// The characters that end a measurement, or a tag.
pub(super) const MEASUREMENT: &[char] = &[',', ' '];
pub(super) const TAG: &[char] = &[',', ' ', '='];

/// Appends a text with a backslash before each special character.
///
/// A backslash that stands before a special character, or at the end, would change what the next character means, and no way of
/// writing it exists. It becomes a slash.
pub(super) fn push_escaped(line: &mut String, text: &str, special: &[char]) {
    let mut rest =
        text.chars().map(|character| if character.is_control() { ' ' } else { character }).peekable();
    while let Some(character) = rest.next() {
        let next_is_plain = rest.peek().is_some_and(|next| *next != '\\' && !TAG.contains(next));
        match character {
            '\\' if !next_is_plain => line.push('/'),
            _ => {
                if special.contains(&character) {
                    line.push('\\');
                }
                line.push(character);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_characters_are_escaped() {
        let cases = [
            ("plain.name-1", "plain.name-1", "plain.name-1"),
            ("a b,c=d", r"a\ b\,c=d", r"a\ b\,c\=d"),
            (r"C:\dir\file", r"C:\dir\file", r"C:\dir\file"),
            (r"C:\dir\", r"C:\dir/", r"C:\dir/"),
            (r"a\,b", r"a/\,b", r"a/\,b"),
            (r"\\host", r"/\host", r"/\host"),
            ("a\nb", r"a\ b", r"a\ b"),
            ("größe", "größe", "größe"),
        ];
        for (text, measurement, tag) in cases {
            let escaped = |special| {
                let mut line = String::new();
                push_escaped(&mut line, text, special);
                line
            };
            assert_eq!(escaped(MEASUREMENT), measurement, "{text}");
            assert_eq!(escaped(TAG), tag, "{text}");
        }
    }
}
