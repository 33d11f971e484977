//! Generic parameters, and patterns as arguments.

use tallyd_client::timed;

#[timed]
fn sum<const N: usize>(values: [u32; N]) -> u32 {
    values.iter().sum()
}

#[timed(outcome)]
fn sum_outcome<const N: usize>(values: [u32; N]) -> [u32; N] {
    values.map(|value| value + 1)
}

#[timed]
fn call_once<T>(work: impl FnOnce(&str) -> T) -> T {
    work("work")
}

#[timed(outcome)]
fn call_once_outcome<T: Default, E>(work: impl FnOnce(&str) -> Result<(), E>) -> Result<T, E> {
    work("work")?;
    Ok(T::default())
}

#[timed]
fn patterns((a, b): (u8, u8), [first, .., last]: [u8; 3], mut x: u8, _: u8) -> u8 {
    x += a + b;
    x + first + last
}

#[timed(outcome)]
fn patterns_outcome((a, b): (u8, u8), [first, .., last]: [u8; 3], mut x: u8, _: u8) -> u8 {
    x += a + b;
    x + first + last
}

#[timed]
fn closure(prefix: &str) -> impl Fn(&str) -> String + use<'_> {
    move |text| format!("{prefix}{text}")
}

#[timed(outcome)]
fn closure_outcome(prefix: &str) -> impl Fn(&str) -> String + use<'_> {
    // The closure must name the type, because the compiler cannot infer it from the return type of the function.
    move |text: &str| format!("{prefix}{text}")
}

#[test]
fn generic_parameters_and_patterns_work_in_timed_functions() {
    assert_eq!(sum([1, 2]), 3);
    assert_eq!(sum_outcome([1, 2]), [2, 3]);
    let text = String::from("some");
    assert_eq!(call_once(|work| text + work), "somework");
    assert_eq!(call_once_outcome(|_| Ok::<_, ()>(())), Ok(0));
    assert_eq!(call_once_outcome::<u8, _>(|work| Err(work.len())), Err(4));
    assert_eq!(patterns((1, 2), [3, 0, 4], 5, 6), 15);
    assert_eq!(patterns_outcome((1, 2), [3, 0, 4], 5, 6), 15);
    assert_eq!(closure("a")("b"), "ab");
    assert_eq!(closure_outcome("a")("b"), "ab");
}
