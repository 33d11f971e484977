//! Holds the values of many series in the open interval, in slots.
//!
//! Each slot has a list of values. Recording straight into a histogram or a hash set would miss the cache for each
//! sample. Appending to a list touches one cache line. Folding a run of values into the larger structure pays for its
//! cache misses once per run (`docs/design/values.md`).
//!
//! ```text
//! slot: up to 7 values --> chunk of 7 --> chunk of 7 --> ...          newest first
//!   \--> folded: the values before them, once there were many
//! ```
//!
//! The slot itself holds the latest values, which saves following a pointer and touching another cache line.

use super::chunks::{CHUNK_VALUES, Chunk, ChunkArena, NONE, Segment};
use crate::model::{Claim, Memory, MemoryPart};
use crate::resolve::SeriesId;

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
    /// Returns the memory that it takes, in bytes.
    fn bytes(&self) -> usize;
    /// Returns at least the memory that it would take after adding these values, in bytes.
    fn bytes_with(&self, words: &[u64]) -> usize;
}

/// A structure on the heap, whose memory is accounted for.
#[derive(Debug)]
struct Folded<T> {
    value: T,
    claim: Claim,
}

impl<T: Fold> Folded<T> {
    fn new(value: T, memory: &Memory) -> Self {
        let claim = memory.claim(MemoryPart::Values, value.bytes());
        Self { value, claim }
    }

    fn fold(&mut self, words: &[u64], weight: f64) {
        self.value.fold(words, weight);
        self.claim.resize(self.value.bytes());
    }
}

/// A list of 64-bit words for each slot: the bits of a distribution's values, or the hashes of a set's members.
#[derive(Debug)]
pub(crate) struct ValueBuffers<T> {
    slots: Vec<Slot>,
    /// The part of each slot that is seldom needed.
    states: Vec<SlotState<T>>,
    chunks: ChunkArena,
    spare: Vec<Box<Folded<T>>>,
    /// The empty structure that new ones are modeled on.
    model: T,
    /// The number of values that a slot keeps before its first fold.
    keep: u32,
    /// A buffer for values that are about to be folded.
    run: Vec<u64>,
    /// Limits the memory of all values.
    memory: Memory,
}

/// The latest values of a slot, and the link to older ones.
#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
struct Slot {
    words: [u64; CHUNK_VALUES],
    len: u32,
    /// The number of the newest chunk.
    older: u32,
}

impl Slot {
    const EMPTY: Self = Self { words: [0; CHUNK_VALUES], len: 0, older: NONE };

    fn latest(&self) -> &[u64] {
        &self.words[..self.len as usize]
    }
}

/// The part of a slot that is seldom needed.
#[derive(Debug)]
struct SlotState<T> {
    /// The series that the slot belongs to.
    owner: SeriesId,
    /// The number of values in chunks.
    chunked: u32,
    /// The weight of all values that were pushed without their own weight.
    weight: f64,
    folded: Option<Box<Folded<T>>>,
}

impl<T> SlotState<T> {
    fn new(owner: SeriesId, weight: f64) -> Self {
        Self { owner, chunked: 0, weight, folded: None }
    }
}

/// Memory that the flush returns to the shard for reuse.
#[derive(Debug)]
pub(crate) struct Supplies<T> {
    segments: Vec<Segment>,
    folded: Vec<Box<Folded<T>>>,
}

impl<T: Fold> ValueBuffers<T> {
    /// Creates buffers without slots. Values are folded into structures like `model`, which must be empty. A slot keeps
    /// at least `keep` values before its first fold, unless `memory` becomes scarce.
    pub(crate) fn new(model: T, keep: usize, memory: Memory) -> Self {
        Self {
            slots: Vec::new(),
            states: Vec::new(),
            chunks: ChunkArena::default(),
            spare: Vec::new(),
            model,
            keep: u32::try_from(keep).unwrap_or(u32::MAX),
            run: Vec::new(),
            memory,
        }
    }

    /// Reserves memory for this many slots in total.
    pub(crate) fn reserve(&mut self, slots: usize) {
        let missing = slots.saturating_sub(self.len());
        self.slots.reserve_exact(missing);
        self.states.reserve_exact(missing);
    }

    /// Opens the next slot, for a series. Most of its values will represent `weight` samples each.
    pub(crate) fn open(&mut self, owner: SeriesId, weight: f64) {
        self.slots.push(Slot::EMPTY);
        self.states.push(SlotState::new(owner, weight));
    }

    /// Appends a value with the weight of the slot. Returns false if there is no memory for it.
    #[inline(always)]
    pub(crate) fn push(&mut self, index: u32, word: u64) -> bool {
        let slot = &mut self.slots[index as usize];
        if let Some(place) = slot.words.get_mut(slot.len as usize) {
            *place = word;
            slot.len += 1;
            return true;
        }
        let has_room = self.spill(index);
        if has_room {
            let slot = &mut self.slots[index as usize];
            slot.words[0] = word;
            slot.len = 1;
        }
        has_room
    }

    /// Reads a slot to bring it into the CPU cache.
    #[inline(always)]
    pub(crate) fn touch(&self, slot: u32) -> u64 {
        self.slots.get(slot as usize).map_or(0, |slot| u64::from(slot.len))
    }

    /// Appends a value. Without `weight`, the weight of the slot applies. Returns false if there is no memory for it.
    #[inline(always)]
    pub(crate) fn push_as(&mut self, index: u32, word: u64, weight: Option<f64>) -> bool {
        match weight {
            None => self.push(index, word),
            Some(weight) => self.push_weighted(index, word, weight),
        }
    }

    /// Appends a value with any weight. Returns false if there is no memory for it.
    pub(crate) fn push_weighted(&mut self, index: u32, word: u64, weight: f64) -> bool {
        if weight.to_bits() == self.states[index as usize].weight.to_bits() {
            return self.push(index, word);
        }
        let newest = self.chunks.get_mut(self.slots[index as usize].older);
        if !newest.is_some_and(|chunk| chunk.push_weighted(word, weight)) {
            self.fold_if_many(index);
            let older = self.slots[index as usize].older;
            if !self.add_chunk(index, Chunk::weighted(word, weight, older)) {
                return false;
            }
        }
        self.states[index as usize].chunked += 1;
        true
    }

    /// Moves the slot's full run into a chunk. Returns false if there is no memory for it.
    #[inline(never)]
    fn spill(&mut self, index: u32) -> bool {
        self.fold_if_many(index);
        let slot = &self.slots[index as usize];
        let has_room = self.add_chunk(index, Chunk::full(slot.words, slot.older));
        if has_room {
            self.states[index as usize].chunked += CHUNK_VALUES as u32;
        }
        has_room
    }

    /// Makes a chunk the newest one of a slot. Returns false if there is no memory for it.
    fn add_chunk(&mut self, index: u32, chunk: Chunk) -> bool {
        let number = self.chunks.insert(chunk, &self.memory);
        if let Some(number) = number {
            self.slots[index as usize].older = number;
        }
        number.is_some()
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

    /// Folds all values in chunks if their number exceeds the limit, and there is memory for it.
    fn fold_if_many(&mut self, index: u32) {
        let state = &self.states[index as usize];
        let is_scarce = self.memory.is_scarce(MemoryPart::Values);
        let limit = if state.folded.is_some() || is_scarce { FOLD_EVERY } else { self.first_fold(index) };
        if state.chunked <= limit || is_scarce && !self.can_fold(index) {
            return;
        }
        let state = &mut self.states[index as usize];
        let new = || Box::new(Folded::new(self.model.empty(), &self.memory));
        let folded = state.folded.get_or_insert_with(|| self.spare.pop().unwrap_or_else(new));
        // Most values have the weight of the slot, so they are folded together.
        self.run.clear();
        let slot = &mut self.slots[index as usize];
        while let Some(chunk) = self.chunks.get(slot.older) {
            match chunk.run(state.weight) {
                (values, weight) if chunk.is_weighted => folded.fold(values, weight),
                (values, _) => self.run.extend_from_slice(values),
            }
            slot.older = self.chunks.release(slot.older);
        }
        folded.fold(&self.run, state.weight);
        state.chunked = 0;
    }

    /// Returns true if there is memory for the structure into which the values in a slot's chunks would be folded.
    fn can_fold(&mut self, index: u32) -> bool {
        let (slot, state) = (&self.slots[index as usize], &self.states[index as usize]);
        self.run.clear();
        let mut number = slot.older;
        while let Some(chunk) = self.chunks.get(number) {
            self.run.extend_from_slice(chunk.run(state.weight).0);
            number = chunk.older;
        }
        let (present, after) = match &state.folded {
            Some(folded) => (folded.value.bytes(), folded.value.bytes_with(&self.run)),
            None => (0, self.model.bytes_with(&self.run)),
        };
        after.saturating_sub(present) <= self.memory.room(MemoryPart::Values)
    }

    /// Returns the series of a slot.
    pub(crate) fn owner(&self, slot: u32) -> SeriesId {
        self.states[slot as usize].owner
    }

    pub(crate) fn len(&self) -> usize {
        self.states.len()
    }

    /// Opens slots that `other` has and these buffers lack, at most `limit`. Returns true if no slot is missing
    /// afterwards.
    pub(crate) fn catch_up(&mut self, other: &Self, limit: usize) -> bool {
        let missing = &other.states[self.len()..];
        let missing = &missing[..missing.len().min(limit)];
        self.states.extend(missing.iter().map(|state| SlotState::new(state.owner, state.weight)));
        self.slots.resize(self.states.len(), Slot::EMPTY);
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

    /// Returns the slots that hold values, each with the series that it belongs to.
    pub(crate) fn occupied(&self) -> impl Iterator<Item = (SeriesId, u32)> {
        let slots = self.slots.iter().zip(&self.states).zip(0..);
        let is_occupied =
            |slot: &Slot, state: &SlotState<T>| slot.len > 0 || slot.older != NONE || state.folded.is_some();
        slots
            .filter(move |((slot, state), _)| is_occupied(slot, state))
            .map(|((_, state), index)| (state.owner, index))
    }

    /// Returns the values of a slot.
    pub(crate) fn contents(&self, slot: u32) -> Contents<'_, T> {
        let (slot, state) = (&self.slots[slot as usize], &self.states[slot as usize]);
        Contents {
            chunks: &self.chunks,
            slot,
            weight: state.weight,
            folded: state.folded.as_deref().map(|folded| &folded.value),
        }
    }

    /// Forgets all values and keeps the slots. Returns the memory that held the values.
    pub(crate) fn clear(&mut self) -> Supplies<T> {
        let mut folded = Vec::new();
        for (slot, state) in self.slots.iter_mut().zip(&mut self.states) {
            (slot.len, slot.older, state.chunked) = (0, NONE, 0);
            if let Some(mut one) = state.folded.take() {
                one.value.clear();
                folded.push(one);
            }
        }
        Supplies { segments: self.chunks.clear(), folded }
    }
}

/// The values of one slot: runs of equal weight, and the structure into which older values were folded.
#[derive(Debug)]
pub(crate) struct Contents<'a, T> {
    chunks: &'a ChunkArena,
    slot: &'a Slot,
    weight: f64,
    pub(crate) folded: Option<&'a T>,
}

impl<'a, T> Contents<'a, T> {
    /// Returns runs of values and the weight of each, the newest run first.
    pub(crate) fn runs(&self) -> impl Iterator<Item = (&'a [u64], f64)> + use<'a, T> {
        let Self { chunks, slot, weight, .. } = *self;
        let older = std::iter::successors(chunks.get(slot.older), move |chunk| chunks.get(chunk.older));
        std::iter::once((slot.latest(), weight)).chain(older.map(move |chunk| chunk.run(weight)))
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
    mut each: impl FnMut(usize, &'a [u64], f64),
) {
    let mut chains: Vec<_> =
        slots.enumerate().map(|(number, contents)| Chain::new(number, contents)).collect();
    for &Chain { number, contents, .. } in &chains {
        each(number, contents.slot.latest(), contents.weight);
    }
    while !chains.is_empty() {
        chains.iter_mut().for_each(Chain::advance);
        chains.retain(|chain| {
            let Some(chunk) = chain.chunk else { return false };
            let (words, weight) = chunk.run(chain.contents.weight);
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
        Self { number, contents, chunk: None, next: contents.slot.older }
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
        fn bytes(&self) -> usize {
            self.0.len() * size_of::<(u64, u64)>()
        }
        fn bytes_with(&self, words: &[u64]) -> usize {
            self.bytes() + size_of_val(words) * 2
        }
    }

    fn all(buffers: &ValueBuffers<Log>, slot: u32) -> Vec<(u64, u64)> {
        let contents = buffers.contents(slot);
        let mut values = contents.folded.map_or(Vec::new(), |log| log.0.clone());
        values.extend(
            contents
                .runs()
                .flat_map(|(words, weight)| words.iter().map(move |&word| (word, weight.to_bits()))),
        );
        values.sort_unstable();
        values
    }

    #[test]
    fn a_slot_and_a_chunk_each_fill_a_cache_line() {
        assert_eq!((size_of::<Slot>(), align_of::<Slot>()), (64, 64));
        assert_eq!((size_of::<Chunk>(), align_of::<Chunk>()), (64, 64));
    }

    #[test]
    fn values_are_folded_only_beyond_the_number_to_keep() {
        let mut buffers = ValueBuffers::new(Log::default(), 20, Memory::default());
        buffers.open(SeriesId(0), 1.0);
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
        let mut buffers = ValueBuffers::new(Log::default(), 512, Memory::default());
        (0..SLOTS).for_each(|id| buffers.open(SeriesId(id), 1.0));
        let folded = |buffers: &ValueBuffers<Log>| {
            (0..SLOTS).filter(|&slot| buffers.contents(slot).folded.is_some()).count()
        };
        let (mut before, mut most) = (0, 0);
        for word in 0..=2 * 512 + 2 * CHUNK_VALUES as u64 {
            (0..SLOTS).for_each(|slot| assert!(buffers.push(slot, word)));
            most = most.max(folded(&buffers) - before);
            before = folded(&buffers);
        }
        assert_eq!(before, SLOTS as usize);
        assert!(most <= 3, "{most} with one round of values");
    }

    #[test]
    fn the_memory_of_one_interval_serves_the_next() {
        let mut buffers = ValueBuffers::new(Log::default(), 0, Memory::default());
        buffers.open(SeriesId(0), 1.0);
        let slot = 0;
        (0..100_000).for_each(|word| assert!(buffers.push(slot, word)));
        let segments = buffers.chunks.segment_count();
        assert_eq!(segments, 1, "folded chunks are reused");
        let supplies = buffers.clear();
        assert_eq!((supplies.segments.len(), supplies.folded.len()), (1, 1));
        assert_eq!(buffers.occupied().count(), 0);
        drop(buffers.resupply(supplies));
        (0..=CHUNK_VALUES as u64).for_each(|word| assert!(buffers.push(slot, word)));
        assert!(buffers.chunks.reserve.is_empty());
    }

    #[test]
    fn values_are_folded_early_and_then_refused_as_memory_runs_out() {
        // Room for 26 segments of 64 KiB, each of which holds 7,168 values.
        let memory = Memory::limited(33 << 20);
        let mut buffers = ValueBuffers::new(Log::default(), 100_000, memory.clone());
        let slots = 0..100;
        slots.clone().for_each(|id| buffers.open(SeriesId(id), 1.0));
        let mut expected = vec![Vec::new(); slots.len()];
        let (mut is_folded, mut refused) = (false, 0);
        for word in 0..5000 {
            for slot in slots.clone() {
                if buffers.push(slot, word) {
                    expected[slot as usize].push((word, 1_f64.to_bits()));
                } else {
                    refused += 1;
                }
            }
            is_folded |= slots.clone().any(|slot| buffers.contents(slot).folded.is_some());
            assert!(refused == 0 || is_folded);
        }
        assert!(refused > 100_000, "{refused}");
        assert!(memory.room(MemoryPart::Values) < 128 << 10);
        for slot in slots {
            assert_eq!(all(&buffers, slot), expected[slot as usize], "what was accepted is kept");
        }
        drop(buffers);
        assert_eq!(memory.used(MemoryPart::Values), 0);
    }

    proptest! {
        #[test]
        fn no_value_is_lost_in_any_order_of_slots_and_weights(
            pushes in proptest::collection::vec((0_u32..4, 0_u64..1000, 1_u8..3), 0..3000),
            keep in 0_usize..100,
        ) {
            let mut buffers = ValueBuffers::new(Log::default(), keep, Memory::default());
            let mut model = vec![Vec::new(); 4];
            (0..4).for_each(|id| buffers.open(SeriesId(id), 2.0));
            for _interval in 0..2 {
                for &(slot, word, weight) in &pushes {
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
