//! Instructions a line, value or series, which no other program on the machine can change, compared with recorded ones;
//! and atomic operations, which show that receivers share nothing.
//!
//! ```text
//!  this process                        itself again, under Callgrind, one a core
//! +------------------------+          +------------------------------------------+
//! | cases -----------------|-- name ->| prepares      not counted                |
//! |                        |<- units -| counted(..)   what the case is about     |
//! | baselines --> report <-|- events -|                                          |
//! +------------------------+          +------------------------------------------+
//! ```
//!
//! Times double while other programs have their part of the cache, so a limit on them would have to be a wide one.
//! Instructions differ by less than a percent. They tell nothing of caches, though: the other benches measure times.
//!
//! The crate gungraun counts in the same way. It needs a second program of its very version, which takes two minutes and
//! a half to build where all cases take half a minute, and it compares with what it counted before on the same machine;
//! this compares with a file that is reviewed along with the code.
//!
//! ```text
//! cargo bench --bench instructions                        all cases: half a minute
//! cargo bench --bench instructions -- --case timing       those with this in their name
//! cargo bench --bench instructions -- --update            all, which become the recorded ones
//! callgrind_annotate target/tmp/instructions/FILE         where the instructions of a case went
//! ```

mod arguments;
mod baselines;
mod callgrind;
mod cases;
#[path = "../pipeline/mod.rs"]
mod pipeline;
#[path = "../random/mod.rs"]
mod random;
mod receivers;
mod report;
mod stages;
#[path = "../streams/mod.rs"]
mod streams;

use std::process::ExitCode;

use arguments::{Arguments, Role};
use baselines::Baselines;

/// Why there is no result, or no good one, for people.
type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> ExitCode {
    let done = match Role::of_this_process() {
        Role::Guard(arguments) => guard(&arguments),
        Role::Counted(name) => run(&name),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("instructions: {error}");
            ExitCode::FAILURE
        }
    }
}

fn guard(arguments: &Arguments) -> Result<(), Failure> {
    let mut cases = cases::all();
    cases.retain(|case| arguments.selects(&case.name));
    if cases.is_empty() {
        return Err("no case has that in its name".into());
    }
    if arguments.brief {
        cases.iter().for_each(|case| _ = case.run());
        println!("All cases run. Unoptimized, their instructions mean nothing, and were not counted.");
        return Ok(());
    }
    let counts = callgrind::count_all(&cases)?;
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

/// Under Callgrind: runs a case, and tells how many units were counted.
fn run(name: &str) -> Result<(), Failure> {
    let cases = cases::all();
    let case = cases.iter().find(|case| case.name == name).ok_or("no case has this name")?;
    println!("{}", case.run());
    Ok(())
}
