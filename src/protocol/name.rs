//! What stands before the value: the name, and the tags that some dialects put there.

use std::fmt;

use super::dialects::{Dialect, Dialects};
use super::error::{Failure, RejectReason, fail};

/// A metric's name as sent: UTF-8 without control characters, not empty.
///
/// SignalFx tags may stand in its midst (`api.[env=prod]hits`), so it has two pieces, of which the second is most often
/// empty.
#[derive(Debug, Clone, Copy)]
pub struct Name<'a> {
    head: &'a str,
    tail: &'a str,
}

impl<'a> Name<'a> {
    /// The pieces, to be read one after the other.
    #[must_use]
    pub fn pieces(self) -> [&'a str; 2] {
        [self.head, self.tail]
    }

    /// Whether the name begins with `prefix`.
    #[must_use]
    pub fn starts_with(self, prefix: &str) -> bool {
        match prefix.strip_prefix(self.head) {
            Some(rest) => self.tail.starts_with(rest),
            None => self.head.starts_with(prefix),
        }
    }
}

impl<'a> From<&'a str> for Name<'a> {
    fn from(name: &'a str) -> Self {
        Self { head: name, tail: "" }
    }
}

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.head)?;
        f.write_str(self.tail)
    }
}

impl PartialEq<str> for Name<'_> {
    fn eq(&self, other: &str) -> bool {
        other.strip_prefix(self.head) == Some(self.tail)
    }
}

impl PartialEq<&str> for Name<'_> {
    fn eq(&self, other: &&str) -> bool {
        self == *other
    }
}

/// A line up to its value.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head<'a> {
    pub(super) name: Name<'a>,
    /// Whose tags the name holds.
    pub(super) dialect: Option<Dialect>,
    /// They, without what encloses them.
    pub(super) tags: &'a [u8],
    /// The line from where the tags of a second dialect begin, if the name holds such.
    pub(super) second: Option<&'a [u8]>,
    /// Whether every line that has the same bytes up to its first colon has the same head.
    pub(super) is_regular: bool,
}

/// Bytes at which something may end or begin: delimiters, and control bytes.
static STOPS: [bool; 256] = {
    let mut stops = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        stops[byte] = byte < 0x20 || byte == 0x7f;
        byte += 1;
    }
    let delimiters = b":|,#;[";
    let mut index = 0;
    while index < delimiters.len() {
        stops[delimiters[index] as usize] = true;
        index += 1;
    }
    stops
};

/// Reads up to the colon before the value, which is left in the rest.
pub(super) fn head(line: &[u8], dialects: Dialects) -> Result<(&[u8], Head<'_>), Failure<'_>> {
    let Marks { end, delimiter, brackets, unclosed, control } = Marks::find(line, dialects);
    let (head_end, tail_start, tags, dialect) = match (brackets, delimiter) {
        (Some((open, close)), _) => (open, close + 1, &line[open + 1..close], Some(Dialect::SignalFx)),
        (None, Some((at, dialect))) => (at, end, &line[at + 1..end], Some(dialect)),
        (None, None) => (end, end, &[][..], None),
    };
    if head_end == 0 && tail_start == end {
        return fail(line, RejectReason::EmptyName);
    }
    if let Some(control) = control.filter(|&control| control < head_end || control >= tail_start) {
        return fail(&line[control..], RejectReason::BadName);
    }
    let name = Name { head: utf8(line, 0, head_end)?, tail: utf8(line, tail_start, end)? };
    let head = Head {
        name,
        dialect,
        tags,
        second: brackets.zip(delimiter).map(|((open, _), (at, _))| &line[open.max(at)..]),
        is_regular: !unclosed && brackets.is_none_or(|_| memchr::memchr(b':', tags).is_none()),
    };
    Ok((&line[end..], head))
}

fn utf8(line: &[u8], from: usize, to: usize) -> Result<&str, Failure<'_>> {
    match std::str::from_utf8(&line[from..to]) {
        Ok(text) => Ok(text),
        Err(error) => fail(&line[from + error.valid_up_to()..], RejectReason::BadName),
    }
}

/// Where the parts of a head stand, as offsets.
struct Marks {
    /// The first `:` or `|` that is not between brackets.
    end: usize,
    /// The first delimiter outside of brackets.
    delimiter: Option<(usize, Dialect)>,
    /// The first bracket that is closed, and the one that closes it.
    brackets: Option<(usize, usize)>,
    /// Whether there is one that is not closed.
    unclosed: bool,
    /// The first control byte outside of brackets.
    control: Option<usize>,
}

impl Marks {
    fn find(line: &[u8], dialects: Dialects) -> Self {
        let mut marks =
            Self { end: line.len(), delimiter: None, brackets: None, unclosed: false, control: None };
        let mut at = 0;
        while let Some(ordinary) = line[at..].iter().position(|&byte| STOPS[usize::from(byte)]) {
            at += ordinary;
            match line[at] {
                b':' | b'|' => {
                    marks.end = at;
                    break;
                }
                // Only the first pair holds tags, and what is not closed once will not be closed later.
                b'[' if marks.brackets.is_some() || marks.unclosed => {}
                b'[' if dialects.contains(Dialect::SignalFx) => {
                    let length = closing_bracket(&line[at..]);
                    marks.brackets = length.map(|length| (at, at + length));
                    marks.unclosed = length.is_none();
                    at += length.unwrap_or(0);
                }
                byte if byte.is_ascii_control() => marks.control = marks.control.or(Some(at)),
                byte if marks.delimiter.is_none() => {
                    marks.delimiter = dialects.beginning_with(byte).map(|dialect| (at, dialect));
                    // What follows are tags, most often: only their end is of interest, which is found faster so.
                    if marks.delimiter.is_some() && marks.brackets.is_none() {
                        let next = memchr::memchr3(b':', b'|', b'[', &line[at..]);
                        let end = next.map_or(line.len(), |next| at + next);
                        if line.get(end) != Some(&b'[') {
                            marks.end = end;
                            break;
                        }
                    }
                }
                _ => {}
            }
            at += 1;
        }
        marks
    }
}

/// How far from the start the bracket is closed, if that is before the first `|`.
fn closing_bracket(text: &[u8]) -> Option<usize> {
    memchr::memchr2(b']', b'|', text).filter(|&at| text[at] == b']')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str, dialects: Dialects) -> (String, Option<Dialect>, String) {
        let (_, head) = head(line.as_bytes(), dialects).unwrap();
        (head.name.to_string(), head.dialect, String::from_utf8_lossy(head.tags).into_owned())
    }

    #[test]
    fn each_dialect_is_read_where_it_is_switched_on_and_is_a_part_of_the_name_where_not() {
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
            assert_eq!(read(line, Dialects::ALL), expected, "{line}");
            assert_eq!(read(line, Dialects::of([dialect])), expected, "{line}");
            let others = Dialects::of(Dialect::ALL.into_iter().filter(|&other| other != dialect));
            assert_ne!(read(line, others).1, Some(dialect), "{line}");
            let whole = line.strip_suffix(":1|c").unwrap_or(line).to_owned();
            assert_eq!(read(line, Dialects::NONE), (whole, None, String::new()), "{line}");
        }
    }

    #[test]
    fn a_bracket_that_is_never_closed_is_an_ordinary_character() {
        assert_eq!(read("a[k:1|c|#x:]", Dialects::ALL), ("a[k".to_owned(), None, String::new()));
        assert_eq!(
            read("[k=v,l=wfoo:1|c", Dialects::ALL),
            ("[k=v".to_owned(), Some(Dialect::InfluxDb), "l=wfoo".to_owned())
        );
    }

    #[test]
    fn a_colon_between_brackets_does_not_end_the_name() {
        assert_eq!(
            read("a[url=http://h:80]:1|c", Dialects::ALL),
            ("a".to_owned(), Some(Dialect::SignalFx), "url=http://h:80".to_owned())
        );
    }

    #[test]
    fn a_head_is_regular_if_its_bytes_up_to_the_first_colon_decide_it() {
        let cases = [("a:1|c", true), ("a[k=v]:1|c", true), ("a[k=v:w]:1|c", false), ("a[k:1|c", false)];
        for (line, expected) in cases {
            assert_eq!(head(line.as_bytes(), Dialects::ALL).unwrap().1.is_regular, expected, "{line}");
        }
    }

    #[test]
    fn a_name_in_two_pieces_is_compared_as_one() {
        let (_, Head { name, .. }) = head(b"talk[k=v]yd.x:1|c", Dialects::ALL).unwrap();
        assert_eq!(name, "talkyd.x");
        for (prefix, expected) in
            [("", true), ("tal", true), ("talkyd.", true), ("talkyd.y", false), ("x", false)]
        {
            assert_eq!(name.starts_with(prefix), expected, "{prefix}");
        }
    }
}
