//! The dialects that put tags into the name, and which of them are read.

/// A way to write tags within the name. DogStatsD, whose tags have a section of their own, is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// `name,k=v,k2=v2:1|c`, as Telegraf reads it.
    InfluxDb,
    /// `name#k=v,k2=v2:1|c`
    Librato,
    /// `name[k=v,k2=v2]:1|c`; the brackets may stand within the name, too.
    SignalFx,
    /// `name;k=v;k2=v2:1|c`
    Graphite,
}

impl Dialect {
    /// All dialects, in the order of their discriminants.
    pub const ALL: [Dialect; 4] = [Dialect::InfluxDb, Dialect::Librato, Dialect::SignalFx, Dialect::Graphite];

    /// The name by which configuration and tools know it, for example `influxdb`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Dialect::InfluxDb => "influxdb",
            Dialect::Librato => "librato",
            Dialect::SignalFx => "signalfx",
            Dialect::Graphite => "graphite",
        }
    }

    /// The byte with which its tags begin.
    fn delimiter(self) -> u8 {
        match self {
            Dialect::InfluxDb => b',',
            Dialect::Librato => b'#',
            Dialect::SignalFx => b'[',
            Dialect::Graphite => b';',
        }
    }

    /// The byte between two tags.
    pub(super) fn separator(self) -> u8 {
        if self == Dialect::Graphite { b';' } else { b',' }
    }
}

/// The dialects that are read. To the others their delimiters are characters of the name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dialects(u8);

impl Dialects {
    /// None of them.
    pub const NONE: Dialects = Dialects(0);
    /// All of them.
    pub const ALL: Dialects = Dialects((1 << Dialect::ALL.len()) - 1);

    /// Those given.
    #[must_use]
    pub fn of(dialects: impl IntoIterator<Item = Dialect>) -> Self {
        Self(dialects.into_iter().fold(0, |bits, dialect| bits | 1 << dialect as u8))
    }

    /// Whether this one is read.
    #[must_use]
    pub fn contains(self, dialect: Dialect) -> bool {
        self.0 & (1 << dialect as u8) != 0
    }

    /// The dialect that is read and whose tags begin with this byte.
    pub(super) fn beginning_with(self, byte: u8) -> Option<Dialect> {
        Dialect::ALL.into_iter().find(|&dialect| dialect.delimiter() == byte && self.contains(dialect))
    }
}
