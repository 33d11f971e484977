//! Stores values in chunks, whose memory travels between a shard and the flush.
//!
//! Chunks are allocated in segments. A segment goes to the flush with the values of the interval, and comes back
//! afterwards. So the memory for the values of one interval is enough for all intervals.

use crate::model::{Claim, Memory, MemoryPart};

/// The number of values in a chunk. With its other fields, a chunk fills a cache line.
pub(super) const CHUNK_VALUES: usize = 7;
/// The number of chunks in a segment of 64 KiB.
const SEGMENT_CHUNKS: usize = 1024;
/// The number that means no chunk.
pub(super) const NONE: u32 = u32::MAX;

/// Up to seven values of one slot.
#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
pub(super) struct Chunk {
    pub(super) words: [u64; CHUNK_VALUES],
    /// The number of the next older chunk of the slot.
    pub(super) older: u32,
    pub(super) len: u16,
    /// Whether the first word is the weight of the values, because it differs from the weight of the slot.
    pub(super) is_weighted: bool,
}

impl Chunk {
    const EMPTY: Self = Self { words: [0; CHUNK_VALUES], older: NONE, len: 0, is_weighted: false };

    /// Creates a chunk of seven values that have the weight of their slot.
    pub(super) fn full(words: [u64; CHUNK_VALUES], older: u32) -> Self {
        Self { words, older, len: CHUNK_VALUES as u16, is_weighted: false }
    }

    /// Creates a chunk of one value with its own weight.
    pub(super) fn weighted(word: u64, weight: f64, older: u32) -> Self {
        let mut chunk = Self { older, len: 2, is_weighted: true, ..Self::EMPTY };
        chunk.words[..2].copy_from_slice(&[weight.to_bits(), word]);
        chunk
    }

    /// Appends a value that has the chunk's own weight. Returns false if the weight differs or the chunk is full.
    pub(super) fn push_weighted(&mut self, word: u64, weight: f64) -> bool {
        if self.is_weighted
            && self.words[0] == weight.to_bits()
            && let Some(place) = self.words.get_mut(usize::from(self.len))
        {
            *place = word;
            self.len += 1;
            true
        } else {
            false
        }
    }

    /// Returns the values and the weight of each. `weight` is the weight of the slot.
    pub(super) fn run(&self, weight: f64) -> (&[u64], f64) {
        match &self.words[..self.len as usize] {
            [own, values @ ..] if self.is_weighted => (values, f64::from_bits(*own)),
            values => (values, weight),
        }
    }
}

/// Memory for many chunks.
#[derive(Debug)]
pub(super) struct Segment {
    chunks: Box<[Chunk]>,
    /// Counts the memory until the segment is dropped.
    _claim: Claim,
}

impl Segment {
    /// Returns a new segment, or `None` if there is no room for it in `memory`.
    fn new(memory: &Memory) -> Option<Self> {
        let claim = memory.try_claim(MemoryPart::Values, SEGMENT_CHUNKS * size_of::<Chunk>())?;
        Some(Self { chunks: vec![Chunk::EMPTY; SEGMENT_CHUNKS].into(), _claim: claim })
    }
}

/// The chunks of many slots, by number.
#[derive(Debug, Default)]
pub(super) struct ChunkArena {
    segments: Vec<Segment>,
    /// The number of chunks ever taken from the segments.
    taken: u32,
    /// The first chunk in the list of released chunks, which are linked by `older`.
    released: Option<u32>,
    /// The segments to use when the current ones are full.
    pub(super) reserve: Vec<Segment>,
}

impl ChunkArena {
    #[inline]
    pub(super) fn get(&self, number: u32) -> Option<&Chunk> {
        let number = number as usize;
        self.segments.get(number / SEGMENT_CHUNKS)?.chunks.get(number % SEGMENT_CHUNKS)
    }

    #[inline]
    pub(super) fn get_mut(&mut self, number: u32) -> Option<&mut Chunk> {
        let number = number as usize;
        self.segments.get_mut(number / SEGMENT_CHUNKS)?.chunks.get_mut(number % SEGMENT_CHUNKS)
    }

    /// Stores a chunk and returns its number. Returns `None` if that takes a new segment and `memory` has no room for
    /// it.
    pub(super) fn insert(&mut self, chunk: Chunk, memory: &Memory) -> Option<u32> {
        let number = if let Some(number) = self.released {
            self.released = self.get(number).map(|chunk| chunk.older).filter(|&older| older != NONE);
            number
        } else {
            let number = self.taken;
            if number as usize == self.segments.len() * SEGMENT_CHUNKS {
                let segment = self.reserve.pop().or_else(|| Segment::new(memory))?;
                self.segments.push(segment);
            }
            self.taken += 1;
            number
        };
        if let Some(place) = self.get_mut(number) {
            *place = chunk;
        }
        Some(number)
    }

    /// Releases a chunk and returns the number of the next older one.
    pub(super) fn release(&mut self, number: u32) -> u32 {
        let released = self.released.unwrap_or(NONE);
        self.released = Some(number);
        self.get_mut(number).map_or(NONE, |chunk| std::mem::replace(&mut chunk.older, released))
    }

    /// Releases all chunks and returns their segments.
    pub(super) fn clear(&mut self) -> Vec<Segment> {
        self.taken = 0;
        self.released = None;
        let room_for_as_many = Vec::with_capacity(self.segments.len());
        std::mem::replace(&mut self.segments, room_for_as_many)
    }

    #[cfg(test)]
    pub(super) fn segment_count(&self) -> usize {
        self.segments.len()
    }
}
