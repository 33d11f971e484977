//! All tests that do not need their own log, in one binary.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod accepted;
mod allocation;
mod exporters;
mod harness;
#[cfg(feature = "prometheus")]
mod page;
#[cfg(feature = "metrics")]
mod recorder;
mod timed;

#[test]
fn attribute_reports_errors_at_the_users_code() {
    let cases = trybuild::TestCases::new();
    // trybuild compiles this file separately, because the workspace forbids unsafe code.
    cases.pass("tests/suite/accepted/unsafe_function.rs");
    cases.compile_fail("tests/suite/refused/*.rs");
}
