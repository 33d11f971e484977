//! The whole daemon's CPU a line, as a ratio to that of a null sink which receives the same stream and does nothing.
//!
//! ```text
//!  first core                                    last core
//! +-------------------------+    127.0.0.1     +---------------------------------+
//! | streams --> generator --|------ UDP ------>| null sink, and the real tallyd  |
//! |                         |                  +---------------------------------+
//! |   round <---------------|--- CPU clock, socket queue, drops: from the kernel |
//! | account <---------------|--- its own metrics: from tallyd's standard output  |
//! +-------------------------+
//! ```
//!
//! What the kernel's part of receiving costs differs by a factor of two between machines, and between two minutes on
//! one machine. So a round has both receivers, and their ratio is what can be compared. Each round starts them anew, so
//! that chance in the layout of a process evens out over the rounds.
//!
//! Every tallyd ends with its account: datagrams sent = received + dropped, lines = samples.
//!
//! ```text
//! cargo bench --bench end_to_end                                       everything: about nine minutes
//! cargo bench --bench end_to_end -- --stream timings --rounds 9        one row
//! cargo bench --bench end_to_end -- --stream memory                    what many series take: four minutes
//! cargo bench --bench end_to_end -- --stream idle                      what none takes
//! cargo bench --bench end_to_end -- --peers --rounds 3                 other servers, too: six minutes
//! cargo bench --bench end_to_end -- --seconds 10                       flushed as seldom as by default
//! ```

mod account;
mod arguments;
mod cores;
mod generator;
mod idle;
mod memory;
mod null_sink;
mod peers;
mod process;
#[path = "../random/mod.rs"]
mod random;
mod report;
mod round;
mod socket;
mod streams;
mod tallyd;

use std::process::ExitCode;

use arguments::{Arguments, Role};
use cores::Cores;

/// Why there is no result, for people.
type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> ExitCode {
    let done = match Role::of_this_process() {
        Ok(Role::Bench(arguments)) => bench(&arguments),
        Ok(Role::Launcher { core, program, arguments }) => {
            Err(process::become_pinned(core, &program, &arguments))
        }
        Ok(Role::NullSink) => null_sink::run(),
        Err(error) => Err(error),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("end_to_end: {error}");
            ExitCode::FAILURE
        }
    }
}

fn bench(arguments: &Arguments) -> Result<(), Failure> {
    let cores = Cores::take()?;
    let streams: Vec<_> = streams::ALL.iter().filter(|stream| arguments.selects(stream.name)).collect();
    // Other servers get streams only.
    let [memory, idle] = [memory::NAME, idle::NAME].map(|name| !arguments.peers && arguments.selects(name));
    if streams.is_empty() && !memory && !idle {
        let names = streams::ALL.iter().map(|stream| stream.name).chain([memory::NAME, idle::NAME]);
        return Err(format!("no such stream; there are: {}", names.collect::<Vec<_>>().join(", ")).into());
    }
    if arguments.peers {
        report::peers_heading(arguments);
        for stream in streams {
            report::peers(stream, &peers::measure(stream, arguments, cores)?);
        }
        report::missing_peers();
    } else if !streams.is_empty() {
        report::streams_heading(arguments, cores);
        for stream in streams {
            report::stream(stream, &round::all(stream, arguments, cores)?);
        }
    }
    if memory {
        report::memory_heading();
        for case in memory::cases(arguments.brief) {
            report::memory(&case, &memory::measure(&case, cores)?);
        }
    }
    if idle {
        report::idle_heading();
        for case in idle::CASES {
            report::idle(&case, &idle::measure(&case, arguments.brief, cores)?);
        }
    }
    if arguments.brief {
        println!("\nThe accounts are right. In so short a time the numbers mean nothing.");
    }
    Ok(())
}
