//! The program around the pipeline: command line, configuration, log, daemon, and the commands `check`, `explain`,
//! `send`, `merge`, and those that ask a running tallyd.

mod ask;
mod check;
mod cli;
pub mod config;
mod daemon;
mod descriptors;
mod exit;
pub mod explain;
mod health;
mod log;
mod memory;
mod merge;
mod pages;
mod process;
mod push;
mod send;
mod service_manager;
mod signals;
pub mod state;
mod terminal;

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, BufReader, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches};

use crate::mapping::Mapping;
use check::Report;
use cli::{CheckArgs, Cli, Command, ConfigArgs, ConfigCommand, ExplainArgs, SendArgs};
use config::{Adopted, Config, Environment, Loaded, Occasion, Ready, refuse};
use daemon::Load;
use exit::EXIT_REJECTED;
use explain::Explainer;

/// Runs the command given on the command line, and returns its exit code. `version` is what `--version` prints.
#[must_use]
pub fn run(version: &'static str) -> ExitCode {
    let arguments = Cli::command().long_version(version).get_matches_from(arguments(std::env::args_os()));
    let Cli { command, config: sources } =
        Cli::from_arg_matches(&arguments).unwrap_or_else(|error| error.exit());
    let environment = Environment::pick(std::env::vars_os());
    let command = command.unwrap_or(Command::Run);
    if let Some(reason) = command.reads_no_configuration().filter(|_| sources.is_given()) {
        clap::Error::raw(
            ErrorKind::ArgumentConflict,
            format!("this command reads no configuration{reason}\n"),
        )
        .exit();
    }
    if sources.datadog.is_some() && matches!(command, Command::StatsdExporter(_)) {
        let text = "--datadog and the flags of statsd_exporter do not go together; use one of the two\n";
        clap::Error::raw(ErrorKind::ArgumentConflict, text).exit();
    }
    match command {
        Command::Run => Sources::new(&sources, environment).run(),
        Command::StatsdExporter(arguments) => {
            let is_check = arguments.check_config;
            let sources = Sources {
                adopted: Some(Adopted::StatsdExporter(arguments)),
                file: sources.config.clone(),
                ..Sources::new(&sources, environment)
            };
            if is_check {
                with_loaded(sources.load(true, Occasion::Start), |ready| check(ready, &CheckArgs::default()))
            } else {
                sources.run()
            }
        }
        Command::Check(arguments) => {
            let loaded = Sources::new(&sources, environment).load(true, Occasion::Start);
            with_loaded(loaded, |ready| check(ready, &arguments))
        }
        // `explain` never serves HTTP, so it needs no access to the web configuration file and its private keys.
        Command::Explain(arguments) => {
            let loaded = Sources::new(&sources, environment).load(false, Occasion::Start);
            with_loaded(loaded, |Ready { config, mapping, .. }| explain(&config, mapping, &arguments))
        }
        // Without sources, `send` needs no configuration, so it works even if variables are wrong.
        Command::Send(arguments) => send(arguments, &sources, &environment),
        Command::Config { what } => print(match what {
            ConfigCommand::Default => config::DEFAULTS.to_owned(),
            ConfigCommand::Schema => config::schema(),
        }),
        Command::Completions { shell } => print(pages::completions(shell)),
        Command::Man { to: None } => print(pages::manual()),
        Command::Man { to: Some(directory) } => pages::write_manuals(&directory),
        Command::Merge(arguments) => merge::run(arguments),
        Command::Ask(command) => ask::run(&command),
    }
}

/// Returns the arguments of tallyd. Under the name `statsd_exporter`, tallyd runs in its place, so that a container needs only another
/// image.
fn arguments(given: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut arguments: Vec<_> = given.collect();
    let name = arguments.first().and_then(|path| Path::new(path).file_name());
    if name == Some(OsStr::new("statsd_exporter")) {
        arguments.insert(1, "statsd-exporter".into());
    }
    arguments
}

/// Runs a command with a configuration, or says why tallyd refuses the configuration.
fn with_loaded(loaded: Loaded, run: impl FnOnce(Ready) -> ExitCode) -> ExitCode {
    match loaded {
        Ok(ready) => run(ready),
        Err(error) => refuse(&error),
    }
}

/// All sources of the configuration.
struct Sources {
    /// The settings of another server.
    adopted: Option<Adopted>,
    file: Option<PathBuf>,
    environment: Environment,
    /// The arguments of `--set`.
    arguments: Vec<String>,
}

impl Sources {
    fn new(sources: &ConfigArgs, environment: Environment) -> Self {
        let (adopted, file) = (sources.adopted(), sources.file());
        Self { adopted, file, environment, arguments: sources.set.clone() }
    }

    fn load(&self, needs_web: bool, occasion: Occasion) -> Loaded {
        let Self { adopted, file, environment, arguments } = self;
        let mut ready = config::prepare(occasion, adopted.as_ref(), file.as_deref(), environment, arguments)?;
        if needs_web {
            ready.warnings.extend(ready.config.check_web()?);
        }
        Ok(ready)
    }

    /// Runs the daemon.
    fn run(self) -> ExitCode {
        signals::hold();
        let file = self.file.clone();
        let load: Load = Arc::new(move |occasion| self.load(true, occasion));
        daemon::run(&load, file.as_deref())
    }
}

/// Prints the configuration or the report of a dry run to standard output, and the warnings to standard error.
fn check(ready: Ready, CheckArgs { dry_run: lines, strict, probe }: &CheckArgs) -> ExitCode {
    ready.warnings.iter().for_each(|warning| eprintln!("tallyd: warning: {warning}"));
    let has_warnings = !ready.warnings.is_empty();
    let code = if let Some(file) = lines {
        dry_run(&ready.config, ready.mapping, file)
    } else if *probe {
        push::probe(&ready.config, |line| println!("{line}"))
    } else {
        print(ready.to_toml())
    };
    if code == ExitCode::SUCCESS && *strict && has_warnings { ExitCode::FAILURE } else { code }
}

/// Prints a text to standard output. A reader that closes it early, such as `head`, is no failure.
fn print(text: impl AsRef<[u8]>) -> ExitCode {
    match io::stdout().write_all(text.as_ref()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            eprintln!("tallyd: standard output: {error}");
            ExitCode::FAILURE
        }
        _ => ExitCode::SUCCESS,
    }
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
    let listening = if sources.is_given() {
        match config::load(sources.config.as_deref(), environment, &sources.set) {
            Ok(config) => Some(config.listening(&[])),
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
