//! Reads the sections after a type, a text or a status. Each section begins after a `|` and ends before the next one.

use enum_map::Enum;
use strum::{IntoStaticStr, VariantArray};

use super::tag_list::has_tag_without_key;
use super::text::{is_utf8, split_at_byte};
use super::{Note, Notes};
use crate::model::{Container, Named};

/// The container or process that sent a line. Clients can send it since DogStatsD 1.2.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Origin<'a> {
    /// The section `c:`: the container's id, or the inode of its control group. It is empty if the client did not send
    /// it.
    pub container_id: &'a [u8],
    /// The UID of the sender's pod. No client sends it: it is known only if the socket tells who the sender is.
    pub pod_uid: &'a str,
    /// The section `e:`: data that an admission controller put into the client's environment. It is empty if the client
    /// did not send it.
    pub external_data: &'a [u8],
    /// The section `card:`: the detail with which the sender wants its origin tagged.
    pub cardinality: Option<Cardinality>,
}

impl<'a> Origin<'a> {
    /// Sets the container that the socket tells, unless the client tells one or wants no tags of its origin.
    pub(crate) fn detect(&mut self, container: Option<&'a Container>) {
        let Some(container) = container else { return };
        if self.container_id.is_empty() && self.cardinality != Some(Cardinality::None) {
            self.container_id = container.id.as_bytes();
            self.pod_uid = &container.pod_uid;
        }
    }
}

/// The detail with which a sender wants its origin tagged. The names are the words of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Cardinality {
    /// The sender wants no tags.
    None,
    /// The sender wants the tags of its host.
    Low,
    /// The sender wants the tags of its pod or task.
    Orchestrator,
    /// The sender wants the tags of its container.
    High,
}

/// The sections that metrics, events and service checks share.
#[derive(Debug, Default)]
pub(super) struct CommonSections<'a> {
    pub(super) origin: Origin<'a>,
    pub(super) timestamp: Option<u64>,
    has_container_id: bool,
    has_external_data: bool,
}

impl<'a> CommonSections<'a> {
    /// Reads a section that all types of lines may have, and notes any other section as unknown.
    #[inline(always)]
    pub(super) fn read_section(&mut self, section: &'a [u8], notes: &mut Notes) {
        match section {
            [] => notes.add(Note::EmptySection),
            [b'#', tags @ ..] => {
                notes.add_if(!is_utf8(tags), Note::TagNotUtf8);
                notes.add_if(has_tag_without_key(tags), Note::TagWithoutKey);
            }
            [b'c', b':', id @ ..] => {
                self.origin.container_id = id;
                notes.add_if(std::mem::replace(&mut self.has_container_id, true), Note::RepeatedSection);
            }
            [b'e', b':', data @ ..] => {
                self.origin.external_data = data;
                notes.add_if(std::mem::replace(&mut self.has_external_data, true), Note::RepeatedSection);
            }
            [b'c', b'a', b'r', b'd', b':', word @ ..] => {
                set_word(&mut self.origin.cardinality, word, Note::UnknownSection, notes);
            }
            _ => notes.add(Note::UnknownSection),
        }
    }

    /// Reads a time in seconds since 1970. Returns true if it is valid.
    pub(super) fn read_timestamp(&mut self, digits: &[u8], notes: &mut Notes) -> bool {
        let time = unix_seconds(digits);
        match time {
            Some(seconds) => set_value(&mut self.timestamp, seconds, notes),
            None => notes.add(Note::TimestampIgnored),
        }
        time.is_some()
    }
}

/// Sets the value of a section. If it replaces an earlier value, the repetition is noted.
pub(super) fn set_value<T>(current: &mut Option<T>, value: T, notes: &mut Notes) {
    notes.add_if(current.replace(value).is_some(), Note::RepeatedSection);
}

/// Sets the text of a section as [`set_value`] does, and notes a text that is not UTF-8.
pub(super) fn set_text<'a>(current: &mut Option<&'a [u8]>, text: &'a [u8], notes: &mut Notes) {
    notes.add_if(!is_utf8(text), Note::TextNotUtf8);
    set_value(current, text, notes);
}

/// Sets the value of a section as [`set_value`] does, if `word` is the name of a variant. Otherwise it only adds the
/// note `unknown`.
pub(super) fn set_word<E: Named>(current: &mut Option<E>, word: &[u8], unknown: Note, notes: &mut Notes) {
    match E::VARIANTS.iter().find(|variant| variant.name().as_bytes() == word) {
        Some(&variant) => set_value(current, variant, notes),
        None => notes.add(unknown),
    }
}

/// Iterates over the sections of `"|" section *( "|" section )`, each with its offset in `text`. A rate may also follow
/// the type directly: `"@" rate *( "|" section )`.
pub(super) fn sections(text: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let mut left = text.strip_prefix(b"|").or((!text.is_empty()).then_some(text));
    std::iter::from_fn(move || {
        let here = left?;
        let (section, others) = split_at_byte(here, b'|');
        left = others;
        Some((text.len() - here.len(), section))
    })
}

/// Reads a positive number that consists only of digits.
fn unix_seconds(digits: &[u8]) -> Option<u64> {
    let mut seconds = 0_u64;
    for digit in digits {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        seconds = seconds.checked_mul(10)?.checked_add(digit)?;
    }
    (seconds > 0).then_some(seconds)
}
