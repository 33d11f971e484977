//! The `tallyd` binary.

use std::process::ExitCode;

/// Gives memory of expired series back to the system; `Cargo.toml` has the figures.
#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    tallyd::app::run()
}
