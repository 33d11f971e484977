//! The tags of a line, read in place.

use super::dialects::Dialect;
use super::sections::sections;

/// The tags of a line: those within the name, and the sections that begin with `#`.
#[derive(Debug, Clone, Copy)]
pub struct Tags<'a> {
    in_name: &'a [u8],
    /// Between two tags within the name.
    separator: u8,
    /// From the first section to the end of the line.
    sections: &'a [u8],
}

impl<'a> Tags<'a> {
    pub(super) fn new(dialect: Option<Dialect>, in_name: &'a [u8], sections: &'a [u8]) -> Self {
        Self { in_name, separator: dialect.map_or(b',', Dialect::separator), sections }
    }

    /// From the first section to the end of the line.
    pub(super) fn sections(self) -> &'a [u8] {
        self.sections
    }

    /// Key and value of each tag as sent, in the order of the line; the value is empty where there is none. Not
    /// necessarily UTF-8.
    pub fn iter(self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        self.in_name().chain(self.in_sections())
    }

    /// If there are tags both within the name and in a section, of two dialects that is: the line from that section on.
    pub(super) fn second_dialect(self) -> Option<&'a [u8]> {
        let is_mixed = !self.sections.is_empty()
            && self.in_name().next().is_some()
            && self.in_sections().next().is_some();
        let (at, _) = sections(self.sections).find(|(_, section)| is_mixed && section.starts_with(b"#"))?;
        Some(&self.sections[at..])
    }

    fn in_name(self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        self.in_name
            .split(move |&byte| byte == self.separator)
            .filter(|tag| !tag.is_empty())
            .map(|tag| key_and_value(tag, b'='))
    }

    fn in_sections(self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        sections(self.sections)
            .filter_map(|(_, section)| section.strip_prefix(b"#"))
            .flat_map(|list| list.split(|&byte| byte == b','))
            .map(|tag| tag.strip_prefix(b"#").unwrap_or(tag))
            .filter(|tag| !tag.is_empty())
            .map(|tag| key_and_value(tag, b':'))
    }
}

fn key_and_value(tag: &[u8], between: u8) -> (&[u8], &[u8]) {
    match memchr::memchr(between, tag) {
        Some(at) => (&tag[..at], &tag[at + 1..]),
        None => (tag, &[]),
    }
}
