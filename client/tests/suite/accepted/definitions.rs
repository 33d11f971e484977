//! Ways to define a function, such as by a macro, recursively, with a keyword as its name, or for another language.

use std::convert::Infallible;
use std::panic::{Location, catch_unwind};

use tallyd_client::timed;

macro_rules! functions {
    ($($attribute:meta, $visibility:vis $name:ident($argument:ident: $type:ty) -> $returned:ty $body:block)*) => {$(
        #[$attribute]
        $visibility fn $name($argument: $type) -> $returned $body
    )*};
}

functions! {
    timed, pub(super) double(value: u8) -> u8 { 2 * value }
    timed(outcome), pub(super) double_outcome(value: u8) -> Option<u8> { value.checked_mul(2) }
}

macro_rules! named {
    ($name:literal, $key:ident, $value:expr, $function:item) => {
        #[timed(metric_name = $name, tags($key = $value), outcome)]
        $function
    };
}

named!(
    "given",
    key,
    "value",
    fn given() -> u8 {
        5
    }
);

#[timed]
fn factorial(n: u64) -> u64 {
    if n == 0 { 1 } else { n * factorial(n - 1) }
}

#[timed(outcome)]
fn factorial_outcome(n: u64) -> Result<u64, ()> {
    if n == 0 {
        return Ok(1);
    }
    Ok(n * factorial_outcome(n - 1)?)
}

#[timed]
fn r#fn() {}

#[timed(outcome)]
fn r#match() {}

#[timed]
extern "C" fn foreign(value: i32) -> i32 {
    value + 1
}

#[timed(outcome)]
extern "C" fn foreign_outcome(value: i32) -> i32 {
    value + 1
}

#[timed]
fn inner_attributes() -> u8 {
    //! Documentation inside the body is also allowed.
    #![allow(unused_variables)]
    let unused = 5;
    6
}

#[timed(outcome)]
fn inner_attributes_outcome() -> u8 {
    #![allow(unused_variables)]
    let unused = 5;
    6
}

#[timed]
fn never() -> ! {
    panic!("this input panics")
}

#[timed(outcome)]
fn never_outcome() -> ! {
    panic!("this input panics")
}

#[timed(outcome)]
fn infallible() -> Infallible {
    panic!("this input panics")
}

#[timed(outcome)]
fn diverges(value: u8) -> Result<u8, ()> {
    match value {
        0 => Err(()),
        _ => panic!("this input panics"),
    }
}

#[timed]
#[track_caller]
fn caller() -> &'static Location<'static> {
    Location::caller()
}

#[test]
fn timed_function_behaves_the_same_however_it_is_defined() {
    assert_eq!((double(4), double_outcome(128), given()), (8, None, 5));
    assert_eq!((factorial(5), factorial_outcome(5)), (120, Ok(120)));
    assert_eq!((foreign(1), foreign_outcome(1)), (2, 2));
    assert_eq!((inner_attributes(), inner_attributes_outcome()), (6, 6));
    assert_eq!(diverges(0), Err(()));
    r#fn();
    r#match();
}

#[test]
fn function_that_never_returns_still_panics() {
    assert!(catch_unwind(|| never()).is_err());
    assert!(catch_unwind(|| never_outcome()).is_err());
    assert!(catch_unwind(infallible).is_err());
}

#[test]
fn function_without_outcome_knows_its_caller() {
    assert_eq!(caller().line(), line!());
}
