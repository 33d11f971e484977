//! The sections behind a type, a text or a status: `|` and what stands up to the next one.

use super::{Note, Notes};

/// Where a sample comes from, as DogStatsD 1.2 to 1.6 lets clients say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Origin<'a> {
    /// `c:`, the container's id or the inode of its control group; empty if it was not given.
    pub container_id: &'a [u8],
    /// `e:`, what an admission controller put into the client's environment; empty if it was not given.
    pub external_data: &'a [u8],
    /// `card:`, how finely the sender wants its origin told.
    pub cardinality: Option<Cardinality>,
}

/// How finely a sender wants its origin told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cardinality {
    /// Not at all.
    None,
    /// By host.
    Low,
    /// By pod or task.
    Orchestrator,
    /// By container.
    High,
}

impl Cardinality {
    /// As it stands on the wire, for example `low`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Cardinality::None => "none",
            Cardinality::Low => "low",
            Cardinality::Orchestrator => "orchestrator",
            Cardinality::High => "high",
        }
    }

    fn read(text: &[u8]) -> Option<Self> {
        match text {
            b"none" => Some(Cardinality::None),
            b"low" => Some(Cardinality::Low),
            b"orchestrator" => Some(Cardinality::Orchestrator),
            b"high" => Some(Cardinality::High),
            _ => None,
        }
    }
}

/// What the sections of a metric, an event and a service check have in common.
#[derive(Debug, Default)]
pub(super) struct Common<'a> {
    pub(super) origin: Origin<'a>,
    pub(super) timestamp: Option<u64>,
    /// Which of them were seen.
    container_id: bool,
    external_data: bool,
}

impl<'a> Common<'a> {
    /// Reads a section if it is one of those, and notes it as unknown if not.
    #[inline(always)]
    pub(super) fn read(&mut self, section: &'a [u8], notes: &mut Notes) {
        match section {
            [] => notes.add(Note::EmptySection),
            [b'#', tags @ ..] => {
                notes.add_if(!is_utf8(tags), Note::TagNotUtf8);
            }
            [b'c', b':', id @ ..] => {
                self.origin.container_id = id;
                notes.add_if(std::mem::replace(&mut self.container_id, true), Note::RepeatedSection);
            }
            [b'e', b':', data @ ..] => {
                self.origin.external_data = data;
                notes.add_if(std::mem::replace(&mut self.external_data, true), Note::RepeatedSection);
            }
            [b'c', b'a', b'r', b'd', b':', cardinality @ ..] => match Cardinality::read(cardinality) {
                Some(cardinality) => replace(&mut self.origin.cardinality, cardinality, notes),
                None => notes.add(Note::UnknownSection),
            },
            _ => notes.add(Note::UnknownSection),
        }
    }

    /// Reads a time in seconds since 1970. Whether it is one.
    pub(super) fn read_timestamp(&mut self, digits: &[u8], notes: &mut Notes) -> bool {
        let time = unix_seconds(digits);
        match time {
            Some(seconds) => replace(&mut self.timestamp, seconds, notes),
            None => notes.add(Note::TimestampIgnored),
        }
        time.is_some()
    }
}

/// The later of two sections wins, which is noted.
pub(super) fn replace<T>(present: &mut Option<T>, later: T, notes: &mut Notes) {
    notes.add_if(present.replace(later).is_some(), Note::RepeatedSection);
}

/// Likewise of texts, of which it is noted, too, if they are not UTF-8.
pub(super) fn replace_text<'a>(present: &mut Option<&'a [u8]>, later: &'a [u8], notes: &mut Notes) {
    notes.add_if(!is_utf8(later), Note::TextNotUtf8);
    replace(present, later, notes);
}

/// The sections of `"|" section *( "|" section )`, or of what may follow a type directly: `"@" rate *( "|" section )`;
/// each with its offset in `text`.
pub(super) fn sections(text: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let mut left = text.strip_prefix(b"|").or((!text.is_empty()).then_some(text));
    std::iter::from_fn(move || {
        let here = left?;
        let (section, others) = split_at_byte(here, b'|');
        left = others;
        Some((text.len() - here.len(), section))
    })
}

/// What stands before the first `byte`, and after it if there is one.
#[inline]
pub(super) fn split_at_byte(text: &[u8], byte: u8) -> (&[u8], Option<&[u8]>) {
    match find_near(text, byte) {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    }
}

/// Where the first `byte` stands: `memchr`, for where that is near.
///
/// Values and sections are short, most often, and a search with wide registers has to be called for. Here are eight bytes
/// at a time, in place: those that are `byte` become 0, of which the lowest is found by subtracting 1 from each byte
/// (Mycroft's test; a borrow may mark bytes above a 0 wrongly, never below).
#[inline]
fn find_near(text: &[u8], byte: u8) -> Option<usize> {
    const ONES: u64 = u64::from_ne_bytes([0x01; 8]);
    const HIGHS: u64 = u64::from_ne_bytes([0x80; 8]);
    let sought = u64::from_ne_bytes([byte; 8]);
    let (words, rest) = text.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let different = u64::from_le_bytes(*word) ^ sought;
        let zeros = different.wrapping_sub(ONES) & !different & HIGHS;
        if zeros != 0 {
            return Some(index * 8 + zeros.trailing_zeros() as usize / 8);
        }
    }
    Some(words.len() * 8 + rest.iter().position(|&other| other == byte)?)
}

/// Most texts are ASCII, which is seen faster.
pub(super) fn is_utf8(text: &[u8]) -> bool {
    text.is_ascii() || std::str::from_utf8(text).is_ok()
}

/// Digits alone, above 0.
fn unix_seconds(digits: &[u8]) -> Option<u64> {
    let mut seconds = 0_u64;
    for digit in digits {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        seconds = seconds.checked_mul(10)?.checked_add(digit)?;
    }
    (seconds > 0).then_some(seconds)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_byte_is_found_where_the_plain_search_finds_it(
            text in proptest::collection::vec(proptest::sample::select(&b"|{}\0\x7f\x80\xffa"[..]), 0..40),
            byte in proptest::sample::select(&b"|:\0\x80"[..]),
        ) {
            prop_assert_eq!(find_near(&text, byte), text.iter().position(|&other| other == byte));
        }
    }
}
