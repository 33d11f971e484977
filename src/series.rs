//! The identity of a series: name, sorted tags and kind.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use crate::protocol::{Kind, Tags};

/// What samples are added up under: name, sorted tags and kind, as one shared text.
///
/// The text is `name LF (key LF value LF)* kind`. A line holds no line feed, so none can stand within a part, and
/// because no name holds anything that sorts before a line feed, sorting the texts sorts by name, then by tags.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Series(Arc<str>);

impl Series {
    /// A series by its parts; the tags in any order.
    #[must_use]
    pub fn new(kind: Kind, name: &str, tags: &[(&str, &str)]) -> Self {
        let mut tags = tags.to_vec();
        tags.sort_unstable();
        let mut text = format!("{name}\n");
        for (key, value) in tags {
            text.extend([key, "\n", value, "\n"]);
        }
        text.push(code(kind));
        Self(text.into())
    }

    pub(crate) fn from_identity(identity: &str) -> Self {
        Self(identity.into())
    }

    pub(crate) fn identity(&self) -> &str {
        &self.0
    }

    /// The name, as sent.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.split_once('\n').map_or("", |(name, _)| name)
    }

    /// What its samples count as.
    #[must_use]
    pub fn kind(&self) -> Kind {
        let last = self.0.chars().next_back();
        Kind::ALL.into_iter().find(|&kind| last == Some(code(kind))).unwrap_or(Kind::Counter)
    }

    /// Keys and values in sorted order; a value is empty where a tag has none.
    pub fn tags(&self) -> impl Iterator<Item = (&str, &str)> + Clone {
        let mut parts = self.0.split('\n').skip(1);
        std::iter::from_fn(move || Some((parts.next()?, parts.next()?)))
    }
}

impl fmt::Debug for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}|{}", self.name(), self.kind().wire())?;
        for (index, (key, value)) in self.tags().enumerate() {
            write!(f, "{}{key}:{value}", if index == 0 { "|#" } else { "," })?;
        }
        Ok(())
    }
}

fn code(kind: Kind) -> char {
    match kind {
        Kind::Counter => 'c',
        Kind::Gauge => 'g',
        Kind::Timing => 't',
        Kind::Histogram => 'h',
        Kind::Distribution => 'd',
        Kind::Set => 's',
    }
}

/// Builds identities in buffers that are used again, so that a known series costs no allocation.
#[derive(Debug, Default)]
pub(crate) struct IdentityBuilder {
    /// `key LF value LF` of each tag, in the order of the line.
    tags: String,
    /// Where each of them stands.
    places: Vec<Range<usize>>,
    identity: String,
}

impl IdentityBuilder {
    /// The text of the series that a sample of `kind` in a line with this name and these tags belongs to. Bytes that
    /// are not UTF-8 become U+FFFD.
    pub(crate) fn build(&mut self, kind: Kind, name: &str, tags: Tags<'_>) -> &str {
        self.tags.clear();
        self.places.clear();
        for (key, value) in tags.iter() {
            let start = self.tags.len();
            for part in [key, value] {
                push_lossy(&mut self.tags, part);
                self.tags.push('\n');
            }
            self.places.push(start..self.tags.len());
        }
        let texts = &self.tags;
        self.places.sort_unstable_by(|a, b| texts[a.clone()].cmp(&texts[b.clone()]));
        self.identity.clear();
        self.identity.extend([name, "\n"]);
        self.identity.extend(self.places.iter().map(|place| &texts[place.clone()]));
        self.identity.push(code(kind));
        &self.identity
    }
}

fn push_lossy(text: &mut String, bytes: &[u8]) {
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        if !chunk.invalid().is_empty() {
            text.push(char::REPLACEMENT_CHARACTER);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol;

    fn series(line: &[u8]) -> Series {
        let metric = protocol::parse(line).unwrap();
        let kind = metric.samples().next().unwrap().kind;
        Series::from_identity(IdentityBuilder::default().build(kind, metric.name(), metric.tags()))
    }

    #[test]
    fn the_order_of_tags_is_no_part_of_the_identity() {
        assert_eq!(series(b"a:1|c|#y:2,x:1"), series(b"a:5|c|#x:1|@0.5|#y:2"));
        assert_eq!(series(b"a:1|c|#y:2,x:1"), Series::new(Kind::Counter, "a", &[("x", "1"), ("y", "2")]));
    }

    #[test]
    fn name_tags_and_kind_are_the_identity() {
        let base = series(b"a:1|c|#x:1");
        for other in
            [&b"b:1|c|#x:1"[..], b"a:1|g|#x:1", b"a:1|c|#x:2", b"a:1|c|#x:1,x:1", b"a:1|c", b"a:1|c|#x1"]
        {
            assert_ne!(base, series(other), "{other:?}");
        }
    }

    #[test]
    fn the_parts_are_read_back_as_they_were_put_in() {
        for kind in Kind::ALL {
            let series = Series::new(kind, "n", &[("k", ""), ("a", "b:c")]);
            assert_eq!((series.name(), series.kind()), ("n", kind));
            assert_eq!(series.tags().collect::<Vec<_>>(), [("a", "b:c"), ("k", "")]);
        }
    }

    #[test]
    fn series_sort_by_name_first() {
        let mut all = [series(b"a.b:1|c"), series(b"a:1|c|#z:1"), series(b"a b:1|c"), series(b"a:1|c")];
        all.sort();
        assert_eq!(all.each_ref().map(Series::name), ["a", "a", "a b", "a.b"]);
    }

    #[test]
    fn bytes_of_a_tag_that_are_not_utf8_show_as_the_replacement_character() {
        assert_eq!(series(b"a:1|c|#k:\xff(x").tags().next(), Some(("k", "\u{fffd}(x")));
    }
}
