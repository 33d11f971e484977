//! The samples that `#[timed]` records for functions of every kind, however they end.

use std::fmt::Display;
use std::future::Future;
use std::num::ParseIntError;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use async_trait::async_trait;
use tallyd_client::timed;

use crate::harness::{application_server, split_timing};

/// Waits for one line of a timing for each element of `tags`, and checks its time and its tags. Each line also has the
/// tag of the application.
fn assert_timed(name: &str, tags: &[&str]) {
    let lines = application_server().wait_for(name, tags.len());
    for (line, tags) in lines.iter().zip(tags) {
        let (milliseconds, rest) = split_timing(line);
        assert!((0.0..60_000.0).contains(&milliseconds), "{line}");
        let separator = if tags.is_empty() { "" } else { "," };
        assert_eq!(rest, ["|#", "env:test", separator, tags].concat(), "{line}");
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
    fn value_mut_or(&mut self, found: bool) -> Result<&mut T, &'static str> {
        if !found {
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
fn component_is_the_type_of_a_method_or_the_module_of_a_function() {
    application_server();
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
    assert_timed("Parser.value_mut_or.execution_time", &["outcome:ok", "outcome:error"]);

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
fn self_in_the_body_names_the_component_except_in_a_nested_item() {
    application_server();
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
fn derived_component_is_shortened_and_given_component_is_kept() {
    application_server();
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

#[test]
fn attribute_sets_names_tags_and_the_sample_rate() {
    application_server();
    #[timed(
        metric_name = "extract_candidate_data.time",
        component = "Resume",
        tags(source = "upload", "a.b" = "c")
    )]
    fn extract() {}
    extract();
    assert_timed("Resume.extract_candidate_data.time", &["source:upload,a.b:c"]);

    #[timed(component = "Keys", tags(type = "y", r#fn = "f", "http.method" = "GET", crate = "z"))]
    fn keys() {}
    keys();
    assert_timed("Keys.keys.execution_time", &["type:y,fn:f,http.method:GET,crate:z"]);

    #[timed(component = "Resume", sample_rate = 0.25)]
    fn hot() {}
    #[timed(component = "Resume")]
    fn last() {}
    for part in 1..=10 {
        (0..1000).for_each(|_| hot());
        // A thread's samples arrive in order. When this sample arrives, all earlier samples have left the receive
        // buffer. So the buffer does not overflow.
        last();
        application_server().wait_for("Resume.last.execution_time", part);
    }
    let lines = application_server().received("Resume.hot.execution_time");
    // The client sends a quarter of 10,000 calls, which is 2,500 on average. Five standard deviations are 217.
    assert!((2283..2717).contains(&lines.len()), "{}", lines.len());
    assert!(lines.iter().all(|line| split_timing(line).1 == "|@0.25|#env:test"), "{lines:?}");
}

#[test]
fn call_is_recorded_however_it_ends() {
    application_server();
    #[timed(component = "Ways", outcome)]
    fn result(text: &str) -> Result<u8, ParseIntError> {
        assert!(text != "panic", "this input panics");
        let number = text.parse()?;
        Ok(number)
    }
    assert_eq!(result("7"), Ok(7));
    assert!(result("x").is_err());
    assert!(std::panic::catch_unwind(|| result("panic")).is_err());
    let tags = ["ok", "error", "panic"].map(|outcome| format!("outcome:{outcome}"));
    assert_timed("Ways.result.execution_time", &tags.each_ref().map(String::as_str));

    #[timed(component = "Ways")]
    fn plain(text: &str) -> Option<u8> {
        assert!(text != "panic", "this input panics");
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
        panic!("this input panics")
    }
    assert!(std::panic::catch_unwind(|| never()).is_err());
    assert_timed("Ways.never.execution_time", &["outcome:panic"]);
}

#[test]
fn error_behind_a_type_parameter_has_the_outcome_ok() {
    application_server();
    #[timed(component = "Unknown", outcome)]
    fn same<T>(value: T) -> T {
        value
    }
    assert_eq!(same(Err::<(), _>(5)), Err(5));
    assert_timed("Unknown.same.execution_time", &["outcome:ok"]);
}

#[test]
fn dropped_future_is_recorded_as_dropped() {
    application_server();
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
    assert_timed("Futures.wait.execution_time", &["kind:async,outcome:error", "kind:async,outcome:dropped"]);

    #[timed(component = "Futures")]
    async fn plain() {
        std::future::pending::<()>().await;
    }
    assert_eq!(poll(plain()), Poll::Pending);
    assert_timed("Futures.plain.execution_time", &[""]);
}

/// The time for which a timed function blocks.
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
fn method_under_async_trait_is_timed_from_its_first_poll() {
    application_server();
    let remote: &dyn Fetch = &Remote;
    drop(remote.fetch("never polled"));
    assert_eq!(poll(remote.fetch_twice("4")), Poll::Ready(Ok(8)));
    assert!(matches!(poll(remote.fetch_twice("x")), Poll::Ready(Err(_))));
    assert_eq!(poll(remote.fetch_twice("")), Poll::Pending);
    assert_eq!(poll(remote.fetch_forever()), Poll::Pending);
    let tags = ["ok", "error", "dropped"].map(|outcome| format!("outcome:{outcome}"));
    assert_timed("Remote.fetch_twice.execution_time", &tags.each_ref().map(String::as_str));
    assert_timed("Remote.fetch_forever.execution_time", &[""]);
    let tags = ["ok", "error", "dropped"].map(|outcome| format!("by:async_trait,outcome:{outcome}"));
    assert_timed("Remote.fetch.execution_time", &tags.each_ref().map(String::as_str));
    let lines = application_server().received("Remote.fetch.execution_time");
    for line in &lines[..2] {
        assert!(split_timing(line).0 >= WORK.as_secs_f64() * 1e3, "{line}");
    }
}

#[test]
fn function_that_returns_an_async_block_is_timed_like_an_async_one() {
    application_server();
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
    assert_timed("Blocks.boxed.execution_time", &["outcome:error"]);
    assert!(
        split_timing(&application_server().received("Blocks.boxed.execution_time")[0]).0
            >= WORK.as_secs_f64() * 1e3
    );

    #[timed(component = "Blocks", outcome)]
    fn block(text: &str) -> impl Future<Output = Option<u8>> {
        let text = text.trim();
        async move { text.parse().ok() }
    }
    assert_eq!(poll(block(" 5 ")), Poll::Ready(Some(5)));
    drop(block("never polled"));
    assert_timed("Blocks.block.execution_time", &["outcome:ok"]);
}

/// The attribute keeps this comment.
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
    if fails { Err("it was asked to fail".to_owned()) } else { Ok(5) }
}

#[timed(component = "Shapes", outcome)]
extern "C" fn foreign(value: i32) -> i32 {
    value + 1
}

#[test]
fn signature_and_attributes_are_preserved() {
    application_server();
    assert_eq!(shapes(&[3, 1], vec![&2]).copied().collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(foreign(1), 2);
    assert!(matches!(poll(fallible_impl(true)), Poll::Ready(Err(_))));
    assert_timed("Shapes.shapes.execution_time", &["outcome:ok"]);
    assert_timed("Shapes.foreign.execution_time", &["outcome:ok"]);
    assert_timed("Shapes.fallible_impl.execution_time", &["outcome:error"]);
}

#[timed(component = "Inner")]
fn inner_attributes() -> u8 {
    //! Documentation inside the body is also allowed.
    #![deny(warnings)]
    #![allow(unused_variables)]
    let unused = 5;
    6
}

#[test]
fn attributes_inside_the_body_are_preserved() {
    application_server();
    assert_eq!(inner_attributes(), 6);
    assert_timed("Inner.inner_attributes.execution_time", &[""]);
}

mod exports {
    pub(super) use ::tallyd_client as client;
}

#[timed(component = "Exports", crate = "exports::client")]
fn relative_path() {}

#[timed(component = "Exports", crate = "crate::timed::exports::client", outcome)]
fn absolute_path() {}

#[test]
fn crate_is_found_by_the_given_path() {
    application_server();
    relative_path();
    absolute_path();
    assert_timed("Exports.relative_path.execution_time", &[""]);
    assert_timed("Exports.absolute_path.execution_time", &["outcome:ok"]);
}
