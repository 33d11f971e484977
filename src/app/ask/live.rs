//! Reads a stream of server-sent events.

use std::io::{self, BufRead, Read};

/// The longest event in bytes. An event with 1,000 results of long names takes a tenth of it.
const LONGEST_EVENT: usize = 16 << 20;

/// An event of the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LiveEvent {
    /// The type, such as `interval`.
    pub(super) kind: String,
    pub(super) data: String,
}

/// The events of a stream, in their order.
pub(super) struct LiveEvents<R> {
    input: R,
}

impl<R: BufRead> LiveEvents<R> {
    /// Reads events from an input.
    pub(super) fn new(input: R) -> Self {
        Self { input }
    }

    /// Reads one line without its end. Returns `None` at the end of the stream.
    fn next_line(&mut self) -> io::Result<Option<String>> {
        let mut line = Vec::new();
        self.input.by_ref().take(LONGEST_EVENT as u64).read_until(b'\n', &mut line)?;
        if line.pop_if(|last| *last == b'\n').is_none() {
            // The end of the stream cuts the line off, so it does not count.
            return if line.len() == LONGEST_EVENT { Err(too_long()) } else { Ok(None) };
        }
        line.pop_if(|last| *last == b'\r');
        Ok(Some(String::from_utf8_lossy(&line).into_owned()))
    }

    fn next_event(&mut self) -> io::Result<Option<LiveEvent>> {
        let mut event = LiveEvent { kind: String::new(), data: String::new() };
        while let Some(line) = self.next_line()? {
            let (field, value) = line.split_once(':').unwrap_or((&line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "event" => value.clone_into(&mut event.kind),
                "data" => {
                    if !event.data.is_empty() {
                        event.data.push('\n');
                    }
                    event.data.push_str(value);
                    if event.data.len() > LONGEST_EVENT {
                        return Err(too_long());
                    }
                }
                // An empty line ends an event. Without data, it is none.
                "" if line.is_empty() && event.data.is_empty() => event.kind.clear(),
                "" if line.is_empty() => return Ok(Some(event)),
                _ => {}
            }
        }
        Ok(None)
    }
}

fn too_long() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("an event is longer than {} MiB", LONGEST_EVENT >> 20))
}

impl<R: BufRead> Iterator for LiveEvents<R> {
    type Item = io::Result<LiveEvent>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_event().transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<(String, String)> {
        let events = LiveEvents::new(text.as_bytes());
        events.map(|event| event.unwrap()).map(|LiveEvent { kind, data }| (kind, data)).collect()
    }

    #[test]
    fn events_are_read_and_comments_and_incomplete_events_are_not() {
        let cases = [
            ("event: interval\ndata: {}\n\n", &[("interval", "{}")][..]),
            ("event:lost\r\ndata:1\r\n\r\n", &[("lost", "1")]),
            (": alive\n\n: alive\n\ndata: 1\ndata: 2\n\n", &[("", "1\n2")]),
            ("event: interval\n\ndata: 1\n\n", &[("", "1")]),
            ("id: 7\nretry: 5\nbroken\ndata: a: b\n\n", &[("", "a: b")]),
            ("data: 1\n\ndata: 2\n", &[("", "1")]),
            ("data: 1\n\ndata: 2", &[("", "1")]),
            ("", &[]),
        ];
        for (text, expected) in cases {
            let expected: Vec<_> =
                expected.iter().map(|(kind, data)| ((*kind).to_owned(), (*data).to_owned())).collect();
            assert_eq!(read(text), expected, "{text:?}");
        }
    }

    #[test]
    fn an_endless_event_is_an_error() {
        for piece in ["x", "data: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n"] {
            let text = piece.repeat(LONGEST_EVENT * 2 / piece.len());
            let first = LiveEvents::new(text.as_bytes()).next().unwrap();
            assert_eq!(first.unwrap_err().kind(), io::ErrorKind::InvalidData);
        }
    }
}
