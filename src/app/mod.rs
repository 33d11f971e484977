//! The program around the pipeline: command line, configuration, log, daemon, and the commands `check`, `explain` and
//! `send`.

mod check;
mod cli;
pub mod config;
mod daemon;
pub mod explain;
mod health;
mod log;
mod send;
mod signals;

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufReader, IsTerminal};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;

use crate::mapping::Mapping;
use cli::{CheckArgs, Cli, Command, ConfigArgs, ExplainArgs, SendArgs};
use config::{Config, EXIT_CONFIG, Environment, Loaded, Occasion};
use daemon::Load;

/// Runs the command given on the command line, and returns its exit code.
#[must_use]
pub fn run() -> ExitCode {
    let Cli { command, config: sources } = Cli::parse();
    let command = match command.unwrap_or(Command::Run) {
        // `send` needs no configuration, so it works even if the configuration is broken.
        Command::Send(arguments) => return send(arguments),
        other => other,
    };
    let environment = Environment::pick(std::env::vars_os());
    // `explain` never serves HTTP, so it needs no access to the web configuration file and its private keys.
    let needs_web = matches!(command, Command::Run | Command::Check(_));
    let load = move |occasion| load(&sources, &environment, needs_web, occasion);
    if matches!(command, Command::Run) {
        let load: Load = Arc::new(load);
        return daemon::run(&load);
    }
    let (config, mapping) = match load(Occasion::Start) {
        Ok(loaded) => loaded,
        Err(error) => {
            eprintln!("tallyd: {error}");
            return ExitCode::from(EXIT_CONFIG);
        }
    };
    match command {
        Command::Check(CheckArgs { dry_run: Some(file) }) => dry_run(&config, mapping, &file),
        Command::Explain(arguments) => explain(&config, mapping, &arguments),
        Command::Check(CheckArgs { dry_run: None }) | Command::Run | Command::Send(_) => {
            print!("{}", config.to_toml());
            ExitCode::SUCCESS
        }
    }
}

fn load(sources: &ConfigArgs, environment: &Environment, needs_web: bool, occasion: Occasion) -> Loaded {
    let config = config::load_on(occasion, sources.config.as_deref(), environment, &sources.set)?;
    let mapping = config.mapping()?;
    if needs_web {
        config.check_web()?;
    }
    Ok((config, mapping))
}

fn dry_run(config: &Config, mapping: Mapping, file: &Path) -> ExitCode {
    let report = if file == "-" {
        check::report(config, mapping, io::stdin().lock())
    } else {
        File::open(file).and_then(|file| check::report(config, mapping, file))
    };
    match report {
        Ok(report) => {
            print!("{report}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("tallyd: {}: cannot be read: {error}", file.display());
            ExitCode::FAILURE
        }
    }
}

/// Explains the given lines. Without arguments, or with `-`, it explains the lines of standard input.
fn explain(config: &Config, mapping: Mapping, ExplainArgs { lines, format }: &ExplainArgs) -> ExitCode {
    let explainer = config.explainer(mapping, *format);
    let outcome = if lines.is_empty() || *lines == ["-"] {
        if io::stdin().is_terminal() {
            eprintln!("tallyd: reading lines from standard input; press Ctrl-D to end");
        }
        explainer.explain_all(io::stdin().lock(), io::stdout().lock())
    } else {
        let lines = lines.join(OsStr::new("\n")).into_encoded_bytes();
        explainer.explain_all(&*lines, io::stdout().lock())
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        // A reader of the output, such as `head`, may close it early. This is not a failure.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tallyd: explain: {error}");
            ExitCode::FAILURE
        }
    }
}

fn send(arguments: SendArgs) -> ExitCode {
    let warn = |warning: &str| eprintln!("tallyd: {warning}");
    let sent = arguments.request().and_then(|request| send::run(&request, BufReader::new(io::stdin()), warn));
    match sent {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tallyd: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}
