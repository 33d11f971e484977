//! Writes what packages install for shells and `man`: completions and manual pages.

use std::io;
use std::path::Path;
use std::process::ExitCode;

use clap::{Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;

use super::cli::Cli;

/// Returns the script that completes commands and options in a shell.
pub(super) fn completions(shell: Shell) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command(), "tallyd", &mut script);
    script
}

/// Returns the manual page `tallyd(1)`.
pub(super) fn manual() -> Vec<u8> {
    let mut page = Vec::new();
    // Writing to a Vec cannot fail.
    _ = Man::new(command()).render(&mut page);
    page
}

/// Writes the manual page of each command into a directory: `tallyd.1`, `tallyd-check.1` and so on.
pub(super) fn write_manuals(directory: &Path) -> ExitCode {
    match try_write_manuals(directory) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tallyd: {}: manual pages cannot be written: {error}", directory.display());
            ExitCode::FAILURE
        }
    }
}

fn try_write_manuals(directory: &Path) -> io::Result<()> {
    std::fs::create_dir_all(directory)?;
    clap_mangen::generate_to(command(), directory)
}

/// Returns the command line without the command `help`, which would have a page for each command again.
fn command() -> Command {
    Cli::command().disable_help_subcommand(true)
}
