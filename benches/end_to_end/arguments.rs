//! The role of this process. It is the bench itself, or a process that the bench starts from its own binary.

use std::time::Duration;

/// The first argument of a process that pins itself to a core and then becomes a receiver.
pub(crate) const LAUNCHER: &str = "--launch";
/// The first argument of the null sink.
pub(crate) const NULL_SINK: &str = "--null-sink";

/// tallyd's default for `listeners.coalesce_delay`.
const DEFAULT_REST: Duration = Duration::from_millis(50);

/// The role that the command line selects.
pub(crate) enum Role {
    Bench(Arguments),
    Launcher {
        core: Option<usize>,
        program: String,
        arguments: Vec<String>,
    },
    /// The null sink that blocks, or that rests for this time when enough arrives.
    NullSink {
        rest: Option<Duration>,
    },
}

/// The measurements to take.
#[derive(Debug)]
pub(crate) struct Arguments {
    /// The number of measurements of each stream, at least 1.
    pub(crate) rounds: usize,
    /// The length of the measured part of a round.
    pub(crate) measured: Duration,
    /// The flush interval. It equals `measured`, except in test mode.
    pub(crate) interval: Duration,
    /// True if the bench only has to work and its figures do not matter.
    pub(crate) test: bool,
    /// True if the bench also measures other servers.
    pub(crate) peers: bool,
    /// tallyd's `listeners.coalesce_delay`, if it differs from the default.
    pub(crate) coalesce: Option<Duration>,
    /// The names of the streams to measure. If it is empty, the bench measures its usual streams.
    streams: Vec<String>,
}

impl Arguments {
    /// Returns true if the bench measures the stream. `group` also selects the streams that it measures by default.
    pub(crate) fn selects(&self, stream: &str, group: &str, by_default: bool) -> bool {
        let names = |name| self.streams.iter().any(|selected| selected == name);
        names(stream) || by_default && (self.streams.is_empty() || names(group))
    }

    /// Returns the time for which the resting null sink rests.
    pub(crate) fn rest(&self) -> Duration {
        self.coalesce.filter(|delay| !delay.is_zero()).unwrap_or(DEFAULT_REST)
    }
}

impl Role {
    pub(crate) fn of_this_process() -> Result<Self, String> {
        let mut words = std::env::args().skip(1);
        match words.next().as_deref() {
            Some(NULL_SINK) => {
                let rest = words.next().map(|word| parse_delay(&word)).transpose()?;
                Ok(Self::NullSink { rest })
            }
            Some(LAUNCHER) => {
                let core = words.next().and_then(|core| core.parse().ok());
                let program = words.next().unwrap_or_default();
                Ok(Self::Launcher { core, program, arguments: words.collect() })
            }
            _ => parse(std::env::args().skip(1)).map(Self::Bench),
        }
    }
}

/// Parses the command line. cargo passes the same words to all benches, so unknown words are ignored.
fn parse(mut words: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let second = Duration::from_secs(1);
    let mut arguments = Arguments {
        rounds: 5,
        measured: second,
        interval: second,
        test: false,
        peers: false,
        coalesce: None,
        streams: Vec::new(),
    };
    let mut bench = false;
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("{word} needs a value"));
        match word.as_str() {
            "--rounds" => {
                arguments.rounds = value()?.parse().ok().filter(|&rounds| rounds > 0).ok_or(ROUNDS)?;
            }
            "--seconds" => {
                let seconds: Option<f64> = value()?.parse().ok();
                // `flush.interval` has this range.
                let seconds = seconds.filter(|seconds| (0.1..=3600.0).contains(seconds)).ok_or(SECONDS)?;
                arguments.measured = Duration::from_millis((seconds * 1e3) as u64);
            }
            "--stream" => arguments.streams.push(value()?),
            "--coalesce" => arguments.coalesce = Some(parse_delay(&value()?)?),
            "--peers" => arguments.peers = true,
            "--test" => arguments.test = true,
            "--bench" => bench = true,
            _ => {}
        }
    }
    // `cargo bench` passes `--bench`; `cargo test --benches` passes nothing.
    arguments.test |= !bench;
    arguments.interval = arguments.measured;
    if arguments.test {
        arguments.rounds = 1;
        arguments.measured = Duration::from_millis(50);
        // In an unoptimized build, a flush of 200,000 series takes most of a second.
        arguments.interval = second;
    }
    Ok(arguments)
}

fn parse_delay(word: &str) -> Result<Duration, String> {
    humantime::parse_duration(word).map_err(|error| format!("{word} is not a duration such as 20ms: {error}"))
}

const ROUNDS: &str = "--rounds must be a number of at least 1";
const SECONDS: &str = "--seconds must be a number from 0.1 to 3600";
