//! Reads the tags of a line, in a section or in one of the dialects that write them into the name.

use enum_map::{Enum, EnumMap};
use strum::{IntoStaticStr, VariantArray};

use super::sections::sections;
use super::tag_list::{Tag, key_and_value, tags_of_section};

/// A syntax for tags within the name. DogStatsD is not among them, because its tags have their own section.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "lowercase")]
pub enum Dialect {
    /// `name,k=v,k2=v2:1|c`, as Telegraf reads it.
    InfluxDb,
    /// `name#k=v,k2=v2:1|c`
    Librato,
    /// `name[k=v,k2=v2]:1|c`. The brackets may also be inside the name.
    SignalFx,
    /// `name;k=v;k2=v2:1|c`
    Graphite,
}

impl Dialect {
    /// Returns the byte that begins the tags.
    fn delimiter(self) -> u8 {
        match self {
            Dialect::InfluxDb => b',',
            Dialect::Librato => b'#',
            Dialect::SignalFx => b'[',
            Dialect::Graphite => b';',
        }
    }

    /// Returns the byte between two tags.
    fn separator(self) -> u8 {
        if self == Dialect::Graphite { b';' } else { b',' }
    }
}

/// The dialects that are enabled. The delimiter of a disabled dialect is an ordinary character of the name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dialects(EnumMap<Dialect, bool>);

impl Dialects {
    /// No dialect is enabled.
    pub(crate) const NONE: Dialects = Dialects(EnumMap::from_array([false; Dialect::VARIANTS.len()]));
    /// All dialects are enabled.
    pub const ALL: Dialects = Dialects(EnumMap::from_array([true; Dialect::VARIANTS.len()]));

    /// Enables the given dialects and no others.
    #[must_use]
    pub fn of(dialects: impl IntoIterator<Item = Dialect>) -> Self {
        let mut enabled = Self::NONE;
        dialects.into_iter().for_each(|dialect| enabled.0[dialect] = true);
        enabled
    }

    /// Returns true if `dialect` is enabled.
    #[must_use]
    pub fn contains(self, dialect: Dialect) -> bool {
        self.0[dialect]
    }

    /// Returns the enabled dialect whose tags begin with `byte`.
    pub(super) fn beginning_with(self, byte: u8) -> Option<Dialect> {
        Dialect::VARIANTS
            .iter()
            .copied()
            .find(|&dialect| dialect.delimiter() == byte && self.contains(dialect))
    }
}

/// The tags of a line: the tags within its name, and the tags in its sections that begin with `#`.
#[derive(Debug, Clone, Copy)]
pub struct Tags<'a> {
    in_name: &'a [u8],
    /// The byte between two tags within the name.
    separator: u8,
    /// The line from its first section to its end.
    sections: &'a [u8],
}

impl<'a> Tags<'a> {
    pub(super) fn new(dialect: Option<Dialect>, in_name: &'a [u8], sections: &'a [u8]) -> Self {
        Self { in_name, separator: dialect.map_or(b',', Dialect::separator), sections }
    }

    /// Returns the line from its first section to its end.
    pub(super) fn sections(self) -> &'a [u8] {
        self.sections
    }

    /// Iterates over the key and the value of each tag as sent, in the order of the line. They need not be UTF-8. The
    /// tag `k` has no value, and the value of `k:` is empty. Tags without a key are skipped.
    pub fn iter(self) -> impl Iterator<Item = Tag<'a>> {
        self.in_name().chain(self.in_sections())
    }

    /// Returns true if a tag within the name has no key.
    pub(super) fn has_nameless_in_name(self) -> bool {
        self.all_in_name().any(|(key, _)| key.is_empty())
    }

    /// Returns the line from its first `#` section if tags occur both within the name and in sections. Such tags are of
    /// two dialects.
    pub(super) fn second_dialect(self) -> Option<&'a [u8]> {
        let is_mixed = !self.sections.is_empty()
            && self.in_name().next().is_some()
            && self.in_sections().next().is_some();
        let (at, _) = sections(self.sections).find(|(_, section)| is_mixed && section.starts_with(b"#"))?;
        Some(&self.sections[at..])
    }

    fn in_name(self) -> impl Iterator<Item = Tag<'a>> {
        self.all_in_name().filter(|(key, _)| !key.is_empty())
    }

    fn all_in_name(self) -> impl Iterator<Item = Tag<'a>> {
        self.in_name
            .split(move |&byte| byte == self.separator)
            .filter(|tag| !tag.is_empty())
            .map(|tag| key_and_value(tag, b'='))
    }

    fn in_sections(self) -> impl Iterator<Item = Tag<'a>> {
        let lists = sections(self.sections).filter_map(|(_, section)| section.strip_prefix(b"#"));
        lists.flat_map(tags_of_section).filter(|(key, _)| !key.is_empty())
    }
}
