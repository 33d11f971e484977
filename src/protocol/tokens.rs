//! Splits a line into tokens for display.

use std::ops::Range;

use super::line::Line;
use super::metric::Body;
use super::sections::sections;
use super::text::split_at_byte;
use super::{Event, Metric, ServiceCheck, Tags};

/// A part of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Token {
    /// The name of the part, for example `rate`.
    pub part: &'static str,
    /// The range of its bytes in the line.
    pub range: Range<usize>,
}

/// Returns the tokens of a line that was parsed from `text`, in the order of the line.
#[must_use]
pub(crate) fn tokens(text: &[u8], line: &Line<'_>) -> Vec<Token> {
    let mut tokens = Tokens { text, found: Vec::new() };
    match line {
        Line::Metric(metric) => tokens.add_metric(metric),
        Line::Event(event) => tokens.add_event(event),
        Line::ServiceCheck(check) => tokens.add_check(check),
    }
    tokens.found.retain(|token| !token.range.is_empty());
    tokens.found.sort_by_key(|token| token.range.start);
    tokens.found
}

struct Tokens<'a> {
    text: &'a [u8],
    found: Vec<Token>,
}

impl Tokens<'_> {
    fn add_metric(&mut self, metric: &Metric<'_>) {
        metric.name().pieces().iter().for_each(|piece| self.add("name", piece.as_bytes()));
        match metric.body {
            Body::Packed { values, .. } => {
                metric.raw_values().for_each(|value| self.add("value", value));
                let type_at = self.offset(values) + values.len() + 1;
                self.found
                    .push(Token { part: "type", range: type_at..self.offset(metric.tags().sections()) });
            }
            Body::Legacy(fields) => {
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
        self.add_tags(metric.tags());
        self.add_sections(metric.tags().sections(), |section| match section {
            [b'@', ..] => "rate",
            [b'T', ..] => "timestamp",
            _ => "unknown",
        });
    }

    fn add_event(&mut self, event: &Event<'_>) {
        self.add("title", event.title.raw());
        self.add("text", event.text.raw());
        self.add_tags(event.tags);
        self.add_sections(event.tags.sections(), |field| match field {
            [b'd', b':', ..] => "timestamp",
            [b'h', b':', ..] => "hostname",
            [b'k', b':', ..] => "aggregation key",
            [b'p', b':', ..] => "priority",
            [b's', b':', ..] => "source type",
            [b't', b':', ..] => "alert type",
            _ => "unknown",
        });
    }

    fn add_check(&mut self, check: &ServiceCheck<'_>) {
        self.add("name", check.name.as_bytes());
        let status_at = self.offset(check.name.as_bytes()) + check.name.len() + 1;
        self.found.push(Token { part: "status", range: status_at..status_at + 1 });
        self.add_tags(check.tags);
        self.add_sections(check.tags.sections(), |field| match field {
            [b'd', b':', ..] => "timestamp",
            [b'h', b':', ..] => "hostname",
            [b'm', b':', ..] => "message",
            _ => "unknown",
        });
    }

    fn add_tags(&mut self, tags: Tags<'_>) {
        for (key, value) in tags.iter() {
            let start = self.offset(key);
            let end = match value {
                None | Some([]) => start + key.len(),
                Some(value) => self.offset(value) + value.len(),
            };
            self.found.push(Token { part: "tag", range: start..end });
        }
    }

    /// Adds all sections except tags. `part` names the sections that only one type of line has.
    fn add_sections(&mut self, text: &[u8], part: impl Fn(&[u8]) -> &'static str) {
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
        self.found.push(Token { part, range: start..start + bytes.len() });
    }

    /// Returns the offset of bytes that were borrowed from the text.
    fn offset(&self, bytes: &[u8]) -> usize {
        let offset = bytes.as_ptr().addr().wrapping_sub(self.text.as_ptr().addr());
        // An empty slice may lie outside the text.
        offset.min(self.text.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{Dialects, parse};

    fn shown(line: &str) -> String {
        let parsed = parse(line.as_bytes(), Dialects::ALL).unwrap();
        let token = |token: &Token| format!("{}={}", token.part, &line[token.range.clone()]);
        tokens(line.as_bytes(), &parsed).iter().map(token).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn every_meaningful_byte_is_in_a_token() {
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
