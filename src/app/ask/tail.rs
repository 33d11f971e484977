//! `tallyd tail`: prints the results of each interval as they come.

use std::io::{self, BufRead, Write};
use std::os::fd::AsFd;
use std::thread;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use serde::Serialize;
use serde_json::{Map, Value};

use super::answers::{IntervalResults, LostEvents, Measured};
use super::client::Client;
use super::error::AskError;
use super::live::{LiveEvent, LiveEvents};
use super::options::Find;
use super::series::statistics;
use super::units::brief;
use crate::text::visible::{json_escaped, visible};

/// The time between two attempts to connect again.
const RETRY: Duration = Duration::from_secs(1);

/// Prints results until SIGINT, or until the output is closed. Connects again if tallyd restarts.
pub(super) fn print_results(
    client: &Client,
    find: &Find,
    output: &mut (impl Write + AsFd),
) -> Result<(), AskError> {
    exit_at_interrupt();
    let limit = find.limit.to_string();
    let open = || client.live(&[("match", find.pattern.as_str()), ("limit", &limit)]);
    let mut events = open()?;
    let mut printer = Printer { client, json: find.json, latest: String::new() };
    loop {
        let reason = printer.print(&mut events, output)?;
        eprintln!("tallyd: {reason}; retrying");
        events = loop {
            thread::sleep(RETRY);
            match open() {
                Ok(events) => break events,
                Err(error) if error.is_temporary() => {}
                Err(error) => return Err(error),
            }
        };
        eprintln!("tallyd: connected again");
    }
}

/// Ends the process with success at SIGINT, which is how a person ends this command.
fn exit_at_interrupt() {
    let mut interrupt = SigSet::empty();
    interrupt.add(Signal::SIGINT);
    // Blocking fails only if the kernel does not know the call. Then SIGINT ends the process anyway.
    if interrupt.thread_block().is_ok() {
        thread::spawn(move || {
            _ = interrupt.wait();
            std::process::exit(0);
        });
    }
}

/// Prints events.
struct Printer<'a> {
    client: &'a Client,
    json: bool,
    /// The end of the latest interval that was printed. After a lost connection, the first event repeats it.
    latest: String,
}

impl Printer<'_> {
    /// Prints events until the stream ends. Returns the reason.
    fn print(
        &mut self,
        events: &mut LiveEvents<impl BufRead>,
        output: &mut (impl Write + AsFd),
    ) -> Result<AskError, AskError> {
        for event in events {
            match event {
                Ok(event) => self.print_event(&event, output)?,
                Err(error) => {
                    let error = self.client.broken(Some(error));
                    return if error.is_temporary() { Ok(error) } else { Err(error) };
                }
            }
        }
        Ok(self.client.broken(None))
    }

    fn print_event(&mut self, event: &LiveEvent, output: &mut (impl Write + AsFd)) -> Result<(), AskError> {
        let LiveEvent { kind, data } = event;
        match kind.as_str() {
            "interval" if self.json => {
                let matched: IntervalResults<Map<String, Value>> = self.client.parse(data)?;
                self.print_matched(matched, output, json_line)
            }
            "interval" => {
                let matched: IntervalResults<Measured> = self.client.parse(data)?;
                let more = matched.matched.saturating_sub(matched.results.len() as u64);
                self.print_matched(matched, output, text_line)?;
                if more > 0 {
                    eprintln!("tallyd: {more} more series match; --limit shows more of them");
                }
                Ok(())
            }
            "lost" => {
                let LostEvents { events } = self.client.parse(data)?;
                eprintln!(
                    "tallyd: {events} intervals are missing here, because the output was read too slowly"
                );
                Ok(())
            }
            // A newer tallyd may send others.
            _ => Ok(()),
        }
    }

    fn print_matched<T>(
        &mut self,
        matched: IntervalResults<T>,
        output: &mut (impl Write + AsFd),
        line: impl Fn(&str, f64, &T) -> String,
    ) -> Result<(), AskError> {
        let IntervalResults { time, seconds, results, .. } = matched;
        if time == self.latest {
            return Ok(());
        }
        let text: String = results.iter().map(|result| line(&time, seconds, result) + "\n").collect();
        self.latest = time;
        if text.is_empty() && is_closed(output) {
            return Err(io::Error::from(io::ErrorKind::BrokenPipe).into());
        }
        output.write_all(text.as_bytes())?;
        Ok(output.flush()?)
    }
}

/// Returns true if the reader of the output is gone. Without results, no write would notice it.
fn is_closed(output: &impl AsFd) -> bool {
    let mut watched = [PollFd::new(output.as_fd(), PollFlags::empty())];
    let closed = PollFlags::POLLERR | PollFlags::POLLHUP;
    let is_ready = poll(&mut watched, PollTimeout::ZERO).is_ok();
    is_ready && watched[0].revents().is_some_and(|events| events.intersects(closed))
}

/// A result with the interval that it belongs to.
#[derive(Serialize)]
struct TimedResult<'a> {
    time: &'a str,
    seconds: f64,
    #[serde(flatten)]
    result: &'a Map<String, Value>,
}

fn json_line(time: &str, seconds: f64, result: &Map<String, Value>) -> String {
    let timed = TimedResult { time, seconds, result };
    let text = serde_json::to_string(&timed).expect("all keys are strings");
    json_escaped(&text).into_owned()
}

fn text_line(time: &str, _seconds: f64, result: &Measured) -> String {
    let mut fields =
        vec![visible(time).into_owned(), format!("{:<12}", visible(&result.series_type)), result.shown()];
    fields.extend(result.value.map(brief));
    fields.extend(result.count.map(|count| format!("count {}", brief(count))));
    fields.extend(result.rate.map(|rate| format!("{}/s", brief(rate))));
    fields.extend(statistics(result));
    fields.join("  ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMING: &str = r#"{"name": "request.time", "type": "timing", "tags": {}, "count": 12.0, "rate": 1.2,
        "sum": 0.6, "mean": 0.05, "max": 0.1, "percentiles": {"p50": 0.04, "p99": 0.1}}"#;

    #[test]
    fn results_are_lines_of_text() {
        for (json, expected) in [
            (
                r#"{"name": "page.views", "type": "counter", "tags": {"zone": "b"}, "value": 42.0, "rate": 4.2}"#,
                "T  counter       page.views{zone:b}  42  4.2/s",
            ),
            (r#"{"name": "disk", "type": "gauge", "tags": {}, "value": 7.0}"#, "T  gauge         disk  7"),
            (
                TIMING,
                "T  timing        request.time  count 12  1.2/s  sum 600ms  mean 50ms  max 100ms  p50 40ms  p99 100ms",
            ),
        ] {
            assert_eq!(text_line("T", 10.0, &serde_json::from_str(json).unwrap()), expected);
        }
    }

    #[test]
    fn results_in_json_have_the_time_and_keep_unknown_fields_and_exact_numbers() {
        let result =
            r#"{"series": "a|g", "new": {"x": [1]}, "value": 0.30000000000000004, "tags": {"\u009b": "é"}}"#;
        let line = json_line("T", 10.0, &serde_json::from_str(result).unwrap());
        let expected = r#"{"time":"T","seconds":10.0,"new":{"x":[1]},"series":"a|g","tags":{"\u009b":"é"},"value":0.30000000000000004}"#;
        assert_eq!(line, expected);
    }
}
