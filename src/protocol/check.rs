//! The grammar of a DogStatsD service check.
//!
//! ```abnf
//! check = "_sc|" name "|" status *( "|" field )
//! field = "d:" unix-seconds / "h:" hostname / "m:" message / "#" tags / "c:" … / "e:" … / "card:" …
//! ```

use enum_map::Enum;
use strum::{IntoStaticStr, VariantArray};

use super::error::{Failure, RejectReason, fail};
use super::sections::{Common, Origin, replace_text, sections, split_at_byte};
use super::{Note, Notes, Tags, Text};

/// With what a service check begins.
pub(super) const PREFIX: &[u8] = b"_sc|";

/// How a service is.
#[derive(Debug, Clone, Copy)]
pub struct ServiceCheck<'a> {
    /// What was checked: UTF-8 without control characters, not empty.
    pub name: &'a str,
    /// What came of it.
    pub status: Status,
    /// When it was checked, in seconds since 1970.
    pub timestamp: Option<u64>,
    /// Where it was checked.
    pub hostname: Option<&'a [u8]>,
    /// More in words.
    pub message: Option<Text<'a>>,
    /// Its tags.
    pub tags: Tags<'a>,
    /// Where it comes from.
    pub origin: Origin<'a>,
    /// What was odd about the line.
    pub notes: Notes,
}

/// What came of a service check; its number on the wire is that of its discriminant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Status {
    /// 0
    Ok,
    /// 1
    Warning,
    /// 2
    Critical,
    /// 3
    Unknown,
}

impl Status {
    /// All of them, in the order of their discriminants.
    pub const ALL: [Status; 4] = [Status::Ok, Status::Warning, Status::Critical, Status::Unknown];

    /// The name by which telemetry counts it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Status::Ok => "ok",
            Status::Warning => "warning",
            Status::Critical => "critical",
            Status::Unknown => "unknown",
        }
    }
}

/// Parses a line that begins with [`PREFIX`].
pub(super) fn check(line: &[u8]) -> Result<ServiceCheck<'_>, Failure<'_>> {
    let name_at = &line[PREFIX.len()..];
    let (name, status_at) = split_at_byte(name_at, b'|');
    if name.is_empty() {
        return fail(name_at, RejectReason::BadServiceCheck);
    }
    if let Some(control) = name.iter().position(u8::is_ascii_control) {
        return fail(&name_at[control..], RejectReason::BadServiceCheck);
    }
    let name = match std::str::from_utf8(name) {
        Ok(name) => name,
        Err(error) => return fail(&name_at[error.valid_up_to()..], RejectReason::BadServiceCheck),
    };
    let Some(status_at) = status_at else {
        return fail(&line[line.len()..], RejectReason::BadServiceCheck);
    };
    let (status, fields) = split_at_byte(status_at, b'|');
    let status = match status {
        b"0" => Status::Ok,
        b"1" => Status::Warning,
        b"2" => Status::Critical,
        b"3" => Status::Unknown,
        _ => return fail(status_at, RejectReason::BadServiceCheck),
    };
    // With the `|` before the first field, if there is one.
    let fields = fields.map_or(&[][..], |fields| &line[line.len() - fields.len() - 1..]);
    let mut notes = Notes::default();
    let mut common = Common::default();
    let [mut hostname, mut message] = [None; 2];
    for (_, field) in sections(fields) {
        match field {
            [b'd', b':', digits @ ..] => {
                let is_time = common.read_timestamp(digits, &mut notes);
                notes.add_if(is_time, Note::Timestamp);
            }
            [b'h', b':', text @ ..] => replace_text(&mut hostname, text, &mut notes),
            [b'm', b':', text @ ..] => {
                notes.add(Note::Message);
                replace_text(&mut message, text, &mut notes);
            }
            other => common.read(other, &mut notes),
        }
    }
    Ok(ServiceCheck {
        name,
        status,
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

    fn parse(line: &[u8]) -> Result<ServiceCheck<'_>, ParseError> {
        check(line).map_err(|failure| failure.located(line))
    }

    #[test]
    fn all_fields_are_read_in_any_order() {
        let check = parse(b"_sc|a:b|3|m:x\\ny|d:7|#k:v|h:w|card:low").unwrap();
        assert_eq!((check.name, check.status, check.timestamp), ("a:b", Status::Unknown, Some(7)));
        assert_eq!(check.hostname, Some(&b"w"[..]));
        assert_eq!(check.message.map(|message| message.to_string()).as_deref(), Some("x\ny"));
        assert_eq!(check.tags.iter().collect::<Vec<_>>(), [(&b"k"[..], &b"v"[..])]);
        assert_eq!(check.notes.iter().collect::<Vec<_>>(), [Note::Timestamp, Note::Message]);
    }

    #[test]
    fn bytes_of_a_message_that_are_not_utf8_are_noted() {
        let notes = parse(b"_sc|a|0|m:\xff").unwrap().notes;
        assert_eq!(notes.iter().collect::<Vec<_>>(), [Note::TextNotUtf8, Note::Message]);
    }

    #[test]
    fn a_status_is_the_number_on_the_wire() {
        for (number, status) in (0_u8..).zip(Status::ALL) {
            let line = format!("_sc|a|{number}");
            assert_eq!((parse(line.as_bytes()).unwrap().status, status as u8), (status, number));
        }
    }

    #[test]
    fn a_wrong_check_says_where() {
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
            let error = parse(line).unwrap_err();
            assert_eq!(
                (error.reason(), error.offset()),
                (RejectReason::BadServiceCheck, offset),
                "{}",
                line.escape_ascii()
            );
        }
    }
}
