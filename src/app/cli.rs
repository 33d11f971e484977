//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::app::explain::Format;
use crate::app::send::{Request, Sample, SendError, Target, WIRE_TYPES};
use crate::listen::Framing;

/// A StatsD and DogStatsD server that accounts for every sample.
#[derive(Debug, Parser)]
#[command(version, about, after_help = EXAMPLES)]
pub struct Cli {
    /// What to do; `run` if it is left out.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// What to do it with.
    #[command(flatten)]
    pub config: ConfigArgs,
}

const EXAMPLES: &str = "\
Examples:
  tallyd                                     receive on 127.0.0.1:8125, show results every 10 s
  tallyd --set flush.interval=1s             the same every second
  tallyd run --config /etc/tallyd.toml       with a configuration
  tallyd check --config /etc/tallyd.toml     say what is wrong with it, or what is in force
  tallyd check --dry-run lines.txt           say what becomes of lines, and which mapping rules are used
  tallyd explain 'page.views:1|c|@0.1'       say what becomes of a line
  TALLYD_LISTENERS__UDP__BIND=0.0.0.0:8125 tallyd
                                             on all interfaces

  tallyd send page.views 1 --tag page:home   send a sample
  tallyd send queue.length -5 --type g       lower a gauge by 5
  tallyd send - --to unix:///run/tallyd/tallyd.sock
                                             send lines from standard input
  echo 'page.views:1|c' | nc -u -w1 127.0.0.1 8125
                                             send a sample without tallyd";

/// What tallyd can do.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Receive, aggregate and export until SIGTERM or SIGINT.
    Run,
    /// Check the configuration and print all of it as it is in force. Exit code 78 if it is refused.
    Check(CheckArgs),
    /// Say what tallyd would make of lines.
    Explain(ExplainArgs),
    /// Send a sample, or lines from standard input. Exit code 2 if it would not count as it is meant, 1 if sending failed.
    Send(SendArgs),
}

/// What else to check.
#[derive(Debug, Clone, Args)]
pub struct CheckArgs {
    /// Instead, say what would become of the lines of this file ("-": of standard input): how often each mapping rule was
    /// used, which names no rule matches, and what is kept off the page of Prometheus.
    #[arg(long, value_name = "FILE")]
    pub dry_run: Option<PathBuf>,
}

/// Which lines to explain, and how.
#[derive(Debug, Clone, Args)]
pub struct ExplainArgs {
    /// Lines as a client would send them; those of standard input if there are none, or only "-".
    pub lines: Vec<OsString>,
    /// For people, or an object a line for programs.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
}

const TARGETS: &str = "udp://HOST:PORT, tcp://HOST:PORT, unix:///PATH (datagrams) or unixstream:///PATH";

/// What to send.
#[derive(Debug, Clone, Args)]
pub struct SendArgs {
    /// The metric's name; "-" to send the lines of standard input.
    pub name: String,
    /// The value. For gauges, +5 and -5 are changes.
    #[arg(allow_hyphen_values = true)]
    pub value: Option<String>,
    /// c counts, g is a gauge, ms a timing, h a histogram, d a distribution, s a member of a set; m is c, kv is g.
    /// [default: c]
    #[arg(long = "type", value_name = "TYPE", value_parser = WIRE_TYPES)]
    pub wire_type: Option<String>,
    /// A tag; may be repeated.
    #[arg(long = "tag", value_name = "KEY:VALUE")]
    pub tags: Vec<String>,
    /// The probability with which samples like this one are sent: it stands for 1/RATE.
    #[arg(long)]
    pub rate: Option<String>,
    /// Where to.
    #[arg(long, value_name = "URL", default_value = "udp://127.0.0.1:8125", help = TARGETS)]
    pub to: Target,
    /// How lines lie in a stream; unless tallyd was configured otherwise, "lines" over tcp and "length" over unixstream.
    #[arg(long, value_enum)]
    pub framing: Option<Framing>,
}

impl SendArgs {
    /// What they ask for.
    ///
    /// # Errors
    ///
    /// If they do not fit together.
    pub fn request(self) -> Result<Request, SendError> {
        let Self { name, value, wire_type, tags, rate, to: target, framing } = self;
        if name == "-" {
            let is_alone = value.is_none() && wire_type.is_none() && tags.is_empty() && rate.is_none();
            return if is_alone {
                Ok(Request { target, framing, sample: None })
            } else {
                let problem = "\"-\" sends lines as they are; leave out the value, --type, --tag and --rate";
                Err(SendError::Refused(problem.to_owned()))
            };
        }
        let Some(value) = value else {
            return Err(SendError::Refused(format!("no value; try `tallyd send {name} 1`")));
        };
        let wire_type = wire_type.unwrap_or_else(|| "c".to_owned());
        Ok(Request { target, framing, sample: Some(Sample { name, value, wire_type, tags, rate }) })
    }
}

/// Where the configuration comes from.
#[derive(Debug, Args)]
pub struct ConfigArgs {
    /// Read this file over the defaults.
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Set one key over everything else; may be repeated.
    #[arg(long, global = true, value_name = "KEY.PATH=VALUE")]
    pub set: Vec<String>,
}
