//! Keeps the latest lines that were not recorded, by reason, for people who look for their samples.

use std::mem;

use enum_map::EnumMap;

use crate::model::{Named, Origin, RejectedLine};
use crate::protocol::RejectReason;
use crate::resolve::RefuseReason;

/// The number of lines that are kept for each reason.
const KEPT: usize = 8;

/// The longest part of a line that is kept, in bytes.
const LONGEST: usize = 512;

/// The latest lines of an interval that were not recorded.
///
/// They take at most 17 reasons * 8 lines * 512 bytes, which is 70 KB. A line costs a copy of at most 512 bytes, however
/// many lines are rejected. The memory is used again in later intervals.
#[derive(Debug, Default)]
pub(crate) struct RejectedLines {
    rejected: EnumMap<RejectReason, Latest>,
    refused: EnumMap<RefuseReason, Latest>,
}

/// The latest lines with one reason.
#[derive(Debug, Default)]
struct Latest {
    /// At most [`KEPT`] lines. Those of earlier intervals stay, and give their memory to new ones.
    lines: Vec<RejectedLine>,
    /// The number of lines of this interval, including those that were overwritten.
    added: usize,
}

impl RejectedLines {
    /// Keeps an invalid line. `offset` is that of the offending byte.
    pub(super) fn add_rejected(&mut self, reason: RejectReason, line: &[u8], offset: usize, origin: Origin) {
        self.rejected[reason].add(reason.name(), line, Some(offset), origin);
    }

    /// Keeps the origin of a line that the receiver did not read to its end.
    pub(super) fn add_unread(&mut self, reason: RejectReason, origin: Origin) {
        self.rejected[reason].add(reason.name(), &[], None, origin);
    }

    /// Keeps a line of which a sample was refused.
    pub(super) fn add_refused(&mut self, reason: RefuseReason, line: &[u8], origin: Origin) {
        self.refused[reason].add(reason.name(), line, None, origin);
    }

    /// Returns the lines by reason. Those with the same reason are in the order in which they came.
    pub(crate) fn lines(&self) -> impl Iterator<Item = &RejectedLine> {
        self.rejected.values().chain(self.refused.values()).flat_map(Latest::lines)
    }

    /// Forgets the lines.
    pub(super) fn clear(&mut self) {
        self.rejected.values_mut().chain(self.refused.values_mut()).for_each(|latest| latest.added = 0);
    }
}

impl Latest {
    fn add(&mut self, reason: &'static str, line: &[u8], offset: Option<usize>, origin: Origin) {
        let begin = offset.filter(|offset| *offset >= LONGEST).map_or(0, |offset| offset - LONGEST / 2);
        let mut kept = RejectedLine { reason, bytes: Vec::new(), begin, length: line.len(), offset, origin };
        let position = self.added % KEPT;
        let mut overwritten = self.lines.get_mut(position);
        if let Some(overwritten) = &mut overwritten {
            kept.bytes = mem::take(&mut overwritten.bytes);
            kept.bytes.clear();
        }
        kept.bytes.extend_from_slice(&line[begin..line.len().min(begin + LONGEST)]);
        match overwritten {
            Some(overwritten) => *overwritten = kept,
            None => self.lines.push(kept),
        }
        self.added += 1;
    }

    /// Returns the lines of this interval, oldest first.
    fn lines(&self) -> impl Iterator<Item = &RejectedLine> {
        let oldest = self.added.saturating_sub(KEPT);
        (oldest..self.added).map(|added| &self.lines[added % KEPT])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(lines: &[(&str, usize)]) -> Vec<(String, usize)> {
        let mut kept = RejectedLines::default();
        for (line, offset) in lines {
            kept.add_rejected(RejectReason::BadValue, line.as_bytes(), *offset, Origin::default());
        }
        let text = |line: &RejectedLine| (String::from_utf8(line.bytes.clone()).unwrap(), line.begin);
        kept.lines().map(text).collect()
    }

    #[test]
    fn the_latest_lines_of_a_reason_are_kept_in_order() {
        let lines: Vec<_> = (0..KEPT + 3).map(|n| format!("a:{n}x|c")).collect();
        let added: Vec<_> = lines.iter().map(|line| (line.as_str(), 3)).collect();
        let expected: Vec<_> = lines[3..].iter().map(|line| (line.clone(), 0)).collect();
        assert_eq!(kept(&added), expected);
    }

    #[test]
    fn lines_of_earlier_intervals_are_forgotten() {
        let mut kept = RejectedLines::default();
        let add = |kept: &mut RejectedLines, line: &str| {
            kept.add_rejected(RejectReason::BadValue, line.as_bytes(), 2, Origin::default());
        };
        (0..KEPT).for_each(|_| add(&mut kept, "a:a long value|c"));
        kept.clear();
        assert_eq!(kept.lines().count(), 0);
        add(&mut kept, "a:x|c");
        let lines: Vec<_> = kept.lines().map(|line| line.bytes.as_slice()).collect();
        assert_eq!(lines, [b"a:x|c"]);
    }

    #[test]
    fn the_part_of_a_long_line_with_the_offending_byte_is_kept() {
        let line = format!("{}?{}", "a".repeat(1000), "b".repeat(1000));
        let [(part, begin)] = kept(&[(&line, 1000)]).try_into().unwrap();
        assert_eq!((part.len(), part.as_bytes()[1000 - begin]), (LONGEST, b'?'));
        let at_the_end = kept(&[(&line, line.len())]);
        assert_eq!(at_the_end[0].0.len() + at_the_end[0].1, line.len());
    }
}
