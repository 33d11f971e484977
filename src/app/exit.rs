//! Names the exit codes that several commands share.

/// The exit code if a line is rejected by `explain`, `check --dry-run` or `send`, or left out by `merge`.
pub(super) const EXIT_REJECTED: u8 = 2;
