//! Parses DogStatsD events.
//!
//! ```abnf
//! event = "_e{" title-length "," text-length "}:" title "|" text *( "|" field )
//! field = "d:" unix-seconds / "h:" hostname / "k:" aggregation-key / "p:" ( normal / low ) / "s:" source-type
//!       / "t:" ( error / warning / info / success ) / "#" tags / "c:" … / "e:" … / "card:" …
//! ```

use nom::Parser;
use nom::bytes::complete::tag;
use nom::character::complete::{char, digit1};
use nom::error::Error;

use super::error::{RejectReason, Rejection, reject};
use super::sections::{CommonSections, Origin, sections, set_text, set_word};
use super::text::is_utf8;
use super::{Note, Notes, Tags, Text};
use crate::model::{AlertType, Priority};

/// The bytes that begin an event.
pub(super) const PREFIX: &[u8] = b"_e{";

/// A parsed event.
#[derive(Debug, Clone, Copy)]
pub struct Event<'a> {
    /// The title, which is not empty.
    pub title: Text<'a>,
    /// The text, which may be empty.
    pub text: Text<'a>,
    /// The time of the event, in seconds since 1970.
    pub timestamp: Option<u64>,
    /// The host on which the event happened.
    pub hostname: Option<&'a [u8]>,
    /// The urgency of the event.
    pub priority: Priority,
    /// The severity of the event.
    pub alert_type: AlertType,
    /// The key that groups the event with others.
    pub aggregation_key: Option<&'a [u8]>,
    /// The kind of program that sent the event.
    pub source_type: Option<&'a [u8]>,
    /// The tags, in the order of the line.
    pub tags: Tags<'a>,
    /// The container or process that sent the event.
    pub origin: Origin<'a>,
    /// The notes about the line.
    pub notes: Notes,
}

/// Parses a line that begins with [`PREFIX`].
pub(super) fn parse(line: &[u8]) -> Result<Event<'_>, Rejection<'_>> {
    let (body, title_length, text_length) = lengths(line)?;
    let Some((title, text, fields)) = [LengthUnit::Byte, LengthUnit::Character, LengthUnit::Utf16]
        .into_iter()
        .find_map(|unit| split_title_and_text(body, unit, title_length, text_length))
    else {
        return reject(body, RejectReason::BadEvent);
    };
    let mut notes = Notes::default();
    notes.add_if([title, text].iter().any(|text| !is_utf8(text)), Note::TextNotUtf8);
    let mut common = CommonSections::default();
    let [mut hostname, mut aggregation_key, mut source_type] = [None; 3];
    let (mut priority, mut alert_type) = (None, None);
    for (_, field) in sections(fields) {
        match field {
            [b'd', b':', digits @ ..] => _ = common.read_timestamp(digits, &mut notes),
            [b'h', b':', text @ ..] => set_text(&mut hostname, text, &mut notes),
            [b'k', b':', text @ ..] => set_text(&mut aggregation_key, text, &mut notes),
            [b's', b':', text @ ..] => set_text(&mut source_type, text, &mut notes),
            [b'p', b':', word @ ..] => set_word(&mut priority, word, Note::FieldIgnored, &mut notes),
            [b't', b':', word @ ..] => set_word(&mut alert_type, word, Note::FieldIgnored, &mut notes),
            other => common.read_section(other, &mut notes),
        }
    }
    Ok(Event {
        title: Text(title),
        text: Text(text),
        timestamp: common.timestamp,
        hostname,
        priority: priority.unwrap_or_default(),
        alert_type: alert_type.unwrap_or_default(),
        aggregation_key,
        source_type,
        tags: Tags::new(None, &[], fields),
        origin: common.origin,
        notes,
    })
}

/// Parses `"_e{" title-length "," text-length "}:"`. Returns the rest of the line and the two lengths.
fn lengths(line: &[u8]) -> Result<(&[u8], usize, usize), Rejection<'_>> {
    let number = |digits: &[u8]| std::str::from_utf8(digits).ok()?.parse::<usize>().ok();
    let mut header = (tag(PREFIX), digit1, char(','), digit1, tag("}:"));
    let parsed: Result<_, nom::Err<Error<&[u8]>>> = header.parse(line);
    match parsed {
        Ok((body, (_, title, _, text, _))) => match (number(title), number(text)) {
            (Some(title @ 1..), Some(text)) => Ok((body, title, text)),
            _ => reject(&line[PREFIX.len()..], RejectReason::BadEvent),
        },
        Err(nom::Err::Error(error) | nom::Err::Failure(error)) => reject(error.input, RejectReason::BadEvent),
        Err(nom::Err::Incomplete(_)) => reject(&line[line.len()..], RejectReason::BadEvent),
    }
}

/// The unit in which a client counts lengths.
#[derive(Debug, Clone, Copy, PartialEq)]
enum LengthUnit {
    /// The protocol specifies bytes.
    Byte,
    /// statsd-instrument counts characters.
    Character,
    /// hot-shots counts UTF-16 units.
    Utf16,
}

/// Splits the body of an event into its title, its text and its fields. Returns `None` if the lengths are wrong in this
/// unit.
fn split_title_and_text(
    body: &[u8],
    unit: LengthUnit,
    title_length: usize,
    text_length: usize,
) -> Option<(&[u8], &[u8], &[u8])> {
    let title = body.get(..byte_length(body, unit, title_length)?)?;
    let rest = body[title.len()..].strip_prefix(b"|")?;
    let text = rest.get(..byte_length(rest, unit, text_length)?)?;
    let fields = &rest[text.len()..];
    (fields.is_empty() || fields[0] == b'|').then_some((title, text, fields))
}

/// Converts a length in `unit` to bytes. Returns `None` if `text` is shorter, or if the length ends within a character.
fn byte_length(text: &[u8], unit: LengthUnit, length: usize) -> Option<usize> {
    if unit == LengthUnit::Byte {
        return Some(length);
    }
    // Later bytes, for example in a tag, need not be UTF-8.
    let text = text.utf8_chunks().next().map_or("", |chunk| chunk.valid());
    let units = |character: char| if unit == LengthUnit::Utf16 { character.len_utf16() } else { 1 };
    let mut left = length;
    let mut bytes = 0;
    for character in text.chars() {
        if left == 0 {
            break;
        }
        left = left.checked_sub(units(character))?;
        bytes += character.len_utf8();
    }
    (left == 0).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::ParseError;

    fn parsed(line: &[u8]) -> Result<Event<'_>, ParseError> {
        parse(line).map_err(|rejection| rejection.in_line(line))
    }

    #[test]
    fn lengths_count_bytes_characters_or_utf16_units() {
        let cases = [
            ("_e{5,4}:title|text", "title", "text"),
            ("_e{5,9}:ti|le|te|xt|t:x", "ti|le", "te|xt|t:x"),
            ("_e{1,0}:a|", "a", ""),
            ("_e{6,4}:Café!|text", "Café!", "text"),
            ("_e{5,4}:Café!|text", "Café!", "text"),
            ("_e{2,1}:🎈|x|p:low", "🎈", "x"),
            ("_e{1,1}:🎈|x", "🎈", "x"),
        ];
        for (line, title, text) in cases {
            // A later byte that is not UTF-8 must not matter.
            for more in [&b""[..], b"|h:\xff"] {
                let line = [line.as_bytes(), more].concat();
                let event = parsed(&line).unwrap_or_else(|error| panic!("{title}: {error}"));
                assert_eq!([event.title, event.text].map(|text| text.to_string()), [title, text]);
            }
        }
    }

    #[test]
    fn optional_fields_may_come_in_any_order_and_the_last_one_wins() {
        let event = parsed(b"_e{1,1}:a|b|t:error|#k:v|p:low|h:x|h:y|k:key|s:src|d:7|c:box").unwrap();
        assert_eq!(
            (event.priority, event.alert_type, event.timestamp),
            (Priority::Low, AlertType::Error, Some(7))
        );
        assert_eq!(event.hostname, Some(&b"y"[..]));
        assert_eq!((event.aggregation_key, event.source_type), (Some(&b"key"[..]), Some(&b"src"[..])));
        assert_eq!(event.tags.iter().collect::<Vec<_>>(), [(&b"k"[..], Some(&b"v"[..]))]);
        assert_eq!(event.origin.container_id, b"box");
        assert_eq!(event.notes.iter().collect::<Vec<_>>(), [Note::RepeatedSection]);
    }

    #[test]
    fn an_invalid_optional_field_is_noted_and_the_event_is_accepted() {
        let cases = [
            (&b"d:x"[..], Note::TimestampIgnored),
            (b"d:0", Note::TimestampIgnored),
            (b"p:urgent", Note::FieldIgnored),
            (b"t:yolo", Note::FieldIgnored),
            (b"x:y", Note::UnknownSection),
            (b"", Note::EmptySection),
            (b"#k:\xff", Note::TagNotUtf8),
            (b"h:\xff", Note::TextNotUtf8),
            (b"k:\xff", Note::TextNotUtf8),
            (b"s:\xff", Note::TextNotUtf8),
        ];
        for (field, note) in cases {
            let line = [b"_e{1,1}:a|b|", field].concat();
            assert_eq!(parsed(&line).unwrap().notes.iter().collect::<Vec<_>>(), [note], "{field:?}");
        }
        assert_eq!(parsed(b"_e{1,1}:\xff|b").unwrap().notes.iter().next(), Some(Note::TextNotUtf8));
    }

    #[test]
    fn a_rejected_event_reports_the_offending_byte() {
        let cases: [(&[u8], usize); 12] = [
            (b"_e{a,1}:a|b", 3),
            (b"_e{1}:a|b", 4),
            (b"_e{1,}:a|b", 5),
            (b"_e{-1,1}:a|b", 3),
            (b"_e{1,1:a|b", 6),
            (b"_e{1,1}a|b", 6),
            (b"_e{0,1}:|b", 3),
            (b"_e{99999999999999999999,1}:a|b", 3),
            (b"_e{2,1}:a|b", 8),
            (b"_e{1,1}:a|bc", 8),
            (b"_e{1,1}:ab", 8),
            (b"_e{", 3),
        ];
        for (line, offset) in cases {
            let error = parsed(line).unwrap_err();
            assert_eq!(
                (error.reason(), error.offset()),
                (RejectReason::BadEvent, offset),
                "{}",
                line.escape_ascii()
            );
        }
    }
}
