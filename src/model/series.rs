//! Series: the identity under which samples are added up.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Range;
use std::sync::Arc;

use strum::VariantArray;

use super::Kind;
use crate::text::visible::shortened;

/// A series: a name, sorted tags and a kind.
///
/// Its identity is a slice of a shared text: `name LF (key LF value LF)* kind`. Lines contain no line feed, so names,
/// keys and values contain none either. Names contain no byte that sorts before a line feed, so identities sort by name
/// first and then by tags.
///
/// A tag without a value differs from a tag with an empty value. Internally, its value is `NO_VALUE`.
///
/// Many series share one block of text. A separate allocation for each series would take more memory, and each read
/// would miss the CPU cache.
#[derive(Clone)]
pub struct Series {
    block: Arc<Box<str>>,
    at: u32,
    len: u32,
}

impl Series {
    /// Creates a series. The tags may be in any order. A tag with an empty value has no value.
    #[must_use]
    pub fn new(kind: Kind, name: &str, tags: &[(&str, &str)]) -> Self {
        let tags: Vec<_> =
            tags.iter().map(|&(key, value)| (key, (!value.is_empty()).then_some(value))).collect();
        Self::with_tags(kind, name, &tags)
    }

    /// Creates a series. The tags may be in any order. A tag may have no value.
    pub(crate) fn with_tags(kind: Kind, name: &str, tags: &[(&str, Option<&str>)]) -> Self {
        let mut tags: Vec<_> =
            tags.iter().map(|(key, value)| format!("{key}\n{}\n", value.unwrap_or(NO_VALUE))).collect();
        tags.sort_unstable();
        Self::from_identity(&format!("{name}\n{}{}", tags.concat(), code(kind)))
    }

    /// Creates a series with its own block.
    pub(crate) fn from_identity(identity: &str) -> Self {
        Self::in_block(&Arc::new(identity.into()), 0..identity.len())
    }

    /// Creates the series whose identity is `part` of a block. The block must be shorter than 4 GiB.
    pub(crate) fn in_block(block: &Arc<Box<str>>, part: Range<usize>) -> Self {
        Self { block: Arc::clone(block), at: part.start as u32, len: part.len() as u32 }
    }

    /// Returns true if a text can be the identity of a series.
    pub(crate) fn is_identity(text: &str) -> bool {
        let last = text.chars().next_back();
        text.contains('\n') && Kind::VARIANTS.iter().any(|&kind| last == Some(code(kind)))
    }

    /// Returns true if the series is one of tallyd's own.
    pub(crate) fn is_own(&self) -> bool {
        self.identity().starts_with(RESERVED_PREFIX)
    }

    pub(crate) fn identity(&self) -> &str {
        &self.block[self.at as usize..][..self.len as usize]
    }

    /// Returns the length of the identity in bytes. It reads no shared text.
    pub(crate) fn identity_len(&self) -> usize {
        self.len as usize
    }

    /// Returns the name that the client sent or that a rule gave.
    #[must_use]
    pub fn name(&self) -> &str {
        Self::name_of(self.identity())
    }

    /// Returns the name of the series with this identity.
    pub(crate) fn name_of(identity: &str) -> &str {
        split_at_line_feed(identity).map_or("", |(name, _)| name)
    }

    /// Returns the kind, which is the last character of the identity.
    #[must_use]
    pub fn kind(&self) -> Kind {
        Self::kind_of(self.identity())
    }

    /// Returns the kind of the series with this identity.
    pub(crate) fn kind_of(identity: &str) -> Kind {
        let last = identity.chars().next_back();
        Kind::VARIANTS.iter().copied().find(|&kind| last == Some(code(kind))).unwrap_or(Kind::Counter)
    }

    /// Returns the series as text for a log message: without hidden characters, and at most about 200 bytes long.
    pub(crate) fn shortened(&self) -> String {
        shortened(&format!("{self:?}"))
    }

    /// Returns keys and values in sorted order. A tag without a value has an empty value.
    pub fn tags(&self) -> impl Iterator<Item = (&str, &str)> + Clone {
        self.tags_as_sent().map(|(key, value)| (key, value.unwrap_or_default()))
    }

    /// Returns keys and values in sorted order. A tag without a value has none.
    pub(crate) fn tags_as_sent(&self) -> impl Iterator<Item = (&str, Option<&str>)> + Clone {
        let mut rest = split_at_line_feed(self.identity()).map_or("", |(_, tags)| tags);
        std::iter::from_fn(move || {
            let (key, tags) = split_at_line_feed(rest)?;
            let (value, tags) = split_at_line_feed(tags)?;
            rest = tags;
            Some((key, (value != NO_VALUE).then_some(value)))
        })
    }
}

impl PartialEq for Series {
    fn eq(&self, other: &Self) -> bool {
        self.identity() == other.identity()
    }
}

impl Eq for Series {}

impl PartialOrd for Series {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Series {
    fn cmp(&self, other: &Self) -> Ordering {
        self.identity().cmp(other.identity())
    }
}

impl Hash for Series {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.identity().hash(state);
    }
}

impl fmt::Debug for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}|{}", self.name(), self.kind().wire())?;
        for (index, (key, value)) in self.tags_as_sent().enumerate() {
            write!(f, "{}{key}", if index == 0 { "|#" } else { "," })?;
            if let Some(value) = value {
                write!(f, ":{value}")?;
            }
        }
        Ok(())
    }
}

/// Splits an identity into the name and the rest: the tags and the type.
pub(crate) fn split_name(identity: &str) -> (&str, &str) {
    split_at_line_feed(identity).unwrap_or((identity, ""))
}

/// Returns the texts before and after the first line feed. Exporters split all identities in each interval. With `split_once`, a
/// counter takes a third more instructions in the console (`make guard`).
#[inline]
fn split_at_line_feed(text: &str) -> Option<(&str, &str)> {
    let at = memchr::memchr(b'\n', text.as_bytes())?;
    Some((&text[..at], &text[at + 1..]))
}

/// Returns the character that represents a kind at the end of an identity.
pub(crate) fn code(kind: Kind) -> char {
    match kind {
        Kind::Counter => 'c',
        Kind::Gauge => 'g',
        Kind::Timing => 't',
        Kind::Histogram => 'h',
        Kind::Distribution => 'd',
        Kind::Set => 's',
    }
}

/// The value of a tag without a value in an identity. No client can send it, because `|` ends the tags of a line. Only
/// a rule could give it to a label.
pub(crate) const NO_VALUE: &str = "|";

/// The name of the gauges that represent service checks. Their tags are the check's name, host and tags.
pub(crate) const SERVICE_CHECK: &str = "service_check";

/// The key of the tag for a container's id.
pub(crate) const CONTAINER_ID: &[u8] = b"container_id";

/// The tag that has the UID of a pod.
pub(crate) const POD_UID: &[u8] = b"pod_uid";

/// Metric names that begin with this prefix belong to tallyd itself.
pub const RESERVED_PREFIX: &str = "tallyd.";

/// The name of the counter by which a relay finds out whether what it sends comes back.
pub const RELAY_PROBE: &str = "tallyd.relay_probe";
