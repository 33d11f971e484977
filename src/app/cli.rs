//! Declares the command line.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

use crate::app::ask::AskCommand;
use crate::app::config::{Adopted, StatsdExporterArgs};
use crate::app::explain::ExplainFormat;
use crate::app::merge::MergeArgs;
use crate::app::send::{Request, SampleArguments, SendError, WIRE_TYPES};
use crate::listen::{Framing, ListenOptions};
use crate::net::ListenerUrl;

/// A StatsD and DogStatsD server that accounts for every sample.
#[derive(Debug, Parser)]
#[command(name = "tallyd", version, after_help = EXAMPLES)]
pub(super) struct Cli {
    /// The command. The default is `run`.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// The sources of the configuration.
    #[command(flatten)]
    pub config: ConfigArgs,
}

const EXAMPLES: &str = "\
Examples:
  tallyd                                     receive on 127.0.0.1:8125, show results every 10 s
  tallyd --set flush.interval=1s             show results every second
  tallyd run --config /etc/tallyd.toml       run with a configuration file
  tallyd check --config /etc/tallyd.toml     check a configuration file, and print all settings
  tallyd check --dry-run lines.txt           report what would happen to lines, rule by rule
  tallyd explain 'page.views:1|c|@0.1'       explain what happens to a line
  TALLYD_LISTENERS__UDP__BIND=0.0.0.0:8125 tallyd
                                             receive on all interfaces

  tallyd top                                 show live what a running tallyd receives
  tallyd series 'page.*'                     print the series of a running tallyd
  tallyd rejected                            print the lines that a running tallyd rejected
  tallyd health                              check that a running tallyd works, for a container's health check

  tallyd merge web-1.hlog web-2.hlog         print the percentiles of two hosts together

  tallyd send page.views 1 --tag page:home   send a sample
  tallyd send queue.length -5 --type g       lower a gauge by 5
  tallyd send hits 1 --config /etc/tallyd.toml
                                             send to the first listener of a configuration file
  tallyd send - --to unix:///run/tallyd/tallyd.sock
                                             send lines from standard input
  echo 'page.views:1|c' | nc -u -w1 127.0.0.1 8125
                                             send a sample without tallyd";

#[derive(Debug, Clone, Subcommand)]
pub(super) enum Command {
    /// Receive, aggregate and export until SIGTERM, SIGINT or SIGQUIT.
    Run,
    /// Check the configuration and print every setting. Exits with 78 if tallyd refuses the configuration. With
    /// --strict, exits with 1 if there are warnings. With --dry-run, exits with 2 if tallyd would reject a line.
    Check(CheckArgs),
    /// Explain what happens to lines. Exits with 2 if tallyd would reject one.
    Explain(ExplainArgs),
    /// Run with the flags of statsd_exporter, in its place.
    #[command(version, after_help = STATSD_EXPORTER)]
    StatsdExporter(Box<StatsdExporterArgs>),
    /// Send a sample, or lines from standard input. Exits with 2 if tallyd would reject or misread a line, and with 1
    /// if sending fails.
    Send(SendArgs),
    /// Print the default configuration or the schema of the configuration.
    Config {
        /// The text to print.
        #[command(subcommand)]
        what: ConfigCommand,
    },
    /// Print a script with which a shell completes tallyd's commands and options.
    Completions {
        /// The shell.
        shell: Shell,
    },
    /// Print the manual page, or write the pages of all commands.
    Man {
        /// Write a page for each command into this directory.
        #[arg(long, value_name = "DIRECTORY")]
        to: Option<PathBuf>,
    },
    /// Merge interval logs of HdrHistogram, such as those that tallyd writes, and print percentiles. Exits with 2 if it
    /// leaves out a line that is wrong.
    Merge(MergeArgs),
    /// A command that asks a running tallyd.
    #[command(flatten)]
    Ask(AskCommand),
}

impl Command {
    /// Returns the rest of a sentence about a command that reads no configuration, or `None` if the command reads one.
    pub(super) fn reads_no_configuration(&self) -> Option<&'static str> {
        match self {
            Self::Run | Self::Check(_) | Self::Explain(_) | Self::Send(_) | Self::StatsdExporter(_) => None,
            Self::Config { .. } | Self::Completions { .. } | Self::Man { .. } => Some(""),
            Self::Merge(_) => Some("; it reads only the files that it is given"),
            // These ask another process, which has its own configuration.
            Self::Ask(_) => Some("; --url says which tallyd to ask"),
        }
    }
}

/// The text that `tallyd config` prints.
#[derive(Debug, Clone, Copy, Subcommand)]
pub(super) enum ConfigCommand {
    /// Print the default configuration. It explains every key.
    Default,
    /// Print a JSON schema, with which editors check and complete a configuration file.
    Schema,
}

/// The arguments of `tallyd check`.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct CheckArgs {
    /// Report what would happen to the lines of this file instead ("-" for standard input). The report lists the
    /// samples of each mapping rule, the names that no rule matches, and the series that are kept off the Prometheus
    /// page.
    #[arg(long, value_name = "FILE")]
    pub dry_run: Option<PathBuf>,
    /// Fail if there are warnings about settings that are legal but probably mistakes.
    #[arg(long)]
    pub strict: bool,
    /// Write a few points to each server that gets remote write, and report what it has stored. Exits with 1 if a server
    /// drops what its endpoint would get.
    #[arg(long, conflicts_with = "dry_run")]
    pub probe: bool,
}

/// The arguments of `tallyd explain`.
#[derive(Debug, Clone, Args)]
pub(super) struct ExplainArgs {
    /// Lines as a client sends them. Without lines, or with only "-", tallyd explains the lines of standard input.
    pub lines: Vec<OsString>,
    /// Write text for people, or one JSON object per line for programs.
    #[arg(long, value_enum, default_value_t = ExplainFormat::Text)]
    pub format: ExplainFormat,
}

const TARGETS: &str = "udp://HOST:PORT, tcp://HOST:PORT, unix:///PATH (datagrams) or unixstream:///PATH [default: the first \
                       listener of --config or --set, otherwise udp://127.0.0.1:8125]";

/// The arguments of `tallyd send`.
#[derive(Debug, Clone, Args)]
pub(super) struct SendArgs {
    /// The name of the metric, or "-" to send the lines of standard input.
    pub name: String,
    /// The value. For a gauge, +5 and -5 are changes.
    #[arg(allow_hyphen_values = true)]
    pub value: Option<String>,
    /// The type: c (counter), g (gauge), ms (timing), h (histogram), d (distribution) or s (set). m means c, and kv
    /// means g. [default: c]
    #[arg(long = "type", value_name = "TYPE", value_parser = WIRE_TYPES)]
    pub wire_type: Option<String>,
    /// A tag. May be repeated.
    #[arg(long = "tag", value_name = "KEY:VALUE")]
    pub tags: Vec<String>,
    /// The share of samples that the sender sends, above 0 and at most 1. tallyd counts this sample as 1/RATE samples.
    #[arg(long)]
    pub rate: Option<String>,
    /// The listener to send to.
    #[arg(long, value_name = "URL", help = TARGETS)]
    pub to: Option<ListenerUrl>,
    /// How lines are framed in a stream. The default is that of the configuration or, without one, of tallyd's
    /// listeners: "lines" over tcp, "length" over unixstream.
    #[arg(long, value_enum)]
    pub framing: Option<Framing>,
}

impl SendArgs {
    /// Returns the request that the arguments describe. `listening` has the listeners of a configuration, if one is
    /// given.
    ///
    /// # Errors
    ///
    /// Returns an error if arguments contradict each other, or if the value is missing.
    pub(super) fn request(self, listening: Option<&ListenOptions>) -> Result<Request, SendError> {
        let Self { name, value, wire_type, tags, rate, to, framing } = self;
        let target = match (to, listening) {
            (Some(target), _) => target,
            (None, Some(listening)) => ListenerUrl::first_of(listening).map_err(SendError::Refused)?,
            (None, None) => ListenerUrl::default(),
        };
        let framing = framing.or_else(|| target.framing_in(listening?));
        if name == "-" {
            let is_alone = value.is_none() && wire_type.is_none() && tags.is_empty() && rate.is_none();
            return if is_alone {
                Ok(Request { target, framing, sample: None })
            } else {
                let problem = "\"-\" sends lines as they are; leave the value, --type, --tag and --rate out";
                Err(SendError::Refused(problem.to_owned()))
            };
        }
        let Some(value) = value else {
            return Err(SendError::Refused(format!("no value; try `tallyd send {name} 1`")));
        };
        let wire_type = wire_type.unwrap_or_else(|| "c".to_owned());
        Ok(Request { target, framing, sample: Some(SampleArguments { name, value, wire_type, tags, rate }) })
    }
}

const STATSD_EXPORTER: &str = "\
The page, its names and its ports are those of statsd_exporter. The flags and their defaults override --config and \
variables, and --set overrides all. tallyd does not read /etc/tallyd/tallyd.toml with this command.";

/// The configuration file that tallyd reads if the command line names none.
const DEFAULT_FILE: &str = "/etc/tallyd/tallyd.toml";

/// The sources of the configuration.
#[derive(Debug, Args)]
pub(super) struct ConfigArgs {
    /// Read this file. Its keys override the defaults. [default: /etc/tallyd/tallyd.toml, if it exists]
    #[arg(short, long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Read the settings of DogStatsD in this datadog.yaml, the configuration file of a Datadog agent. Every other source
    /// overrides them.
    #[arg(long, global = true, value_name = "FILE")]
    pub datadog: Option<PathBuf>,
    /// Set one key. It overrides every other source. May be repeated.
    #[arg(long, global = true, value_name = "KEY.PATH=VALUE")]
    pub set: Vec<String>,
}

impl ConfigArgs {
    /// Returns the configuration file, if there is one. A default file that tallyd may not look at counts as one, so that reading
    /// it reports the problem.
    pub(super) fn file(&self) -> Option<PathBuf> {
        let default = || Path::new(DEFAULT_FILE).try_exists().unwrap_or(true).then(|| DEFAULT_FILE.into());
        self.config.clone().or_else(default)
    }

    /// Returns true if the command line has a source.
    pub(super) fn is_given(&self) -> bool {
        self.config.is_some() || self.datadog.is_some() || !self.set.is_empty()
    }

    /// Returns the settings of another server that apply.
    pub(super) fn adopted(&self) -> Option<Adopted> {
        self.datadog.clone().map(Adopted::Datadog)
    }
}
