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
//! Most streams come in bursts, because bursts show what a line costs. Applications send single datagrams, and their
//! cost depends mostly on how often they wake the receiver, for which the application pays, too. So single datagrams
//! have a table of their own, with the cost of receiving and of sending, and how long a datagram waits. A second null
//! sink, which rests like tallyd, shows the least possible cost.
//!
//! ```text
//! cargo bench --bench end_to_end                                       everything: seventeen minutes
//! cargo bench --bench end_to_end -- --stream timings --rounds 9        one row; `--stream` can be repeated
//! cargo bench --bench end_to_end -- --stream singles                   single datagrams: eight minutes
//! cargo bench --bench end_to_end -- --stream single-10000-20-lines     any rate and lines, -poisson, -50-sockets
//! cargo bench --bench end_to_end -- --stream memory                    the memory of many series: four minutes
//! cargo bench --bench end_to_end -- --stream idle                      the cost without traffic
//! cargo bench --bench end_to_end -- --coalesce 0s                      with another `listeners.coalesce_delay`
//! cargo bench --bench end_to_end -- --peers --rounds 3                 other servers, too: twenty minutes
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
mod singles;
mod streams;
mod tallyd;
#[path = "../traffic/mod.rs"]
mod traffic;
mod turns;
#[path = "../wait_clock/mod.rs"]
mod wait_clock;
mod waits;

use std::process::ExitCode;

use arguments::{Arguments, Role};
use process::{Cores, Error};
use streams::Stream;

fn main() -> ExitCode {
    let done = match Role::of_this_process() {
        Ok(Role::Bench(arguments)) => bench(&arguments),
        Ok(Role::Launcher { core, program, arguments }) => {
            Err(process::become_pinned(core, &program, &arguments))
        }
        Ok(Role::NullSink { rest }) => null_sink::run(rest),
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
    let select = |streams: Vec<Stream>, group| -> Vec<_> {
        let selected = |stream: &Stream| arguments.selects(&stream.name, group, stream.by_default);
        streams.into_iter().filter(selected).collect()
    };
    let bursts = select(streams::bursts(), streams::BURSTS);
    let singles = select(streams::singles(), streams::SINGLES);
    // With `--peers`, the bench measures only streams.
    let [memory, idle] =
        [memory::NAME, idle::NAME].map(|name| !arguments.peers && arguments.selects(name, name, true));
    if bursts.is_empty() && singles.is_empty() && !memory && !idle {
        return Err(format!("there is no such stream; the streams are: {}", names().join(", ")).into());
    }
    if arguments.peers && !bursts.is_empty() {
        report::peers_heading(arguments);
        for stream in &bursts {
            report::peers(stream, &turns::measure_all(stream, arguments, cores)?);
        }
    } else if !bursts.is_empty() {
        report::streams_heading(arguments, cores);
        for stream in &bursts {
            report::stream(stream, &round::all(stream, arguments, cores)?);
        }
    }
    if !singles.is_empty() {
        report::singles::heading(arguments);
        for stream in &singles {
            report::singles::rows(stream, &turns::measure_all(stream, arguments, cores)?, arguments.test);
        }
    }
    if arguments.peers {
        report::missing_peers();
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

/// Returns the values of `--stream`.
fn names() -> Vec<String> {
    let groups = [streams::BURSTS, streams::SINGLES, memory::NAME, idle::NAME].map(str::to_owned);
    let streams = streams::bursts().into_iter().chain(streams::singles()).map(|stream| stream.name);
    streams.chain(groups).collect()
}
