//! Measures the whole daemon's CPU time per line, as a ratio to the CPU time of a null sink. The null sink receives the
//! same stream and does nothing with it.
//!
//! ```text
//!  first core                                    last core
//! +-------------------------+    127.0.0.1     +---------------------------------+
//! | streams --> generator --|------ UDP ------>| null sink, and the real tallyd  |
//! |                         |                  +---------------------------------+
//! | measurement <-----------|--- CPU clock, socket queue, drops: from the kernel |
//! |  tallyd <---------------|--- its own metrics: from tallyd's standard output  |
//! +-------------------------+
//! ```
//!
//! The kernel's cost of receiving differs by a factor of two between machines, and even between two minutes on one
//! machine. So each round measures both receivers, and only their ratio is comparable. Each round starts new processes,
//! so that random effects of memory layout average out.
//!
//! At the end of each run, the bench checks tallyd's counters: datagrams sent = received + dropped, and lines = samples.
//!
//! ```text
//! cargo bench --bench end_to_end                                       everything: about nine minutes
//! cargo bench --bench end_to_end -- --stream timings --rounds 9        one row
//! cargo bench --bench end_to_end -- --stream memory                    the memory of many series: four minutes
//! cargo bench --bench end_to_end -- --stream idle                      the cost without traffic
//! cargo bench --bench end_to_end -- --coalesce 0s                      with another `listeners.coalesce_delay`
//! cargo bench --bench end_to_end -- --peers --rounds 3                 other servers, too: ten minutes
//! cargo bench --bench end_to_end -- --seconds 10                       with the default flush interval
//! ```

mod arguments;
mod client;
mod generator;
mod idle;
mod measurement;
mod memory;
mod null_sink;
mod peers;
mod process;
mod report;
mod ring;
mod round;
mod streams;
mod tallyd;
#[path = "../traffic/mod.rs"]
mod traffic;
mod turns;
#[path = "../wait_clock/mod.rs"]
mod wait_clock;

use std::process::ExitCode;

use arguments::{Arguments, Role};
use process::{Cores, Error};

fn main() -> ExitCode {
    let done = match Role::of_this_process() {
        Ok(Role::Bench(arguments)) => bench(&arguments),
        Ok(Role::Launcher { core, program, arguments }) => {
            Err(process::become_pinned(core, &program, &arguments))
        }
        Ok(Role::NullSink) => null_sink::run(),
        Err(error) => Err(error.into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("end_to_end: {error}");
            ExitCode::FAILURE
        }
    }
}

fn bench(arguments: &Arguments) -> Result<(), Error> {
    let cores = Cores::assign()?;
    let streams: Vec<_> =
        streams::all().into_iter().filter(|stream| arguments.selects(&stream.name)).collect();
    // With `--peers`, the bench measures only streams.
    let [memory, idle] = [memory::NAME, idle::NAME].map(|name| !arguments.peers && arguments.selects(name));
    if streams.is_empty() && !memory && !idle {
        let names = streams::all().into_iter().map(|stream| stream.name);
        let names = names.chain([memory::NAME, idle::NAME].map(str::to_owned));
        return Err(format!(
            "there is no such stream; the streams are: {}",
            names.collect::<Vec<_>>().join(", ")
        )
        .into());
    }
    if arguments.peers {
        report::peers_heading(arguments);
        for stream in &streams {
            report::peers(stream, &turns::measure_all(stream, arguments, cores)?);
        }
        report::missing_peers();
    } else if !streams.is_empty() {
        report::streams_heading(arguments, cores);
        for stream in &streams {
            report::stream(stream, &round::all(stream, arguments, cores)?);
        }
    }
    if memory {
        report::memory_heading();
        for case in memory::cases(arguments.test) {
            report::memory(&case, &memory::measure(&case, arguments, cores)?);
        }
    }
    if idle {
        report::idle_heading();
        for case in idle::CASES {
            report::idle(&case, &idle::measure(&case, arguments, cores)?);
        }
    }
    if arguments.test {
        println!(
            "\ntallyd's counters add up. The figures mean nothing, because the measurement was too short."
        );
    }
    Ok(())
}
