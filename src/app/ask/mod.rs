//! The commands that ask a running tallyd through its endpoint: `top`, `tail`, `series`, `rejected`, `talkers`, `health` and
//! `delete`.

mod answers;
mod client;
mod delete;
mod error;
mod health;
mod live;
mod options;
mod rejected;
mod series;
pub(super) mod table;
mod tail;
mod talkers;
mod top;
pub(super) mod units;
mod unix;

pub(super) use options::AskCommand;

use std::io;
use std::process::ExitCode;

use client::Client;
use error::AskError;
use options::ServerOptions;

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
        // The screen shows the warning, because it covers what is printed before.
        AskCommand::Top { server } => top::run(&Client::new(server)?),
        AskCommand::Tail { find, server } => tail::print_results(&connect(server)?, find, output),
        AskCommand::Series { find, tags: None, server } => {
            series::print_series(&connect(server)?, find, output)
        }
        AskCommand::Series { find, tags: Some(name), server } => {
            series::print_tags(&connect(server)?, name, find.json, output)
        }
        AskCommand::Rejected { json, server } => rejected::print_rejected(&connect(server)?, *json, output),
        AskCommand::Talkers { json, server } => talkers::print_talkers(&connect(server)?, *json, output),
        AskCommand::Health { ready, server } => health::check(&connect(server)?, *ready, output),
        AskCommand::Delete { pattern, series_type, yes, server } => {
            delete::delete(&connect(server)?, pattern, series_type.as_deref(), *yes, output)
        }
    }
}

/// Creates a client, and prints its warning.
fn connect(server: &ServerOptions) -> Result<Client, AskError> {
    let client = Client::new(server)?;
    if let Some(warning) = client.warning() {
        eprintln!("tallyd: warning: {warning}");
    }
    Ok(client)
}
