//! What `#[timed]` records of functions of every kind, whichever way they end; and that it changes nothing else of them.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod harness;

use std::fmt::Display;
use std::future::Future;
use std::num::ParseIntError;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use async_trait::async_trait;
use harness::{GLOBAL, timing};
use tallyd_client::timed;

/// The lines of a metric, of which there are as many; each is a time of at least so many milliseconds and ends so.
fn assert_timed(name: &str, ends: &[&str]) {
    let lines = GLOBAL.wait_for(name, ends.len());
    for (line, end) in lines.iter().zip(ends) {
        let (milliseconds, rest) = timing(line);
        assert!((0.0..60_000.0).contains(&milliseconds), "{line}");
        assert_eq!(rest, *end, "{line}");
    }
}

/// Polls a future once.
fn poll<T>(future: impl Future<Output = T>) -> Poll<T> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

struct Parser<T>(T);

trait Parse {
    fn parse(&self) -> usize;

    #[timed]
    fn parse_twice(&self) -> usize {
        2 * self.parse()
    }
}

impl<T: Display> Parse for Parser<T> {
    #[timed]
    fn parse(&self) -> usize {
        self.0.to_string().len()
    }
}

impl<T> Parser<T> {
    #[timed]
    fn new(value: T) -> Self {
        Self(value)
    }

    #[timed]
    fn into_value(self) -> T {
        self.0
    }

    #[timed]
    fn value_mut(&mut self) -> &mut T {
        &mut self.0
    }

    #[timed(outcome)]
    fn value_mut_or(&mut self, is_there: bool) -> Result<&mut T, &'static str> {
        if !is_there {
            return Err("none");
        }
        Ok(&mut self.0)
    }

    #[timed]
    async fn value(&self) -> &T {
        &self.0
    }
}

#[test]
fn a_method_is_timed_under_its_type_and_a_function_under_its_module() {
    LazyForce::all();
    let mut parser = Parser::new(vec![String::new()]);
    parser.value_mut().push(String::new());
    assert_eq!(parser.value_mut_or(true).unwrap().len(), 2);
    assert_eq!(parser.value_mut_or(false).unwrap_err(), "none");
    assert!(matches!(poll(parser.value()), Poll::Ready(_)));
    assert_eq!(parser.into_value().len(), 2);
    assert_eq!(Parser("four").parse_twice(), 8);
    for name in ["new", "value_mut", "value", "into_value", "parse", "parse_twice"] {
        assert_timed(&format!("Parser.{name}.execution_time"), &[""]);
    }
    assert_timed("Parser.value_mut_or.execution_time", &["|#outcome:ok", "|#outcome:error"]);

    #[timed]
    fn free() {}
    free();
    assert_timed("timed.free.execution_time", &[""]);
}

struct Lexer;

impl Lexer {
    #[timed]
    fn create() -> Lexer {
        Self
    }
}

impl Parse for dyn Display + Send {
    #[timed]
    fn parse(&self) -> usize {
        0
    }
}

mod r#mod {
    #[tallyd_client::timed]
    pub(crate) fn r#fn() {}
}

#[test]
fn a_function_is_of_a_type_if_self_stands_in_its_body_but_not_in_an_item_there() {
    LazyForce::all();
    Lexer::create();
    assert_timed("Lexer.create.execution_time", &[""]);

    #[timed]
    fn with_items() -> u8 {
        struct Inner(u8);
        impl Inner {
            fn five() -> Self {
                Self(5)
            }
        }
        Inner::five().0
    }
    assert_eq!(with_items(), 5);
    assert_timed("timed.with_items.execution_time", &[""]);
}

#[test]
fn names_that_are_found_are_short_and_names_that_are_given_are_kept() {
    LazyForce::all();
    let any: &(dyn Display + Send) = &5;
    any.parse();
    assert_timed("Display.parse.execution_time", &[""]);
    r#mod::r#fn();
    assert_timed("mod.fn.execution_time", &[""]);

    #[timed(component = "C++ + Rust.Vec<u8>")]
    fn kept() {}
    kept();
    assert_timed("C++ + Rust.Vec<u8>.kept.execution_time", &[""]);
}

/// Names the server before the first call, which would find no exporters otherwise.
struct LazyForce;

impl LazyForce {
    fn all() {
        std::sync::LazyLock::force(&GLOBAL);
    }
}

#[test]
fn names_tags_and_rates_are_those_of_the_attribute() {
    LazyForce::all();
    #[timed(
        metric_name = "extract_candidate_data.time",
        component = "Resume",
        tags(source = "upload", "a.b" = "c")
    )]
    fn extract() {}
    extract();
    assert_timed("Resume.extract_candidate_data.time", &["|#source:upload,a.b:c"]);

    #[timed(component = "Keys", tags(type = "y", r#fn = "f", "http.method" = "GET", crate = "z"))]
    fn keys() {}
    keys();
    assert_timed("Keys.keys.execution_time", &["|#type:y,fn:f,http.method:GET,crate:z"]);

    #[timed(component = "Resume", sample_rate = 0.25)]
    fn hot() {}
    #[timed(component = "Resume")]
    fn last() {}
    for part in 1..=10 {
        (0..1000).for_each(|_| hot());
        // This thread's samples come in their order: once this one is there, all are, and none finds a buffer full.
        last();
        GLOBAL.wait_for("Resume.last.execution_time", part);
    }
    let lines = GLOBAL.of("Resume.hot.execution_time");
    // Each stands for four; five standard deviations are 217 of 2,500.
    assert!((2283..2717).contains(&lines.len()), "{}", lines.len());
    assert!(lines.iter().all(|line| timing(line).1 == "|@0.25"), "{lines:?}");
}

#[test]
fn a_call_is_recorded_whichever_way_it_ends() {
    LazyForce::all();
    #[timed(component = "Ways", outcome)]
    fn result(text: &str) -> Result<u8, ParseIntError> {
        assert!(text != "panic", "as it was told");
        let number = text.parse()?;
        Ok(number)
    }
    assert_eq!(result("7"), Ok(7));
    assert!(result("x").is_err());
    assert!(std::panic::catch_unwind(|| result("panic")).is_err());
    let tags = ["ok", "error", "panic"].map(|outcome| format!("|#outcome:{outcome}"));
    assert_timed("Ways.result.execution_time", &tags.each_ref().map(String::as_str));

    #[timed(component = "Ways")]
    fn plain(text: &str) -> Option<u8> {
        assert!(text != "panic", "as it was told");
        let number = text.parse().ok()?;
        if number == 0 {
            return None;
        }
        Some(number)
    }
    assert_eq!([plain("7"), plain("x"), plain("0")], [Some(7), None, None]);
    assert!(std::panic::catch_unwind(|| plain("panic")).is_err());
    assert_timed("Ways.plain.execution_time", &[""; 4]);

    #[timed(component = "Ways", outcome)]
    fn never() -> ! {
        panic!("as it was told")
    }
    assert!(std::panic::catch_unwind(|| never()).is_err());
    assert_timed("Ways.never.execution_time", &["|#outcome:panic"]);
}

#[test]
fn of_a_type_parameter_nothing_is_known_so_that_an_error_is_ok() {
    LazyForce::all();
    #[timed(component = "Unknown", outcome)]
    fn same<T>(value: T) -> T {
        value
    }
    assert_eq!(same(Err::<(), _>(5)), Err(5));
    assert_timed("Unknown.same.execution_time", &["|#outcome:ok"]);
}

#[test]
fn a_future_that_is_dropped_is_recorded_and_told_from_one_that_ends() {
    LazyForce::all();
    #[timed(component = "Futures", outcome, tags(kind = "async"))]
    async fn wait(forever: bool) -> Result<(), ()> {
        if forever {
            std::future::pending::<()>().await;
        }
        Err(())?;
        Ok(())
    }
    assert_eq!(poll(wait(false)), Poll::Ready(Err(())));
    assert_eq!(poll(wait(true)), Poll::Pending);
    drop(wait(true));
    assert_timed(
        "Futures.wait.execution_time",
        &["|#kind:async,outcome:error", "|#kind:async,outcome:dropped"],
    );

    #[timed(component = "Futures")]
    async fn plain() {
        std::future::pending::<()>().await;
    }
    assert_eq!(poll(plain()), Poll::Pending);
    assert_timed("Futures.plain.execution_time", &[""]);
}

/// How long it works.
const WORK: Duration = Duration::from_millis(20);

#[async_trait]
trait Fetch: Sync {
    async fn fetch(&self, text: &str) -> Result<u8, ParseIntError>;

    #[timed(outcome)]
    async fn fetch_twice(&self, text: &str) -> Result<u8, ParseIntError> {
        Ok(2 * self.fetch(text).await?)
    }

    #[timed]
    async fn fetch_forever(&self) {
        std::future::pending::<()>().await;
    }
}

struct Remote;

#[async_trait]
impl Fetch for Remote {
    #[timed(outcome, tags(by = "async_trait"))]
    async fn fetch(&self, text: &str) -> Result<u8, ParseIntError> {
        if text.is_empty() {
            std::future::pending::<()>().await;
        }
        std::thread::sleep(WORK);
        text.parse()
    }
}

#[test]
fn a_method_under_async_trait_is_timed_from_its_first_poll_to_its_end() {
    LazyForce::all();
    let remote: &dyn Fetch = &Remote;
    drop(remote.fetch("never polled"));
    assert_eq!(poll(remote.fetch_twice("4")), Poll::Ready(Ok(8)));
    assert!(matches!(poll(remote.fetch_twice("x")), Poll::Ready(Err(_))));
    assert_eq!(poll(remote.fetch_twice("")), Poll::Pending);
    assert_eq!(poll(remote.fetch_forever()), Poll::Pending);
    let tags = ["ok", "error", "dropped"].map(|outcome| format!("|#outcome:{outcome}"));
    assert_timed("Remote.fetch_twice.execution_time", &tags.each_ref().map(String::as_str));
    assert_timed("Remote.fetch_forever.execution_time", &[""]);
    let tags = ["ok", "error", "dropped"].map(|outcome| format!("|#by:async_trait,outcome:{outcome}"));
    assert_timed("Remote.fetch.execution_time", &tags.each_ref().map(String::as_str));
    let lines = GLOBAL.of("Remote.fetch.execution_time");
    for line in &lines[..2] {
        assert!(timing(line).0 >= WORK.as_secs_f64() * 1e3, "{line}");
    }
}

#[test]
fn a_function_that_returns_the_future_of_a_block_is_timed_as_if_it_were_async() {
    LazyForce::all();
    #[timed(component = "Blocks", outcome)]
    fn boxed(text: &str) -> Pin<Box<dyn Future<Output = Result<u8, ParseIntError>> + '_>> {
        let text = text.trim();
        std::boxed::Box::pin(async move {
            std::thread::sleep(WORK);
            let number = text.parse()?;
            Ok(number)
        })
    }
    assert!(matches!(poll(boxed("x")), Poll::Ready(Err(_))));
    drop(boxed("never polled"));
    assert_timed("Blocks.boxed.execution_time", &["|#outcome:error"]);
    assert!(timing(&GLOBAL.of("Blocks.boxed.execution_time")[0]).0 >= WORK.as_secs_f64() * 1e3);

    #[timed(component = "Blocks", outcome)]
    fn block(text: &str) -> impl Future<Output = Option<u8>> {
        let text = text.trim();
        async move { text.parse().ok() }
    }
    assert_eq!(poll(block(" 5 ")), Poll::Ready(Some(5)));
    drop(block("never polled"));
    assert_timed("Blocks.block.execution_time", &["|#outcome:ok"]);
}

/// It says what it does.
#[timed(component = "Shapes", outcome)]
#[must_use]
pub(crate) fn shapes<'a, T, const N: usize>(
    values: &'a [T; N],
    mut more: Vec<&'a T>,
) -> impl Iterator<Item = &'a T> + use<'a, T, N>
where
    T: Ord + 'a,
{
    more.extend(values);
    more.sort();
    more.into_iter()
}

#[timed(component = "Shapes", outcome)]
async fn fallible_impl(fails: bool) -> Result<impl Display, String> {
    if fails { Err("told so".to_owned()) } else { Ok(5) }
}

#[timed(component = "Shapes", outcome)]
extern "C" fn foreign(value: i32) -> i32 {
    value + 1
}

#[test]
fn generics_lifetimes_impl_trait_where_clauses_and_attributes_survive() {
    LazyForce::all();
    assert_eq!(shapes(&[3, 1], vec![&2]).copied().collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(foreign(1), 2);
    assert!(matches!(poll(fallible_impl(true)), Poll::Ready(Err(_))));
    assert_timed("Shapes.shapes.execution_time", &["|#outcome:ok"]);
    assert_timed("Shapes.foreign.execution_time", &["|#outcome:ok"]);
    assert_timed("Shapes.fallible_impl.execution_time", &["|#outcome:error"]);
}

#[timed(component = "Inner")]
fn inner_attributes() -> u8 {
    //! Documentation may stand here, too.
    #![deny(warnings)]
    #![allow(unused_variables)]
    let unused = 5;
    6
}

#[test]
fn attributes_within_the_body_stay() {
    LazyForce::all();
    assert_eq!(inner_attributes(), 6);
    assert_timed("Inner.inner_attributes.execution_time", &[""]);
}

mod exports {
    pub(super) use ::tallyd_client as client;
}

#[timed(component = "Exports", crate = "exports::client")]
fn relative_path() {}

#[timed(component = "Exports", crate = "crate::exports::client", outcome)]
fn absolute_path() {}

#[test]
fn the_crate_is_found_by_the_path_that_is_given() {
    LazyForce::all();
    relative_path();
    absolute_path();
    assert_timed("Exports.relative_path.execution_time", &[""]);
    assert_timed("Exports.absolute_path.execution_time", &["|#outcome:ok"]);
}
