//! Texts of many series in few pieces of memory, which snapshots share.
//!
//! ```text
//!  pages:  [ a LF c | b LF k LF v LF c | ... ]  closed, shared      [ z LF c | ...     open: grows
//!            ^ place                              with snapshots
//! ```
//!
//! A page takes no more texts once it is closed, so it can be shared without a lock. It is freed when its last text was
//! released and no snapshot holds it. Where most texts of a page were released, the others are to be moved elsewhere.

use std::ops::Range;
use std::sync::Arc;

use crate::model::Series;

/// Bytes up to which a page takes texts. A longer text has a page of its own.
const PAGE: usize = 64 << 10;

/// Where a text stands; 8 bytes, since there is one for each series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StringRef {
    page: u32,
    at: u16,
    /// [`WHOLE`] stands for all of the page; 0 for no text.
    len: u16,
}

impl StringRef {
    /// No text.
    pub(crate) const NONE: Self = Self { page: 0, at: 0, len: 0 };

    pub(crate) fn is_none(self) -> bool {
        self.len == 0
    }
}

const WHOLE: u16 = u16::MAX;

/// Texts by their places.
#[derive(Debug, Default)]
pub(crate) struct StringArena {
    /// `None` where a number is free, or that of the open page.
    closed: Vec<Option<Page>>,
    free: Vec<u32>,
    open: String,
    /// Its number, and what is needed of it.
    open_number: u32,
    open_live: usize,
}

#[derive(Debug)]
struct Page {
    text: Arc<Box<str>>,
    /// Bytes of texts that were not released.
    live: usize,
}

impl StringArena {
    /// Keeps a text, which is not empty.
    pub(crate) fn push(&mut self, text: &str) -> StringRef {
        if self.open.len() + text.len() > PAGE {
            self.close();
        }
        if self.open.is_empty() {
            self.open_number = self.free.pop().unwrap_or_else(|| {
                self.closed.push(None);
                // Each holds a text that is needed, of which there are fewer than 2^32.
                self.closed.len() as u32 - 1
            });
        }
        let at = self.open.len();
        self.open.push_str(text);
        self.open_live += text.len();
        let page = self.open_number;
        if text.len() >= usize::from(WHOLE) {
            self.close();
            return StringRef { page, at: 0, len: WHOLE };
        }
        // Both below PAGE.
        StringRef { page, at: at as u16, len: text.len() as u16 }
    }

    /// Ends the open page, so that what it holds can be shared.
    pub(crate) fn close(&mut self) {
        if self.open.is_empty() {
            return;
        }
        let text = std::mem::take(&mut self.open).into_boxed_str();
        let live = std::mem::take(&mut self.open_live);
        self.closed[self.open_number as usize] = Some(Page { text: Arc::new(text), live });
        self.release_if_dead(self.open_number);
    }

    /// The text at a place that was given and not released.
    pub(crate) fn text(&self, place: StringRef) -> &str {
        let text = match &self.closed[place.page as usize] {
            Some(page) => &page.text,
            None => self.open.as_str(),
        };
        &text[range(place, text)]
    }

    /// The series whose identity stands at a place; `None` as long as its page is open.
    pub(crate) fn series(&self, place: StringRef) -> Option<Series> {
        let page = self.closed[place.page as usize].as_ref()?;
        Some(Series::in_page(&page.text, range(place, &page.text)))
    }

    /// Forgets the text at a place.
    pub(crate) fn release(&mut self, place: StringRef) {
        let len = self.text(place).len();
        match &mut self.closed[place.page as usize] {
            Some(page) => page.live -= len,
            None => self.open_live -= len,
        }
        self.release_if_dead(place.page);
    }

    fn release_if_dead(&mut self, number: u32) {
        let page = &mut self.closed[number as usize];
        if page.as_ref().is_some_and(|page| page.live == 0) {
            *page = None;
            self.free.push(number);
        }
    }

    /// Whether the page of this text holds mostly released ones.
    pub(crate) fn is_sparse(&self, place: StringRef) -> bool {
        let page = &self.closed[place.page as usize];
        page.as_ref().is_some_and(|page| page.live * 2 < page.text.len())
    }

    /// Closed pages.
    #[cfg(test)]
    pub(crate) fn count(&self) -> usize {
        self.closed.iter().flatten().count()
    }
}

fn range(place: StringRef, text: &str) -> Range<usize> {
    if place.len == WHOLE {
        0..text.len()
    } else {
        usize::from(place.at)..usize::from(place.at) + usize::from(place.len)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_place_takes_eight_bytes() {
        assert_eq!(size_of::<StringRef>(), 8);
    }

    #[test]
    fn a_page_is_freed_with_its_last_text_and_its_number_given_again() {
        let mut pages = StringArena::default();
        let (a, b) = (pages.push("a"), pages.push("bb"));
        pages.close();
        let series = pages.series(b);
        pages.release(a);
        assert_eq!(pages.text(b), "bb");
        assert!(!pages.is_sparse(b));
        pages.release(b);
        assert!(pages.closed[0].is_none());
        assert_eq!(
            series.map(|series| series.identity().to_owned()).as_deref(),
            Some("bb"),
            "a snapshot still holds it"
        );
        assert_eq!(pages.push("c"), StringRef { page: 0, at: 0, len: 1 });
        assert_eq!(pages.closed.len(), 1);
    }

    #[test]
    fn what_the_open_page_holds_is_no_series_yet_and_can_be_released() {
        let mut pages = StringArena::default();
        let a = pages.push("a");
        assert_eq!(pages.series(a), None);
        pages.release(a);
        pages.close();
        assert_eq!(pages.free, [0]);
    }

    proptest! {
        #[test]
        fn every_text_is_found_where_it_was_put(
            lengths in proptest::collection::vec(prop_oneof![1_usize..100, 60_000_usize..70_000], 1..60),
            released in proptest::collection::vec(any::<bool>(), 60),
        ) {
            let mut pages = StringArena::default();
            let text = |(index, &len): (usize, &usize)| ["a", "b", "c"][index % 3].repeat(len);
            let texts: Vec<_> = lengths.iter().enumerate().map(text).collect();
            let places: Vec<_> = texts.iter().map(|text| pages.push(text)).collect();
            pages.close();
            for (&place, _) in places.iter().zip(&released).filter(|(_, released)| **released) {
                pages.release(place);
            }
            for ((&place, text), _) in places.iter().zip(&texts).zip(&released).filter(|(_, released)| !**released) {
                prop_assert_eq!(pages.text(place), text);
                prop_assert_eq!(pages.series(place).map(|series| series.identity().to_owned()), Some(text.clone()));
            }
        }
    }
}
