//! The commands that ask a running tallyd through the API of its endpoint: `top`, `tail`, `series`, `rejected`,
//! `talkers` and `delete`.

mod answers;
mod client;
mod delete;
mod error;
mod live;
mod options;
mod rejected;
mod series;
mod table;
mod tail;
mod talkers;
mod top;
mod units;
mod unix;

pub(super) use options::AskCommand;

use std::io;
use std::process::ExitCode;

use client::Client;
use error::AskError;

/// Runs a command, and returns the exit code: 1 if it fails.
pub(super) fn run(command: &AskCommand) -> ExitCode {
    match ask(command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is_closed_output() => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tallyd: {error}");
            ExitCode::FAILURE
        }
    }
}

fn ask(command: &AskCommand) -> Result<(), AskError> {
    let output = &mut io::stdout();
    match command {
        AskCommand::Top { server } => top::run(&Client::new(server)?),
        AskCommand::Tail { find, server } => tail::print_results(&Client::new(server)?, find, output),
        AskCommand::Series { find, tags: None, server } => {
            series::print_series(&Client::new(server)?, find, output)
        }
        AskCommand::Series { find, tags: Some(name), server } => {
            series::print_tags(&Client::new(server)?, name, find.json, output)
        }
        AskCommand::Rejected { json, server } => {
            rejected::print_rejected(&Client::new(server)?, *json, output)
        }
        AskCommand::Talkers { json, server } => talkers::print_talkers(&Client::new(server)?, *json, output),
        AskCommand::Delete { pattern, series_type, yes, server } => {
            delete::delete(&Client::new(server)?, pattern, series_type.as_deref(), *yes, output)
        }
    }
}
