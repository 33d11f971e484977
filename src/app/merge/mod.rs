//! `tallyd merge`: merges interval logs of HdrHistogram, for example those of many hosts.
//!
//! ```text
//!  files --> read (lines) --> groups (counts per series or tag) --> output
//! ```

mod arguments;
mod groups;
mod output;
mod read;

pub(super) use arguments::MergeArgs;

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Write};
use std::path::Path;
use std::process::ExitCode;

use crate::app::exit::EXIT_REJECTED;
use crate::model::{Pattern, Percentile};
use groups::{Grouping, Merger, Selection, TooMany};
use read::{LineError, read_log};

/// The most bad lines of a file that are named. More would hide the others.
const MOST_NAMED: u64 = 20;

/// Merges the files and prints the result. Returns the exit code: 2 if a line was left out, and 1 for other problems.
pub(super) fn run(arguments: MergeArgs) -> ExitCode {
    let MergeArgs { files, pattern, tags, by, from, to, mut percentiles, json, hgrm } = arguments;
    let grouping = match by {
        _ if hgrm => Grouping::All,
        Some(by) => Grouping::Tag(by),
        None => Grouping::Series,
    };
    let mut merger = Merger::new(Selection { pattern: Pattern::new(&pattern), tags, grouping, from, to });
    let mut code = ExitCode::SUCCESS;
    let mut is_unread = false;
    for file in &files {
        match merge_file(&mut merger, file) {
            Ok(0) => {}
            Ok(_) => code = ExitCode::from(EXIT_REJECTED),
            Err(MergeError::Unreadable(error)) => {
                eprintln!("tallyd: {}: cannot be read: {error}", file.display());
                is_unread = true;
            }
            Err(MergeError::TooMany) => {
                eprintln!(
                    "tallyd: the selected series need more than 1 GiB; select fewer with --match, --tag, --from and --to, \
                     or merge them with --by"
                );
                return ExitCode::FAILURE;
            }
        }
    }
    percentiles.sort_by(f64::total_cmp);
    percentiles.dedup();
    let percentiles: Vec<_> = percentiles.into_iter().filter_map(Percentile::new).collect();
    let groups = merger.into_groups();
    let mut output = BufWriter::new(io::stdout().lock());
    let written = match groups.values().next() {
        Some(group) if hgrm => output::write_hgrm(group, &mut output),
        None if hgrm => {
            eprintln!("tallyd: no interval matches");
            return ExitCode::FAILURE;
        }
        _ if json => output::write_json(&groups, &percentiles, &mut output),
        _ => output::write_table(&groups, &percentiles, &mut output),
    };
    match written.and_then(|()| output.flush()) {
        Ok(()) if is_unread => ExitCode::FAILURE,
        Ok(()) => code,
        // A reader of the output, such as `head`, may close it early. This is not a failure.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => code,
        Err(error) => {
            eprintln!("tallyd: cannot write the output: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The reason why a file could not be merged.
enum MergeError {
    Unreadable(io::Error),
    TooMany,
}

impl From<io::Error> for MergeError {
    fn from(error: io::Error) -> Self {
        Self::Unreadable(error)
    }
}

/// Merges a file. Names its bad lines on standard error, and returns their number.
fn merge_file(merger: &mut Merger, path: &Path) -> Result<u64, MergeError> {
    let log = BufReader::with_capacity(1 << 16, File::open(path)?);
    let mut bad = 0;
    let outcome = read_log(
        log,
        |interval| match merger.add(&interval) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(problem)) => Err(LineError::Bad(problem)),
            Err(TooMany) => Err(LineError::Fatal(MergeError::TooMany)),
        },
        |line, problem| {
            bad += 1;
            if bad <= MOST_NAMED {
                eprintln!("tallyd: {}:{line}: {problem}", path.display());
            }
        },
    );
    if bad > MOST_NAMED {
        eprintln!("tallyd: {}: and {} more bad lines", path.display(), bad - MOST_NAMED);
    }
    outcome.map(|()| bad)
}
