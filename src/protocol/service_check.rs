//! Parses DogStatsD service checks.
//!
//! ```abnf
//! check = "_sc|" name "|" status *( "|" field )
//! field = "d:" unix-seconds / "h:" hostname / "m:" message / "#" tags / "c:" … / "e:" … / "card:" …
//! ```

use enum_map::Enum;
use strum::{IntoStaticStr, VariantArray};

use super::error::{RejectReason, Rejection, reject};
use super::sections::{CommonSections, Origin, sections, set_text};
use super::text::split_at_byte;
use super::{Note, Notes, Tags, Text};

/// The bytes that begin a service check.
pub(super) const PREFIX: &[u8] = b"_sc|";

/// A parsed service check.
#[derive(Debug, Clone, Copy)]
pub struct ServiceCheck<'a> {
    /// The name of the check: not empty, UTF-8, and free of control characters.
    pub name: &'a str,
    /// The result of the check.
    pub status: Status,
    /// The time of the check, in seconds since 1970.
    pub timestamp: Option<u64>,
    /// The host on which the service was checked.
    pub hostname: Option<&'a [u8]>,
    /// An explanation of the status.
    pub message: Option<Text<'a>>,
    /// The tags, in the order of the line.
    pub tags: Tags<'a>,
    /// The container or process that sent the check.
    pub origin: Origin<'a>,
    /// The notes about the line.
    pub notes: Notes,
}

/// The result of a service check. The discriminant of a variant is its number on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
#[expect(missing_docs, reason = "the names are the words of the protocol")]
pub enum Status {
    Ok,
    Warning,
    Critical,
    Unknown,
}

/// Parses a line that begins with [`PREFIX`].
pub(super) fn parse(line: &[u8]) -> Result<ServiceCheck<'_>, Rejection<'_>> {
    let name_at = &line[PREFIX.len()..];
    let (name, status_at) = split_at_byte(name_at, b'|');
    if name.is_empty() {
        return reject(name_at, RejectReason::BadServiceCheck);
    }
    if let Some(control) = name.iter().position(u8::is_ascii_control) {
        return reject(&name_at[control..], RejectReason::BadServiceCheck);
    }
    let name = match std::str::from_utf8(name) {
        Ok(name) => name,
        Err(error) => return reject(&name_at[error.valid_up_to()..], RejectReason::BadServiceCheck),
    };
    let Some(status_at) = status_at else {
        return reject(&line[line.len()..], RejectReason::BadServiceCheck);
    };
    let (status, fields) = split_at_byte(status_at, b'|');
    let [digit @ b'0'..=b'3'] = status else {
        return reject(status_at, RejectReason::BadServiceCheck);
    };
    // The fields include the `|` before the first one.
    let fields = fields.map_or(&[][..], |fields| &line[line.len() - fields.len() - 1..]);
    let mut notes = Notes::default();
    let mut common = CommonSections::default();
    let [mut hostname, mut message] = [None; 2];
    for (_, field) in sections(fields) {
        match field {
            [b'd', b':', digits @ ..] => {
                let is_time = common.read_timestamp(digits, &mut notes);
                notes.add_if(is_time, Note::Timestamp);
            }
            [b'h', b':', text @ ..] => set_text(&mut hostname, text, &mut notes),
            [b'm', b':', text @ ..] => {
                notes.add(Note::Message);
                set_text(&mut message, text, &mut notes);
            }
            other => common.read_section(other, &mut notes),
        }
    }
    Ok(ServiceCheck {
        name,
        status: Status::VARIANTS[usize::from(digit - b'0')],
        timestamp: common.timestamp,
        hostname,
        message: message.map(Text),
        tags: Tags::new(None, &[], fields),
        origin: common.origin,
        notes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::ParseError;

    fn parsed(line: &[u8]) -> Result<ServiceCheck<'_>, ParseError> {
        parse(line).map_err(|rejection| rejection.in_line(line))
    }

    #[test]
    fn fields_may_come_in_any_order() {
        let check = parsed(b"_sc|a:b|3|m:x\\ny|d:7|#k:v|h:w|card:low").unwrap();
        assert_eq!((check.name, check.status, check.timestamp), ("a:b", Status::Unknown, Some(7)));
        assert_eq!(check.hostname, Some(&b"w"[..]));
        assert_eq!(check.message.map(|message| message.to_string()).as_deref(), Some("x\ny"));
        assert_eq!(check.tags.iter().collect::<Vec<_>>(), [(&b"k"[..], Some(&b"v"[..]))]);
        assert_eq!(check.notes.iter().collect::<Vec<_>>(), [Note::Timestamp, Note::Message]);
    }

    #[test]
    fn a_message_that_is_not_utf8_is_noted() {
        let notes = parsed(b"_sc|a|0|m:\xff").unwrap().notes;
        assert_eq!(notes.iter().collect::<Vec<_>>(), [Note::TextNotUtf8, Note::Message]);
    }

    #[test]
    fn status_is_the_number_on_the_wire() {
        for (number, status) in (0_u8..).zip(Status::VARIANTS.iter().copied()) {
            let line = format!("_sc|a|{number}");
            assert_eq!((parsed(line.as_bytes()).unwrap().status, status as u8), (status, number));
        }
    }

    #[test]
    fn a_rejected_check_reports_the_offending_byte() {
        let cases: [(&[u8], usize); 9] = [
            (b"_sc|", 4),
            (b"_sc||0", 4),
            (b"_sc|a", 5),
            (b"_sc|a|", 6),
            (b"_sc|a|4", 6),
            (b"_sc|a|00", 6),
            (b"_sc|a|OK|h:x", 6),
            (b"_sc|a\x01|0", 5),
            (b"_sc|a\xff|0", 5),
        ];
        for (line, offset) in cases {
            let error = parsed(line).unwrap_err();
            assert_eq!(
                (error.reason(), error.offset()),
                (RejectReason::BadServiceCheck, offset),
                "{}",
                line.escape_ascii()
            );
        }
    }
}
