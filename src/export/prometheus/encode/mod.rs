//! Encodes the page: one walk over all families, and an encoder for each format.

mod lines;
mod openmetrics;
mod protobuf;
mod text;

use enum_map::Enum;
use strum::{IntoStaticStr, VariantArray};

use self::openmetrics::OpenMetrics;
use self::protobuf::Protobuf;
use self::text::Text;
use super::families::{Family, Member, Members};
use super::family_type::LineKind;
use super::totals::Totals;
use crate::export::exporter::PIECE;

#[cfg(test)]
pub(super) use self::protobuf::decoded;

/// The format of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "lowercase")]
pub enum Format {
    /// Prometheus' text format, version 0.0.4.
    Text,
    /// The text format of OpenMetrics, version 1.0.
    OpenMetrics,
    /// Prometheus' protobuf format: messages, each preceded by its length.
    Protobuf,
}

impl Format {
    /// All formats, in the order of their discriminants.
    pub const ALL: [Format; 3] = [Format::Text, Format::OpenMetrics, Format::Protobuf];

    /// Returns the value of HTTP's header `Content-Type`.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Format::Text => "text/plain; version=0.0.4; charset=utf-8",
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Format::Protobuf => {
                "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
            }
        }
    }

    /// Writes the page in pieces of about 64 KiB, because the page of a million series takes more memory than the series.
    ///
    /// # Errors
    ///
    /// Returns the first error of `write`.
    pub fn render<E>(self, totals: &Totals, write: impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        match self {
            Format::Text => walk(totals, Text::new(totals), write),
            Format::OpenMetrics => walk(totals, OpenMetrics::new(totals), write),
            Format::Protobuf => walk(totals, Protobuf::new(totals), write),
        }
    }
}

/// A format's part in the walk. An encoder keeps what it encodes until the walk has written it.
trait Encoder<'a> {
    /// Looks at a family before it is encoded. Returns true if each of its kinds of lines is to have a section of its own.
    fn begin_family(&mut self, _family: &'a Family, _members: Members<'a>) -> bool {
        false
    }

    /// Encodes what precedes the members in a section, which has these lines of each member. An encoder may encode some of
    /// the members, too, if it takes them off the iterator.
    fn begin_section(&mut self, family: &'a Family, lines: &[LineKind], members: &mut Members<'a>);

    /// Encodes the lines of one member in a section.
    fn encode_member(&mut self, family: &'a Family, lines: &[LineKind], member: &'a Member);

    /// Encodes the end of the page.
    fn end_page(&mut self) {}

    /// Returns what is encoded and not yet written.
    fn encoded(&self) -> &[u8];

    /// Forgets what is encoded, because it is written now.
    fn clear(&mut self);
}

/// Walks over the families and their members in sorted order. A family is one section with all of its lines, or one section
/// for each kind of line.
fn walk<'a, E>(
    totals: &'a Totals,
    mut encoder: impl Encoder<'a>,
    mut write: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<(), E> {
    for (family, members) in totals.families.iter() {
        let lines = family.metric_type.lines();
        let is_divided = encoder.begin_family(family, members.clone());
        for lines in lines.chunks(if is_divided { 1 } else { lines.len() }) {
            let mut members = members.clone();
            write_full_piece(&mut encoder, &mut write)?;
            encoder.begin_section(family, lines, &mut members);
            for member in members {
                write_full_piece(&mut encoder, &mut write)?;
                encoder.encode_member(family, lines, member);
            }
        }
    }
    encoder.end_page();
    write(encoder.encoded())
}

fn write_full_piece<'a, E>(
    encoder: &mut impl Encoder<'a>,
    write: &mut impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<(), E> {
    if encoder.encoded().len() >= PIECE {
        write(encoder.encoded())?;
        encoder.clear();
    }
    Ok(())
}
