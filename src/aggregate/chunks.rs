//! Stores values in chunks, whose memory travels between a shard and the flush.
//!
//! Chunks are allocated in segments. A segment goes to the flush with the values of the interval, and comes back
//! afterwards. So the memory for the values of one interval is enough for all intervals.
//!
//! ```text
//! slot: number of the head --> head: up to 7 words --> older: 14 decimals --> 14 decimals --> ...
//! ```
//!
//! The words are the bits of f64 values, or hashes. Most values that clients send are decimals with few digits, such as
//! 12.5. If all seven values of a full head are whole multiples of the same power of ten, each is stored as that
//! multiple, in four bytes instead of eight. Division by the power of ten gives back the same f64, bit for bit. Other
//! words are stored unchanged.

/// The number of words in a chunk. With its other fields, a chunk fills a cache line.
pub(super) const CHUNK_VALUES: usize = 7;
/// The number of decimals in a chunk.
const CHUNK_DECIMALS: usize = 2 * CHUNK_VALUES;
/// The number of chunks in a segment of 64 KiB.
const SEGMENT_CHUNKS: usize = 1024;
/// The number that means no chunk.
pub(super) const NONE: u32 = u32::MAX;
/// The largest number of values that [`Chunk::behind`] can count.
pub(super) const MOST_BEHIND: u32 = (1 << 23) - 1;

/// Values of one slot.
#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
pub(super) struct Chunk {
    words: [u64; CHUNK_VALUES],
    /// The number of the next older chunk of the slot.
    pub(super) older: u32,
    /// From the lowest bit: the number of words or decimals in use (4 bits), the form (4 bits), whether the slot has
    /// folded values (1 bit), and the number of values in older chunks (23 bits). The last two are kept in heads only.
    meta: u32,
}

/// The form in which a chunk stores values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Each value is a word.
    Words,
    /// The first word is the weight of the values, because it differs from the weight of the slot.
    Weighted,
    /// Each value is a multiple of a negative power of ten, with this exponent.
    Decimals(u32),
}

const LEN: u32 = 0xf;
const FORM: u32 = 4;
const FOLDED: u32 = 1 << 8;
const BEHIND: u32 = 9;

/// The values of a chunk that stores decimals.
pub(super) type Unpacked = [u64; CHUNK_DECIMALS];
/// Room for the values of a chunk.
pub(super) const UNPACKED: Unpacked = [0; CHUNK_DECIMALS];

impl Chunk {
    const EMPTY: Self = Self { words: [0; CHUNK_VALUES], older: NONE, meta: 0 };

    /// Creates a head with these numbers of words and of values behind it.
    fn head(words: &[u64], older: u32, is_folded: bool, behind: u32) -> Self {
        let mut head = Self { older, ..Self::EMPTY };
        head.words[..words.len()].copy_from_slice(words);
        head.meta = words.len() as u32 | if is_folded { FOLDED } else { 0 } | behind << BEHIND;
        head
    }

    /// Creates a chunk of one value with its own weight.
    pub(super) fn weighted(word: u64, weight: f64, older: u32) -> Self {
        let mut chunk = Self { older, meta: 2 | 1 << FORM, ..Self::EMPTY };
        chunk.words[..2].copy_from_slice(&[weight.to_bits(), word]);
        chunk
    }

    fn decimals(decimals: [u32; CHUNK_VALUES], exponent: u32, older: u32) -> Self {
        let meta = CHUNK_VALUES as u32 | (2 + exponent) << FORM;
        Self { words: decimals.map(u64::from), older, meta }
    }

    fn len(&self) -> usize {
        (self.meta & LEN) as usize
    }

    fn form(&self) -> Form {
        match self.meta >> FORM & 0xf {
            0 => Form::Words,
            1 => Form::Weighted,
            code => Form::Decimals(code - 2),
        }
    }

    /// Appends a word to a head. Returns false if the head is full.
    #[inline(always)]
    pub(super) fn push(&mut self, word: u64) -> bool {
        let Some(place) = self.words.get_mut((self.meta & LEN) as usize) else { return false };
        *place = word;
        self.meta += 1;
        true
    }

    /// Appends a value that has the chunk's own weight. Returns false if the weight differs or the chunk is full.
    pub(super) fn push_weighted(&mut self, word: u64, weight: f64) -> bool {
        self.form() == Form::Weighted && self.words[0] == weight.to_bits() && self.push(word)
    }

    /// Returns the number of values in the chunks behind a head.
    pub(super) fn behind(&self) -> u32 {
        self.meta >> BEHIND
    }

    /// Counts one more value behind a head.
    pub(super) fn add_behind(&mut self) {
        self.meta += 1 << BEHIND;
    }

    /// Returns true if the slot of a head has folded values.
    pub(super) fn is_folded(&self) -> bool {
        self.meta & FOLDED != 0
    }

    /// Notes that all values behind a head were folded.
    pub(super) fn fold_behind(&mut self) {
        self.older = NONE;
        self.meta = self.meta & ((1 << BEHIND) - 1) | FOLDED;
    }

    /// Returns true if the values have the weight of their slot.
    pub(super) fn has_slot_weight(&self) -> bool {
        self.form() != Form::Weighted
    }

    /// Returns the values and the weight of each. `weight` is the weight of the slot.
    #[inline]
    pub(super) fn values<'a>(&'a self, weight: f64, unpacked: &'a mut Unpacked) -> (&'a [u64], f64) {
        let len = self.len();
        match self.form() {
            Form::Words => (&self.words[..len], weight),
            Form::Weighted => (&self.words[1..len], f64::from_bits(self.words[0])),
            Form::Decimals(exponent) => {
                let power = POWERS[exponent as usize];
                let (first, second) = unpacked.split_at_mut(CHUNK_VALUES);
                for ((first, second), &word) in first.iter_mut().zip(second).zip(&self.words) {
                    *first = unpack(word as u32, power);
                    *second = unpack((word >> 32) as u32, power);
                }
                (&unpacked[..len], weight)
            }
        }
    }
}

/// The powers of ten by which decimals are divided.
const POWERS: [f64; 10] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9];

/// Returns the bits of the f64 closest to a decimal. Both operands are exact, so it is what parsing the decimal gives.
#[inline(always)]
fn unpack(decimal: u32, power: f64) -> u64 {
    (f64::from(decimal.cast_signed()) / power).to_bits()
}

/// Returns the multiple that may represent a value. It does if [`unpack`] gives back the value.
///
/// The sum with this number has no bits for fractions. So the addition rounds, and the low bits of the sum are the whole
/// number. This is several times faster than rounding with a function.
#[inline(always)]
fn nearest(word: u64, power: f64) -> u32 {
    const ROUND: f64 = 1.5 * (1_u64 << 52) as f64;
    (f64::from_bits(word) * power + ROUND).to_bits() as u32
}

/// Returns seven words as multiples, or `None` if they cannot be restored exactly.
fn pack(words: &[u64; CHUNK_VALUES], exponent: u32) -> Option<[u32; CHUNK_VALUES]> {
    let power = POWERS[exponent as usize];
    let decimals = words.map(|word| nearest(word, power));
    let differences = words.iter().zip(decimals).map(|(&word, decimal)| word ^ unpack(decimal, power));
    (differences.fold(0, |all, difference| all | difference) == 0).then_some(decimals)
}

/// Returns seven words as multiples with the least exponent from `least` that can restore them.
fn pack_from(words: &[u64; CHUNK_VALUES], least: u32) -> Option<(u32, [u32; CHUNK_VALUES])> {
    let fits_first = |exponent: &u32| {
        let power = POWERS[*exponent as usize];
        unpack(nearest(words[0], power), power) == words[0]
    };
    let exponents = (least..POWERS.len() as u32).filter(fits_first);
    exponents.into_iter().find_map(|exponent| Some((exponent, pack(words, exponent)?)))
}

pub(super) type Segment = Box<[Chunk; SEGMENT_CHUNKS]>;

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
    #[inline(always)]
    pub(super) fn get(&self, number: u32) -> Option<&Chunk> {
        let number = number as usize;
        Some(&self.segments.get(number / SEGMENT_CHUNKS)?[number % SEGMENT_CHUNKS])
    }

    #[inline(always)]
    pub(super) fn get_mut(&mut self, number: u32) -> Option<&mut Chunk> {
        let number = number as usize;
        Some(&mut self.segments.get_mut(number / SEGMENT_CHUNKS)?[number % SEGMENT_CHUNKS])
    }

    /// Stores a chunk and returns its number.
    pub(super) fn insert(&mut self, chunk: Chunk) -> u32 {
        let number = if let Some(number) = self.released {
            self.released = self.get(number).map(|chunk| chunk.older).filter(|&older| older != NONE);
            number
        } else {
            let number = self.taken;
            self.taken += 1;
            if number as usize == self.segments.len() * SEGMENT_CHUNKS {
                self.segments.push(self.reserve.pop().unwrap_or_else(new_segment));
            }
            number
        };
        if let Some(place) = self.get_mut(number) {
            *place = chunk;
        }
        number
    }

    /// Stores an empty head and returns its number.
    pub(super) fn insert_head(&mut self) -> u32 {
        self.insert(Chunk::EMPTY)
    }

    /// Appends a word behind a full head, or as the first word of a slot without a head. Returns the number of the head.
    ///
    /// The words of the full head become decimals, if they can: in the free half of the next older chunk, or in place.
    /// If the next older chunk holds words that could not, this does not try again.
    pub(super) fn append(&mut self, number: u32, word: u64) -> u32 {
        let Some(&Chunk { words, older, .. }) = self.get(number) else {
            return self.insert(Chunk::head(&[word], NONE, false, 0));
        };
        let (mut is_folded, mut behind) = (false, 0);
        if let Some(full) = self.get(number) {
            (is_folded, behind) = (full.is_folded(), full.behind() + CHUNK_VALUES as u32);
        }
        let mut least = Some(0);
        if let Some(neighbor) = self.get_mut(older) {
            least = match neighbor.form() {
                Form::Words => None,
                Form::Weighted => Some(0),
                Form::Decimals(exponent) => {
                    if neighbor.len() == CHUNK_VALUES
                        && let Some(decimals) = pack(&words, exponent)
                    {
                        for (word, decimal) in neighbor.words.iter_mut().zip(decimals) {
                            *word |= u64::from(decimal) << 32;
                        }
                        neighbor.meta += CHUNK_VALUES as u32;
                        if let Some(head) = self.get_mut(number) {
                            *head = Chunk::head(&[word], older, is_folded, behind);
                        }
                        return number;
                    }
                    Some(exponent)
                }
            };
        }
        if let Some((exponent, decimals)) = least.and_then(|least| pack_from(&words, least))
            && let Some(full) = self.get_mut(number)
        {
            *full = Chunk::decimals(decimals, exponent, older);
        }
        self.insert(Chunk::head(&[word], number, is_folded, behind))
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

fn new_segment() -> Segment {
    let chunks = vec![Chunk::EMPTY; SEGMENT_CHUNKS].into_boxed_slice();
    chunks.try_into().expect("the length is that of a segment")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_chunk_fills_a_cache_line() {
        assert_eq!((size_of::<Chunk>(), align_of::<Chunk>()), (64, 64));
    }

    /// Appends values to one slot. Returns their number of chunks, and the values in the order of `runs`.
    fn stored(values: &[f64]) -> (usize, Vec<u64>) {
        let mut arena = ChunkArena::default();
        let mut head = NONE;
        for value in values {
            let is_full = arena.get_mut(head).is_none_or(|chunk| !chunk.push(value.to_bits()));
            if is_full {
                head = arena.append(head, value.to_bits());
            }
        }
        let (mut chunks, mut words, mut unpacked) = (0, Vec::new(), UNPACKED);
        let mut next = head;
        while let Some(chunk) = arena.get(next) {
            words.extend_from_slice(chunk.values(1.0, &mut unpacked).0);
            chunks += 1;
            next = chunk.older;
        }
        (chunks, words)
    }

    #[test]
    fn decimals_with_few_digits_take_four_bytes() {
        let chunks = |value: fn(u32) -> f64| stored(&(0..105).map(value).collect::<Vec<_>>()).0;
        assert_eq!(chunks(f64::from), 8);
        assert_eq!(chunks(|n| (f64::from(n) - 30.0) / 10.0), 8);
        assert_eq!(chunks(|n| f64::from(n * 1_000_001 % 4999) / 1e6), 8);
        assert_eq!(chunks(|n| f64::from(n).sqrt()), 15);
        assert_eq!(chunks(|n| f64::from(n) * 1e9), 15);
        // A chunk has one exponent, and the values of a slot seldom need a larger one later.
        assert_eq!(chunks(|n| if n < 14 { f64::from(n) } else { f64::from(n) / 8.0 }), 8);
    }

    proptest! {
        #[test]
        fn all_values_are_restored_bit_for_bit(
            values in proptest::collection::vec(
                prop_oneof![
                    4 => (any::<i32>(), 0_i32..12).prop_map(|(n, e)| f64::from(n % 100_000) / 10_f64.powi(e)),
                    1 => any::<i32>().prop_map(f64::from),
                    1 => any::<u64>().prop_map(f64::from_bits),
                    1 => Just(-0.0),
                ],
                0..60,
            ),
            common in 0_i32..10,
            is_common in any::<bool>(),
        ) {
            let round = |value: f64| (value * 10_f64.powi(common)).round() / 10_f64.powi(common);
            let values: Vec<_> = values.into_iter().map(|value| if is_common { round(value) } else { value }).collect();
            let mut expected: Vec<_> = values.iter().map(|value| value.to_bits()).collect();
            let (_, mut words) = stored(&values);
            expected.sort_unstable();
            words.sort_unstable();
            prop_assert_eq!(words, expected);
        }
    }
}
