//! Builds the line to send, and checks it with tallyd's own parser.

use strum::VariantArray;

use crate::model::{Kind, Named, RESERVED_PREFIX};
use crate::protocol::{self, Dialects, Line, Metric, SampleValue};

/// The wire types that can be sent.
pub(in crate::app) const WIRE_TYPES: [&str; Kind::VARIANTS.len() + 2] =
    ["c", "g", "ms", "h", "d", "s", "m", "kv"];

/// The parts of the line to build.
#[derive(Debug, Clone, Copy)]
pub(super) struct Parts<'a> {
    pub(super) name: &'a str,
    pub(super) value: &'a str,
    /// The type on the wire, such as `c`.
    pub(super) wire_type: &'a str,
    /// The tags, each `KEY` or `KEY:VALUE`.
    pub(super) tags: &'a [String],
    pub(super) rate: Option<&'a str>,
}

/// Builds the line with these parts.
///
/// # Errors
///
/// Returns an error if tallyd would reject the line, or would read something else in it.
pub(super) fn build(parts: &Parts<'_>) -> Result<String, String> {
    let Parts { name, value, wire_type, tags, rate } = parts;
    // Each of these characters ends a part of a line, so the rest would be read as something else.
    for part in [*name, *value, rate.unwrap_or_default()].into_iter().chain(tags.iter().map(String::as_str)) {
        if let Some(end) = part.chars().find(|char| "|\n\r".contains(*char)) {
            return Err(format!("{part:?} contains {end:?}, which would end that part of the line"));
        }
    }
    let mut line = format!("{name}:{value}|{wire_type}");
    if let Some(rate) = rate {
        line.push_str("|@");
        line.push_str(rate);
    }
    if !tags.is_empty() {
        line.push_str("|#");
        line.push_str(&tags.join(","));
    }
    let parsed =
        parse(line.as_bytes()).map_err(|problem| format!("{line:?} would be rejected: {problem}"))?;
    let difference = match parsed {
        Line::Metric(metric) => difference(parts, &metric),
        Line::Event(_) => Some("it would be an event".to_owned()),
        Line::ServiceCheck(_) => Some("it would be a service check".to_owned()),
    };
    match difference {
        Some(difference) => Err(format!("{line:?} would mean something else: {difference}")),
        None => Ok(line),
    }
}

/// Checks that tallyd would accept a line.
///
/// # Errors
///
/// Returns the reason why tallyd would reject the line.
pub(super) fn check(line: &[u8]) -> Result<(), String> {
    parse(line).map(|_| ())
}

/// Parses a line as tallyd does by default, and refuses reserved names.
fn parse(line: &[u8]) -> Result<Line<'_>, String> {
    match protocol::parse(line, Dialects::ALL) {
        Ok(Line::Metric(metric)) if metric.name().starts_with(RESERVED_PREFIX) => {
            Err(format!("names that begin with {RESERVED_PREFIX} are tallyd's own"))
        }
        Ok(parsed) => Ok(parsed),
        Err(error) => Err(error.to_string()),
    }
}

/// Returns a clause that says how tallyd would misread the parts, or `None` if it would read them as they are.
fn difference(parts: &Parts<'_>, metric: &Metric<'_>) -> Option<String> {
    let kind = match parts.wire_type {
        "m" => "c",
        "kv" => "g",
        wire => wire,
    };
    if metric.name() != parts.name {
        return Some(format!("the name would be {:?}", metric.name().to_string()));
    }
    let mut samples = metric.samples();
    let (first, others) = (samples.next(), samples.count());
    let Some(sample) = first.filter(|_| others == 0) else {
        return Some(format!("the value would be {} values", others + 1));
    };
    if sample.kind.wire() != kind {
        return Some(format!("the type would be {}", sample.kind.wire()));
    }
    if matches!(sample.value, SampleValue::Member(member) if member != parts.value.as_bytes()) {
        return Some("the value would be different".to_owned());
    }
    if parts.rate.is_some() && !sample.kind.is_sampled() {
        return Some(format!("a rate has no effect on a {}", sample.kind.name()));
    }
    let split = |tag: &'_ String| {
        let (key, value) = tag.split_once(':').unwrap_or((tag, ""));
        (key.as_bytes().to_vec(), value.as_bytes().to_vec())
    };
    let given: Vec<_> = parts.tags.iter().map(split).collect();
    let tags: Vec<_> =
        metric.tags().iter().map(|(key, value)| (key.to_vec(), value.unwrap_or_default().to_vec())).collect();
    if tags != given {
        return Some(format!("the tags would be {}", shown(&tags)));
    }
    metric.notes().iter().next().map(|note| format!("it would be noted as {}", note.name()))
}

fn shown(tags: &[(Vec<u8>, Vec<u8>)]) -> String {
    let text = |bytes| String::from_utf8_lossy(bytes);
    let tags: Vec<_> =
        tags.iter().map(|(key, value)| format!("{:?}: {:?}", text(key), text(value))).collect();
    format!("{{{}}}", tags.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parser_reads_back_the_parts_of_a_line() {
        let tags = ["env:prod".to_owned(), "beta".to_owned(), "url:http://h:1".to_owned()];
        let all = Parts { name: "a.b", value: "1.5", wire_type: "ms", tags: &tags, rate: Some("0.5") };
        assert_eq!(build(&all).unwrap(), "a.b:1.5|ms|@0.5|#env:prod,beta,url:http://h:1");
        for wire_type in WIRE_TYPES {
            let parts = Parts { name: "a", value: "-5", wire_type, tags: &[], rate: None };
            assert_eq!(build(&parts).unwrap(), format!("a:-5|{wire_type}"));
        }
        let member = Parts { name: "a", value: "x:y", wire_type: "s", tags: &[], rate: None };
        assert_eq!(build(&member).unwrap(), "a:x:y|s");
    }

    #[test]
    fn parts_that_no_line_can_carry_are_refused_with_the_reason() {
        let good = Parts { name: "a", value: "1", wire_type: "c", tags: &[], rate: None };
        let tags = |tag: &str| vec![tag.to_owned()];
        let [pipe, comma, hash, empty, line_feed] = ["k:v|@0.5", "k:v,b", "#k", "", "k:\nb:1|c"].map(tags);
        let cases = [
            (Parts { name: "", ..good }, "empty_name"),
            (Parts { name: "a:b", ..good }, "bad_value"),
            (Parts { name: "a:1", ..good }, "the name would be \"a\""),
            (Parts { name: "tallyd.x", ..good }, "tallyd's own"),
            (Parts { name: "a,k=v", ..good }, "the name would be \"a\""),
            (Parts { name: "_e{1,1}:a|b", ..good }, "would end that part"),
            (Parts { name: "a|b", ..good }, "would end that part"),
            (Parts { name: "_e{1,1}", ..good }, "\"_e{1,1}:1|c\""),
            (Parts { name: "a\nb", ..good }, "would end that part"),
            (Parts { value: "1:2", ..good }, "2 values"),
            (Parts { value: "1|c:2", ..good }, "would end that part"),
            (Parts { value: "one", ..good }, "bad_value"),
            (Parts { value: "a|b", wire_type: "s", ..good }, "would end that part"),
            (Parts { rate: Some("2"), ..good }, "bad_rate"),
            (Parts { rate: Some("0.5|c:box"), ..good }, "would end that part"),
            (Parts { rate: Some("0.5"), wire_type: "g", ..good }, "no effect on a gauge"),
            (Parts { tags: &pipe, ..good }, "would end that part"),
            (Parts { tags: &comma, ..good }, "the tags would be"),
            (Parts { tags: &hash, ..good }, "the tags would be"),
            (Parts { tags: &empty, ..good }, "the tags would be"),
            (Parts { tags: &line_feed, ..good }, "would end that part"),
        ];
        for (parts, reason) in cases {
            let problem = build(&parts).unwrap_err();
            assert!(problem.contains(reason), "{parts:?}: {problem}");
        }
    }
}
