//! The `tallyd` binary.

use std::process::ExitCode;

/// Returns the memory of expired series to the system. `docs/design/allocator.md` has the figures.
#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// The output of `tallyd --version`: the version, the commit and the features.
const VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    "\ncommit: ",
    env!("TALLYD_COMMIT"),
    "\nfeatures: ",
    env!("TALLYD_FEATURES")
);

fn main() -> ExitCode {
    tallyd::app::run(VERSION)
}
