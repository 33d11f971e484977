//! Writes the conformance cases as seeds for the fuzzer. Run `cargo run --bin seed` in this directory.

use std::fs;
use std::io;
use std::path::Path;

use serde_json::Value as Json;

const ROWS: &str = include_str!("../tests/data/lines.jsonl");

fn main() -> io::Result<()> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for target in ["datagram", "stream"] {
        fs::create_dir_all(corpus.join(target))?;
    }
    for row in ROWS.lines() {
        let row: Json = serde_json::from_str(row)?;
        let (Some(id), Some(hex)) = (row["id"].as_str(), row["hex"].as_str()) else { continue };
        let datagram: Vec<u8> = (0..hex.len() / 2)
            .filter_map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).ok())
            .collect();
        fs::write(corpus.join("datagram").join(id), &datagram)?;
        // Two bytes precede the stream: a choice of framing and a seed. Each case becomes two streams, one per framing.
        fs::write(corpus.join("stream").join(format!("{id}-lines")), [&[0, 7], &*datagram].concat())?;
        let length = (datagram.len() as u32).to_le_bytes();
        fs::write(
            corpus.join("stream").join(format!("{id}-length")),
            [&[1, 7], &length[..], &datagram].concat(),
        )?;
    }
    Ok(())
}
