//! Locks whose values stay usable after a panic.

use std::sync::{LockResult, PoisonError};

/// Returns the guard of a lock even if a thread panicked while it held the lock. The values behind the locks of
/// this crate are always complete, except for a line in a buffer, which the server rejects and counts.
pub(crate) fn ignore_poison<Guard>(guard: LockResult<Guard>) -> Guard {
    guard.unwrap_or_else(PoisonError::into_inner)
}
