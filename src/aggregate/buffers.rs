//! The open interval's values of many series, each in its cell, and in chunks that are taken from one arena.
//!
//! In words: each cell has a list of values. Recording straight into a histogram or a hash set would touch 10-30 KB
//! of cold memory a sample. Appending to a list touches one cache line, and folding a run of values into the larger
//! structure pays for its cache misses once a run. In a prototype that was 110-220 ns a sample against 5-40 ns.
//!
//! ```text
//! cell: up to 7 values --> chunk of 7 --> chunk of 7 --> ...          newest first
//!   \--> folded: what the values before them came to, once there were many
//! ```
//!
//! The latest values stand in the cell itself: with one pointer to follow less, and a cache line less to touch, a timing
//! took 29 ns instead of 34.
//!
//! Chunks come in segments. A segment goes with the interval's values to the flush, and comes back when the flush is
//! done with it, so memory for the values of one interval is enough for all of them.

use crate::resolve::SeriesId;

/// Values in a cell, and in a chunk: with what they need besides, each of both fills a cache line.
const RUN: usize = 7;
/// Chunks in a segment: 64 KiB.
const SEGMENT_CHUNKS: usize = 1024;
/// No chunk.
const NONE: u32 = u32::MAX;
/// Values that gather in chunks before they are folded, once a cell has been folded: enough to pay for the cache misses, and
/// so few that the chunks of a thousand cells stay in the cache. Of 6,000 values in each, one took 38 ns; with twice as many
/// 43 ns, with four times as many 60 ns.
const FOLD_EVERY: u32 = 8 * RUN as u32;

/// What a cell's values are folded into once they are many.
pub(crate) trait Fold {
    /// An empty one with the same parameters.
    fn empty(&self) -> Self;
    /// Takes in values that each stand for `weight` samples.
    fn fold(&mut self, words: &[u64], weight: f64);
    /// Forgets all values and keeps the memory.
    fn clear(&mut self);
}

/// A list of 64-bit words for each cell: the bits of a distribution's values, or the hashes of a set's members.
#[derive(Debug)]
pub(crate) struct Buffers<T> {
    cells: Vec<Cell>,
    /// What is seldom needed of each cell.
    backs: Vec<Back<T>>,
    arena: Arena,
    spare: Vec<Box<T>>,
    model: T,
    /// Values that a cell keeps as they are before they are folded for the first time.
    keep: u32,
    /// Values on their way from chunks to what they are folded into.
    run: Vec<u64>,
}

/// The latest values, and the way to those before.
#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
struct Cell {
    words: [u64; RUN],
    len: u32,
    /// The newest chunk.
    older: u32,
}

impl Cell {
    const EMPTY: Self = Self { words: [0; RUN], len: 0, older: NONE };

    fn latest(&self) -> &[u64] {
        &self.words[..self.len as usize]
    }
}

/// What stands behind a cell.
#[derive(Debug)]
struct Back<T> {
    /// The series that the cell belongs to.
    owner: SeriesId,
    /// Values in chunks.
    chunked: u32,
    /// Of all values but those that were pushed with another one.
    weight: f64,
    folded: Option<Box<T>>,
}

impl<T> Back<T> {
    fn new(owner: SeriesId, weight: f64) -> Self {
        Self { owner, chunked: 0, weight, folded: None }
    }
}

#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
struct Chunk {
    words: [u64; RUN],
    older: u32,
    len: u16,
    /// Whether the first word is the weight of the others, because it is not that of the cell.
    is_weighted: bool,
}

impl Chunk {
    const EMPTY: Self = Self { words: [0; RUN], older: NONE, len: 0, is_weighted: false };

    /// Values and the weight of each, in a cell of that weight.
    fn run(&self, weight: f64) -> (&[u64], f64) {
        match &self.words[..self.len as usize] {
            [own, values @ ..] if self.is_weighted => (values, f64::from_bits(*own)),
            values => (values, weight),
        }
    }
}

type Segment = Box<[Chunk]>;

/// Memory on its way back from the flush to the shard.
#[derive(Debug)]
pub(crate) struct Supplies<T> {
    segments: Vec<Segment>,
    folded: Vec<Box<T>>,
}

impl<T: Fold> Buffers<T> {
    /// `model` gives the parameters of what values are folded into; a cell keeps `keep` values before that.
    pub(crate) fn new(model: T, keep: usize) -> Self {
        Self {
            cells: Vec::new(),
            backs: Vec::new(),
            arena: Arena::default(),
            spare: Vec::new(),
            model,
            keep: u32::try_from(keep).unwrap_or(u32::MAX),
            run: Vec::new(),
        }
    }

    /// Makes room for a number of cells in all.
    pub(crate) fn make_room(&mut self, cells: usize) {
        let missing = cells.saturating_sub(self.len());
        self.cells.reserve_exact(missing);
        self.backs.reserve_exact(missing);
    }

    /// A new cell of a series, most of whose values will stand for `weight` samples.
    pub(crate) fn open(&mut self, owner: SeriesId, weight: f64) -> u32 {
        self.cells.push(Cell::EMPTY);
        self.backs.push(Back::new(owner, weight));
        self.backs.len() as u32 - 1
    }

    /// Appends a value of the cell's own weight.
    #[inline(always)]
    pub(crate) fn push(&mut self, index: u32, word: u64) {
        let cell = &mut self.cells[index as usize];
        if let Some(place) = cell.words.get_mut(cell.len as usize) {
            *place = word;
            cell.len += 1;
        } else {
            self.spill(index);
            let cell = &mut self.cells[index as usize];
            cell.words[0] = word;
            cell.len = 1;
        }
    }

    /// Reads a cell, so that it will be in the cache.
    #[inline(always)]
    pub(crate) fn touch(&self, cell: u32) -> u64 {
        self.cells.get(cell as usize).map_or(0, |cell| u64::from(cell.len))
    }

    /// Appends a value; `weight` is that of the cell if it is not given.
    #[inline(always)]
    pub(crate) fn push_as(&mut self, index: u32, word: u64, weight: Option<f64>) {
        match weight {
            None => self.push(index, word),
            Some(weight) => self.push_weighted(index, word, weight),
        }
    }

    /// Appends a value of any weight.
    pub(crate) fn push_weighted(&mut self, index: u32, word: u64, weight: f64) {
        let back = &mut self.backs[index as usize];
        if weight.to_bits() == back.weight.to_bits() {
            return self.push(index, word);
        }
        if let Some(chunk) = self.arena.get_mut(self.cells[index as usize].older)
            && chunk.is_weighted
            && chunk.words[0] == weight.to_bits()
            && let Some(place) = chunk.words.get_mut(usize::from(chunk.len))
        {
            *place = word;
            chunk.len += 1;
            back.chunked += 1;
        } else {
            self.fold_if_many(index);
            let cell = &mut self.cells[index as usize];
            let mut chunk = Chunk { older: cell.older, len: 2, is_weighted: true, ..Chunk::EMPTY };
            chunk.words[..2].copy_from_slice(&[weight.to_bits(), word]);
            cell.older = self.arena.take(chunk);
            self.backs[index as usize].chunked += 1;
        }
    }

    /// Puts the cell's full run into a chunk.
    #[inline(never)]
    fn spill(&mut self, index: u32) {
        self.fold_if_many(index);
        let cell = &mut self.cells[index as usize];
        let chunk = Chunk { words: cell.words, older: cell.older, len: RUN as u16, is_weighted: false };
        cell.older = self.arena.take(chunk);
        self.backs[index as usize].chunked += RUN as u32;
    }

    /// Values in chunks that a cell may have before they are folded for the first time: what is kept, to twice of that.
    ///
    /// Series that are recorded alike would all reach one limit in the same moment. Of 1,000 timings that came flat out, a
    /// receiver folded 512,000 values then and read nothing for 16 ms, which the receive buffer did not outlast.
    fn first_fold(&self, index: u32) -> u32 {
        // Multiples of the golden ratio spread evenly, however many there are (Knuth, volume 3, 6.4).
        let share = u64::from(index.wrapping_mul(0x9e37_79b9));
        self.keep.saturating_add(((u64::from(self.keep) * share) >> 32) as u32)
    }

    /// Folds all values in chunks, if they are many.
    fn fold_if_many(&mut self, index: u32) {
        let back = &self.backs[index as usize];
        let limit = if back.folded.is_some() { FOLD_EVERY } else { self.first_fold(index) };
        if back.chunked <= limit {
            return;
        }
        let back = &mut self.backs[index as usize];
        let folded = back
            .folded
            .get_or_insert_with(|| self.spare.pop().unwrap_or_else(|| Box::new(self.model.empty())));
        // Most have the weight of the cell: those are folded at once.
        self.run.clear();
        let cell = &mut self.cells[index as usize];
        while let Some(chunk) = self.arena.get(cell.older) {
            match chunk.run(back.weight) {
                (values, weight) if chunk.is_weighted => folded.fold(values, weight),
                (values, _) => self.run.extend_from_slice(values),
            }
            cell.older = self.arena.release(cell.older);
        }
        folded.fold(&self.run, back.weight);
        back.chunked = 0;
    }

    pub(crate) fn len(&self) -> usize {
        self.backs.len()
    }

    /// Opens up to `limit` cells that `other` has and this one has not. Whether none is missing after that.
    pub(crate) fn catch_up(&mut self, other: &Self, limit: usize) -> bool {
        let missing = &other.backs[self.len()..];
        let missing = &missing[..missing.len().min(limit)];
        self.backs.extend(missing.iter().map(|back| Back::new(back.owner, back.weight)));
        self.cells.resize(self.backs.len(), Cell::EMPTY);
        self.len() == other.len()
    }

    /// Takes over the memory that `other` holds in reserve.
    pub(crate) fn take_reserve(&mut self, other: &mut Self) {
        self.arena.reserve.append(&mut other.arena.reserve);
        self.spare.append(&mut other.spare);
    }

    /// Takes back what a flush is done with, and gives away what is held in reserve beyond that: what one interval
    /// did not need, the next will not.
    pub(crate) fn resupply(&mut self, mut supplies: Supplies<T>) -> Supplies<T> {
        std::mem::swap(&mut self.arena.reserve, &mut supplies.segments);
        std::mem::swap(&mut self.spare, &mut supplies.folded);
        supplies
    }

    /// The cells that hold values.
    pub(crate) fn occupied(&self) -> impl Iterator<Item = (SeriesId, u32)> {
        let cells = self.cells.iter().zip(&self.backs).zip(0..);
        let is_occupied =
            |cell: &Cell, back: &Back<T>| cell.len > 0 || cell.older != NONE || back.folded.is_some();
        cells
            .filter(move |((cell, back), _)| is_occupied(cell, back))
            .map(|((_, back), index)| (back.owner, index))
    }

    /// The values of a cell: runs of equal weight that stand as they came, and what others were folded into.
    pub(crate) fn contents(&self, cell: u32) -> Contents<'_, T> {
        let (cell, back) = (&self.cells[cell as usize], &self.backs[cell as usize]);
        Contents { arena: &self.arena, cell, weight: back.weight, folded: back.folded.as_deref() }
    }

    /// Forgets all values; the cells stay. Hands out the memory that held the values.
    pub(crate) fn clear(&mut self) -> Supplies<T> {
        let mut folded = Vec::new();
        for (cell, back) in self.cells.iter_mut().zip(&mut self.backs) {
            (cell.len, cell.older, back.chunked) = (0, NONE, 0);
            if let Some(mut one) = back.folded.take() {
                one.clear();
                folded.push(one);
            }
        }
        Supplies { segments: self.arena.clear(), folded }
    }
}

/// The values of one cell.
#[derive(Debug)]
pub(crate) struct Contents<'a, T> {
    arena: &'a Arena,
    cell: &'a Cell,
    weight: f64,
    pub(crate) folded: Option<&'a T>,
}

impl<'a, T> Contents<'a, T> {
    /// Values and the weight of each, newest run first.
    pub(crate) fn runs(&self) -> impl Iterator<Item = (&'a [u64], f64)> + use<'a, T> {
        let Self { arena, cell, weight, .. } = *self;
        let chunks = std::iter::successors(arena.get(cell.older), move |chunk| arena.get(chunk.older));
        std::iter::once((cell.latest(), weight)).chain(chunks.map(move |chunk| chunk.run(weight)))
    }
}

/// Hands out all runs of many cells, each with the number of its cell: one of each cell in turn.
///
/// In words: for each cell, each of its runs. But where a chunk is, only the one before it tells, so each would be waited for.
/// In turn, the cache misses of different cells pass at the same time; and nothing else is done in the loop that meets
/// them, so that the processor looks far enough ahead to begin them all.
pub(crate) fn interleave<'a, T: 'a>(
    cells: impl Iterator<Item = &'a Contents<'a, T>>,
    mut each: impl FnMut(usize, &'a [u64], f64),
) {
    let mut chains: Vec<_> =
        cells.enumerate().map(|(number, contents)| Chain::new(number, contents)).collect();
    for &Chain { number, contents, .. } in &chains {
        each(number, contents.cell.latest(), contents.weight);
    }
    while !chains.is_empty() {
        chains.iter_mut().for_each(Chain::go_on);
        chains.retain(|chain| {
            let Some(chunk) = chain.chunk else { return false };
            let (words, weight) = chunk.run(chain.contents.weight);
            each(chain.number, words, weight);
            true
        });
    }
}

/// The chunks of one cell, to be walked through.
#[derive(Debug)]
struct Chain<'a, T> {
    number: usize,
    contents: &'a Contents<'a, T>,
    chunk: Option<&'a Chunk>,
    next: u32,
}

impl<'a, T> Chain<'a, T> {
    fn new(number: usize, contents: &'a Contents<'a, T>) -> Self {
        Self { number, contents, chunk: None, next: contents.cell.older }
    }

    fn go_on(&mut self) {
        self.chunk = self.contents.arena.get(self.next);
        self.next = self.chunk.map_or(NONE, |chunk| chunk.older);
    }
}

/// Chunks by number.
#[derive(Debug, Default)]
struct Arena {
    segments: Vec<Segment>,
    /// Chunks that were ever taken from the segments.
    taken: u32,
    /// The first of the released chunks, which are linked by `older`; `None` where there are none.
    released: Option<u32>,
    /// Segments for when the present ones are full.
    reserve: Vec<Segment>,
}

impl Arena {
    #[inline]
    fn get(&self, number: u32) -> Option<&Chunk> {
        let number = number as usize;
        self.segments.get(number / SEGMENT_CHUNKS)?.get(number % SEGMENT_CHUNKS)
    }

    #[inline]
    fn get_mut(&mut self, number: u32) -> Option<&mut Chunk> {
        let number = number as usize;
        self.segments.get_mut(number / SEGMENT_CHUNKS)?.get_mut(number % SEGMENT_CHUNKS)
    }

    /// Puts a chunk where there is room; its number.
    fn take(&mut self, chunk: Chunk) -> u32 {
        let number = if let Some(number) = self.released {
            self.released = self.get(number).map(|chunk| chunk.older).filter(|&older| older != NONE);
            number
        } else {
            let number = self.taken;
            self.taken += 1;
            if number as usize == self.segments.len() * SEGMENT_CHUNKS {
                let new = || vec![Chunk::EMPTY; SEGMENT_CHUNKS].into();
                self.segments.push(self.reserve.pop().unwrap_or_else(new));
            }
            number
        };
        if let Some(place) = self.get_mut(number) {
            *place = chunk;
        }
        number
    }

    /// Gives a chunk back; the number of the chunk behind it.
    fn release(&mut self, number: u32) -> u32 {
        let released = self.released.unwrap_or(NONE);
        self.released = Some(number);
        self.get_mut(number).map_or(NONE, |chunk| std::mem::replace(&mut chunk.older, released))
    }

    /// Releases all chunks; the segments they stood in.
    fn clear(&mut self) -> Vec<Segment> {
        self.taken = 0;
        self.released = None;
        let room_for_as_many = Vec::with_capacity(self.segments.len());
        std::mem::replace(&mut self.segments, room_for_as_many)
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

    fn all(buffers: &Buffers<Log>, cell: u32) -> Vec<(u64, u64)> {
        let contents = buffers.contents(cell);
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
    fn a_cell_and_a_chunk_each_fill_a_cache_line() {
        assert_eq!((size_of::<Cell>(), align_of::<Cell>()), (64, 64));
        assert_eq!((size_of::<Chunk>(), align_of::<Chunk>()), (64, 64));
    }

    #[test]
    fn values_stay_as_they_came_until_they_are_more_than_are_kept() {
        let mut buffers = Buffers::new(Log::default(), 20);
        let cell = buffers.open(SeriesId(0), 1.0);
        for word in 0..28 {
            buffers.push(cell, word);
            assert!(buffers.contents(cell).folded.is_none());
        }
        buffers.push(cell, 28);
        assert_eq!(buffers.contents(cell).folded.map(|log| log.0.len()), Some(21));
    }

    #[test]
    fn cells_that_fill_at_the_same_pace_are_not_folded_all_at_once() {
        const CELLS: u32 = 100;
        let mut buffers = Buffers::new(Log::default(), 512);
        (0..CELLS).for_each(|id| _ = buffers.open(SeriesId(id), 1.0));
        let folded = |buffers: &Buffers<Log>| {
            (0..CELLS).filter(|&cell| buffers.contents(cell).folded.is_some()).count()
        };
        let (mut before, mut most) = (0, 0);
        for word in 0..=2 * 512 + 2 * RUN as u64 {
            (0..CELLS).for_each(|cell| buffers.push(cell, word));
            most = most.max(folded(&buffers) - before);
            before = folded(&buffers);
        }
        assert_eq!(before, CELLS as usize);
        assert!(most <= 3, "{most} with one round of values");
    }

    #[test]
    fn memory_of_one_interval_serves_the_next() {
        let mut buffers = Buffers::new(Log::default(), 0);
        let cell = buffers.open(SeriesId(0), 1.0);
        (0..100_000).for_each(|word| buffers.push(cell, word));
        let segments = buffers.arena.segments.len();
        assert_eq!(segments, 1, "folded chunks are used again");
        let supplies = buffers.clear();
        assert_eq!((supplies.segments.len(), supplies.folded.len()), (1, 1));
        assert_eq!(buffers.occupied().count(), 0);
        drop(buffers.resupply(supplies));
        (0..=RUN as u64).for_each(|word| buffers.push(cell, word));
        assert!(buffers.arena.reserve.is_empty());
    }

    proptest! {
        #[test]
        fn no_value_is_lost_whatever_the_order_of_cells_and_weights(
            pushes in proptest::collection::vec((0_u32..4, 0_u64..1000, 1_u8..3), 0..3000),
            keep in 0_usize..100,
        ) {
            let mut buffers = Buffers::new(Log::default(), keep);
            let mut model = vec![Vec::new(); 4];
            (0..4).for_each(|id| _ = buffers.open(SeriesId(id), 2.0));
            for _interval in 0..2 {
                for &(cell, word, weight) in &pushes {
                    buffers.push_weighted(cell, word, f64::from(weight));
                    model[cell as usize].push((word, f64::from(weight).to_bits()));
                }
                for (cell, values) in (0..).zip(&mut model) {
                    values.sort_unstable();
                    prop_assert_eq!(&all(&buffers, cell), &*values);
                    values.clear();
                }
                let supplies = buffers.clear();
                buffers.resupply(supplies);
            }
        }
    }
}
