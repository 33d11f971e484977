//! The grammar of a DogStatsD event.
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

use super::error::{Failure, RejectReason, fail};
use super::sections::{Common, Origin, is_utf8, replace, replace_text, sections};
use super::{Note, Notes, Tags, Text};
use crate::model::{AlertType, Priority};

/// With what an event begins.
pub(super) const PREFIX: &[u8] = b"_e{";

/// Something that happened, told in words.
#[derive(Debug, Clone, Copy)]
pub struct Event<'a> {
    /// Not empty.
    pub title: Text<'a>,
    /// May be empty.
    pub text: Text<'a>,
    /// When it happened, in seconds since 1970.
    pub timestamp: Option<u64>,
    /// Where it happened.
    pub hostname: Option<&'a [u8]>,
    /// How urgent it is.
    pub priority: Priority,
    /// How bad it is.
    pub alert_type: AlertType,
    /// What events to group it with.
    pub aggregation_key: Option<&'a [u8]>,
    /// What kind of program tells it.
    pub source_type: Option<&'a [u8]>,
    /// Its tags.
    pub tags: Tags<'a>,
    /// Where it comes from.
    pub origin: Origin<'a>,
    /// What was odd about the line.
    pub notes: Notes,
}

/// Parses a line that begins with [`PREFIX`].
pub(super) fn event(line: &[u8]) -> Result<Event<'_>, Failure<'_>> {
    let (body, title_length, text_length) = lengths(line)?;
    let Some((title, text, fields)) = [Unit::Byte, Unit::Character, Unit::Utf16]
        .into_iter()
        .find_map(|unit| title_and_text(body, unit, title_length, text_length))
    else {
        return fail(body, RejectReason::BadEvent);
    };
    let mut notes = Notes::default();
    notes.add_if([title, text].iter().any(|text| !is_utf8(text)), Note::TextNotUtf8);
    let mut common = Common::default();
    let [mut hostname, mut aggregation_key, mut source_type] = [None; 3];
    let (mut priority, mut alert_type) = (None, None);
    for (_, field) in sections(fields) {
        match field {
            [b'd', b':', digits @ ..] => _ = common.read_timestamp(digits, &mut notes),
            [b'h', b':', text @ ..] => replace_text(&mut hostname, text, &mut notes),
            [b'k', b':', text @ ..] => replace_text(&mut aggregation_key, text, &mut notes),
            [b's', b':', text @ ..] => replace_text(&mut source_type, text, &mut notes),
            [b'p', b':', name @ ..] => {
                let known = Priority::ALL.into_iter().find(|priority| priority.name().as_bytes() == name);
                replace_known(&mut priority, known, &mut notes);
            }
            [b't', b':', name @ ..] => {
                let known = AlertType::ALL.into_iter().find(|alert| alert.name().as_bytes() == name);
                replace_known(&mut alert_type, known, &mut notes);
            }
            other => common.read(other, &mut notes),
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

/// A field with one of a few words; another word is ignored.
fn replace_known<T>(present: &mut Option<T>, known: Option<T>, notes: &mut Notes) {
    match known {
        Some(known) => replace(present, known, notes),
        None => notes.add(Note::FieldIgnored),
    }
}

/// `"_e{" title-length "," text-length "}:"`: what follows, and the two lengths.
fn lengths(line: &[u8]) -> Result<(&[u8], usize, usize), Failure<'_>> {
    let number = |digits: &[u8]| std::str::from_utf8(digits).ok()?.parse::<usize>().ok();
    let mut header = (tag(PREFIX), digit1, char(','), digit1, tag("}:"));
    let parsed: Result<_, nom::Err<Error<&[u8]>>> = header.parse(line);
    match parsed {
        Ok((body, (_, title, _, text, _))) => match (number(title), number(text)) {
            (Some(title @ 1..), Some(text)) => Ok((body, title, text)),
            _ => fail(&line[PREFIX.len()..], RejectReason::BadEvent),
        },
        Err(nom::Err::Error(error) | nom::Err::Failure(error)) => fail(error.input, RejectReason::BadEvent),
        Err(nom::Err::Incomplete(_)) => fail(&line[line.len()..], RejectReason::BadEvent),
    }
}

/// What a client may have counted: bytes, as it should be; characters, as statsd-instrument does; or UTF-16 units, as
/// hot-shots does.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Unit {
    Byte,
    Character,
    Utf16,
}

/// Title, text, and the fields behind them, if the lengths fit in this unit.
fn title_and_text(
    body: &[u8],
    unit: Unit,
    title_length: usize,
    text_length: usize,
) -> Option<(&[u8], &[u8], &[u8])> {
    let title = body.get(..bytes_of(body, unit, title_length)?)?;
    let rest = body[title.len()..].strip_prefix(b"|")?;
    let text = rest.get(..bytes_of(rest, unit, text_length)?)?;
    let fields = &rest[text.len()..];
    (fields.is_empty() || fields[0] == b'|').then_some((title, text, fields))
}

/// How many bytes so many units take; `None` if there are fewer, or if the last one would be cut.
fn bytes_of(text: &[u8], unit: Unit, length: usize) -> Option<usize> {
    if unit == Unit::Byte {
        return Some(length);
    }
    // What is not UTF-8 behind it, in a tag say, does not matter.
    let text = text.utf8_chunks().next().map_or("", |chunk| chunk.valid());
    let units = |character: char| if unit == Unit::Utf16 { character.len_utf16() } else { 1 };
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

    fn parse(line: &[u8]) -> Result<Event<'_>, ParseError> {
        event(line).map_err(|failure| failure.located(line))
    }

    #[test]
    fn a_text_is_taken_by_its_length_in_bytes_or_in_what_clients_count_instead() {
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
            // Nor does a byte behind it matter that is not UTF-8.
            for more in [&b""[..], b"|h:\xff"] {
                let line = [line.as_bytes(), more].concat();
                let event = parse(&line).unwrap_or_else(|error| panic!("{title}: {error}"));
                assert_eq!([event.title, event.text].map(|text| text.to_string()), [title, text]);
            }
        }
    }

    #[test]
    fn optional_fields_stand_in_any_order_and_the_later_of_two_counts() {
        let event = parse(b"_e{1,1}:a|b|t:error|#k:v|p:low|h:x|h:y|k:key|s:src|d:7|c:box").unwrap();
        assert_eq!(
            (event.priority, event.alert_type, event.timestamp),
            (Priority::Low, AlertType::Error, Some(7))
        );
        assert_eq!(event.hostname, Some(&b"y"[..]));
        assert_eq!((event.aggregation_key, event.source_type), (Some(&b"key"[..]), Some(&b"src"[..])));
        assert_eq!(event.tags.iter().collect::<Vec<_>>(), [(&b"k"[..], &b"v"[..])]);
        assert_eq!(event.origin.container_id, b"box");
        assert_eq!(event.notes.iter().collect::<Vec<_>>(), [Note::RepeatedSection]);
    }

    #[test]
    fn a_wrong_optional_field_is_noted_and_the_event_stands() {
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
            assert_eq!(parse(&line).unwrap().notes.iter().collect::<Vec<_>>(), [note], "{field:?}");
        }
        assert_eq!(parse(b"_e{1,1}:\xff|b").unwrap().notes.iter().next(), Some(Note::TextNotUtf8));
    }

    #[test]
    fn a_wrong_event_says_where() {
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
            let error = parse(line).unwrap_err();
            assert_eq!(
                (error.reason(), error.offset()),
                (RejectReason::BadEvent, offset),
                "{}",
                line.escape_ascii()
            );
        }
    }
}
