//! Waits for facts. A test that sleeps instead would wait too long, or not long enough.

use std::fmt::Display;
use std::time::{Duration, Instant};

/// The time that a test waits for a fact before it fails.
pub const TIMEOUT: Duration = Duration::from_mins(1);

/// The time between two checks of a fact.
const PAUSE: Duration = Duration::from_millis(2);

/// Waits until `fact` returns a value.
#[track_caller]
pub fn wait_for<T>(mut fact: impl FnMut() -> Option<T>) -> T {
    wait_for_ok(|| fact().ok_or("the fact has not come true"))
}

/// Waits until `fact` is true.
#[track_caller]
pub fn wait_until(mut fact: impl FnMut() -> bool) {
    wait_for(|| fact().then_some(()));
}

/// Waits until `fact` returns `Ok`. A failure shows the last error.
#[track_caller]
pub fn wait_for_ok<T, E: Display>(mut fact: impl FnMut() -> Result<T, E>) -> T {
    let deadline = Instant::now() + TIMEOUT;
    loop {
        match fact() {
            Ok(value) => return value,
            Err(error) => assert!(Instant::now() < deadline, "after {TIMEOUT:?}: {error}"),
        }
        std::thread::sleep(PAUSE);
    }
}
