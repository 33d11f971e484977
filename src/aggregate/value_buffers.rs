//! Holds the values of many series in the open interval, in slots.
//!
//! Each slot has a list of values. Recording straight into a histogram or a hash set would miss the cache for each
//! sample. Appending to a list touches one cache line. Folding a run of values into the larger structure pays for its
//! cache misses once per run (`docs/design/values.md`).
//!
//! ```text
//! slot --> head: up to 7 values --> older chunks: 7 or 14 values each          newest first
//!   \--> folded: the values before them, once there were many
//! ```
//!
//! A slot without values in this interval takes five bytes: the number of its head, and the index of its weight.

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use super::chunks::{CHUNK_VALUES, Chunk, ChunkArena, MOST_BEHIND, NONE, Segment, UNPACKED};
use super::push_exact;

/// The number of values that gather in chunks between two folds of a slot.
///
/// It is large enough to pay for the cache misses, and small enough to keep the chunks of a thousand slots in the
/// cache. With 6,000 values in each slot, a value takes 38 ns. With twice as many it takes 43 ns, and with four times
/// as many 60 ns.
const FOLD_EVERY: u32 = 8 * CHUNK_VALUES as u32;

/// A structure into which many values of a slot are folded.
pub(crate) trait Fold {
    /// Returns an empty structure with the same parameters.
    fn empty(&self) -> Self;
    /// Adds values, each of which represents `weight` samples.
    fn fold(&mut self, words: &[u64], weight: f64);
    /// Forgets all values and keeps the memory.
    fn clear(&mut self);
}

/// A list of 64-bit words for each slot: the bits of a distribution's values, or the hashes of a set's members.
#[derive(Debug)]
pub(crate) struct ValueBuffers<T> {
    /// The number of each slot's head, which is the chunk with its latest values.
    heads: Vec<u32>,
    /// The index of each slot's weight.
    weight_indices: Vec<u8>,
    /// The distinct weights of slots. A weight applies to all values that were pushed without their own weight.
    weights: Vec<f64>,
    chunks: ChunkArena,
    /// The structures into which values of a slot were folded. Few slots have one.
    folded: HashMap<u32, Box<T>, FixedState>,
    spare: Vec<Box<T>>,
    /// The empty structure that new ones are modeled on.
    model: T,
    /// The number of values that a slot keeps before its first fold.
    keep: u32,
    /// A buffer for values that are about to be folded.
    run: Vec<u64>,
}

/// Memory that the flush returns to the shard for reuse.
#[derive(Debug)]
pub(crate) struct Supplies<T> {
    segments: Vec<Segment>,
    folded: Vec<Box<T>>,
}

impl<T: Fold> ValueBuffers<T> {
    /// Creates buffers without slots. Values are folded into structures like `model`, which must be empty. A slot keeps
    /// at least `keep` values before its first fold, but at most a few million.
    pub(crate) fn new(model: T, keep: usize) -> Self {
        Self {
            heads: Vec::new(),
            weight_indices: Vec::new(),
            weights: Vec::new(),
            chunks: ChunkArena::default(),
            folded: HashMap::default(),
            spare: Vec::new(),
            model,
            keep: u32::try_from(keep).unwrap_or(u32::MAX).min(MOST_BEHIND / 4),
            run: Vec::new(),
        }
    }

    /// Reserves memory for this many slots in total.
    pub(crate) fn reserve(&mut self, slots: usize) {
        let missing = slots.saturating_sub(self.len());
        self.heads.reserve_exact(missing);
        self.weight_indices.reserve_exact(missing);
    }

    /// Opens the next slot. Most of its values will represent `weight` samples each. Slots may have 256 different
    /// weights, as many as line patterns have.
    pub(crate) fn open(&mut self, weight: f64) {
        let known = self.weights.iter().position(|known| known.to_bits() == weight.to_bits());
        let index = known.unwrap_or_else(|| {
            self.weights.push(weight);
            self.weights.len() - 1
        });
        push_exact(&mut self.heads, NONE);
        push_exact(&mut self.weight_indices, index as u8);
    }

    fn weight(&self, slot: u32) -> f64 {
        self.weights[usize::from(self.weight_indices[slot as usize])]
    }

    /// Appends a value with the weight of the slot.
    #[inline(always)]
    pub(crate) fn push(&mut self, slot: u32, word: u64) {
        let head = self.heads[slot as usize];
        if !self.chunks.get_mut(head).is_some_and(|head| head.push(word)) {
            self.spill(slot, word);
        }
    }

    /// Reads a slot to bring it into the CPU cache.
    #[inline(always)]
    pub(crate) fn touch(&self, slot: u32) -> u64 {
        let head = self.heads.get(slot as usize).and_then(|&head| self.chunks.get(head));
        head.map_or(0, |head| u64::from(head.older))
    }

    /// Appends a value. Without `weight`, the weight of the slot applies.
    #[inline(always)]
    pub(crate) fn push_as(&mut self, slot: u32, word: u64, weight: Option<f64>) {
        match weight {
            None => self.push(slot, word),
            Some(weight) => self.push_weighted(slot, word, weight),
        }
    }

    /// Appends a value with any weight.
    pub(crate) fn push_weighted(&mut self, slot: u32, word: u64, weight: f64) {
        if weight.to_bits() == self.weight(slot).to_bits() {
            return self.push(slot, word);
        }
        let Self { heads, chunks, .. } = self;
        let head = &mut heads[slot as usize];
        if *head == NONE {
            *head = chunks.insert_head();
        }
        // The head takes only values with the weight of the slot, so others are behind it.
        let older = chunks.get(*head).map_or(NONE, |head| head.older);
        if !chunks.get_mut(older).is_some_and(|chunk| chunk.push_weighted(word, weight)) {
            self.fold_if_many(slot);
            let head = self.heads[slot as usize];
            let older = self.chunks.get(head).map_or(NONE, |head| head.older);
            let chunk = self.chunks.insert(Chunk::weighted(word, weight, older));
            if let Some(head) = self.chunks.get_mut(head) {
                head.older = chunk;
            }
        }
        if let Some(head) = self.chunks.get_mut(self.heads[slot as usize]) {
            head.add_behind();
        }
    }

    /// Appends a value to a slot whose head is full or missing.
    #[inline(never)]
    fn spill(&mut self, slot: u32, word: u64) {
        self.fold_if_many(slot);
        let head = &mut self.heads[slot as usize];
        *head = self.chunks.append(*head, word);
    }

    /// Returns the number of values that a slot may have in chunks before its first fold: from `keep` to twice as many.
    ///
    /// With one limit for all slots, series that are recorded at the same pace would reach it at the same moment. A
    /// receiver of 1,000 timings would then fold half a million values at once, and lose datagrams while it reads
    /// nothing.
    fn first_fold(&self, index: u32) -> u32 {
        // Multiples of the golden ratio spread evenly, however many there are (Knuth, volume 3, 6.4).
        let share = u64::from(index.wrapping_mul(0x9e37_79b9));
        self.keep.saturating_add(((u64::from(self.keep) * share) >> 32) as u32)
    }

    /// Folds all values behind the head if their number exceeds the limit.
    fn fold_if_many(&mut self, slot: u32) {
        let number = self.heads[slot as usize];
        let Some(head) = self.chunks.get(number) else { return };
        let limit = if head.is_folded() { FOLD_EVERY } else { self.first_fold(slot) };
        if head.behind() <= limit {
            return;
        }
        let (mut next, weight) = (head.older, self.weight(slot));
        let Self { chunks, folded, spare, model, run, .. } = self;
        let folded =
            folded.entry(slot).or_insert_with(|| spare.pop().unwrap_or_else(|| Box::new(model.empty())));
        // Most values have the weight of the slot, so they are folded together.
        run.clear();
        let mut unpacked = UNPACKED;
        while let Some(chunk) = chunks.get(next) {
            match chunk.values(weight, &mut unpacked) {
                (values, _) if chunk.has_slot_weight() => run.extend_from_slice(values),
                (values, weight) => folded.fold(values, weight),
            }
            next = chunks.release(next);
        }
        folded.fold(run, weight);
        if let Some(head) = chunks.get_mut(number) {
            head.fold_behind();
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.heads.len()
    }

    /// Opens slots that `other` has and these buffers lack, at most `limit`. Returns true if no slot is missing
    /// afterwards.
    pub(crate) fn catch_up(&mut self, other: &Self, limit: usize) -> bool {
        let missing = &other.weight_indices[self.len()..];
        self.weight_indices.extend_from_slice(&missing[..missing.len().min(limit)]);
        self.heads.resize(self.weight_indices.len(), NONE);
        // Weights keep their indices.
        self.weights.extend_from_slice(&other.weights[self.weights.len()..]);
        self.len() == other.len()
    }

    /// Takes the memory that `other` holds in reserve.
    pub(crate) fn take_reserve(&mut self, other: &mut Self) {
        self.chunks.reserve.append(&mut other.chunks.reserve);
        self.spare.append(&mut other.spare);
    }

    /// Takes memory back from the flush. Returns the previous reserve: the last interval did not need it, so
    /// the next one will not either.
    pub(crate) fn resupply(&mut self, mut supplies: Supplies<T>) -> Supplies<T> {
        std::mem::swap(&mut self.chunks.reserve, &mut supplies.segments);
        std::mem::swap(&mut self.spare, &mut supplies.folded);
        supplies
    }

    /// Returns the slots that hold values.
    pub(crate) fn occupied(&self) -> impl Iterator<Item = u32> {
        (0..).zip(&self.heads).filter(|(_, head)| **head != NONE).map(|(slot, _)| slot)
    }

    /// Returns the values of a slot.
    pub(crate) fn contents(&self, slot: u32) -> Contents<'_, T> {
        let head = self.heads[slot as usize];
        let is_folded = self.chunks.get(head).is_some_and(Chunk::is_folded);
        let folded = if is_folded { self.folded.get(&slot).map(|folded| &**folded) } else { None };
        Contents { chunks: &self.chunks, head, weight: self.weight(slot), folded }
    }

    /// Forgets all values and keeps the slots. Returns the memory that held the values.
    pub(crate) fn clear(&mut self) -> Supplies<T> {
        self.heads.fill(NONE);
        let mut folded = Vec::with_capacity(self.folded.len());
        for (_, mut one) in self.folded.drain() {
            one.clear();
            folded.push(one);
        }
        Supplies { segments: self.chunks.clear(), folded }
    }
}

/// The values of one slot: runs of equal weight, and the structure into which older values were folded.
#[derive(Debug)]
pub(crate) struct Contents<'a, T> {
    chunks: &'a ChunkArena,
    /// The number of the head.
    head: u32,
    weight: f64,
    pub(crate) folded: Option<&'a T>,
}

impl<T> Contents<'_, T> {
    /// Calls `each` with runs of values and the weight of each, the newest run first.
    pub(crate) fn for_each_run(&self, mut each: impl FnMut(&[u64], f64)) {
        let (mut next, mut unpacked) = (self.head, UNPACKED);
        while let Some(chunk) = self.chunks.get(next) {
            let (values, weight) = chunk.values(self.weight, &mut unpacked);
            each(values, weight);
            next = chunk.older;
        }
    }
}

/// Calls `each` for all runs of many slots, one run of each slot in turn. Passes the number of the slot along with the
/// run.
///
/// The simple version visits all runs of one slot before the next slot. But only a chunk says where the next chunk
/// lies, so that loop would wait for each chunk. If the slots take turns, their cache misses overlap. The loop that
/// follows the links does nothing else, so the processor can look far enough ahead to start all the misses.
pub(crate) fn interleave<'a, T: 'a>(
    slots: impl Iterator<Item = &'a Contents<'a, T>>,
    mut each: impl FnMut(usize, &[u64], f64),
) {
    let mut chains: Vec<_> =
        slots.enumerate().map(|(number, contents)| Chain::new(number, contents)).collect();
    let mut unpacked = UNPACKED;
    while !chains.is_empty() {
        chains.iter_mut().for_each(Chain::advance);
        chains.retain(|chain| {
            let Some(chunk) = chain.chunk else { return false };
            let (words, weight) = chunk.values(chain.contents.weight, &mut unpacked);
            each(chain.number, words, weight);
            true
        });
    }
}

/// A walk along the chunks of one slot, from the newest to the oldest.
#[derive(Debug)]
struct Chain<'a, T> {
    number: usize,
    contents: &'a Contents<'a, T>,
    chunk: Option<&'a Chunk>,
    next: u32,
}

impl<'a, T> Chain<'a, T> {
    fn new(number: usize, contents: &'a Contents<'a, T>) -> Self {
        Self { number, contents, chunk: None, next: contents.head }
    }

    fn advance(&mut self) {
        self.chunk = self.contents.chunks.get(self.next);
        self.next = self.chunk.map_or(NONE, |chunk| chunk.older);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Default)]
    struct Log(Vec<(u64, u64)>);

    impl Fold for Log {
        fn empty(&self) -> Self {
            Self::default()
        }
        fn fold(&mut self, words: &[u64], weight: f64) {
            self.0.extend(words.iter().map(|&word| (word, weight.to_bits())));
        }
        fn clear(&mut self) {
            self.0.clear();
        }
    }

    fn all(buffers: &ValueBuffers<Log>, slot: u32) -> Vec<(u64, u64)> {
        let contents = buffers.contents(slot);
        let mut values = contents.folded.map_or(Vec::new(), |log| log.0.clone());
        contents
            .for_each_run(|words, weight| values.extend(words.iter().map(|&word| (word, weight.to_bits()))));
        values.sort_unstable();
        values
    }

    #[test]
    fn values_are_folded_only_beyond_the_number_to_keep() {
        let mut buffers = ValueBuffers::new(Log::default(), 20);
        buffers.open(1.0);
        let slot = 0;
        for word in 0..28 {
            buffers.push(slot, word);
            assert!(buffers.contents(slot).folded.is_none());
        }
        buffers.push(slot, 28);
        assert_eq!(buffers.contents(slot).folded.map(|log| log.0.len()), Some(21));
    }

    #[test]
    fn slots_that_fill_at_the_same_pace_are_folded_at_different_times() {
        const SLOTS: u32 = 100;
        let mut buffers = ValueBuffers::new(Log::default(), 512);
        (0..SLOTS).for_each(|_| buffers.open(1.0));
        let folded = |buffers: &ValueBuffers<Log>| {
            (0..SLOTS).filter(|&slot| buffers.contents(slot).folded.is_some()).count()
        };
        let (mut before, mut most) = (0, 0);
        for word in 0..=2 * 512 + 2 * CHUNK_VALUES as u64 {
            (0..SLOTS).for_each(|slot| buffers.push(slot, word));
            most = most.max(folded(&buffers) - before);
            before = folded(&buffers);
        }
        assert_eq!(before, SLOTS as usize);
        assert!(most <= 3, "{most} with one round of values");
    }

    #[test]
    fn the_memory_of_one_interval_serves_the_next() {
        let mut buffers = ValueBuffers::new(Log::default(), 0);
        buffers.open(1.0);
        let slot = 0;
        (0..100_000).for_each(|word| buffers.push(slot, word));
        let segments = buffers.chunks.segment_count();
        assert_eq!(segments, 1, "folded chunks are reused");
        let supplies = buffers.clear();
        assert_eq!((supplies.segments.len(), supplies.folded.len()), (1, 1));
        assert_eq!(buffers.occupied().count(), 0);
        drop(buffers.resupply(supplies));
        (0..=CHUNK_VALUES as u64).for_each(|word| buffers.push(slot, word));
        assert!(buffers.chunks.reserve.is_empty());
    }

    proptest! {
        #[test]
        fn no_value_is_lost_in_any_order_of_slots_and_weights(
            pushes in proptest::collection::vec((0_u32..4, 0_u32..1000, 1_u8..3), 0..3000),
            exponent in 0..3,
            keep in 0_usize..100,
        ) {
            let mut buffers = ValueBuffers::new(Log::default(), keep);
            let mut model = vec![Vec::new(); 4];
            (0..4).for_each(|_| buffers.open(2.0));
            for _interval in 0..2 {
                for &(slot, value, weight) in &pushes {
                    // Multiples of 0.001 become decimals, and those of 1e-300 do not.
                    let word = (f64::from(value) * [1.0, 1e-300, 0.001][exponent as usize]).to_bits();
                    buffers.push_weighted(slot, word, f64::from(weight));
                    model[slot as usize].push((word, f64::from(weight).to_bits()));
                }
                for (slot, values) in (0..).zip(&mut model) {
                    values.sort_unstable();
                    prop_assert_eq!(&all(&buffers, slot), &*values);
                    values.clear();
                }
                let supplies = buffers.clear();
                buffers.resupply(supplies);
            }
        }
    }
}
