//! Walks over all families and their members, and writes what an encoder makes of them.

use crate::export::exporter::PIECE;
use crate::export::prometheus::families::{Family, Member, Members};
use crate::export::prometheus::family_type::LineKind;
use crate::export::prometheus::totals::Totals;

/// A format's part in the walk. An encoder keeps what it encodes until the walk has written it.
pub(super) trait Encoder<'a> {
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
pub(super) fn walk<'a, E>(
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
