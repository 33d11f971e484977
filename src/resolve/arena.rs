//! Keeps the texts of many series in a few large pages, which snapshots share.
//!
//! ```text
//!  pages:  [ LF |c a LF c LF |c|#k:v b LF k LF v LF c ... ]  closed, shared      [ LF |c z LF c ...     open: grows
//!                  ^ StringRef       ^ StringRef               with snapshots
//! ```
//!
//! A line feed and the ending of the series' first line pattern precede each text. So shards can use the pages as keys
//! of their line caches ([`Texts`](super::texts::Texts)).
//!
//! A closed page accepts no more texts, so snapshots and shards can share it without a lock. It is freed when all its
//! texts are released and no snapshot or shard holds it. If most texts of a page are released, the owner of the
//! remaining texts should move them.

use std::ops::Range;
use std::sync::Arc;

use crate::model::Series;

/// The capacity of a page in bytes. A longer text gets its own page.
const PAGE: usize = 64 << 10;

/// A reference to a text. It takes only 8 bytes because each series has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StringRef {
    page: u32,
    /// The offset of the text, after its ending.
    at: u16,
    /// [`WHOLE`] means the whole page, and 0 means no text.
    len: u16,
}

impl StringRef {
    /// The reference to no text.
    pub(crate) const NONE: Self = Self { page: 0, at: 0, len: 0 };

    pub(crate) fn is_none(self) -> bool {
        self.len == 0
    }

    /// Returns the number of the page.
    pub(super) fn page(self) -> u32 {
        self.page
    }

    /// Returns the offset of the text within its page.
    pub(super) fn at(self) -> u16 {
        self.at
    }
}

const WHOLE: u16 = u16::MAX;

/// The texts of all series.
#[derive(Debug, Default)]
pub(crate) struct StringArena {
    /// The closed pages by number. Free numbers and the number of the open page have `None`.
    closed: Vec<Option<Page>>,
    free: Vec<u32>,
    open: String,
    /// The number of the open page.
    open_number: u32,
    /// The number of bytes in the open page that belong to unreleased texts and their endings.
    open_live: usize,
    /// The number of pages that were closed so far.
    serial: u64,
}

#[derive(Debug)]
struct Page {
    text: Arc<Box<str>>,
    /// The number of bytes that belong to unreleased texts and their endings.
    live: usize,
    serial: u64,
}

/// The content of a page.
#[derive(Debug, Clone, Copy)]
pub(super) enum PageText<'a> {
    Closed(&'a Arc<Box<str>>),
    /// The page still grows.
    Open(&'a str),
}

impl<'a> PageText<'a> {
    pub(super) fn as_str(self) -> &'a str {
        match self {
            PageText::Closed(text) => text,
            PageText::Open(text) => text,
        }
    }
}

impl StringArena {
    /// Adds a text after its ending. The text must not be empty, and the ending must be at most as long. The ending must
    /// not contain a line feed. A text with more than 64 KiB gets no ending.
    pub(crate) fn push(&mut self, ending: &str, text: &str) -> StringRef {
        let is_whole = text.len() >= usize::from(WHOLE);
        let size = if is_whole { text.len() } else { 1 + ending.len() + text.len() };
        if self.open.len() + size >= PAGE {
            self.close();
        }
        if self.open.is_empty() {
            self.open_number = self.free.pop().unwrap_or_else(|| {
                self.closed.push(None);
                // Each page holds at least one text in use, and fewer than 2^32 texts exist.
                self.closed.len() as u32 - 1
            });
        }
        self.open_live += size;
        let page = self.open_number;
        if is_whole {
            self.open.push_str(text);
            self.close();
            return StringRef { page, at: 0, len: WHOLE };
        }
        self.open.push('\n');
        self.open.push_str(ending);
        let at = self.open.len();
        self.open.push_str(text);
        // Both numbers are below `PAGE`: either the page is, or it holds only this text and an ending of at most its
        // length.
        StringRef { page, at: at as u16, len: text.len() as u16 }
    }

    /// Closes the open page, so that its texts can be shared.
    pub(crate) fn close(&mut self) {
        if self.open.is_empty() {
            return;
        }
        let text = std::mem::take(&mut self.open).into_boxed_str();
        let live = std::mem::take(&mut self.open_live);
        let page = Page { text: Arc::new(text), live, serial: self.serial };
        self.serial += 1;
        self.closed[self.open_number as usize] = Some(page);
        self.release_if_dead(self.open_number);
    }

    /// Returns the content of a page and its serial number, which no other page ever has. Returns `None` if no page has
    /// this number.
    pub(super) fn page(&self, number: u32) -> Option<(u64, PageText<'_>)> {
        match self.closed.get(number as usize)? {
            Some(page) => Some((page.serial, PageText::Closed(&page.text))),
            None if number == self.open_number && !self.open.is_empty() => {
                Some((self.serial, PageText::Open(&self.open)))
            }
            None => None,
        }
    }

    /// Returns the text, which must not have been released.
    pub(crate) fn text(&self, text_ref: StringRef) -> &str {
        let page = self.page_of(text_ref);
        &page[range(text_ref, page)]
    }

    /// Returns the ending before a text, which must not have been released.
    pub(crate) fn ending(&self, text_ref: StringRef) -> &str {
        let page = self.page_of(text_ref);
        let at = range(text_ref, page).start;
        page[..at].rfind('\n').map_or("", |line_feed| &page[line_feed + 1..at])
    }

    fn page_of(&self, text_ref: StringRef) -> &str {
        match &self.closed[text_ref.page as usize] {
            Some(page) => &page.text,
            None => self.open.as_str(),
        }
    }

    /// Returns the series with this identity, or `None` while its page is open.
    pub(crate) fn series(&self, text_ref: StringRef) -> Option<Series> {
        let page = self.closed[text_ref.page as usize].as_ref()?;
        Some(Series::in_page(&page.text, range(text_ref, &page.text)))
    }

    /// Releases a text and its ending.
    pub(crate) fn release(&mut self, text_ref: StringRef) {
        let is_whole = text_ref.len == WHOLE;
        let len = self.text(text_ref).len() + if is_whole { 0 } else { 1 + self.ending(text_ref).len() };
        match &mut self.closed[text_ref.page as usize] {
            Some(page) => page.live -= len,
            None => self.open_live -= len,
        }
        self.release_if_dead(text_ref.page);
    }

    fn release_if_dead(&mut self, number: u32) {
        let page = &mut self.closed[number as usize];
        if page.as_ref().is_some_and(|page| page.live == 0) {
            *page = None;
            self.free.push(number);
        }
    }

    /// Returns true if more than half of the text's page was released.
    pub(crate) fn is_sparse(&self, text_ref: StringRef) -> bool {
        let page = &self.closed[text_ref.page as usize];
        page.as_ref().is_some_and(|page| page.live * 2 < page.text.len())
    }

    /// Returns the number of closed pages.
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
        let (a, b) = (arena.push("", "a"), arena.push("|c", "bb"));
        arena.close();
        let series = arena.series(b);
        assert_eq!((arena.ending(a), arena.ending(b)), ("", "|c"));
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
        assert_eq!(arena.push("", "c"), StringRef { page: 0, at: 1, len: 1 });
        assert_eq!(arena.closed.len(), 1);
    }

    #[test]
    fn a_text_in_the_open_page_can_be_released_but_not_shared() {
        let mut arena = StringArena::default();
        let a = arena.push("", "a");
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
            let ending = |text: &str| "|c".repeat(text.len() / 2 % 50);
            let refs: Vec<_> = texts.iter().map(|text| arena.push(&ending(text), text)).collect();
            arena.close();
            for (&text_ref, _) in refs.iter().zip(&released).filter(|(_, released)| **released) {
                arena.release(text_ref);
            }
            for ((&text_ref, text), _) in refs.iter().zip(&texts).zip(&released).filter(|(_, released)| !**released) {
                prop_assert_eq!(arena.text(text_ref), text);
                let has_ending = text.len() < usize::from(WHOLE);
                prop_assert_eq!(arena.ending(text_ref), if has_ending { ending(text) } else { String::new() });
                prop_assert_eq!(arena.series(text_ref).map(|series| series.identity().to_owned()), Some(text.clone()));
            }
        }
    }
}
