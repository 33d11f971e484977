//! Functions that are async, and functions that return a future.

use std::fmt::Display;
use std::future::Future;
use std::num::ParseIntError;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use async_trait::async_trait;
use tallyd_client::timed;

/// Returns the output of a future that is ready at its first poll.
fn output<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result,
        Poll::Pending => panic!("the future is not ready"),
    }
}

type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

#[timed]
async fn borrowed(from: &str, into: &mut String) -> usize {
    into.push_str(from);
    into.len()
}

#[timed(outcome)]
async fn borrowed_outcome<'a>(from: &str, into: &'a mut String) -> Result<&'a str, ParseIntError> {
    let number: u8 = from.parse()?;
    into.push_str(&number.to_string());
    Ok(into)
}

#[timed(outcome)]
async fn unit((a, _): (u8, u8), mut value: u8) {
    value += a;
    assert_eq!(value, 3);
}

#[timed]
fn recursive(depth: u8) -> Boxed<'static, u8> {
    Box::pin(async move { if depth == 0 { 0 } else { 1 + recursive(depth - 1).await } })
}

#[timed(outcome)]
fn recursive_outcome(depth: u8) -> Boxed<'static, Result<u8, Box<dyn std::error::Error>>> {
    Box::pin(async move {
        let one: u8 = "1".parse()?;
        if depth == 0 {
            return Ok(0);
        }
        Ok(one + recursive_outcome(depth - 1).await?)
    })
}

#[timed(outcome)]
fn boxed<'a>(text: &'a str) -> Pin<Box<dyn Future<Output = Result<u8, Box<dyn std::error::Error>>> + 'a>> {
    let text = text.trim();
    ::std::boxed::Box::pin(async move { Ok(text.parse()?) })
}

#[timed]
fn block(text: &str) -> impl Future<Output = impl Display> {
    let text = text.trim();
    async move { text.len() }
}

#[timed(outcome)]
fn block_outcome(text: &str) -> impl Future<Output = Result<impl Display, ParseIntError>> {
    let more = text.len();
    async move { Ok(text.parse::<usize>()? + more) }
}

trait Fetch {
    async fn fetch(&self, from: &str) -> Result<String, String>;

    #[timed]
    async fn length(&self, from: &str) -> usize {
        self.fetch(from).await.map_or(0, |text| text.len())
    }

    #[timed(outcome)]
    fn length_outcome(&self, from: &str) -> impl Future<Output = Result<usize, String>> {
        async move { Ok(self.fetch(from).await?.len()) }
    }
}

#[async_trait]
trait Store: Sync {
    async fn put(&mut self, text: &str) -> Result<usize, String>;

    #[timed]
    async fn get<'a>(&'a self, text: &'a str) -> &'a str {
        text
    }

    #[timed(outcome)]
    async fn get_outcome<T: Send>(&self, value: T) -> Option<T>
    where
        Self: Sized,
    {
        Some(value)
    }

    async fn nothing();
}

struct Memory(String);

impl Fetch for Memory {
    #[timed(outcome)]
    async fn fetch(&self, from: &str) -> Result<String, String> {
        if from.is_empty() {
            return Err(self.0.clone());
        }
        Ok(from.to_owned())
    }
}

#[async_trait]
impl Store for Memory {
    #[timed(outcome)]
    async fn put(&mut self, text: &str) -> Result<usize, String> {
        self.0.push_str(text);
        if text.is_empty() {
            return Err("empty".to_owned());
        }
        Ok(self.0.len())
    }

    #[timed(outcome)]
    async fn nothing() {}
}

#[test]
fn timed_future_has_the_same_output() {
    let mut text = String::new();
    assert_eq!(output(borrowed("a", &mut text)), 1);
    assert_eq!(output(borrowed_outcome("7", &mut text)), Ok("a7"));
    assert!(output(borrowed_outcome("x", &mut text)).is_err());
    output(unit((1, 0), 2));
    assert_eq!(output(recursive(3)), 3);
    assert_eq!(output(recursive_outcome(3)).unwrap(), 3);
    assert_eq!(output(boxed(" 5 ")).unwrap(), 5);
    assert!(output(boxed("five")).is_err());
    assert_eq!(output(block("four")).to_string(), "4");
    assert_eq!(output(block_outcome("12")).map(|sum| sum.to_string()), Ok("14".to_owned()));
}

#[test]
fn future_of_a_timed_method_has_the_same_output() {
    let mut memory = Memory("m".to_owned());
    assert_eq!(output(memory.length("four")), 4);
    assert_eq!(output(memory.length_outcome("")), Err("m".to_owned()));
    assert_eq!(output(memory.put("em")), Ok(3));
    assert_eq!(output(memory.put("")), Err("empty".to_owned()));
    assert_eq!(output(memory.get("it")), "it");
    assert_eq!(output(memory.get_outcome(5)), Some(5));
    output(Memory::nothing());
}
