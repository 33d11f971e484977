//! What `#[timed]` refuses, with an error at the user's code, and what it takes.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod taken;

#[test]
fn what_cannot_be_timed_is_refused_where_it_stands() {
    let cases = trybuild::TestCases::new();
    // This crate itself may not write it.
    cases.pass("tests/taken/unsafe_function.rs");
    cases.compile_fail("tests/refused/*.rs");
}
