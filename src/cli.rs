//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::explain::Format;

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
  tallyd explain 'page.views:1|c|@0.1'       say what becomes of a line
  TALLYD_LISTENERS__UDP__BIND=0.0.0.0:8125 tallyd
                                             on all interfaces

  echo 'page.views:1|c' | nc -u -w1 127.0.0.1 8125
                                             send a sample";

/// What tallyd can do.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Receive, aggregate and export until SIGTERM or SIGINT.
    Run,
    /// Check the configuration and print all of it as it is in force. Exit code 78 if it is refused.
    Check,
    /// Say what tallyd would make of lines.
    Explain(ExplainArgs),
}

/// Which lines to explain, and how.
#[derive(Debug, Clone, Args)]
pub struct ExplainArgs {
    /// Lines as a client would send them; those of standard input if there are none.
    pub lines: Vec<OsString>,
    /// For people, or an object a line for programs.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
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
