//! What this process is to do: be the bench, or one of the processes that the bench starts from its own binary.

use std::time::Duration;

use crate::Failure;

/// First argument of a process that pins itself and then becomes a receiver.
pub(crate) const LAUNCHER: &str = "--launch";
/// First argument of the null sink.
pub(crate) const NULL_SINK: &str = "--null-sink";

/// What the command line makes of the process.
pub(crate) enum Role {
    Bench(Arguments),
    Launcher { core: Option<usize>, program: String, arguments: Vec<String> },
    NullSink,
}

/// What is to be measured.
#[derive(Debug)]
pub(crate) struct Arguments {
    /// How often each stream is measured; at least 1.
    pub(crate) rounds: usize,
    /// How long the measured part of a round is.
    pub(crate) measured: Duration,
    /// The flush interval: as long, if times are of interest.
    pub(crate) interval: Duration,
    /// Whether only the accounts are of interest, not the times.
    pub(crate) brief: bool,
    /// Whether other servers are to be measured, too.
    pub(crate) peers: bool,
    /// All of them if `None`.
    stream: Option<String>,
}

impl Arguments {
    pub(crate) fn selects(&self, stream: &str) -> bool {
        self.stream.as_deref().is_none_or(|selected| selected == stream)
    }
}

impl Role {
    pub(crate) fn of_this_process() -> Result<Self, Failure> {
        let mut words = std::env::args().skip(1).peekable();
        match words.peek().map(String::as_str) {
            Some(NULL_SINK) => Ok(Self::NullSink),
            Some(LAUNCHER) => {
                let (core, program) = (words.nth(1), words.next());
                let core = core.and_then(|core| core.parse().ok());
                Ok(Self::Launcher { core, program: program.unwrap_or_default(), arguments: words.collect() })
            }
            _ => parse(words).map(Self::Bench),
        }
    }
}

/// cargo hands the same words to all benches, so those that mean nothing here are left alone.
fn parse(mut words: impl Iterator<Item = String>) -> Result<Arguments, Failure> {
    let second = Duration::from_secs(1);
    let mut arguments =
        Arguments { rounds: 5, measured: second, interval: second, brief: false, peers: false, stream: None };
    let mut asked_for_by_cargo_bench = false;
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("{word} needs a value"));
        match word.as_str() {
            "--rounds" => {
                arguments.rounds = value()?.parse().ok().filter(|&rounds| rounds > 0).ok_or(ROUNDS)?;
            }
            "--seconds" => {
                let seconds: Option<f64> = value()?.parse().ok();
                // The range of flush.interval.
                let seconds = seconds.filter(|seconds| (0.1..=3600.0).contains(seconds)).ok_or(SECONDS)?;
                arguments.measured = Duration::from_millis((seconds * 1e3) as u64);
            }
            "--stream" => arguments.stream = Some(value()?),
            "--peers" => arguments.peers = true,
            "--test" => arguments.brief = true,
            "--bench" => asked_for_by_cargo_bench = true,
            _ => {}
        }
    }
    // `cargo test --benches` says nothing at all.
    arguments.brief |= !asked_for_by_cargo_bench;
    arguments.interval = arguments.measured;
    if arguments.brief {
        arguments.rounds = 1;
        arguments.measured = Duration::from_millis(100);
        // Unoptimized, a flush of 200,000 series takes a good part of that.
        arguments.interval = second;
    }
    Ok(arguments)
}

const ROUNDS: &str = "--rounds must be a number of at least 1";
const SECONDS: &str = "--seconds must be a number from 0.1 to 3600";
