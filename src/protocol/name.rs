//! Parses the part of a metric line before its value: the name, and the tags that some dialects write into it.

use std::fmt;

use super::error::{RejectReason, Rejection, reject};
use super::{Dialect, Dialects};

/// A metric's name as sent: not empty, UTF-8, and free of control characters.
///
/// SignalFx tags may be in the middle of a name (`api.[env=prod]hits`), so a name has two pieces. The second one is
/// empty in most names.
#[derive(Debug, Clone, Copy)]
pub struct Name<'a> {
    first: &'a str,
    second: &'a str,
}

impl<'a> Name<'a> {
    /// Returns the two pieces, which together form the name.
    #[must_use]
    pub fn pieces(self) -> [&'a str; 2] {
        [self.first, self.second]
    }

    /// Returns true if the name begins with `prefix`.
    #[must_use]
    pub fn starts_with(self, prefix: &str) -> bool {
        match prefix.strip_prefix(self.first) {
            Some(rest) => self.second.starts_with(rest),
            None => self.first.starts_with(prefix),
        }
    }
}

impl<'a> From<&'a str> for Name<'a> {
    fn from(name: &'a str) -> Self {
        Self { first: name, second: "" }
    }
}

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.first)?;
        f.write_str(self.second)
    }
}

impl PartialEq<str> for Name<'_> {
    fn eq(&self, other: &str) -> bool {
        other.strip_prefix(self.first) == Some(self.second)
    }
}

impl PartialEq<&str> for Name<'_> {
    fn eq(&self, other: &&str) -> bool {
        self == *other
    }
}

/// A name and the tags within it.
#[derive(Debug, Clone, Copy)]
pub(super) struct TaggedName<'a> {
    pub(super) name: Name<'a>,
    /// The dialect of the tags within the name.
    pub(super) dialect: Option<Dialect>,
    /// The tags without the delimiters around them.
    pub(super) tags: &'a [u8],
    /// The rest of the line from the tags of a second dialect, if the name has any.
    pub(super) second_dialect: Option<&'a [u8]>,
    /// True if the bytes before the first colon determine the name and its tags. Then every line with the same bytes
    /// there has the same name and tags.
    pub(super) is_decided_at_colon: bool,
}

/// Marks the bytes at which the search stops: delimiters and control bytes.
static IS_SPECIAL: [bool; 256] = {
    let mut special = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        special[byte] = byte < 0x20 || byte == 0x7f;
        byte += 1;
    }
    let delimiters = b":|,#;[";
    let mut index = 0;
    while index < delimiters.len() {
        special[delimiters[index] as usize] = true;
        index += 1;
    }
    special
};

/// Parses the name and the tags within it. Returns the rest of the line, which begins after the name, and the name.
pub(super) fn tagged_name(line: &[u8], dialects: Dialects) -> Result<(&[u8], TaggedName<'_>), Rejection<'_>> {
    let Boundaries { end, delimiter, brackets, has_unclosed_bracket, control } =
        Boundaries::find(line, dialects);
    let (first_end, second_start, tags, dialect) = match (brackets, delimiter) {
        (Some((open, close)), _) => (open, close + 1, &line[open + 1..close], Some(Dialect::SignalFx)),
        (None, Some((at, dialect))) => (at, end, &line[at + 1..end], Some(dialect)),
        (None, None) => (end, end, &[][..], None),
    };
    if first_end == 0 && second_start == end {
        return reject(line, RejectReason::EmptyName);
    }
    if let Some(control) = control.filter(|&control| control < first_end || control >= second_start) {
        return reject(&line[control..], RejectReason::BadName);
    }
    let name = Name { first: utf8(line, 0, first_end)?, second: utf8(line, second_start, end)? };
    let has_colon_between_brackets = brackets.is_some() && memchr::memchr(b':', tags).is_some();
    let tagged_name = TaggedName {
        name,
        dialect,
        tags,
        second_dialect: brackets.zip(delimiter).map(|((open, _), (at, _))| &line[open.max(at)..]),
        is_decided_at_colon: !has_unclosed_bracket && !has_colon_between_brackets,
    };
    Ok((&line[end..], tagged_name))
}

fn utf8(line: &[u8], from: usize, to: usize) -> Result<&str, Rejection<'_>> {
    match std::str::from_utf8(&line[from..to]) {
        Ok(text) => Ok(text),
        Err(error) => reject(&line[from + error.valid_up_to()..], RejectReason::BadName),
    }
}

/// The offsets of the parts of a name.
struct Boundaries {
    /// The first `:` or `|` that is not between brackets.
    end: usize,
    /// The first delimiter of tags outside brackets.
    delimiter: Option<(usize, Dialect)>,
    /// The first pair of brackets: the offsets of the opening and the closing one.
    brackets: Option<(usize, usize)>,
    has_unclosed_bracket: bool,
    /// The first control byte outside brackets.
    control: Option<usize>,
}

impl Boundaries {
    fn find(line: &[u8], dialects: Dialects) -> Self {
        let mut found = Self {
            end: line.len(),
            delimiter: None,
            brackets: None,
            has_unclosed_bracket: false,
            control: None,
        };
        let mut at = 0;
        while let Some(ordinary) = line[at..].iter().position(|&byte| IS_SPECIAL[usize::from(byte)]) {
            at += ordinary;
            match line[at] {
                b':' | b'|' => {
                    found.end = at;
                    break;
                }
                // Only the first pair of brackets holds tags. If one bracket is unclosed, all later ones are unclosed,
                // too.
                b'[' if found.brackets.is_some() || found.has_unclosed_bracket => {}
                b'[' if dialects.contains(Dialect::SignalFx) => {
                    let length = closing_bracket(&line[at..]);
                    found.brackets = length.map(|length| (at, at + length));
                    found.has_unclosed_bracket = length.is_none();
                    at += length.unwrap_or(0);
                }
                byte if byte.is_ascii_control() => found.control = found.control.or(Some(at)),
                byte if found.delimiter.is_none() => {
                    found.delimiter = dialects.beginning_with(byte).map(|dialect| (at, dialect));
                    // Of the tags, only the end matters. This search finds it faster.
                    if found.delimiter.is_some() && found.brackets.is_none() {
                        let next = memchr::memchr3(b':', b'|', b'[', &line[at..]);
                        let end = next.map_or(line.len(), |next| at + next);
                        if line.get(end) != Some(&b'[') {
                            found.end = end;
                            break;
                        }
                    }
                }
                _ => {}
            }
            at += 1;
        }
        found
    }
}

/// Returns the offset of the closing bracket if it precedes the first `|`.
fn closing_bracket(text: &[u8]) -> Option<usize> {
    memchr::memchr2(b']', b'|', text).filter(|&at| text[at] == b']')
}

#[cfg(test)]
mod tests {
    use strum::VariantArray;

    use super::*;

    fn parsed(line: &str, dialects: Dialects) -> (String, Option<Dialect>, String) {
        let (_, parsed) = tagged_name(line.as_bytes(), dialects).unwrap();
        (parsed.name.to_string(), parsed.dialect, String::from_utf8_lossy(parsed.tags).into_owned())
    }

    #[test]
    fn each_dialect_is_read_only_if_it_is_enabled() {
        let cases = [
            ("a.b,k=v,l=w:1|c", Dialect::InfluxDb, "a.b", "k=v,l=w"),
            ("a.b#k=v,l=w:1|c", Dialect::Librato, "a.b", "k=v,l=w"),
            ("a.b;k=v;l=w:1|c", Dialect::Graphite, "a.b", "k=v;l=w"),
            ("a.b[k=v,l=w]:1|c", Dialect::SignalFx, "a.b", "k=v,l=w"),
            ("a.[k=v]b:1|c", Dialect::SignalFx, "a.b", "k=v"),
            ("[k=v]a.b:1|c", Dialect::SignalFx, "a.b", "k=v"),
            ("a[]b:1|c", Dialect::SignalFx, "ab", ""),
            ("a[k=v]b[l=w]:1|c", Dialect::SignalFx, "ab[l=w]", "k=v"),
        ];
        for (line, dialect, name, tags) in cases {
            let expected = (name.to_owned(), Some(dialect), tags.to_owned());
            assert_eq!(parsed(line, Dialects::ALL), expected, "{line}");
            assert_eq!(parsed(line, Dialects::of([dialect])), expected, "{line}");
            let others = Dialects::of(Dialect::VARIANTS.iter().copied().filter(|&other| other != dialect));
            assert_ne!(parsed(line, others).1, Some(dialect), "{line}");
            let whole = line.strip_suffix(":1|c").unwrap_or(line).to_owned();
            assert_eq!(parsed(line, Dialects::NONE), (whole, None, String::new()), "{line}");
        }
    }

    #[test]
    fn an_unclosed_bracket_is_an_ordinary_character() {
        assert_eq!(parsed("a[k:1|c|#x:]", Dialects::ALL), ("a[k".to_owned(), None, String::new()));
        assert_eq!(
            parsed("[k=v,l=wfoo:1|c", Dialects::ALL),
            ("[k=v".to_owned(), Some(Dialect::InfluxDb), "l=wfoo".to_owned())
        );
    }

    #[test]
    fn a_colon_between_brackets_does_not_end_the_name() {
        assert_eq!(
            parsed("a[url=http://h:80]:1|c", Dialects::ALL),
            ("a".to_owned(), Some(Dialect::SignalFx), "url=http://h:80".to_owned())
        );
    }

    #[test]
    fn bytes_up_to_the_colon_decide_the_name_unless_brackets_intervene() {
        let cases = [("a:1|c", true), ("a[k=v]:1|c", true), ("a[k=v:w]:1|c", false), ("a[k:1|c", false)];
        for (line, expected) in cases {
            let (_, parsed) = tagged_name(line.as_bytes(), Dialects::ALL).unwrap();
            assert_eq!(parsed.is_decided_at_colon, expected, "{line}");
        }
    }

    #[test]
    fn a_name_in_two_pieces_compares_as_one() {
        let (_, TaggedName { name, .. }) = tagged_name(b"talk[k=v]yd.x:1|c", Dialects::ALL).unwrap();
        assert_eq!(name, "talkyd.x");
        for (prefix, expected) in
            [("", true), ("tal", true), ("talkyd.", true), ("talkyd.y", false), ("x", false)]
        {
            assert_eq!(name.starts_with(prefix), expected, "{prefix}");
        }
    }
}
