//! What `#[timed]` refuses, with an error at the user's code, and what it takes that this crate itself may not write.

#[test]
fn what_cannot_be_timed_is_refused_where_it_stands() {
    let cases = trybuild::TestCases::new();
    cases.pass("tests/taken/*.rs");
    cases.compile_fail("tests/refused/*.rs");
}
