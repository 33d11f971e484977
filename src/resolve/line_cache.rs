//! Remembers line patterns, so that a shard finds a known series from a line's raw bytes without parsing.

use std::hash::{BuildHasher, Hasher};

use foldhash::fast::RandomState;

use crate::model::{Claim, Kind, Memory, MemoryPart};

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

impl RuleEffect {
    /// Returns the place that records the samples, if the rule does not drop them.
    pub(crate) fn destination(self) -> Option<Destination> {
        match self {
            RuleEffect::Dropped => None,
            RuleEffect::Scaled { destination, .. } => Some(destination),
        }
    }
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
/// - It is one array of 16-byte entries with linear probing, so a successful lookup reads one cache line of it.
/// - It keeps all keys in one arena, so no lookup follows a pointer to a separate allocation.
#[derive(Debug)]
pub(crate) struct LineCache {
    /// Each table has its own random key, so no sender can choose patterns that collide.
    hasher: RandomState,
    /// At most [`capacity`] of them are in use.
    entries: Box<[Entry]>,
    len: usize,
    /// The concatenated keys. A key is the bytes before the value, a colon, and the bytes after the value.
    keys: Vec<u8>,
    /// The distinct weights of the patterns. The first one is 1.
    weights: Vec<f64>,
    effects: Vec<RuleEffect>,
    /// Whether a pattern was too long to remember.
    overflowed: bool,
    memory: Memory,
    /// Accounts for the entries and the keys.
    claim: Claim,
}

/// An entry of the table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry {
    hash: u32,
    key_start: u32,
    /// 0 marks a free entry.
    key_len: u16,
    weight_index: u8,
    target: Target,
    slot: u32,
}

impl Entry {
    pub(crate) const FREE: Self =
        Self { hash: 0, key_start: 0, key_len: 0, weight_index: 0, target: Target::Counter, slot: 0 };

    #[inline(always)]
    pub(crate) fn destination(self) -> Destination {
        Destination { target: self.target, slot: self.slot, weight_index: self.weight_index }
    }
}

impl LineCache {
    /// Returns an empty cache with room for `patterns` patterns whose keys take `key_bytes` bytes. It counts in `memory`.
    pub(crate) fn with_capacity(patterns: usize, key_bytes: usize, memory: &Memory) -> Self {
        let mut entries = 1024;
        while capacity(entries) < patterns {
            entries = grown(entries);
        }
        let mut cache = Self {
            hasher: RandomState::default(),
            entries: vec![Entry::FREE; entries].into(),
            len: 0,
            keys: Vec::with_capacity(key_bytes),
            weights: vec![1.0],
            effects: Vec::new(),
            overflowed: false,
            memory: memory.clone(),
            claim: memory.claim(MemoryPart::Patterns, 0),
        };
        cache.claim.resize(cache.bytes());
        cache
    }

    /// Returns the memory of the entries and the keys, in bytes.
    fn bytes(&self) -> usize {
        self.entries.len() * size_of::<Entry>() + self.keys.capacity()
    }

    /// Returns true if there is memory for one more pattern.
    pub(crate) fn has_room(&self) -> bool {
        self.growth() <= self.memory.room(MemoryPart::Patterns)
    }

    /// Returns true if there is memory for one more pattern, and plenty is left for the patterns of new series.
    pub(crate) fn has_ample_room(&self) -> bool {
        self.growth() <= self.memory.room(MemoryPart::Patterns) / 2
            && !self.memory.is_scarce(MemoryPart::Patterns)
    }

    /// Returns at least the bytes that one more pattern may take.
    fn growth(&self) -> usize {
        let entries = self.entries.len();
        let of_entries = if self.len < capacity(entries) { 0 } else { grown(entries) - entries };
        // A full vector doubles its capacity.
        let of_keys =
            if self.keys.capacity() - self.keys.len() > MAX_KEY { 0 } else { self.keys.capacity() + MAX_KEY };
        of_entries * size_of::<Entry>() + of_keys
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn key_bytes(&self) -> usize {
        self.keys.len()
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

    /// Returns the first entry that a lookup of this hash reads.
    #[inline(always)]
    pub(crate) fn first_entry(&self, hash: u32) -> Entry {
        self.entries[home(hash, self.entries.len())]
    }

    /// Reads the first and the last byte of an entry's key to bring them into the CPU cache.
    #[inline(always)]
    pub(crate) fn touch(&self, Entry { key_start, key_len, .. }: Entry) -> u64 {
        let read = |at: usize| self.keys.get(at).copied().map_or(0, u64::from);
        read(key_start as usize) ^ read(key_start as usize + usize::from(key_len))
    }

    /// Returns the destination of a line's samples by the line's [`hash`](Self::hash), or `None` if its pattern is
    /// unknown.
    #[inline(always)]
    pub(crate) fn find(&self, hash: u32, before: &[u8], after: &[u8]) -> Option<Destination> {
        let mut index = home(hash, self.entries.len());
        loop {
            // The search wraps around to the first entry.
            let Some(entry) = self.entries.get(index) else {
                index = 0;
                continue;
            };
            if entry.key_len == 0 {
                return None;
            }
            if entry.hash == hash && self.is_key(entry, before, after) {
                return Some(entry.destination());
            }
            index += 1;
        }
    }

    /// Returns true if a pattern could not be remembered because its key exceeds 64 KiB or all keys exceed 4 GiB.
    pub(crate) fn has_overflowed(&self) -> bool {
        self.overflowed
    }

    /// Returns the effect of the rule that a destination with [`Target::Ruled`] refers to.
    pub(crate) fn effect(&self, destination: Destination) -> RuleEffect {
        self.effects[destination.slot as usize]
    }

    /// Remembers a pattern that [`find`](Self::find) does not know, unless its key is too long.
    pub(crate) fn insert(&mut self, before: &[u8], after: &[u8], destination: Destination) {
        let length = before.len() + 1 + after.len();
        let (Ok(key_start), Ok(key_len)) = (u32::try_from(self.keys.len()), u16::try_from(length)) else {
            self.overflowed = true;
            return;
        };
        if self.len >= capacity(self.entries.len()) {
            self.grow();
        }
        self.keys.reserve(length);
        self.keys.extend_from_slice(before);
        self.keys.push(b':');
        self.keys.extend_from_slice(after);
        self.claim.resize(self.bytes());
        let Destination { target, slot, weight_index } = destination;
        let hash = self.hash(before, after);
        put(&mut self.entries, Entry { hash, key_start, key_len, weight_index, target, slot });
        self.len += 1;
    }

    /// Remembers the effect that a rule has on samples of a pattern.
    pub(crate) fn insert_effect(&mut self, before: &[u8], after: &[u8], effect: RuleEffect) {
        self.effects.push(effect);
        let slot = self.effects.len() as u32 - 1;
        self.insert(before, after, Destination { target: Target::Ruled, slot, weight_index: 0 });
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

    #[inline(always)]
    fn is_key(&self, entry: &Entry, before: &[u8], after: &[u8]) -> bool {
        let key = &self.keys[entry.key_start as usize..][..usize::from(entry.key_len)];
        // `before` holds no colon in a split line, so the colon after it is the separator.
        key.len() == before.len() + 1 + after.len()
            && &key[..before.len()] == before
            && key[before.len()] == b':'
            && &key[before.len() + 1..] == after
    }

    fn grow(&mut self) {
        let mut entries = vec![Entry::FREE; grown(self.entries.len())].into_boxed_slice();
        for entry in self.entries.iter().filter(|entry| entry.key_len > 0) {
            put(&mut entries, *entry);
        }
        self.entries = entries;
    }
}

/// The length of the longest key.
const MAX_KEY: usize = u16::MAX as usize;

/// Returns the number of patterns that a table with this many entries accepts.
///
/// Small tables stay mostly free, so most lookups end at the first entry. Large tables are fuller to save memory.
fn capacity(entries: usize) -> usize {
    if entries < 1 << 16 {
        entries / 4
    } else if entries < 1 << 20 {
        entries / 2
    } else {
        entries / 4 * 3
    }
}

/// Returns the next size of a table. It grows by half, because doubling would leave too much of a large table unused.
fn grown(entries: usize) -> usize {
    entries / 2 * 3
}

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
    if let Some(free) = from_home.iter_mut().chain(up_to_home).find(|entry| entry.key_len == 0) {
        *free = entry;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn find(cache: &LineCache, before: &[u8], after: &[u8]) -> Option<Destination> {
        cache.find(cache.hash(before, after), before, after)
    }

    #[test]
    fn an_entry_takes_a_quarter_of_a_cache_line() {
        assert_eq!(size_of::<Entry>(), 16);
    }

    #[test]
    fn each_table_hashes_with_its_own_key() {
        let hashes = || {
            let cache = LineCache::with_capacity(0, 0, &Memory::default());
            [&b"a"[..], b"b", b"c.d"].map(|before| cache.hash(before, b"|c"))
        };
        assert_ne!(hashes(), hashes());
    }

    #[test]
    fn the_boundary_between_name_and_rest_is_part_of_the_key() {
        let mut cache = LineCache::with_capacity(0, 0, &Memory::default());
        let destination = Destination { target: Target::Counter, slot: 7, weight_index: 0 };
        cache.insert(b"a", b"|c|#t", destination);
        assert!(find(&cache, b"a", b"|c|#t").is_some());
        assert!(find(&cache, b"a|c", b"|#t").is_none());
        assert!(find(&cache, b"a", b"|c").is_none());
    }

    #[test]
    fn patterns_refer_to_at_most_256_weights() {
        let mut cache = LineCache::with_capacity(0, 0, &Memory::default());
        assert_eq!(cache.index_of_weight(1.0), Some(0));
        for index in 1..=255_u8 {
            assert_eq!(cache.index_of_weight(f64::from(index) + 1.5), Some(index));
        }
        assert_eq!(cache.index_of_weight(1e9), None);
        assert_eq!(cache.index_of_weight(2.5), Some(1));
    }

    proptest! {
        #[test]
        fn the_table_behaves_like_a_standard_map(keys in proptest::collection::vec(("[a-d]{1,3}", "[|c#d]{0,3}"), 0..2000)) {
            let mut cache = LineCache::with_capacity(0, 0, &Memory::default());
            let mut model = HashMap::new();
            for (slot, (before, after)) in (0_u32..).zip(keys) {
                let found = find(&cache, before.as_bytes(), after.as_bytes()).map(|destination| destination.slot);
                prop_assert_eq!(found, model.get(&(before.clone(), after.clone())).copied());
                if found.is_none() {
                    cache.insert(before.as_bytes(), after.as_bytes(), Destination { target: Target::Set, slot, weight_index: 0 });
                    model.insert((before, after), slot);
                }
            }
            prop_assert_eq!(cache.len(), model.len());
        }
    }
}
