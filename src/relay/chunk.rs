//! Holds the datagrams of one look at a socket in one piece of memory, which all targets share.
//!
//! The simple version would be a reference-counted buffer for each datagram. A chunk has one reference count for all of
//! its datagrams. Each ends in a line feed, so a stream can take the whole chunk at once.

/// The most bytes of a chunk with several datagrams.
const FULL: usize = 64 << 10;

/// The longest payload of a UDP datagram over IPv4, in bytes.
pub(super) const LONGEST_DATAGRAM: usize = 65_507;

/// The length up to which the lines of a stream share a datagram, in bytes. It fits into one Ethernet frame, even over
/// IPv6 and through a tunnel.
const LONGEST_SPLIT: usize = 1432;

/// The memory of a chunk in a queue beyond its bytes and pieces, in bytes.
const OVERHEAD: usize = 128;

/// Datagrams, in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Chunk {
    bytes: Vec<u8>,
    pieces: Vec<Piece>,
}

/// One datagram in a chunk.
#[derive(Debug, Clone, Copy)]
struct Piece {
    begin: usize,
    /// Excludes a line feed that the chunk has added.
    end: usize,
}

impl Chunk {
    /// Returns a chunk with room for this many bytes.
    fn with_capacity(bytes: usize) -> Self {
        Self { bytes: Vec::with_capacity(bytes), pieces: Vec::new() }
    }

    /// Returns a chunk that consists of one datagram.
    pub(super) fn of(datagram: &[u8]) -> Self {
        let mut chunk = Self::with_capacity(datagram.len() + 1);
        chunk.push(datagram);
        chunk
    }

    fn push(&mut self, datagram: &[u8]) {
        let begin = self.bytes.len();
        self.bytes.extend_from_slice(datagram);
        let end = self.bytes.len();
        if datagram.last() != Some(&b'\n') {
            self.bytes.push(b'\n');
        }
        self.pieces.push(Piece { begin, end });
    }

    /// Returns the number of datagrams.
    pub(super) fn len(&self) -> usize {
        self.pieces.len()
    }

    /// Returns a datagram as it came.
    pub(super) fn datagram(&self, index: usize) -> &[u8] {
        let Piece { begin, end } = self.pieces[index];
        &self.bytes[begin..end]
    }

    /// Returns the datagrams from `first` on as a stream of lines. Each ends in a line feed.
    pub(super) fn stream_from(&self, first: usize) -> &[u8] {
        &self.bytes[self.begin_of(first)..]
    }

    /// Returns the length of datagram `index` in [`stream_from`](Self::stream_from), with its line feed.
    pub(super) fn length_in_stream(&self, index: usize) -> usize {
        self.begin_of(index + 1) - self.begin_of(index)
    }

    fn begin_of(&self, index: usize) -> usize {
        self.pieces.get(index).map_or(self.bytes.len(), |piece| piece.begin)
    }

    /// Returns all bytes, with the line feeds that were added.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns the memory that the chunk takes in a queue, in bytes.
    pub(super) fn memory(&self) -> usize {
        self.bytes.len() + size_of::<Piece>() * self.pieces.len() + OVERHEAD
    }
}

/// Datagrams that become chunks.
#[derive(Debug)]
pub(super) struct Chunks {
    /// The number of bytes that are still expected.
    expected: usize,
    full: Vec<Chunk>,
    open: Chunk,
}

impl Chunks {
    /// Returns an empty list that expects this many bytes. It allocates nothing yet.
    pub(super) fn new(expected: usize) -> Self {
        Self { expected, full: Vec::new(), open: Chunk::default() }
    }

    /// Adds a datagram as it came. One that UDP cannot carry is split at its lines.
    pub(super) fn add_datagram(&mut self, datagram: &[u8]) {
        if datagram.len() > LONGEST_DATAGRAM {
            self.add_lines(datagram);
        } else if !datagram.is_empty() {
            self.add(datagram);
        }
    }

    /// Adds lines of a stream, split into datagrams.
    pub(super) fn add_lines(&mut self, mut lines: &[u8]) {
        while !lines.is_empty() {
            let (datagram, rest) = lines.split_at(end_of_split(lines));
            self.add(datagram);
            lines = rest;
        }
    }

    fn add(&mut self, datagram: &[u8]) {
        let open = &mut self.open;
        if !open.bytes.is_empty() && open.bytes.len() + datagram.len() > FULL {
            self.full.push(std::mem::take(open));
        }
        if open.bytes.is_empty() {
            // Room for line feeds that are added.
            let room = self.expected.max(datagram.len()) + BATCH_LINE_FEEDS;
            *open = Chunk::with_capacity(room.min(FULL));
        }
        self.expected = self.expected.saturating_sub(datagram.len());
        open.push(datagram);
    }

    /// Returns the chunks.
    pub(super) fn finish(self) -> impl Iterator<Item = Chunk> {
        let Self { full, open, .. } = self;
        full.into_iter().chain(Some(open)).filter(|chunk| chunk.len() > 0)
    }
}

/// The number of line feeds that a batch of datagrams may need.
const BATCH_LINE_FEEDS: usize = 32;

/// Returns the length of the longest datagram at the beginning of `lines`: as many whole lines as fit, or one line that
/// is longer.
fn end_of_split(lines: &[u8]) -> usize {
    if lines.len() <= LONGEST_SPLIT {
        return lines.len();
    }
    let last = memchr::memrchr(b'\n', &lines[..LONGEST_SPLIT]);
    let end = last.or_else(|| memchr::memchr(b'\n', lines));
    end.map_or(lines.len(), |line_feed| line_feed + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunks(add: impl FnOnce(&mut Chunks)) -> Vec<Chunk> {
        let mut chunks = Chunks::new(0);
        add(&mut chunks);
        chunks.finish().collect()
    }

    #[test]
    fn datagrams_stay_as_they_came_and_a_stream_has_a_line_feed_after_each() {
        let [chunk] = &chunks(|chunks| {
            for datagram in [&b"a:1|c"[..], b"", b"b:1|c\nc:1|c\n", b"\n"] {
                chunks.add_datagram(datagram);
            }
        })[..] else {
            panic!("they fit into one chunk")
        };
        let datagrams: Vec<_> = (0..chunk.len()).map(|index| chunk.datagram(index)).collect();
        assert_eq!(datagrams, [&b"a:1|c"[..], b"b:1|c\nc:1|c\n", b"\n"]);
        assert_eq!(chunk.stream_from(0), b"a:1|c\nb:1|c\nc:1|c\n\n");
        assert_eq!(chunk.stream_from(1), b"b:1|c\nc:1|c\n\n");
        assert_eq!([0, 1, 2].map(|index| chunk.length_in_stream(index)), [6, 12, 1]);
    }

    #[test]
    fn lines_of_a_stream_share_datagrams_that_fit_into_a_frame() {
        let lines = "name:1|c\n".repeat(1000);
        let found = chunks(|chunks| chunks.add_lines(lines.as_bytes()));
        let datagrams: Vec<_> =
            found.iter().flat_map(|chunk| (0..chunk.len()).map(|index| chunk.datagram(index))).collect();
        assert_eq!(datagrams.concat(), lines.as_bytes());
        assert!(
            datagrams.iter().all(|datagram| datagram.len() <= LONGEST_SPLIT && datagram.ends_with(b"\n"))
        );
        assert_eq!(datagrams.len(), (9 * 1000_usize).div_ceil(LONGEST_SPLIT / 9 * 9));
        let long = format!("{}:1|c\nb:1|c", "x".repeat(2 * LONGEST_SPLIT));
        let [chunk] = &chunks(|chunks| chunks.add_lines(long.as_bytes()))[..] else { panic!("it is short") };
        assert_eq!((chunk.len(), chunk.datagram(1)), (2, &b"b:1|c"[..]));
    }

    #[test]
    fn chunks_hold_little_more_than_their_limit_and_a_long_datagram_is_split() {
        let long = "name:1|c\n".repeat(20_000);
        let found = chunks(|chunks| {
            chunks.add_datagram(long.as_bytes());
            let longest = vec![b'x'; LONGEST_DATAGRAM];
            (0..100).for_each(|_| chunks.add_datagram(&longest));
        });
        assert!(found.iter().all(|chunk| chunk.bytes.len() <= FULL + 1));
        let count: usize = found.iter().map(Chunk::len).sum();
        assert_eq!(count, 100 + (9 * 20_000_usize).div_ceil(LONGEST_SPLIT / 9 * 9));
    }
}
