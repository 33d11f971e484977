//! Which bytes of a line are what: for people who are shown a line.

use std::ops::Range;

use super::metric::Body;
use super::sections::{sections, split_at_byte};
use super::{Event, Line, Metric, ServiceCheck, Tags};

/// Bytes of a line, and what they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// What they are, for example `rate`.
    pub part: &'static str,
    /// Where they stand, as offsets.
    pub place: Range<usize>,
}

/// The tokens of a line that was parsed from `text`, in the order of the line.
#[must_use]
pub fn tokens(text: &[u8], line: &Line<'_>) -> Vec<Token> {
    let mut tokens = Tokens { text, found: Vec::new() };
    match line {
        Line::Metric(metric) => tokens.metric(metric),
        Line::Event(event) => tokens.event(event),
        Line::ServiceCheck(check) => tokens.check(check),
    }
    tokens.found.retain(|token| !token.place.is_empty());
    tokens.found.sort_by_key(|token| token.place.start);
    tokens.found
}

struct Tokens<'a> {
    text: &'a [u8],
    found: Vec<Token>,
}

impl Tokens<'_> {
    fn metric(&mut self, metric: &Metric<'_>) {
        let [head, tail] = metric.name().pieces();
        self.add("name", head.as_bytes());
        if !tail.is_empty() {
            self.add("name", tail.as_bytes());
        }
        match metric.body {
            Body::Packed { values, .. } => {
                metric.raw_values().for_each(|value| self.add("value", value));
                let type_at = self.offset(values) + values.len() + 1;
                self.found
                    .push(Token { part: "type", place: type_at..self.offset(metric.tags().sections()) });
            }
            Body::Fields(fields) => {
                let mut left = Some(fields);
                while let Some((value, Some(after))) = left.map(|field| split_at_byte(field, b'|')) {
                    self.add("value", value);
                    let (after, others) = split_at_byte(after, b':');
                    let parts = after.split(|&byte| byte == b'|');
                    parts.zip(["type", "rate"]).for_each(|(bytes, part)| self.add(part, bytes));
                    left = others;
                }
            }
        }
        self.tags(metric.tags());
        self.sections(metric.tags().sections(), |section| match section {
            [b'@', ..] => "rate",
            [b'T', ..] => "timestamp",
            _ => "unknown",
        });
    }

    fn event(&mut self, event: &Event<'_>) {
        self.add("title", event.title.raw());
        self.add("text", event.text.raw());
        self.tags(event.tags);
        self.sections(event.tags.sections(), |field| match field {
            [b'd', b':', ..] => "timestamp",
            [b'h', b':', ..] => "hostname",
            [b'k', b':', ..] => "aggregation key",
            [b'p', b':', ..] => "priority",
            [b's', b':', ..] => "source type",
            [b't', b':', ..] => "alert type",
            _ => "unknown",
        });
    }

    fn check(&mut self, check: &ServiceCheck<'_>) {
        self.add("name", check.name.as_bytes());
        let status_at = self.offset(check.name.as_bytes()) + check.name.len() + 1;
        self.found.push(Token { part: "status", place: status_at..status_at + 1 });
        self.tags(check.tags);
        self.sections(check.tags.sections(), |field| match field {
            [b'd', b':', ..] => "timestamp",
            [b'h', b':', ..] => "hostname",
            [b'm', b':', ..] => "message",
            _ => "unknown",
        });
    }

    fn tags(&mut self, tags: Tags<'_>) {
        for (key, value) in tags.iter() {
            let start = self.offset(key);
            let end = if value.is_empty() { start + key.len() } else { self.offset(value) + value.len() };
            self.found.push(Token { part: "tag", place: start..end });
        }
    }

    /// All sections but tags; `part` names those that not every kind of line has.
    fn sections(&mut self, text: &[u8], part: impl Fn(&[u8]) -> &'static str) {
        for (_, section) in sections(text) {
            match section {
                [b'#', ..] => {}
                [b'c', b':', ..] => self.add("container id", section),
                [b'e', b':', ..] => self.add("external data", section),
                [b'c', b'a', b'r', b'd', b':', ..] => self.add("cardinality", section),
                other => self.add(part(other), section),
            }
        }
    }

    fn add(&mut self, part: &'static str, bytes: &[u8]) {
        let start = self.offset(bytes);
        self.found.push(Token { part, place: start..start + bytes.len() });
    }

    /// Where bytes that were borrowed from the text stand in it.
    fn offset(&self, bytes: &[u8]) -> usize {
        let offset = bytes.as_ptr().addr().wrapping_sub(self.text.as_ptr().addr());
        // What is empty may have been borrowed from nowhere.
        offset.min(self.text.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{Dialects, parse};

    fn shown(line: &str) -> String {
        let parsed = parse(line.as_bytes(), Dialects::ALL).unwrap();
        let token = |token: &Token| format!("{}={}", token.part, &line[token.place.clone()]);
        tokens(line.as_bytes(), &parsed).iter().map(token).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn every_byte_that_means_something_is_in_a_token() {
        let cases = [
            (
                "a:1::2|ms|@0.1|#k:v,j|T1|x|c:i|e:d|card:low",
                "name=a value=1 value=2 type=ms rate=@0.1 tag=k:v tag=j timestamp=T1 unknown=x container id=c:i \
                 external data=e:d cardinality=card:low",
            ),
            ("a:1|c@0.5", "name=a value=1 type=c rate=@0.5"),
            ("a:1|c", "name=a value=1 type=c"),
            ("a:1|c:2|ms|@0.1", "name=a value=1 type=c value=2 type=ms rate=@0.1"),
            ("a:1|c:x:y|s", "name=a value=1 type=c value=x:y type=s"),
            ("a[k=v]b:x:y|s", "name=a tag=k=v name=b value=x:y type=s"),
            ("a;k=v;j=:1|c", "name=a tag=k=v tag=j value=1 type=c"),
            ("_e{1,2}:a|bc|p:low|#k", "title=a text=bc priority=p:low tag=k"),
            ("_sc|a|0|h:x|m:y", "name=a status=0 hostname=h:x message=m:y"),
        ];
        for (line, expected) in cases {
            assert_eq!(shown(line), expected, "{line}");
        }
    }
}
