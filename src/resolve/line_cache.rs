//! Remembers line patterns, so that a shard finds a known series from a line's raw bytes without parsing.

use std::hash::{BuildHasher, Hasher};

use foldhash::fast::RandomState;

use super::texts::{Key, TextRef, Texts};
use crate::model::Kind;

/// The column that records the samples of a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    Counter,
    Gauge,
    /// A gauge whose values are always absolute, even with a sign.
    AbsoluteGauge,
    Timing,
    Histogram,
    Distribution,
    Set,
    /// A mapping rule does more than rename the series. The slot is the index of a [`RuleEffect`].
    Ruled,
}

impl Target {
    /// Returns the kind of the samples, or `None` if a [`RuleEffect`] decides it.
    #[inline(always)]
    pub(crate) fn kind(self) -> Option<Kind> {
        Some(match self {
            Target::Counter => Kind::Counter,
            Target::Gauge | Target::AbsoluteGauge => Kind::Gauge,
            Target::Timing => Kind::Timing,
            Target::Histogram => Kind::Histogram,
            Target::Distribution => Kind::Distribution,
            Target::Set => Kind::Set,
            Target::Ruled => return None,
        })
    }
}

/// The place that records the samples of a line pattern.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Destination {
    pub(crate) target: Target,
    /// An index into the column of the target. For gauges, it is an index into the store that all shards share.
    pub(crate) slot: u32,
    /// An index that [`LineCache::weight`] turns into a weight.
    pub(crate) weight_index: u8,
}

/// The effect of a mapping rule on the samples of a pattern, other than a new name.
#[derive(Debug, Clone, Copy)]
pub(crate) enum RuleEffect {
    /// The rule drops the samples.
    Dropped,
    /// The rule multiplies the values by `scale`.
    Scaled { destination: Destination, scale: f64 },
}

/// All line patterns that a shard has seen.
///
/// A line pattern is a line without its value. Several patterns may lead to one series, for example with tags in
/// another order or with another sample rate. Each pattern has its own slot, and the flush adds up the slots of a
/// series.
///
/// The simple version is a standard map from bytes to [`Destination`]. This table differs in three ways, which make
/// lookups several times faster (`docs/design/line-cache.md`):
///
/// - It hashes the key in place, in the datagram.
/// - It is one array of 14-byte entries with linear probing, so a successful lookup reads one or two cache lines of it.
/// - Its keys are in large pages that shards share ([`Texts`]), so each further shard takes no memory for them.
#[derive(Debug)]
pub(crate) struct LineCache {
    /// Each table has its own random key, so no sender can choose patterns that collide.
    hasher: RandomState,
    /// At most [`capacity`] of them are in use.
    entries: Box<[Entry]>,
    len: usize,
    texts: Texts,
    /// The distinct weights of the patterns. The first one is 1.
    weights: Vec<f64>,
    effects: Vec<RuleEffect>,
    /// Whether a pattern was too long to remember.
    overflowed: bool,
}

/// An entry of the table. Each shard has one per pattern, so it has no padding.
#[derive(Debug, Clone, Copy)]
#[repr(C, packed(2))]
pub(crate) struct Entry {
    hash: u32,
    /// [`TextRef::NONE`] marks a free entry.
    text: TextRef,
    slot: u32,
    weight_index: u8,
    target: Target,
}

impl Entry {
    pub(crate) const FREE: Self =
        Self { hash: 0, text: TextRef::NONE, slot: 0, weight_index: 0, target: Target::Counter };

    #[inline(always)]
    fn is_free(self) -> bool {
        let Self { text, .. } = self;
        text == TextRef::NONE
    }

    #[inline(always)]
    pub(crate) fn destination(self) -> Destination {
        Destination { target: self.target, slot: self.slot, weight_index: self.weight_index }
    }
}

/// The approximate number of patterns that fit in a CPU cache together with their keys and slots.
///
/// Reading ahead costs a little if everything is cached, and saves much if not. It costs 11 ns per line among 20,000
/// counters and saves 43 ns among 100,000, on a processor with 1 MB and 32 MB of cache.
const CACHED: usize = 1 << 16;

impl LineCache {
    /// Returns an empty cache with room for `patterns` patterns.
    pub(crate) fn with_capacity(patterns: usize) -> Self {
        let mut entries = 1024;
        while capacity(entries) < patterns {
            entries = grown(entries);
        }
        Self {
            hasher: RandomState::default(),
            entries: vec![Entry::FREE; entries].into(),
            len: 0,
            texts: Texts::default(),
            weights: vec![1.0],
            effects: Vec::new(),
            overflowed: false,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Returns the number of bytes of the keys that the shard does not share.
    pub(crate) fn key_bytes(&self) -> usize {
        self.texts.own_bytes()
    }

    /// Returns the keys, in which the caller may look for a place for a new one.
    pub(super) fn texts(&mut self) -> &mut Texts {
        &mut self.texts
    }

    /// Returns the number of occurrences that one sample with this destination represents.
    #[inline(always)]
    pub(crate) fn weight(&self, destination: Destination) -> f64 {
        self.weights[usize::from(destination.weight_index)]
    }

    /// Returns the index by which a pattern refers to a weight, or `None` if 256 weights are in use.
    pub(crate) fn index_of_weight(&mut self, weight: f64) -> Option<u8> {
        let known = self.weights.iter().position(|known| known.to_bits() == weight.to_bits());
        let index = u8::try_from(known.unwrap_or(self.weights.len())).ok()?;
        if known.is_none() {
            self.weights.push(weight);
        }
        Some(index)
    }

    /// Returns true if a CPU cache holds most of what lookups read.
    #[inline(always)]
    pub(crate) fn fits_cpu_cache(&self) -> bool {
        self.len < CACHED
    }

    /// Returns the first entry that a lookup of this hash reads.
    #[inline(always)]
    pub(crate) fn first_entry(&self, hash: u32) -> Entry {
        self.entries[home(hash, self.entries.len())]
    }

    /// Reads the first and the last byte of an entry's key, which should be that of this line, to bring them into the
    /// CPU cache.
    #[inline(always)]
    pub(crate) fn touch(&self, Entry { text, .. }: Entry, before: &[u8], after: &[u8]) -> u64 {
        self.texts.touch(text, before, after)
    }

    /// Returns the destination of the samples with this key by its [`hash`](Self::hash), or `None` if the key is
    /// unknown.
    #[inline(always)]
    pub(super) fn find(&self, hash: u32, key: Key<'_>) -> Option<Destination> {
        let mut index = home(hash, self.entries.len());
        loop {
            // The search wraps around to the first entry.
            let Some(&entry) = self.entries.get(index) else {
                index = 0;
                continue;
            };
            if entry.is_free() {
                return None;
            }
            if entry.hash == hash && self.texts.is_key(entry.text, key) {
                return Some(entry.destination());
            }
            index += 1;
        }
    }

    /// Returns true if a pattern could not be remembered because its key exceeds 64 KiB or 65,536 pages hold keys.
    pub(crate) fn has_overflowed(&self) -> bool {
        self.overflowed
    }

    /// Returns the effect of the rule that a destination with [`Target::Ruled`] refers to.
    pub(crate) fn effect(&self, destination: Destination) -> RuleEffect {
        self.effects[destination.slot as usize]
    }

    /// Remembers a pattern that [`find`](Self::find) does not know, unless its key is too long. `shared` is the place of
    /// its key in a page that shards share, if there is one.
    pub(super) fn insert(&mut self, key: Key<'_>, shared: Option<TextRef>, destination: Destination) {
        let Some(text) = shared.or_else(|| self.texts.push(key)) else {
            self.overflowed = true;
            return;
        };
        if self.len >= capacity(self.entries.len()) {
            self.grow();
        }
        let Destination { target, slot, weight_index } = destination;
        let hash = self.hash(key.before, key.after);
        put(&mut self.entries, Entry { hash, text, slot, weight_index, target });
        self.len += 1;
    }

    /// Remembers the effect that a rule has on samples of a pattern.
    pub(super) fn insert_effect(&mut self, key: Key<'_>, shared: Option<TextRef>, effect: RuleEffect) {
        self.effects.push(effect);
        let slot = self.effects.len() as u32 - 1;
        self.insert(key, shared, Destination { target: Target::Ruled, slot, weight_index: 0 });
    }

    /// Returns the hash of the bytes before and after a line's value.
    #[inline(always)]
    pub(crate) fn hash(&self, before: &[u8], after: &[u8]) -> u32 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(before);
        hasher.write(after);
        let hash = hasher.finish();
        (hash ^ (hash >> 32)) as u32
    }

    fn grow(&mut self) {
        let mut entries = vec![Entry::FREE; grown(self.entries.len())].into_boxed_slice();
        for entry in self.entries.iter().filter(|entry| !entry.is_free()) {
            put(&mut entries, *entry);
        }
        self.entries = entries;
    }
}

/// Returns the number of patterns that a table with this many entries accepts.
///
/// Small tables stay mostly free, so most lookups end at the first entry. Large tables are fuller to save memory.
fn capacity(entries: usize) -> usize {
    if entries < LARGE { entries / 4 } else { entries / 5 * 4 }
}

/// Returns the next size of a table. A large table grows by an eighth, because a longer step would leave too much of it
/// unused.
fn grown(entries: usize) -> usize {
    if entries < LARGE { entries / 2 * 3 } else { entries / 8 * 9 }
}

/// The number of entries from which a table is large.
const LARGE: usize = 1 << 16;

/// Returns the index at which the lookup of a hash starts, for any number of entries (Lemire: *A fast alternative to the
/// modulo reduction*, 2016).
#[inline(always)]
fn home(hash: u32, entries: usize) -> usize {
    ((u64::from(hash) * entries as u64) >> 32) as usize
}

/// Puts an entry into the first free place at or after its home.
fn put(entries: &mut [Entry], entry: Entry) {
    let home = home(entry.hash, entries.len());
    let (up_to_home, from_home) = entries.split_at_mut(home);
    if let Some(free) = from_home.iter_mut().chain(up_to_home).find(|entry| entry.is_free()) {
        *free = entry;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::super::texts::PATTERN_END;
    use super::*;

    fn key<'a>(before: &'a [u8], after: &'a [u8]) -> Key<'a> {
        Key { before, after, end: PATTERN_END }
    }

    fn find(cache: &LineCache, before: &[u8], after: &[u8]) -> Option<Destination> {
        cache.find(cache.hash(before, after), key(before, after))
    }

    #[test]
    fn an_entry_has_no_padding() {
        assert_eq!(size_of::<Entry>(), 14);
    }

    #[test]
    fn a_large_table_is_at_least_seven_tenths_full_when_it_grows() {
        let mut entries = LARGE;
        while entries < 100_000_000 {
            assert!(capacity(entries) * 10 >= grown(entries) * 7, "{entries}");
            entries = grown(entries);
        }
    }

    #[test]
    fn each_table_hashes_with_its_own_key() {
        let hashes = || {
            let cache = LineCache::with_capacity(0);
            [&b"a"[..], b"b", b"c.d"].map(|before| cache.hash(before, b"|c"))
        };
        assert_ne!(hashes(), hashes());
    }

    #[test]
    fn the_boundary_between_name_and_rest_is_part_of_the_key() {
        let mut cache = LineCache::with_capacity(0);
        let destination = Destination { target: Target::Counter, slot: 7, weight_index: 0 };
        cache.insert(key(b"a", b"|c|#t"), None, destination);
        assert!(find(&cache, b"a", b"|c|#t").is_some());
        assert!(find(&cache, b"a|c", b"|#t").is_none());
        assert!(find(&cache, b"a", b"|c").is_none());
    }

    #[test]
    fn patterns_refer_to_at_most_256_weights() {
        let mut cache = LineCache::with_capacity(0);
        assert_eq!(cache.index_of_weight(1.0), Some(0));
        for index in 1..=255_u8 {
            assert_eq!(cache.index_of_weight(f64::from(index) + 1.5), Some(index));
        }
        assert_eq!(cache.index_of_weight(1e9), None);
        assert_eq!(cache.index_of_weight(2.5), Some(1));
    }

    proptest! {
        #[test]
        fn the_table_behaves_like_a_standard_map(keys in proptest::collection::vec(("[a-d]{1,3}", "[|c#d]{1,3}"), 0..2000)) {
            let mut cache = LineCache::with_capacity(0);
            let mut model = HashMap::new();
            for (slot, (before, after)) in (0_u32..).zip(keys) {
                let found = find(&cache, before.as_bytes(), after.as_bytes()).map(|destination| destination.slot);
                prop_assert_eq!(found, model.get(&(before.clone(), after.clone())).copied());
                if found.is_none() {
                    let destination = Destination { target: Target::Set, slot, weight_index: 0 };
                    cache.insert(key(before.as_bytes(), after.as_bytes()), None, destination);
                    model.insert((before, after), slot);
                }
            }
            prop_assert_eq!(cache.len(), model.len());
        }
    }
}
