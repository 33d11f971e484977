//! Counts instructions per line, value or series, and compares them with recorded counts. Also counts atomic
//! operations, which show that receivers share only gauges.
//!
//! ```text
//!  this process                        itself again, under Callgrind, one per core
//! +------------------------+          +------------------------------------------+
//! | cases -----------------|-- name ->| prepares             not counted         |
//! |                        |<- units -| counted_region(..)   counted             |
//! | baselines --> report <-|- counts -|                                          |
//! +------------------------+          +------------------------------------------+
//! ```
//!
//! Times can double while other programs use a part of the cache, so limits on times would have to be wide. Counts of
//! instructions differ by less than a percent. They say nothing about caches. The other benches measure times.
//!
//! The crate gungraun counts in the same way, but it needs a second program of exactly its own version. Building that
//! program takes two and a half minutes, while all cases take half a minute. gungraun compares with earlier counts on
//! the same machine. This bench compares with a file that is reviewed together with the code.
//!
//! ```text
//! cargo bench --bench instructions                        counts all cases: half a minute
//! cargo bench --bench instructions -- --case timing       counts the cases with this in their name
//! cargo bench --bench instructions -- --update            counts all cases and records the counts
//! callgrind_annotate target/tmp/instructions/FILE         shows where the instructions of a case are
//! ```

mod baselines;
mod callgrind;
#[path = "../inputs/mod.rs"]
mod inputs;
#[path = "../pipeline/mod.rs"]
mod pipeline;
mod receivers;
mod report;
mod stages;
#[path = "../traffic/mod.rs"]
mod traffic;

use std::process::ExitCode;

use baselines::Baselines;
use callgrind::{Case, Error};

/// The first argument of a process that runs one case under Callgrind.
const RUN_CASE: &str = "--run-case";

/// The arguments of a process that counts.
#[derive(Debug, Default)]
struct Arguments {
    /// True if the bench records the counts.
    update: bool,
    /// True if the bench only runs the cases, without counting.
    test: bool,
    /// A part of the names of the selected cases. If it is `None`, all cases are selected.
    case: Option<String>,
}

impl Arguments {
    /// Parses the command line. cargo passes the same words to all benches, so unknown words are ignored.
    fn parse(mut words: impl Iterator<Item = String>) -> Self {
        let mut arguments = Self::default();
        let mut bench = false;
        while let Some(word) = words.next() {
            match word.as_str() {
                "--bench" => bench = true,
                "--test" => arguments.test = true,
                "--update" => arguments.update = true,
                "--case" => arguments.case = words.next(),
                _ => {}
            }
        }
        // `cargo bench` passes `--bench`; `cargo test --benches` passes nothing.
        arguments.test |= !bench;
        arguments
    }

    /// Returns true if a case is to run. An update runs all cases.
    fn selects(&self, case: &str) -> bool {
        self.update || self.case.as_deref().is_none_or(|part| case.contains(part))
    }
}

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1).peekable();
    let done = if words.next_if(|word| word == RUN_CASE).is_some() {
        run_case(&words.next().unwrap_or_default())
    } else {
        count_and_compare(&Arguments::parse(words))
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("instructions: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Returns all cases, in the order of the pipeline.
fn cases() -> Vec<Case> {
    let mut cases = stages::cases();
    cases.extend(receivers::cases());
    cases
}

fn count_and_compare(arguments: &Arguments) -> Result<(), Error> {
    let mut cases = cases();
    cases.retain(|case| arguments.selects(&case.name));
    if cases.is_empty() {
        return Err("no name of a case contains this text".into());
    }
    if arguments.test {
        cases.iter().for_each(|case| _ = case.run());
        println!("All cases run. They were not counted, because this build is not optimized.");
        return Ok(());
    }
    let counts = callgrind::count_all(&cases, RUN_CASE)?;
    let counted = cases.iter().zip(counts);
    let (receivers, counted): (Vec<_>, Vec<_>) = counted.partition(|(case, _)| case.atomics.is_some());
    if arguments.update {
        Baselines::of(&counted)?.write()?;
    }
    let mut complaints = Vec::new();
    if !counted.is_empty() {
        complaints.extend(report::instructions(&counted, &Baselines::read()?)?);
    }
    if !receivers.is_empty() {
        complaints.extend(report::receivers(&receivers));
    }
    if complaints.is_empty() { Ok(()) } else { Err(complaints.join("\n").into()) }
}

/// Runs one case in this process, which runs under Callgrind. Prints the number of its units.
fn run_case(name: &str) -> Result<(), Error> {
    let cases = cases();
    let case = cases.iter().find(|case| case.name == name).ok_or("no case has this name")?;
    println!("{}", case.run());
    Ok(())
}
