//! The grammar of a metric line.
//!
//! ```abnf
//! metric  = name ":" value *( ":" value ) "|" type *( "|" section )
//!         / name ":" field 1*( ":" field )          ; the old form
//! field   = value "|" type [ "|@" rate ]
//! ```

use nom::branch::alt;
use nom::bytes::complete::{tag, take_till, take_till1};
use nom::character::complete::char;
use nom::combinator::{eof, map_opt, opt, peek};
use nom::sequence::{preceded, terminated};
use nom::{IResult, Parser};

use super::dialects::{Dialect, Dialects};
use super::error::{Failure, RejectReason, fail};
use super::name::{Head, Name, head};
use super::sections::{Common, Origin, is_utf8, replace, sections, split_at_byte};
use super::{Note, Notes, Sample, SampleRate, SampleValue, Tags, number};
use crate::model::Kind;

/// A metric line that counts: a name, tags, and at least one sample.
#[derive(Debug, Clone, Copy)]
pub struct Metric<'a> {
    head: Head<'a>,
    pub(super) body: Body<'a>,
    tags: Tags<'a>,
    timestamp: Option<u64>,
    origin: Origin<'a>,
    notes: Notes,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Body<'a> {
    /// Values that share a type and a rate.
    Packed { values: &'a [u8], wire_type: WireType, rate: SampleRate },
    /// The old form: each value with its own type and rate.
    Fields(&'a [u8]),
}

/// A type as it stands on the wire.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct WireType {
    kind: Kind,
    /// Whether a sign before the value means a change: so for `g`, not for `kv`.
    has_deltas: bool,
}

/// Parses a line that is neither an event nor a service check.
pub(super) fn metric(line: &[u8], dialects: Dialects) -> Result<Metric<'_>, Failure<'_>> {
    let (after_name, head) = head(line, dialects)?;
    let mut metric = match packed(head, after_name) {
        // A rate that is not read may hide the other fields of the old form, as in `a:1|g|@0.5:2|g`.
        Ok(metric) if metric.notes.contains(Note::RateIgnored) => {
            old_form(head, after_name, Rates::AllRead).unwrap_or(metric)
        }
        Ok(metric) => metric,
        // Whatever else is wrong is wrong with the first field of the old form, too.
        Err(failure) if matches!(failure.reason(), RejectReason::UnknownType | RejectReason::BadRate) => {
            old_form(head, after_name, Rates::AsUsual).ok_or(failure)?
        }
        Err(failure) => return Err(failure),
    };
    if head.dialect.is_some() {
        if let Some(second) = head.second.or_else(|| metric.tags.second_dialect()) {
            return fail(second, RejectReason::MixedTags);
        }
        metric.notes.add_if(!is_utf8(head.tags), Note::TagNotUtf8);
    }
    Ok(metric)
}

impl<'a> Metric<'a> {
    /// The name as sent, without the tags that may stand in it.
    #[must_use]
    pub fn name(&self) -> Name<'a> {
        self.head.name
    }

    /// The dialect whose tags stand in the name.
    #[must_use]
    pub fn dialect(&self) -> Option<Dialect> {
        self.head.dialect
    }

    /// The tags as sent, in the order of the line.
    #[must_use]
    pub fn tags(&self) -> Tags<'a> {
        self.tags
    }

    /// The sample's own time in seconds since 1970, where counters and gauges carry one.
    #[must_use]
    pub fn timestamp(&self) -> Option<u64> {
        self.timestamp
    }

    /// Where its samples come from.
    #[must_use]
    pub fn origin(&self) -> Origin<'a> {
        self.origin
    }

    /// What was odd about the line.
    #[must_use]
    pub fn notes(&self) -> Notes {
        self.notes
    }

    /// Whether the line is `name:values|rest` such that another line of the same `name` and `rest` differs in its
    /// values only: everything but the values may then be remembered. A timestamp is noted, so it is not.
    #[must_use]
    pub fn is_regular(&self) -> bool {
        matches!(self.body, Body::Packed { .. }) && self.head.is_regular && self.notes.is_empty()
    }

    /// Whether a sign before a value of this line makes it a [`SampleValue::Signed`].
    #[must_use]
    pub fn has_deltas(&self) -> bool {
        matches!(self.body, Body::Packed { wire_type, .. } if wire_type.has_deltas)
    }

    /// Packed values as they stand in the line.
    pub(super) fn raw_values(&self) -> impl Iterator<Item = &'a [u8]> {
        let mut left = match self.body {
            Body::Packed { values, wire_type, .. } => Some((values, wire_type.kind)),
            Body::Fields(_) => None,
        };
        std::iter::from_fn(move || {
            let (values, kind) = left?;
            let (first, others) = first_value(values, kind);
            left = others.map(|others| (others, kind));
            Some(first)
        })
    }

    /// The samples in the order of the line, at least one.
    #[must_use]
    pub fn samples(&self) -> Samples<'a> {
        Samples(Some(self.body))
    }
}

/// The samples of a [`Metric`].
#[derive(Debug, Clone)]
pub struct Samples<'a>(Option<Body<'a>>);

impl<'a> Iterator for Samples<'a> {
    type Item = Sample<'a>;

    fn next(&mut self) -> Option<Sample<'a>> {
        loop {
            match self.0? {
                Body::Packed { values, wire_type, rate } => {
                    let (first, others) = first_value(values, wire_type.kind);
                    self.0 = others.map(|values| Body::Packed { values, wire_type, rate });
                    // An empty one among several is skipped; any other was checked by the parser.
                    if let Some(value) = value(first, wire_type) {
                        return Some(Sample { kind: wire_type.kind, value, rate });
                    }
                }
                Body::Fields(fields) => {
                    let (others, (sample, _)) = field(fields, Rates::AsUsual).ok()?;
                    self.0 = others.strip_prefix(b":").map(Body::Fields);
                    return Some(sample);
                }
            }
        }
    }
}

/// `":" value *( ":" value ) "|" type *( "|" section )`
fn packed<'a>(head: Head<'a>, after_name: &'a [u8]) -> Result<Metric<'a>, Failure<'a>> {
    let Some(values_at) = after_name.strip_prefix(b":") else {
        return fail(
            after_name,
            if after_name.is_empty() { RejectReason::MissingType } else { RejectReason::BadValue },
        );
    };
    let (values, type_at) = split_at_byte(values_at, b'|');
    let Some(type_at) = type_at else {
        return fail(&values_at[values_at.len()..], RejectReason::MissingType);
    };
    let Ok((sections_at, wire_type)) = last_type(type_at) else {
        let missing = matches!(type_at.first(), None | Some(b'|' | b'@'));
        return fail(type_at, if missing { RejectReason::MissingType } else { RejectReason::UnknownType });
    };
    let mut notes = Notes::default();
    check_values(values_at, values, wire_type, &mut notes)?;
    let (rate, Common { timestamp, origin, .. }) = read_sections(sections_at, wire_type.kind, &mut notes)?;
    Ok(Metric {
        head,
        body: Body::Packed { values, wire_type, rate },
        tags: Tags::new(head.dialect, head.tags, sections_at),
        timestamp,
        origin,
        notes,
    })
}

/// Which rates must be such in the old form.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Rates {
    /// Those that have an effect.
    AsUsual,
    /// Those of gauges and sets, too.
    AllRead,
}

/// `":" field 1*( ":" field )`, all of it.
fn old_form<'a>(head: Head<'a>, after_name: &'a [u8], rates: Rates) -> Option<Metric<'a>> {
    let fields = after_name.strip_prefix(b":")?;
    // Most lines have no second field, and so no colon behind the first type.
    memchr::memchr(b':', split_at_byte(fields, b'|').1?)?;
    let field = |input| field(input, rates);
    let (mut after, (_, mut rate_ignored)) = field(fields).ok()?;
    while !after.is_empty() {
        let (left, (_, ignored)) = preceded(char(':'), field).parse(after).ok()?;
        rate_ignored |= ignored;
        after = left;
    }
    let mut notes = Notes::default();
    notes.add_if(rate_ignored, Note::RateIgnored);
    Some(Metric {
        head,
        body: Body::Fields(fields),
        tags: Tags::new(head.dialect, head.tags, &[]),
        timestamp: None,
        origin: Origin::default(),
        notes,
    })
}

/// `value "|" type [ "|@" rate ]`, in which a set's value may hold colons; and whether the rate has no effect.
fn field(input: &[u8], rates: Rates) -> IResult<&[u8], (Sample<'_>, bool)> {
    let text = take_till1(|byte| byte == b'|');
    let rate = preceded((char('|'), char('@')), take_till(|byte| byte == b':' || byte == b'|'));
    map_opt((text, preceded(char('|'), wire_type), opt(rate)), |(text, wire_type, rate)| {
        let value = value(text, wire_type)?;
        let kind = wire_type.kind;
        let rate_ignored = rate.is_some() && !kind.is_sampled();
        let rate = match rate {
            Some(text) if !rate_ignored || rates == Rates::AllRead => SampleRate::new(number(text)?)?,
            _ => SampleRate::ONE,
        };
        let rate = if kind.is_sampled() { rate } else { SampleRate::ONE };
        Some((Sample { kind, value, rate }, rate_ignored))
    })
    .parse(input)
}

/// A type that ends the line, or is followed by a section (nginx-statsd leaves out the `|` before `@`).
fn last_type(input: &[u8]) -> IResult<&[u8], WireType> {
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

/// The first of several packed values, and the others. A set's member is text and may hold colons.
fn first_value(values: &[u8], kind: Kind) -> (&[u8], Option<&[u8]>) {
    if kind == Kind::Set { (values, None) } else { split_at_byte(values, b':') }
}

/// One value by its type; `None` if it is empty or not a number.
fn value(text: &[u8], wire_type: WireType) -> Option<SampleValue<'_>> {
    match text.first()? {
        _ if wire_type.kind == Kind::Set => Some(SampleValue::Member(text)),
        b'+' | b'-' if wire_type.has_deltas => number(text).map(SampleValue::Signed),
        _ => number(text).map(SampleValue::Number),
    }
}

/// All values are good, or empty beside a good one.
fn check_values<'a>(
    line_from: &'a [u8],
    values: &'a [u8],
    wire_type: WireType,
    notes: &mut Notes,
) -> Result<(), Failure<'a>> {
    let mut good = false;
    let mut left = Some(values);
    while let Some(values_left) = left {
        let (first, others) = first_value(values_left, wire_type.kind);
        if value(first, wire_type).is_some() {
            good = true;
        } else if first.is_empty() {
            notes.add(Note::EmptyValue);
        } else {
            let offset = values.len() - values_left.len();
            return fail(&line_from[offset..], RejectReason::BadValue);
        }
        left = others;
    }
    if good { Ok(()) } else { fail(line_from, RejectReason::BadValue) }
}

/// What the sections after the type say, apart from tags.
fn read_sections<'a>(
    text: &'a [u8],
    kind: Kind,
    notes: &mut Notes,
) -> Result<(SampleRate, Common<'a>), Failure<'a>> {
    let mut rate = None;
    let mut common = Common::default();
    for (offset, section) in sections(text) {
        match section {
            [b'@', ..] if !kind.is_sampled() => notes.add(Note::RateIgnored),
            [b'@', digits @ ..] => match number(digits).and_then(SampleRate::new) {
                Some(given) => replace(&mut rate, given, notes),
                None => return fail(&text[offset + 1..], RejectReason::BadRate),
            },
            [b'T', digits @ ..] if matches!(kind, Kind::Counter | Kind::Gauge) => {
                let is_time = common.read_timestamp(digits, notes);
                notes.add_if(is_time, Note::Timestamp);
            }
            [b'T', ..] => notes.add(Note::TimestampIgnored),
            other => common.read(other, notes),
        }
    }
    Ok((rate.unwrap_or(SampleRate::ONE), common))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::ParseError;

    fn parse(line: &[u8]) -> Result<Metric<'_>, ParseError> {
        metric(line, Dialects::ALL).map_err(|failure| failure.located(line))
    }

    fn numbers(line: &str) -> Vec<(Kind, f64, f64)> {
        let metric = parse(line.as_bytes()).unwrap_or_else(|error| panic!("{line}: {error}"));
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
        parse(line.as_bytes()).unwrap().tags().iter().map(|(key, value)| (text(key), text(value))).collect()
    }

    fn notes(line: &str) -> Vec<&'static str> {
        parse(line.as_bytes()).unwrap().notes().iter().map(Note::name).collect()
    }

    #[test]
    fn every_type_is_what_the_protocol_says() {
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
    fn packed_values_are_samples_of_one_rate_and_empty_ones_are_skipped() {
        assert_eq!(numbers("a:1::2:|ms|@0.5|#k:v"), [(Kind::Timing, 1.0, 0.5), (Kind::Timing, 2.0, 0.5)]);
        assert_eq!(notes("a:1::2:|ms"), ["empty_value"]);
    }

    #[test]
    fn the_old_form_gives_each_value_its_own_type_and_rate() {
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
        let members: Vec<_> = parse(b"a:1|c:x:y|s").unwrap().samples().map(|sample| sample.value).collect();
        assert_eq!(members, [SampleValue::Number(1.0), SampleValue::Member(b"x:y")]);
        assert_eq!(numbers("a:1|c:2|c"), [(Kind::Counter, 1.0, 1.0), (Kind::Counter, 2.0, 1.0)]);
    }

    #[test]
    fn a_member_of_a_set_is_text_and_keeps_its_colons() {
        let samples: Vec<_> = parse(b"a:x:y|s").unwrap().samples().collect();
        assert_eq!(samples.len(), 1);
        assert_eq!(samples[0].value, SampleValue::Member(b"x:y"));
    }

    #[test]
    fn a_sign_on_a_gauge_is_kept_apart_from_its_value() {
        for (line, expected) in [("a:+5|g", SampleValue::Signed(5.0)), ("a:5|g", SampleValue::Number(5.0))] {
            assert_eq!(parse(line.as_bytes()).unwrap().samples().next().unwrap().value, expected, "{line}");
        }
    }

    #[test]
    fn a_key_value_sample_is_never_a_delta() {
        assert_eq!(parse(b"a:-5|kv").unwrap().samples().next().unwrap().value, SampleValue::Number(-5.0));
    }

    #[test]
    fn tags_are_split_at_the_first_colon_and_hash_signs_and_empty_ones_are_taken_off() {
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(tags("a:1|c|#url:http://h:80,b"), [pair("url", "http://h:80"), pair("b", "")]);
        assert_eq!(tags("a:1|c|#a:1,#b:2,,|@0.1|#c:3"), [pair("a", "1"), pair("b", "2"), pair("c", "3")]);
        assert_eq!(tags("a:1|c|#"), []);
        assert_eq!(tags("a:1|c"), []);
    }

    #[test]
    fn odd_sections_are_noted_and_the_sample_stands() {
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
            assert_eq!(parse(line).unwrap().notes().iter().collect::<Vec<_>>(), [Note::TagNotUtf8]);
        }
    }

    #[test]
    fn a_wrong_line_says_why_and_where() {
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
            let error = parse(line).unwrap_err();
            assert_eq!(
                (error.reason(), error.offset()),
                (reason, offset),
                "{:?}",
                String::from_utf8_lossy(line)
            );
        }
    }
}
