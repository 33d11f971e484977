//! Splits a stream into pieces. The pieces must give the same lines as the whole stream, and the deframer must respect
//! its memory limit.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tallyd::listen::{Deframer, End, Frame, Framing};
use tallyd::protocol;

const LIMIT: usize = 64;

// The first byte of the input chooses the framing and how the stream ends. The second byte is the seed for the sizes of
// the pieces.
fuzz_target!(|input: &[u8]| {
    let [choice, seed, stream @ ..] = input else { return };
    let framing = if choice & 1 == 0 { Framing::Lines } else { Framing::Length };
    let whole = choice & 2 == 0;
    let in_pieces = frames(framing, whole, pieces(stream, *seed));
    let at_once = frames(framing, whole, std::iter::once(stream));
    assert_eq!(in_pieces, at_once);
    // No byte is returned twice.
    let returned: usize = at_once.iter().flatten().map(Vec::len).sum();
    assert!(returned <= stream.len());
});

/// Returns the lines, and `None` for each line that is too long or truncated.
fn frames<'a>(framing: Framing, whole: bool, pieces: impl Iterator<Item = &'a [u8]>) -> Vec<Option<Vec<u8>>> {
    let mut found = Vec::new();
    let mut push = |frame: Frame<'_>| match frame {
        Frame::Lines(lines) => {
            for line in protocol::lines(lines) {
                assert!(line.len() <= LIMIT && !line.contains(&b'\n'));
                found.push(Some(line.to_vec()));
            }
        }
        Frame::TooLong | Frame::Truncated => found.push(None),
    };
    let mut deframer = Deframer::new(framing, LIMIT);
    for piece in pieces {
        let followed = deframer.push(piece, &mut push);
        assert!(deframer.memory() <= LIMIT);
        if followed.is_err() {
            break;
        }
    }
    deframer.end(if whole { End::Whole } else { End::Broken }, &mut push);
    found
}

/// Splits a stream into pieces of 1 to 16 bytes. The seed determines their sizes.
fn pieces(stream: &[u8], seed: u8) -> impl Iterator<Item = &[u8]> {
    let mut left = stream;
    let mut state = u32::from(seed);
    std::iter::from_fn(move || {
        if left.is_empty() {
            return None;
        }
        state = state.wrapping_mul(1_103_515_245).wrapping_add(12_345);
        let length = (1 + (state >> 16) as usize % 16).min(left.len());
        let (piece, rest) = left.split_at(length);
        left = rest;
        Some(piece)
    })
}
