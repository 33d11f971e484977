//! Holds the bytes of a shard's line patterns, most of which all shards share.
//!
//! ```text
//!  line:  page.views : 1 |c|#k:v         page of the registry:  ... LF |c|#k:v page.views LF k LF v LF c LF ...
//!         ^ before       ^ after                                       ^ after ^ before   ^ end
//!                                                                              '- TextRef
//! ```
//!
//! The registry stores the identity of each series after the ending of its first line pattern. The identity begins with
//! the name, so the two together are the bytes of the pattern. A shard holds on to the pages of the registry, so it
//! reads them without a lock. It copies the registry's last page, which still grows.
//!
//! Patterns with other bytes go to pages of the shard's own: patterns with another ending than the first, with tags in
//! the name, or with a name that a rule changes.

use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use super::arena::{PageText, StringArena, StringRef};

/// Ends the first part of a line pattern. Split lines contain no line feed.
pub(super) const PATTERN_END: u8 = b'\n';
/// Ends an identity that serves as a key. Identities contain line feeds, but no byte that UTF-8 does not use.
pub(super) const IDENTITY_END: u8 = 0xff;

/// The capacity of a page in bytes.
const PAGE: usize = 64 << 10;

/// The bytes of a key: a line without its value, or an identity.
#[derive(Debug, Clone, Copy)]
pub(super) struct Key<'a> {
    pub(super) before: &'a [u8],
    /// It is never empty and contains no line feed.
    pub(super) after: &'a [u8],
    /// The byte that ends `before` where the key is stored. It does not occur in `before`.
    pub(super) end: u8,
}

impl Key<'_> {
    /// Returns true if a page holds this key, with its first part at `at`.
    #[inline(always)]
    fn is_at(self, page: &[u8], at: usize) -> bool {
        let Self { before, after, end } = self;
        let Some(start) = at.checked_sub(after.len() + 1) else { return false };
        let Some(text) = page.get(start..at + before.len() + 1) else { return false };
        text[0] == b'\n'
            && text[text.len() - 1] == end
            && text[1..].starts_with(after)
            && text[1 + after.len()..].starts_with(before)
    }
}

/// The place of a key: the number of its page, and the offset of its first part, with 16 bits each. It is never 0,
/// because a line feed and the second part come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TextRef(u32);

impl TextRef {
    pub(super) const NONE: Self = Self(0);

    fn new(page: u16, at: u16) -> Self {
        Self(u32::from(page) << 16 | u32::from(at))
    }

    #[inline(always)]
    fn page(self) -> usize {
        (self.0 >> 16) as usize
    }

    #[inline(always)]
    fn at(self) -> usize {
        (self.0 & 0xffff) as usize
    }
}

/// The pages that hold the bytes of a shard's line patterns.
#[derive(Debug, Default)]
pub(super) struct Texts {
    pages: Vec<Page>,
    /// The numbers of the registry's pages, by their serial numbers.
    shared: HashMap<u64, u16, FixedState>,
    /// The copy of a page that grew when the shard last looked.
    copy: Option<Copy>,
    /// The number of the page that takes the shard's own keys.
    own: Option<u16>,
    own_bytes: usize,
}

#[derive(Debug)]
enum Page {
    Shared(Arc<Box<str>>),
    Own(Vec<u8>),
}

impl Page {
    #[inline(always)]
    fn bytes(&self) -> &[u8] {
        match self {
            Page::Shared(text) => text.as_bytes(),
            Page::Own(bytes) => bytes,
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Copy {
    /// The number of the page in the registry.
    number: u32,
    serial: u64,
    /// The number of the page in the shard.
    page: u16,
}

impl Texts {
    /// Returns true if this key is stored at this place.
    #[inline(always)]
    pub(super) fn is_key(&self, text: TextRef, key: Key<'_>) -> bool {
        self.pages.get(text.page()).is_some_and(|page| key.is_at(page.bytes(), text.at()))
    }

    /// Reads the beginning and the end of a key to bring them into the CPU cache.
    #[inline(always)]
    pub(super) fn touch(&self, text: TextRef, before: &[u8], after: &[u8]) -> u64 {
        let Some(page) = self.pages.get(text.page()) else { return 0 };
        let read = |at: usize| page.bytes().get(at).copied().map_or(0, u64::from);
        read(text.at().saturating_sub(after.len())) ^ read(text.at() + before.len())
    }

    /// Returns the number of bytes of the shard's own keys.
    pub(super) fn own_bytes(&self) -> usize {
        self.own_bytes
    }

    /// Returns the place of a key in the registry's page of a series, or `None` if the series has another key there.
    pub(super) fn share(&mut self, arena: &StringArena, series: StringRef, key: Key<'_>) -> Option<TextRef> {
        let (serial, text) = arena.page(series.page())?;
        if !key.is_at(text.as_str().as_bytes(), usize::from(series.at())) {
            return None;
        }
        self.replace_copy(arena);
        let page = if let Some(&page) = self.shared.get(&serial) {
            page
        } else {
            let page = self.add_page(Page::Own(Vec::new()))?;
            self.shared.insert(serial, page);
            page
        };
        let own = &mut self.pages[usize::from(page)];
        match (text, &mut *own) {
            (PageText::Open(text), Page::Own(copied)) => {
                copied.extend_from_slice(&text.as_bytes()[copied.len()..]);
                self.copy = Some(Copy { number: series.page(), serial, page });
            }
            (PageText::Closed(text), Page::Own(_)) => *own = Page::Shared(Arc::clone(text)),
            (_, Page::Shared(_)) => {}
        }
        Some(TextRef::new(page, series.at()))
    }

    /// Replaces the copy of a page by the page itself if that no longer grows.
    fn replace_copy(&mut self, arena: &StringArena) {
        let Some(Copy { number, serial, page }) = self.copy else { return };
        match arena.page(number).filter(|(present, _)| *present == serial) {
            Some((_, PageText::Open(_))) => {}
            Some((_, PageText::Closed(text))) => {
                self.pages[usize::from(page)] = Page::Shared(Arc::clone(text));
                self.copy = None;
            }
            None => self.copy = None,
        }
    }

    /// Stores a key in a page of the shard's own. Returns `None` if it exceeds 64 KiB, or if 65,536 pages are in use.
    pub(super) fn push(&mut self, Key { before, after, end }: Key<'_>) -> Option<TextRef> {
        let size = before.len() + after.len() + 2;
        if size > PAGE {
            return None;
        }
        let has_room = |page: &u16| self.pages[usize::from(*page)].bytes().len() + size <= PAGE;
        let number = match self.own.filter(has_room) {
            Some(number) => number,
            None => self.add_page(Page::Own(Vec::new()))?,
        };
        self.own = Some(number);
        let Page::Own(page) = &mut self.pages[usize::from(number)] else { return None };
        page.push(b'\n');
        page.extend_from_slice(after);
        // It is below `PAGE`, because `before` or its end follows.
        let at = page.len() as u16;
        page.extend_from_slice(before);
        page.push(end);
        self.own_bytes += size;
        Some(TextRef::new(number, at))
    }

    fn add_page(&mut self, page: Page) -> Option<u16> {
        let number = u16::try_from(self.pages.len()).ok()?;
        self.pages.push(page);
        Some(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern<'a>(before: &'a str, after: &'a str) -> Key<'a> {
        Key { before: before.as_bytes(), after: after.as_bytes(), end: PATTERN_END }
    }

    #[test]
    fn a_pattern_is_shared_while_its_page_grows_and_after_that() {
        let mut arena = StringArena::default();
        let mut texts = Texts::default();
        let mut share = |arena: &StringArena, series, before| {
            texts.share(arena, series, pattern(before, "|c")).map(|text| (text, texts.pages.len()))
        };
        let a = arena.push("|c", "a\nc");
        let (first, _) = share(&arena, a, "a").unwrap();
        let b = arena.push("|c", "bb\nc");
        let (second, pages) = share(&arena, b, "bb").unwrap();
        assert_eq!(pages, 1);
        assert_eq!(share(&arena, b, "b"), None);
        arena.close();
        let c = arena.push("|c", "c\nc");
        let (third, pages) = share(&arena, c, "c").unwrap();
        assert_eq!(pages, 2);
        assert!(matches!(texts.pages[..], [Page::Shared(_), Page::Own(_)]), "{texts:?}");
        for (text, before) in [(first, "a"), (second, "bb"), (third, "c")] {
            assert!(texts.is_key(text, pattern(before, "|c")));
            assert!(!texts.is_key(text, pattern(before, "c")));
            assert!(!texts.is_key(text, pattern(before, "")));
            assert!(!texts.is_key(text, pattern("", "|c")));
        }
        assert_eq!(texts.own_bytes(), 0);
    }

    #[test]
    fn a_page_whose_number_is_reused_is_another_page() {
        let mut arena = StringArena::default();
        let mut texts = Texts::default();
        let a = arena.push("|c", "a\nc");
        arena.close();
        let first = texts.share(&arena, a, pattern("a", "|c")).unwrap();
        arena.release(a);
        let b = arena.push("|g", "b\ng");
        assert_eq!(b.page(), a.page());
        let second = texts.share(&arena, b, pattern("b", "|g")).unwrap();
        assert!(texts.is_key(first, pattern("a", "|c")) && texts.is_key(second, pattern("b", "|g")));
    }

    /// The first identity is the second one without its last tag, so far as bytes tell.
    #[test]
    fn an_identity_that_begins_like_another_is_another_key() {
        let mut texts = Texts::default();
        let key =
            |identity: &'static str| Key { before: identity.as_bytes(), after: b"=", end: IDENTITY_END };
        let (short, long) = (key("a\nk\nv\nc"), key("a\nk\nv\nc\n\nc"));
        let places = [short, long].map(|key| texts.push(key).unwrap());
        for (place, expected) in places.into_iter().zip([[true, false], [false, true]]) {
            assert_eq!([short, long].map(|key| texts.is_key(place, key)), expected);
        }
    }

    #[test]
    fn own_keys_fill_pages_of_64_kib() {
        let mut texts = Texts::default();
        let long = "a".repeat(30_000);
        let places =
            [long.as_str(), "b", &long, "c", &long].map(|before| texts.push(pattern(before, "|c")).unwrap());
        assert_eq!(places.map(TextRef::page), [0, 0, 0, 0, 1]);
        assert!(texts.is_key(places[3], pattern("c", "|c")));
        assert_eq!(texts.push(pattern(&"a".repeat(PAGE), "|c")), None);
    }
}
