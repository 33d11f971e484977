//! Reads the command line and the configuration, and starts what was asked for.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufReader, IsTerminal};
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use tallyd::app::cli::{CheckArgs, Cli, Command, ExplainArgs, SendArgs};
use tallyd::app::config::{self, Config, Environment, Loaded};
use tallyd::app::{daemon, log, send};
use tallyd::mapping::Mapping;

/// See `Cargo.toml`.
#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// `EX_CONFIG` of `sysexits.h`: a service manager need not try again.
const EXIT_CONFIG: u8 = 78;

fn main() -> ExitCode {
    let Cli { command, config } = Cli::parse();
    let command = match command.unwrap_or(Command::Run) {
        // Needs no configuration, so a broken one does not matter.
        Command::Send(arguments) => return send(arguments),
        other => other,
    };
    let environment = Environment::of(std::env::vars());
    let load = || {
        let config = config::load(config.config.as_deref(), &environment, &config.set)?;
        let mapping = config.mapping()?;
        Ok((config, mapping))
    };
    // Not for those who only explain, and need not be able to read the keys that it names.
    let load_all = || {
        let loaded: (Config, Mapping) = load()?;
        loaded.0.check_web()?;
        Ok(loaded)
    };
    let loaded = if matches!(command, Command::Run | Command::Check(_)) { load_all() } else { load() };
    let (config, mapping) = match loaded {
        Ok(loaded) => loaded,
        Err(error) => {
            eprintln!("tallyd: {error}");
            return ExitCode::from(EXIT_CONFIG);
        }
    };
    match command {
        Command::Check(CheckArgs { dry_run: None }) => {
            print!("{}", config.to_toml());
            ExitCode::SUCCESS
        }
        Command::Check(CheckArgs { dry_run: Some(file) }) => dry_run(&config, mapping, &file),
        Command::Explain(arguments) => explain(&config, mapping, &arguments),
        Command::Run | Command::Send(_) => run(&config, mapping, load_all),
    }
}

fn dry_run(config: &Config, mapping: Mapping, file: &Path) -> ExitCode {
    let report = if file == "-" {
        tallyd::app::check::report(config, mapping, io::stdin().lock())
    } else {
        File::open(file).and_then(|file| tallyd::app::check::report(config, mapping, file))
    };
    match report {
        Ok(report) => {
            print!("{report}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("tallyd: {} cannot be read: {error}", file.display());
            ExitCode::FAILURE
        }
    }
}

fn run(config: &Config, mapping: Mapping, reload: impl Fn() -> Loaded) -> ExitCode {
    match log::start(&config.logging) {
        Ok(log) => match daemon::run(config, mapping, reload, &log) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                tracing::error!("{error}");
                ExitCode::FAILURE
            }
        },
        Err(error) => {
            let path = config.logging.file_path.display();
            eprintln!(
                "tallyd: cannot open the log file {path}: {error}; set logging.file_path or LOG_FILE_PATH"
            );
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

/// Of the lines given, or else of those of standard input, for which `-` stands, too.
fn explain(config: &Config, mapping: Mapping, ExplainArgs { lines, format }: &ExplainArgs) -> ExitCode {
    let explainer = config.explainer(mapping, *format);
    let explained = if lines.is_empty() || *lines == ["-"] {
        if io::stdin().is_terminal() {
            eprintln!("tallyd: explains what is typed, line by line; Ctrl-D ends");
        }
        explainer.explain_all(io::stdin().lock(), io::stdout().lock())
    } else {
        let lines = lines.join(OsStr::new("\n")).into_encoded_bytes();
        explainer.explain_all(&*lines, io::stdout().lock())
    };
    match explained {
        Ok(()) => ExitCode::SUCCESS,
        // As when the output goes to `head`.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tallyd: explain: {error}");
            ExitCode::FAILURE
        }
    }
}
