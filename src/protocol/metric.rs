//! Parses metric lines.
//!
//! ```abnf
//! metric  = name ":" value *( ":" value ) "|" type *( "|" section )   ; packed values
//!         / name ":" field 1*( ":" field )                            ; the legacy syntax
//! field   = value "|" type [ "|@" rate ]
//! ```

use nom::branch::alt;
use nom::bytes::complete::{tag, take_till, take_till1};
use nom::character::complete::char;
use nom::combinator::{eof, map_opt, opt, peek};
use nom::sequence::{preceded, terminated};
use nom::{IResult, Parser};

use super::error::{RejectReason, Rejection, reject};
use super::name::{Name, TaggedName, tagged_name};
use super::sections::{CommonSections, Origin, sections, set_value};
use super::text::{is_utf8, split_at_byte};
use super::{Dialect, Dialects, Note, Notes, Sample, SampleRate, SampleValue, Tags, number};
use crate::model::{Container, Kind};

/// An accepted metric line: a name, tags, and at least one sample.
#[derive(Debug, Clone, Copy)]
pub struct Metric<'a> {
    name: TaggedName<'a>,
    pub(super) body: Body<'a>,
    tags: Tags<'a>,
    timestamp: Option<u64>,
    origin: Origin<'a>,
    notes: Notes,
}

/// The part of a metric line that holds its samples.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Body<'a> {
    /// Values that share a type and a rate.
    Packed { values: &'a [u8], wire_type: WireType, rate: SampleRate },
    /// The fields of the legacy syntax: each value has its own type and rate.
    Legacy(&'a [u8]),
}

/// The type of a metric as the client wrote it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct WireType {
    kind: Kind,
    /// True if a sign before the value means a change, as it does for `g` but not for `kv`.
    has_deltas: bool,
}

/// Parses a line that is neither an event nor a service check.
pub(super) fn parse(line: &[u8], dialects: Dialects) -> Result<Metric<'_>, Rejection<'_>> {
    let (after_name, name) = tagged_name(line, dialects)?;
    let mut metric = match packed(name, after_name) {
        // An ignored rate may hide further fields of the legacy syntax, as in `a:1|g|@0.5:2|g`.
        Ok(metric) if metric.notes.contains(Note::RateIgnored) => {
            legacy(name, after_name, RateCheck::Always).unwrap_or(metric)
        }
        Ok(metric) => metric,
        // Any other fault is also a fault of the first field in the legacy syntax.
        Err(rejection) if matches!(rejection.reason(), RejectReason::UnknownType | RejectReason::BadRate) => {
            legacy(name, after_name, RateCheck::IfEffective).ok_or(rejection)?
        }
        Err(rejection) => return Err(rejection),
    };
    if name.dialect.is_some() {
        if let Some(second) = name.second_dialect.or_else(|| metric.tags.second_dialect()) {
            return reject(second, RejectReason::MixedTags);
        }
        metric.notes.add_if(!is_utf8(name.tags), Note::TagNotUtf8);
        metric.notes.add_if(metric.tags.has_nameless_in_name(), Note::TagWithoutKey);
    }
    Ok(metric)
}

impl<'a> Metric<'a> {
    /// Returns the name as sent, without any tags inside it.
    #[must_use]
    pub fn name(&self) -> Name<'a> {
        self.name.name
    }

    /// Returns the dialect of the tags within the name.
    #[must_use]
    pub fn dialect(&self) -> Option<Dialect> {
        self.name.dialect
    }

    /// Returns the tags as sent, in the order of the line.
    #[must_use]
    pub fn tags(&self) -> Tags<'a> {
        self.tags
    }

    /// Returns the timestamp in seconds since 1970. Only counters and gauges can have one.
    #[must_use]
    pub fn timestamp(&self) -> Option<u64> {
        self.timestamp
    }

    /// Returns the container or process that sent the line.
    #[must_use]
    pub fn origin(&self) -> Origin<'a> {
        self.origin
    }

    /// Sets the container that the socket tells, unless the client tells one or wants no tags of its origin.
    pub(crate) fn detect(&mut self, container: Option<&'a Container>) {
        self.origin.detect(container);
    }

    /// Returns the notes about the line.
    #[must_use]
    pub fn notes(&self) -> Notes {
        self.notes
    }

    /// Returns true if everything except the values can be cached: the line is `name:values|rest`, and lines with the
    /// same `name` and `rest` differ only in their values. A line with a timestamp has a note, so it is never cached.
    #[must_use]
    pub(crate) fn is_cacheable(&self) -> bool {
        matches!(self.body, Body::Packed { .. })
            && self.name.is_decided_at_colon
            && self.notes.concern_only_values()
    }

    /// Returns true if values with a sign are [`SampleValue::Signed`].
    #[must_use]
    pub(crate) fn has_deltas(&self) -> bool {
        matches!(self.body, Body::Packed { wire_type, .. } if wire_type.has_deltas)
    }

    /// Iterates over the packed values as sent.
    pub(super) fn raw_values(&self) -> impl Iterator<Item = &'a [u8]> {
        let mut left = match self.body {
            Body::Packed { values, wire_type, .. } => Some((values, wire_type.kind)),
            Body::Legacy(_) => None,
        };
        std::iter::from_fn(move || {
            let (values, kind) = left?;
            let (first, others) = split_first_value(values, kind);
            left = others.map(|others| (others, kind));
            Some(first)
        })
    }

    /// Iterates over the samples in the order of the line. A metric has at least one.
    #[must_use]
    pub fn samples(&self) -> Samples<'a> {
        Samples(Some(self.body))
    }
}

/// An iterator over the samples of a [`Metric`].
#[derive(Debug, Clone)]
pub struct Samples<'a>(Option<Body<'a>>);

impl<'a> Iterator for Samples<'a> {
    type Item = Sample<'a>;

    fn next(&mut self) -> Option<Sample<'a>> {
        loop {
            match self.0? {
                Body::Packed { values, wire_type, rate } => {
                    let (first, others) = split_first_value(values, wire_type.kind);
                    self.0 = others.map(|values| Body::Packed { values, wire_type, rate });
                    // The parser has checked the values, so only an empty one among several is skipped.
                    if let Some(value) = value(first, wire_type) {
                        return Some(Sample { kind: wire_type.kind, value, rate });
                    }
                }
                Body::Legacy(fields) => {
                    let (others, (sample, _)) = legacy_field(fields, RateCheck::IfEffective).ok()?;
                    self.0 = others.strip_prefix(b":").map(Body::Legacy);
                    return Some(sample);
                }
            }
        }
    }
}

/// Parses `":" value *( ":" value ) "|" type *( "|" section )`.
fn packed<'a>(name: TaggedName<'a>, after_name: &'a [u8]) -> Result<Metric<'a>, Rejection<'a>> {
    let Some(values_at) = after_name.strip_prefix(b":") else {
        return reject(
            after_name,
            if after_name.is_empty() { RejectReason::MissingType } else { RejectReason::BadValue },
        );
    };
    let (values, type_at) = split_at_byte(values_at, b'|');
    let Some(type_at) = type_at else {
        return reject(&values_at[values_at.len()..], RejectReason::MissingType);
    };
    let Ok((sections_at, wire_type)) = type_before_sections(type_at) else {
        let missing = matches!(type_at.first(), None | Some(b'|' | b'@'));
        return reject(type_at, if missing { RejectReason::MissingType } else { RejectReason::UnknownType });
    };
    let mut notes = Notes::default();
    check_values(values_at, values, wire_type, &mut notes)?;
    let (rate, CommonSections { timestamp, origin, .. }) =
        read_sections(sections_at, wire_type.kind, &mut notes)?;
    Ok(Metric {
        name,
        body: Body::Packed { values, wire_type, rate },
        tags: Tags::new(name.dialect, name.tags, sections_at),
        timestamp,
        origin,
        notes,
    })
}

/// Selects the rates of the legacy syntax that must be valid.
#[derive(Debug, Clone, Copy, PartialEq)]
enum RateCheck {
    /// Only rates that have an effect must be valid.
    IfEffective,
    /// The rates of gauges and sets must be valid, too.
    Always,
}

/// Parses `":" field 1*( ":" field )` up to the end of the line.
fn legacy<'a>(name: TaggedName<'a>, after_name: &'a [u8], rate_check: RateCheck) -> Option<Metric<'a>> {
    let fields = after_name.strip_prefix(b":")?;
    // Most lines have no second field, so no colon follows their first `|`.
    memchr::memchr(b':', split_at_byte(fields, b'|').1?)?;
    let field = |input| legacy_field(input, rate_check);
    let (mut after, (_, mut rate_ignored)) = field(fields).ok()?;
    while !after.is_empty() {
        let (left, (_, ignored)) = preceded(char(':'), field).parse(after).ok()?;
        rate_ignored |= ignored;
        after = left;
    }
    let mut notes = Notes::default();
    notes.add_if(rate_ignored, Note::RateIgnored);
    Some(Metric {
        name,
        body: Body::Legacy(fields),
        tags: Tags::new(name.dialect, name.tags, &[]),
        timestamp: None,
        origin: Origin::default(),
        notes,
    })
}

/// Parses `value "|" type [ "|@" rate ]`. The value of a set may contain colons. Returns the sample, and true if its
/// rate has no effect.
fn legacy_field(input: &[u8], rate_check: RateCheck) -> IResult<&[u8], (Sample<'_>, bool)> {
    let text = take_till1(|byte| byte == b'|');
    let rate = preceded((char('|'), char('@')), take_till(|byte| byte == b':' || byte == b'|'));
    map_opt((text, preceded(char('|'), wire_type), opt(rate)), |(text, wire_type, rate)| {
        let value = value(text, wire_type)?;
        let kind = wire_type.kind;
        let rate_ignored = rate.is_some() && !kind.is_sampled();
        let rate = match rate {
            Some(text) if !rate_ignored || rate_check == RateCheck::Always => SampleRate::new(number(text)?)?,
            _ => SampleRate::ONE,
        };
        let rate = if kind.is_sampled() { rate } else { SampleRate::ONE };
        Some((Sample { kind, value, rate }, rate_ignored))
    })
    .parse(input)
}

/// Parses a type that ends the line or precedes a section. nginx-statsd omits the `|` before `@`.
fn type_before_sections(input: &[u8]) -> IResult<&[u8], WireType> {
    terminated(wire_type, peek(alt((eof, tag("|"), tag("@"))))).parse(input)
}

fn wire_type(input: &[u8]) -> IResult<&[u8], WireType> {
    let is = |text, kind| tag(text).map(move |_| WireType { kind, has_deltas: text == "g" });
    alt((
        is("ms", Kind::Timing),
        is("c", Kind::Counter),
        is("g", Kind::Gauge),
        is("h", Kind::Histogram),
        is("d", Kind::Distribution),
        is("s", Kind::Set),
        is("m", Kind::Counter),
        is("kv", Kind::Gauge),
    ))
    .parse(input)
}

/// Splits packed values into the first one and the others. A set is never split, because its member is text and may
/// contain colons.
fn split_first_value(values: &[u8], kind: Kind) -> (&[u8], Option<&[u8]>) {
    if kind == Kind::Set { (values, None) } else { split_at_byte(values, b':') }
}

/// Reads one value of a type. Returns `None` if the value is empty or not a number.
fn value(text: &[u8], wire_type: WireType) -> Option<SampleValue<'_>> {
    match text.first()? {
        _ if wire_type.kind == Kind::Set => Some(SampleValue::Member(text)),
        b'+' | b'-' if wire_type.has_deltas => number(text).map(SampleValue::Signed),
        _ => number(text).map(SampleValue::Number),
    }
}

/// Checks that at least one value is valid, and that all others are valid or empty.
fn check_values<'a>(
    line_from: &'a [u8],
    values: &'a [u8],
    wire_type: WireType,
    notes: &mut Notes,
) -> Result<(), Rejection<'a>> {
    let mut has_valid = false;
    let is_scalar = matches!(wire_type.kind, Kind::Counter | Kind::Gauge);
    let mut left = Some(values);
    while let Some(values_left) = left {
        let (first, others) = split_first_value(values_left, wire_type.kind);
        if value(first, wire_type).is_some() {
            has_valid = true;
        } else if first.is_empty() {
            notes.add(Note::EmptyValue);
        } else {
            let offset = values.len() - values_left.len();
            return reject(&line_from[offset..], RejectReason::BadValue);
        }
        notes.add_if(others.is_some() && is_scalar, Note::PackedCounter);
        left = others;
    }
    if has_valid { Ok(()) } else { reject(line_from, RejectReason::BadValue) }
}

/// Reads the sections after the type, except the tags themselves.
fn read_sections<'a>(
    text: &'a [u8],
    kind: Kind,
    notes: &mut Notes,
) -> Result<(SampleRate, CommonSections<'a>), Rejection<'a>> {
    let mut rate = None;
    let mut common = CommonSections::default();
    for (offset, section) in sections(text) {
        match section {
            [b'@', ..] if !kind.is_sampled() => notes.add(Note::RateIgnored),
            [b'@', digits @ ..] => match number(digits).and_then(SampleRate::new) {
                Some(given) => set_value(&mut rate, given, notes),
                None => return reject(&text[offset + 1..], RejectReason::BadRate),
            },
            [b'T', digits @ ..] if matches!(kind, Kind::Counter | Kind::Gauge) => {
                let is_time = common.read_timestamp(digits, notes);
                notes.add_if(is_time, Note::Timestamp);
            }
            [b'T', ..] => notes.add(Note::TimestampIgnored),
            other => common.read_section(other, notes),
        }
    }
    Ok((rate.unwrap_or(SampleRate::ONE), common))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Named;
    use crate::protocol::ParseError;

    fn parsed(line: &[u8]) -> Result<Metric<'_>, ParseError> {
        parse(line, Dialects::ALL).map_err(|rejection| rejection.in_line(line))
    }

    fn numbers(line: &str) -> Vec<(Kind, f64, f64)> {
        let metric = parsed(line.as_bytes()).unwrap_or_else(|error| panic!("{line}: {error}"));
        metric
            .samples()
            .map(|sample| match sample.value {
                SampleValue::Number(value) | SampleValue::Signed(value) => {
                    (sample.kind, value, sample.rate.get())
                }
                SampleValue::Member(_) => panic!("{line}: a member"),
            })
            .collect()
    }

    fn tags(line: &str) -> Vec<(String, String)> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        parsed(line.as_bytes())
            .unwrap()
            .tags()
            .iter()
            .map(|(key, value)| (text(key), text(value.unwrap_or_default())))
            .collect()
    }

    fn notes(line: &str) -> Vec<&'static str> {
        parsed(line.as_bytes()).unwrap().notes().iter().map(Note::name).collect()
    }

    #[test]
    fn every_type_has_the_kind_that_the_protocol_specifies() {
        let cases = [
            ("c", Kind::Counter),
            ("m", Kind::Counter),
            ("g", Kind::Gauge),
            ("kv", Kind::Gauge),
            ("ms", Kind::Timing),
            ("h", Kind::Histogram),
            ("d", Kind::Distribution),
        ];
        for (wire, kind) in cases {
            assert_eq!(numbers(&format!("a:1.5|{wire}")), [(kind, 1.5, 1.0)]);
        }
    }

    #[test]
    fn packed_values_share_a_rate_and_empty_ones_are_skipped() {
        assert_eq!(numbers("a:1::2:|ms|@0.5|#k:v"), [(Kind::Timing, 1.0, 0.5), (Kind::Timing, 2.0, 0.5)]);
        assert_eq!(notes("a:1::2:|ms"), ["empty_value"]);
    }

    #[test]
    fn legacy_syntax_gives_each_value_its_own_type_and_rate() {
        assert_eq!(
            numbers("foo:200|ms:300|ms:5|c|@0.1:6|g"),
            [
                (Kind::Timing, 200.0, 1.0),
                (Kind::Timing, 300.0, 1.0),
                (Kind::Counter, 5.0, 0.1),
                (Kind::Gauge, 6.0, 1.0)
            ]
        );
        let gauges = [(Kind::Gauge, 1.0, 1.0), (Kind::Gauge, 2.0, 1.0)];
        assert_eq!(numbers("a:1|g|@0.5:2|g"), gauges);
        assert_eq!(notes("a:1|g|@0.5:2|g"), ["rate_ignored"]);
        assert_eq!(numbers("a:1|g|@x:2|g"), gauges[..1]);
        let members: Vec<_> = parsed(b"a:1|c:x:y|s").unwrap().samples().map(|sample| sample.value).collect();
        assert_eq!(members, [SampleValue::Number(1.0), SampleValue::Member(b"x:y")]);
        assert_eq!(numbers("a:1|c:2|c"), [(Kind::Counter, 1.0, 1.0), (Kind::Counter, 2.0, 1.0)]);
    }

    #[test]
    fn a_set_member_is_text_and_keeps_its_colons() {
        let samples: Vec<_> = parsed(b"a:x:y|s").unwrap().samples().collect();
        assert_eq!(samples.len(), 1);
        assert_eq!(samples[0].value, SampleValue::Member(b"x:y"));
    }

    #[test]
    fn a_gauge_value_with_a_sign_is_a_change() {
        for (line, expected) in [("a:+5|g", SampleValue::Signed(5.0)), ("a:5|g", SampleValue::Number(5.0))] {
            assert_eq!(parsed(line.as_bytes()).unwrap().samples().next().unwrap().value, expected, "{line}");
        }
    }

    #[test]
    fn a_key_value_sample_is_never_a_change() {
        assert_eq!(parsed(b"a:-5|kv").unwrap().samples().next().unwrap().value, SampleValue::Number(-5.0));
    }

    #[test]
    fn tags_split_at_the_first_colon_and_lose_hash_signs() {
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(tags("a:1|c|#url:http://h:80,b"), [pair("url", "http://h:80"), pair("b", "")]);
        assert_eq!(tags("a:1|c|#a:1,#b:2,,|@0.1|#c:3"), [pair("a", "1"), pair("b", "2"), pair("c", "3")]);
        assert_eq!(tags("a:1|c|#"), []);
        assert_eq!(tags("a:1|c"), []);
    }

    #[test]
    fn odd_sections_are_noted_and_the_sample_is_accepted() {
        let cases: [(&str, &[&str]); 18] = [
            ("a:1|c", &[]),
            ("a:1|c|#a:b|c:id|e:x|card:low", &[]),
            ("a:1|c|", &["empty_section"]),
            ("a:1|c|0.1", &["unknown_section"]),
            ("a:1|c|card:huge", &["unknown_section"]),
            ("a:1|c|@0.5|@0.2", &["repeated_section"]),
            ("a:1|c|c:x|c:y", &["repeated_section"]),
            ("a:1|c|e:x|e:y", &["repeated_section"]),
            ("a:1|g|@x", &["rate_ignored"]),
            ("a:1|s|@2", &["rate_ignored"]),
            ("a:1|c|T1656581400", &["timestamp"]),
            ("a:1|c|T0", &["timestamp_ignored"]),
            ("a:1|c|T-1", &["timestamp_ignored"]),
            ("a:1|c|T+1", &["timestamp_ignored"]),
            ("a:1|c|Tx", &["timestamp_ignored"]),
            ("a:1|ms|T1656581400", &["timestamp_ignored"]),
            ("a:1|c|#a|#b", &[]),
            ("a:1|c|card:low|card:high", &["repeated_section"]),
        ];
        for (line, expected) in cases {
            assert_eq!(notes(line), expected, "{line}");
        }
        assert_eq!(numbers("a:1|c|@0.5|@0.2"), [(Kind::Counter, 1.0, 0.2)]);
        assert_eq!(numbers("a:1|c@0.05"), [(Kind::Counter, 1.0, 0.05)]);
        for line in [&b"a:1|c|#k:\xff"[..], b"a,k=\xff:1|c", b"a[k=\xff]:1|c"] {
            assert_eq!(parsed(line).unwrap().notes().iter().collect::<Vec<_>>(), [Note::TagNotUtf8]);
        }
    }

    #[test]
    fn a_rejected_line_reports_the_reason_and_the_offending_byte() {
        let cases: [(&[u8], RejectReason, usize); 32] = [
            (b":1|c", RejectReason::EmptyName, 0),
            (b"|h|#a:b", RejectReason::EmptyName, 0),
            (b"a\0b:1|c", RejectReason::BadName, 1),
            (b"a:1|c", RejectReason::BadName, 1),
            (b"inv\xc3(:1|c", RejectReason::BadName, 3),
            (b"a", RejectReason::MissingType, 1),
            (b"a:1", RejectReason::MissingType, 3),
            (b"a:1|", RejectReason::MissingType, 4),
            (b"a:1||", RejectReason::MissingType, 4),
            (b"a:1|@0.1", RejectReason::MissingType, 4),
            (b"a:1|zz", RejectReason::UnknownType, 4),
            (b"a:1|C", RejectReason::UnknownType, 4),
            (b"a:1|msx", RejectReason::UnknownType, 4),
            (b"a:|c", RejectReason::BadValue, 2),
            (b"a::|c", RejectReason::BadValue, 2),
            (b"a:|s", RejectReason::BadValue, 2),
            (b"a66|c", RejectReason::BadValue, 3),
            (b"a:NaN|c", RejectReason::BadValue, 2),
            (b"a:1:x|ms", RejectReason::BadValue, 4),
            (b"a:1e400|c", RejectReason::BadValue, 2),
            (b"a: 5 |c", RejectReason::BadValue, 2),
            (b"a:1|c|@0", RejectReason::BadRate, 7),
            (b"a:1|c|@-1", RejectReason::BadRate, 7),
            (b"a:1|c|@2", RejectReason::BadRate, 7),
            (b"a:1|c|@x", RejectReason::BadRate, 7),
            (b"a:1|c|@1e-320", RejectReason::BadRate, 7),
            (b"a:1|c@x", RejectReason::BadRate, 6),
            (b"a:0|ms|@0.1:0|ms|:1|ms", RejectReason::BadRate, 8),
            (b"a:1|c:1|g|@0.1|", RejectReason::UnknownType, 4),
            (b"a,k=v:1|c|#l:w", RejectReason::MixedTags, 10),
            (b"a[k=v],l=w:1|c", RejectReason::MixedTags, 6),
            (b"a,k=v[l=w]:1|c", RejectReason::MixedTags, 5),
        ];
        for (line, reason, offset) in cases {
            let error = parsed(line).unwrap_err();
            assert_eq!(
                (error.reason(), error.offset()),
                (reason, offset),
                "{:?}",
                String::from_utf8_lossy(line)
            );
        }
    }
}
