//! The `tallyd` binary.

use std::process::ExitCode;

/// Returns the memory of expired series to the system. `docs/design/allocator.md` has the figures.
#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    tallyd::app::run()
}
