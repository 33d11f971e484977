//! The program around the pipeline: command line, configuration, log, daemon, and the commands `check`, `explain` and
//! `send`.

mod check;
mod cli;
pub mod config;
mod daemon;
pub mod explain;
mod log;
mod send;
mod terminal;

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufReader, IsTerminal};
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use parking_lot::Mutex;

use crate::mapping::Mapping;
use check::Report;
use cli::{CheckArgs, Cli, Command, ConfigArgs, ExplainArgs, SendArgs};
use config::{ChangedKeys, Config, ConfigError, Environment, Loaded, Warning};
use explain::Explainer;

/// `EX_CONFIG` of `sysexits.h`. It tells a service manager that a restart would not help.
const EXIT_CONFIG: u8 = 78;

/// The exit code if a line is rejected by `explain`, `check --dry-run` or `send`.
const EXIT_REJECTED: u8 = 2;

/// Runs the command given on the command line, and returns its exit code.
#[must_use]
pub fn run() -> ExitCode {
    let Cli { command, config: sources } = Cli::parse();
    let environment = Environment::pick(std::env::vars_os());
    let command = match command.unwrap_or(Command::Run) {
        // Without sources, `send` needs no configuration, so it works even if variables are wrong.
        Command::Send(arguments) => return send(arguments, &sources, &environment),
        other => other,
    };
    // `explain` never serves HTTP, so it needs no access to the web configuration file and its private keys.
    let needs_web = matches!(command, Command::Run | Command::Check(_));
    let load = || load(&sources, &environment, needs_web);
    let Ready { config, mapping, warnings } = match load() {
        Ok(ready) => ready,
        Err(error) => return refuse(&error),
    };
    match command {
        Command::Check(arguments) => check(&config, mapping, &warnings, &arguments),
        Command::Explain(arguments) => explain(&config, mapping, &arguments),
        Command::Run | Command::Send(_) => {
            run_daemon(&config, mapping, &warnings, sources.config.as_deref(), load)
        }
    }
}

/// A configuration that tallyd can run with.
struct Ready {
    config: Config,
    mapping: Mapping,
    warnings: Vec<Warning>,
}

fn load(sources: &ConfigArgs, environment: &Environment, needs_web: bool) -> Result<Ready, ConfigError> {
    let (config, mut warnings) =
        config::load_with_warnings(sources.config.as_deref(), environment, &sources.set)?;
    let mapping = config.mapping()?;
    warnings.extend(config.mapping_warnings(&mapping));
    if needs_web {
        config.check_web()?;
    }
    Ok(Ready { config, mapping, warnings })
}

/// Reports a configuration that tallyd refuses.
fn refuse(error: &ConfigError) -> ExitCode {
    eprintln!("tallyd: {error}");
    ExitCode::from(EXIT_CONFIG)
}

fn run_daemon(
    config: &Config,
    mapping: Mapping,
    warnings: &[Warning],
    file: Option<&Path>,
    load: impl Fn() -> Result<Ready, ConfigError>,
) -> ExitCode {
    let log = match log::start(&config.logging) {
        Ok(log) => log,
        Err(error) => {
            let path = config.logging.file_path.display();
            eprintln!(
                "tallyd: cannot open the log file {path}: {error}; set logging.file_path or LOG_FILE_PATH"
            );
            return ExitCode::FAILURE;
        }
    };
    let version = env!("CARGO_PKG_VERSION");
    let file = file.map_or_else(|| "none".to_owned(), |file| file.display().to_string());
    tracing::info!(version, config = file, "tallyd starts");
    warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    let latest = Mutex::new(config.clone());
    let reload = || -> Loaded {
        let Ready { config, mapping, warnings } = load()?;
        warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
        let ChangedKeys { at_reload, .. } = config.changed_keys(&latest.lock());
        let keys = if at_reload.is_empty() { "none".to_owned() } else { at_reload.join(", ") };
        tracing::info!(keys, "the configuration was read; these changed keys take effect");
        *latest.lock() = config.clone();
        Ok((config, mapping))
    };
    match daemon::run(config, mapping, reload, &log) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Prints the configuration or the report of a dry run to standard output, and the warnings to standard error.
fn check(
    config: &Config,
    mapping: Mapping,
    warnings: &[Warning],
    CheckArgs { dry_run: lines, strict }: &CheckArgs,
) -> ExitCode {
    warnings.iter().for_each(|warning| eprintln!("tallyd: warning: {warning}"));
    let code = if let Some(file) = lines {
        dry_run(config, mapping, file)
    } else {
        print!("{}", config.to_toml());
        ExitCode::SUCCESS
    };
    if code == ExitCode::SUCCESS && *strict && !warnings.is_empty() { ExitCode::FAILURE } else { code }
}

fn dry_run(config: &Config, mapping: Mapping, file: &Path) -> ExitCode {
    let report = if file == "-" {
        check::report(config, mapping, io::stdin().lock())
    } else {
        File::open(file).and_then(|file| check::report(config, mapping, file))
    };
    match report {
        Ok(Report { text, is_any_rejected }) => {
            print!("{text}");
            if is_any_rejected { ExitCode::from(EXIT_REJECTED) } else { ExitCode::SUCCESS }
        }
        Err(error) => {
            eprintln!("tallyd: {}: cannot be read: {error}", file.display());
            ExitCode::FAILURE
        }
    }
}

/// Explains the given lines. Without arguments, or with `-`, it explains the lines of standard input.
fn explain(config: &Config, mapping: Mapping, ExplainArgs { lines, format }: &ExplainArgs) -> ExitCode {
    let is_numbered = lines.len() != 1 || *lines == ["-"];
    let explainer = Explainer { is_numbered, ..config.explainer(mapping, *format) };
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
        Ok(rejected) if rejected > 0 => ExitCode::from(EXIT_REJECTED),
        Ok(_) => ExitCode::SUCCESS,
        // A reader of the output, such as `head`, may close it early. This is not a failure.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tallyd: explain: {error}");
            ExitCode::FAILURE
        }
    }
}

fn send(arguments: SendArgs, sources: &ConfigArgs, environment: &Environment) -> ExitCode {
    let listening = if sources.config.is_some() || !sources.set.is_empty() {
        match config::load(sources.config.as_deref(), environment, &sources.set) {
            Ok(config) => Some(config.listening()),
            Err(error) => return refuse(&error),
        }
    } else {
        None
    };
    let warn = |warning: &str| eprintln!("tallyd: {warning}");
    let sent = arguments
        .request(listening.as_ref())
        .and_then(|request| send::run(&request, BufReader::new(io::stdin()), warn));
    match sent {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tallyd: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}
