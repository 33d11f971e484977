//! Reads the command line and the configuration, and starts what was asked for.

use std::process::ExitCode;

use clap::Parser;
use tallyd::cli::{Cli, Command};
use tallyd::config::{self, Environment};
use tallyd::{daemon, log};

/// `EX_CONFIG` of `sysexits.h`: a service manager need not try again.
const EXIT_CONFIG: u8 = 78;

fn main() -> ExitCode {
    let Cli { command, config } = Cli::parse();
    let environment = Environment::of(std::env::vars());
    let config = match config::load(config.config.as_deref(), &environment, &config.set) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("tallyd: {error}");
            return ExitCode::from(EXIT_CONFIG);
        }
    };
    match command.unwrap_or(Command::Run) {
        Command::Check => {
            print!("{}", config.to_toml());
            ExitCode::SUCCESS
        }
        Command::Run => match log::start(&config.logging) {
            Ok(log_file) => match daemon::run(&config, log_file.as_ref()) {
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
        },
    }
}
