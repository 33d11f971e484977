//! Keeps the texts of many series in a few large blocks, which snapshots share.
//!
//! ```text
//!  blocks:  [ a LF c | b LF k LF v LF c | ... ]  closed, shared      [ z LF c | ...     open: grows
//!            ^ StringRef                          with snapshots
//! ```
//!
//! A closed block accepts no more texts, so snapshots can share it without a lock. It is freed when all its texts are
//! released and no snapshot holds it. If most texts of a block are released, the owner of the remaining texts should
//! move them.

use std::ops::Range;
use std::sync::Arc;

use crate::model::Series;

/// The capacity of a block in bytes. A longer text gets its own block.
const BLOCK: usize = 64 << 10;

/// A reference to a text. It takes only 8 bytes because each series has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StringRef {
    block: u32,
    at: u16,
    /// [`WHOLE`] means the whole block, and 0 means no text.
    len: u16,
}

impl StringRef {
    /// The reference to no text.
    pub(crate) const NONE: Self = Self { block: 0, at: 0, len: 0 };

    pub(crate) fn is_none(self) -> bool {
        self.len == 0
    }
}

const WHOLE: u16 = u16::MAX;

/// The texts of all series.
#[derive(Debug, Default)]
pub(crate) struct StringArena {
    /// The closed blocks by number. Free numbers and the number of the open block have `None`.
    closed: Vec<Option<Block>>,
    free: Vec<u32>,
    open: String,
    /// The number of the open block.
    open_number: u32,
    /// The number of bytes in the open block that belong to unreleased texts.
    open_live: usize,
}

#[derive(Debug)]
struct Block {
    text: Arc<Box<str>>,
    /// The number of bytes that belong to unreleased texts.
    live: usize,
}

impl StringArena {
    /// Adds a text, which must not be empty.
    pub(crate) fn push(&mut self, text: &str) -> StringRef {
        if self.open.len() + text.len() >= BLOCK {
            self.close();
        }
        if self.open.is_empty() {
            self.open_number = self.free.pop().unwrap_or_else(|| {
                self.closed.push(None);
                // Each block holds at least one text in use, and fewer than 2^32 texts exist.
                self.closed.len() as u32 - 1
            });
        }
        let at = self.open.len();
        self.open.push_str(text);
        self.open_live += text.len();
        let block = self.open_number;
        if text.len() >= usize::from(WHOLE) {
            self.close();
            return StringRef { block, at: 0, len: WHOLE };
        }
        // Both numbers are below `BLOCK`.
        StringRef { block, at: at as u16, len: text.len() as u16 }
    }

    /// Closes the open block, so that its texts can be shared.
    pub(crate) fn close(&mut self) {
        if self.open.is_empty() {
            return;
        }
        let text = std::mem::take(&mut self.open).into_boxed_str();
        let live = std::mem::take(&mut self.open_live);
        self.closed[self.open_number as usize] = Some(Block { text: Arc::new(text), live });
        self.release_if_dead(self.open_number);
    }

    /// Returns the text, which must not have been released.
    pub(crate) fn text(&self, text_ref: StringRef) -> &str {
        let text = match &self.closed[text_ref.block as usize] {
            Some(block) => &block.text,
            None => self.open.as_str(),
        };
        &text[range(text_ref, text)]
    }

    /// Returns the series with this identity, or `None` while its block is open.
    pub(crate) fn series(&self, text_ref: StringRef) -> Option<Series> {
        let block = self.closed[text_ref.block as usize].as_ref()?;
        Some(Series::in_block(&block.text, range(text_ref, &block.text)))
    }

    /// Releases a text.
    pub(crate) fn release(&mut self, text_ref: StringRef) {
        let len = self.text(text_ref).len();
        match &mut self.closed[text_ref.block as usize] {
            Some(block) => block.live -= len,
            None => self.open_live -= len,
        }
        self.release_if_dead(text_ref.block);
    }

    fn release_if_dead(&mut self, number: u32) {
        let block = &mut self.closed[number as usize];
        if block.as_ref().is_some_and(|block| block.live == 0) {
            *block = None;
            self.free.push(number);
        }
    }

    /// Returns true if more than half of the text's block was released.
    pub(crate) fn is_sparse(&self, text_ref: StringRef) -> bool {
        let block = &self.closed[text_ref.block as usize];
        block.as_ref().is_some_and(|block| block.live * 2 < block.text.len())
    }

    /// Returns the number of closed blocks.
    #[cfg(test)]
    pub(crate) fn count(&self) -> usize {
        self.closed.iter().flatten().count()
    }
}

fn range(text_ref: StringRef, text: &str) -> Range<usize> {
    if text_ref.len == WHOLE {
        0..text.len()
    } else {
        usize::from(text_ref.at)..usize::from(text_ref.at) + usize::from(text_ref.len)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_string_ref_takes_eight_bytes() {
        assert_eq!(size_of::<StringRef>(), 8);
    }

    #[test]
    fn a_page_is_freed_with_its_last_text_and_its_number_reused() {
        let mut arena = StringArena::default();
        let (a, b) = (arena.push("a"), arena.push("bb"));
        arena.close();
        let series = arena.series(b);
        arena.release(a);
        assert_eq!(arena.text(b), "bb");
        assert!(!arena.is_sparse(b));
        arena.release(b);
        assert!(arena.closed[0].is_none());
        assert_eq!(
            series.map(|series| series.identity().to_owned()).as_deref(),
            Some("bb"),
            "a snapshot still holds it"
        );
        assert_eq!(arena.push("c"), StringRef { block: 0, at: 0, len: 1 });
        assert_eq!(arena.closed.len(), 1);
    }

    #[test]
    fn a_text_in_the_open_page_can_be_released_but_not_shared() {
        let mut arena = StringArena::default();
        let a = arena.push("a");
        assert_eq!(arena.series(a), None);
        arena.release(a);
        arena.close();
        assert_eq!(arena.free, [0]);
    }

    proptest! {
        #[test]
        fn every_text_is_found_by_its_ref(
            lengths in proptest::collection::vec(prop_oneof![1_usize..100, 60_000_usize..70_000], 1..60),
            released in proptest::collection::vec(any::<bool>(), 60),
        ) {
            let mut arena = StringArena::default();
            let text = |(index, &len): (usize, &usize)| ["a", "b", "c"][index % 3].repeat(len);
            let texts: Vec<_> = lengths.iter().enumerate().map(text).collect();
            let refs: Vec<_> = texts.iter().map(|text| arena.push(text)).collect();
            arena.close();
            for (&text_ref, _) in refs.iter().zip(&released).filter(|(_, released)| **released) {
                arena.release(text_ref);
            }
            for ((&text_ref, text), _) in refs.iter().zip(&texts).zip(&released).filter(|(_, released)| !**released) {
                prop_assert_eq!(arena.text(text_ref), text);
                prop_assert_eq!(arena.series(text_ref).map(|series| series.identity().to_owned()), Some(text.clone()));
            }
        }
    }
}
