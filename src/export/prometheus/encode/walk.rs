//! Walks over all families and their members, and writes what an encoder makes of them.

use crate::export::exporter::PIECE;
use crate::export::prometheus::families::{Family, Member, Members};
use crate::export::prometheus::family_type::LineKind;
use crate::export::prometheus::totals::Totals;

/// The encoder of a format. It keeps the encoded bytes until the walk has written them.
pub(super) trait Encoder<'a> {
    /// Prepares for a family. Returns true if each of its kinds of lines needs a section of its own.
    fn begin_family(&mut self, _family: &'a Family, _members: Members<'a>) -> bool {
        false
    }

    /// Encodes the beginning of a section, which has these lines of each member. An encoder may also encode some of the
    /// members, if it takes them from the iterator.
    fn begin_section(&mut self, family: &'a Family, lines: &[LineKind], members: &mut Members<'a>);

    /// Encodes the lines of one member in a section.
    fn encode_member(&mut self, family: &'a Family, lines: &[LineKind], member: &'a Member);

    /// Encodes the end of the page.
    fn end_page(&mut self) {}

    /// Returns the encoded bytes that are not written yet.
    fn encoded(&self) -> &[u8];

    /// Drops the encoded bytes after they were written.
    fn clear(&mut self);
}

/// Walks over the families and their members in sorted order. A family is one section with all of its lines, or one
/// section per kind of line.
pub(super) fn walk<'a, E>(
    totals: &'a Totals,
    mut encoder: impl Encoder<'a>,
    mut write: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<(), E> {
    for (family, members) in totals.families.iter() {
        let lines = family.metric_type.lines();
        if encoder.begin_family(family, members.clone()) {
            for line in lines.chunks(1) {
                walk_section(family, line, members.clone(), &mut encoder, &mut write)?;
            }
        } else {
            walk_section(family, lines, members, &mut encoder, &mut write)?;
        }
    }
    encoder.end_page();
    write(encoder.encoded())
}

fn walk_section<'a, E>(
    family: &'a Family,
    lines: &[LineKind],
    mut members: Members<'a>,
    encoder: &mut impl Encoder<'a>,
    write: &mut impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<(), E> {
    write_full_piece(encoder, write)?;
    encoder.begin_section(family, lines, &mut members);
    for member in members {
        write_full_piece(encoder, write)?;
        encoder.encode_member(family, lines, member);
    }
    Ok(())
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
