//! Splits datagrams into lines, and each line around its value, in one pass.
//!
//! The simple version searches each line for its first colon, the first `|` after it, and its end. Lines are short, so
//! starting a search costs as much as running it. Therefore this version compares 64 bytes at a time with all three
//! delimiters. The result is one bit per byte, and counting zeros finds the positions.
//!
//! ```text
//! bytes    a p i . h i t s : 1 2 | c LF b : 3 | c
//! feeds    . . . . . . . . . . . . . 1  . . . . .
//! colons   . . . . . . . . 1 . . . . .  . 1 . . .
//! pipes    . . . . . . . . . . . 1 . .  . . . 1 .
//! ```

use wide::u8x16;

/// The number of bytes that are compared at a time: as many as a register has bits.
const BLOCK: usize = 64;

/// A non-empty line, split around its value.
///
/// ```text
/// api.latency : 12.5 |ms|@0.1|#env:prod
/// ^ before      ^ value ^ after
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SplitLine<'a> {
    pub(crate) line: &'a [u8],
    /// The offset of the first colon.
    colon: usize,
    /// The offset of the first `|` after the colon; 0 if the line lacks either.
    pipe: usize,
}

impl<'a> SplitLine<'a> {
    /// A placeholder for a line.
    pub(crate) const NONE: Self = Self { line: &[], colon: 0, pipe: 0 };

    /// Returns true if the line has a value between a colon and a `|`.
    #[inline(always)]
    pub(crate) fn has_value(self) -> bool {
        self.pipe > 0
    }

    #[inline(always)]
    pub(crate) fn before(self) -> &'a [u8] {
        &self.line[..self.colon]
    }

    #[inline(always)]
    pub(crate) fn value(self) -> &'a [u8] {
        self.line.get(self.colon + 1..self.pipe).unwrap_or_default()
    }

    /// Returns the line as a longer one, which begins with it. Its value stays.
    pub(crate) fn within(self, longer: &[u8]) -> SplitLine<'_> {
        SplitLine { line: longer, ..self }
    }

    #[inline(always)]
    pub(crate) fn after(self) -> &'a [u8] {
        &self.line[self.pipe..]
    }
}

/// Iterates over the lines that [`protocol::lines`](crate::protocol::lines) returns, split around their values.
#[derive(Debug)]
pub(crate) struct SplitLines<'a> {
    datagram: &'a [u8],
    /// The offset at which the next line starts.
    start: usize,
    /// The offset at which the current block starts; at most `start`.
    base: usize,
    block: Block,
}

/// The delimiters in 64 bytes, one bit per byte. The lowest bit represents the first byte.
#[derive(Debug, Clone, Copy)]
struct Block {
    feeds: u64,
    colons: u64,
    pipes: u64,
}

impl Block {
    #[inline(always)]
    fn new(bytes: &[u8; BLOCK]) -> Self {
        let marked = |delimiter| {
            let delimiter = u8x16::splat(delimiter);
            let marked = |quarter: &[u8; 16]| u64::from(u8x16::new(*quarter).simd_eq(delimiter).to_bitmask());
            let (quarters, _) = bytes.as_chunks::<16>();
            quarters.iter().zip([0, 16, 32, 48]).map(|(quarter, shift)| marked(quarter) << shift).sum()
        };
        Self { feeds: marked(b'\n'), colons: marked(b':'), pipes: marked(b'|') }
    }

    /// Marks the delimiters of the last, incomplete block. Its padding contains no delimiters.
    #[inline(never)]
    fn last(rest: &[u8]) -> Self {
        let mut bytes = [0; BLOCK];
        bytes[..rest.len()].copy_from_slice(rest);
        Self::new(&bytes)
    }
}

impl<'a> SplitLines<'a> {
    #[inline(always)]
    pub(crate) fn new(datagram: &'a [u8]) -> Self {
        let mut lines = Self { datagram, start: 0, base: 0, block: Block { feeds: 0, colons: 0, pipes: 0 } };
        lines.load_block();
        lines
    }

    #[inline(always)]
    fn load_block(&mut self) {
        let rest = &self.datagram[self.base..];
        self.block = rest.first_chunk().map_or_else(|| Block::last(rest), Block::new);
    }

    /// Returns the offset of the first marked byte at or after `from`, which must not precede the block. Returns the
    /// length of the datagram if no byte is marked.
    #[inline(always)]
    fn seek(&mut self, from: usize, marks: impl Fn(Block) -> u64) -> usize {
        let at_or_after = |base: usize| u64::MAX.checked_shl(from.saturating_sub(base) as u32).unwrap_or(0);
        let mut marked = marks(self.block) & at_or_after(self.base);
        while marked == 0 {
            if self.base + BLOCK >= self.datagram.len() {
                return self.datagram.len();
            }
            self.base += BLOCK;
            self.load_block();
            marked = marks(self.block) & at_or_after(self.base);
        }
        self.base + marked.trailing_zeros() as usize
    }
}

impl<'a> Iterator for SplitLines<'a> {
    type Item = SplitLine<'a>;

    #[inline(always)]
    fn next(&mut self) -> Option<SplitLine<'a>> {
        while self.start < self.datagram.len() {
            let start = self.start;
            // If a search ends at the line feed, the next search finds the same line feed.
            let colon = self.seek(start, |block| block.feeds | block.colons);
            let pipe = self.seek(colon, |block| block.feeds | block.pipes);
            let end = self.seek(pipe, |block| block.feeds);
            self.start = end + 1;
            let line = &self.datagram[start..end];
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            let has_value = colon < pipe && pipe < end;
            if !line.is_empty() {
                let (colon, pipe) = if has_value { (colon - start, pipe - start) } else { (0, 0) };
                return Some(SplitLine { line, colon, pipe });
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::protocol;

    /// Implements the specification: splits a line by one search after another.
    fn plain(line: &[u8]) -> Option<[&[u8]; 3]> {
        let colon = line.iter().position(|&byte| byte == b':')?;
        let pipe = colon + line[colon..].iter().position(|&byte| byte == b'|')?;
        Some([&line[..colon], &line[colon + 1..pipe], &line[pipe..]])
    }

    fn parts(split: SplitLine<'_>) -> Option<[&[u8]; 3]> {
        split.has_value().then(|| [split.before(), split.value(), split.after()])
    }

    proptest! {
        #[test]
        fn lines_are_split_as_by_one_search_after_another(
            datagram in proptest::collection::vec(
                prop_oneof![Just(b'\n'), Just(b':'), Just(b'|'), Just(b'\r'), Just(0), b'a'..=b'z', b'a'..=b'z', b'a'..=b'z', any::<u8>()],
                0..300,
            ),
            long in 0_usize..200,
        ) {
            let datagram = [vec![b'x'; long], datagram].concat();
            let split: Vec<_> = SplitLines::new(&datagram).collect();
            let lines: Vec<_> = protocol::lines(&datagram).collect();
            prop_assert_eq!(split.iter().map(|split| split.line).collect::<Vec<_>>(), &*lines);
            for (split, line) in split.into_iter().zip(lines) {
                prop_assert_eq!(parts(split), plain(line));
            }
        }
    }
}
