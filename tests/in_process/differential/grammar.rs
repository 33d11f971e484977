//! Generates lines from the grammar of the protocol, most of them valid.

use proptest::prelude::*;

pub(super) type Bytes = Vec<u8>;

/// Generates one of these texts.
pub(super) fn one_of(texts: &'static [&'static str]) -> BoxedStrategy<Bytes> {
    proptest::sample::select(texts).prop_map(|text| text.as_bytes().to_vec()).boxed()
}

/// Generates the usual text in 30 of 31 cases, and the rare one otherwise.
fn mostly(usual: BoxedStrategy<Bytes>, rare: BoxedStrategy<Bytes>) -> BoxedStrategy<Bytes> {
    prop_oneof![30 => usual, 1 => rare].boxed()
}

fn invalid_utf8() -> BoxedStrategy<Bytes> {
    let texts: [&[u8]; 6] =
        [b"\xff", b"a\xc3", b"\xa9", b"\xe2\x82", b"\xed\xa0\x80", b"x\xf0\x9f\x98y\xfe\xff"];
    proptest::sample::select(texts.map(<[u8]>::to_vec).to_vec()).boxed()
}

fn join(
    parts: BoxedStrategy<Bytes>,
    by: &'static str,
    count: std::ops::Range<usize>,
) -> BoxedStrategy<Bytes> {
    proptest::collection::vec(parts, count).prop_map(move |parts| parts.join(by.as_bytes())).boxed()
}

fn seq<const N: usize>(parts: [BoxedStrategy<Bytes>; N]) -> BoxedStrategy<Bytes> {
    parts.prop_map(|parts| parts.concat()).boxed()
}

pub(super) fn is(text: &'static str) -> BoxedStrategy<Bytes> {
    Just(text.as_bytes().to_vec()).boxed()
}

/// Generates a text or nothing.
fn maybe(part: BoxedStrategy<Bytes>) -> BoxedStrategy<Bytes> {
    prop_oneof![part, is("")].boxed()
}

fn word() -> BoxedStrategy<Bytes> {
    mostly(
        one_of(&[
            "a", "k", "v", "env", "b.c", "a-b/c d", "é", "日本", "😀", "_x", "_e", "_sc", "url", "h", "9",
        ]),
        prop_oneof![
            3 => one_of(&["", "_e{", "_sc|", "@", "#", "{}", "\\n", "\\", "\r", " "]),
            2 => one_of(&["\0", "a\u{1f}b", "\u{7f}", "\t", "\u{85}"]),
            1 => invalid_utf8(),
        ]
        .boxed(),
    )
}

/// Generates a tag of any dialect. Its text may contain the punctuation of other dialects.
fn tag(equals: &'static str) -> BoxedStrategy<Bytes> {
    prop_oneof![
        6 => seq([word(), is(equals), word()]),
        2 => word(),
        1 => one_of(&["", "", "=", ":", "=v", ":v", "k=", "k:", "a=b=c", "a:b:c", "http://h:80?x=y", "a=b:c"]),
        1 => one_of(&["#", "##", "#k", "##k:v", "#,", "[", "]", "[x]", "x#y", "x;y", "x;y=z,w"]),
    ]
    .boxed()
}

fn tags(equals: &'static str, by: &'static str) -> BoxedStrategy<Bytes> {
    join(tag(equals), by, 0..4)
}

fn name() -> BoxedStrategy<Bytes> {
    let bracketed = seq([maybe(word()), is("["), tags("=", ","), is("]"), maybe(word())]);
    let colons = seq([word(), is("["), tags(":", ","), is("]")]);
    let brackets =
        one_of(&["[", "]", "a[", "a]", "]a[", "a[b", "[a[b]", "a]b[c]d", "[]", "a[][]", "a[b][c=d]"]);
    let brackets_in_a_character = Just(b"a\xc3[k]\xa9".to_vec()).boxed();
    let with_tags = prop_oneof![
        seq([word(), is(","), tags("=", ",")]),
        seq([word(), is("#"), tags("=", ",")]),
        seq([word(), is(";"), tags("=", ";")]),
        bracketed,
    ]
    .boxed();
    prop_oneof![
        8 => word(),
        6 => with_tags.clone(),
        1 => colons,
        1 => mostly(brackets, brackets_in_a_character),
        1 => seq([with_tags.clone(), with_tags]),
    ]
    .boxed()
}

fn number() -> BoxedStrategy<Bytes> {
    mostly(
        prop_oneof![
            4 => one_of(&["1", "5", "5.5", ".5", "5.", "-5", "+5", "1e3", "1e-05", "+.5E+2", "-0", "007", "-5.e1"]),
            1 => one_of(&["1e308", "1.7976931348623157e308", "5e-324", "1e-400", "0e999", "123456789012345678901"]),
            1 => proptest::num::f64::NORMAL.prop_map(|number| format!("{number:e}").into_bytes()),
            1 => (-1e6..1e6).prop_map(|number: f64| number.to_string().into_bytes()),
        ]
        .boxed(),
        one_of(&[
            "", "NaN", "nan", "inf", "-inf", "infinity", "1e400", "-1e309", "0x10", "1_000", " 5", "5 ", ".", "+", "-",
            "+-5", "--5", "e5", ".e5", "1e", "1e+", "1e5.0", "1.2.3", "5g", "1,5", "é", "１", "1E", "5\0",
        ]),
    )
}

fn rate() -> BoxedStrategy<Bytes> {
    mostly(
        one_of(&["0.1", ".5", "1", "1.", "1.0", "+0.5", "1e-2", "5E-1", "1e-308", "0.30000000000000004"]),
        one_of(&[
            "",
            "0",
            "-0.1",
            "2",
            "1.0000000000000002",
            "x",
            "1e-309",
            "1e-400",
            "NaN",
            "0.1@",
            " 1",
            "0,5",
            "@0.1",
        ]),
    )
}

fn kind() -> BoxedStrategy<Bytes> {
    mostly(
        one_of(&["c", "g", "ms", "h", "d", "s", "m", "kv"]),
        one_of(&["", "zz", "C", "cc", "MS", "gauge", "k", "kvs", "m s", " c", "c ", "é"]),
    )
}

fn value() -> BoxedStrategy<Bytes> {
    prop_oneof![30 => number(), 1 => maybe(word())].boxed()
}

/// Generates Unix seconds, valid or invalid.
fn time() -> BoxedStrategy<Bytes> {
    one_of(&[
        "1656581400",
        "1",
        "007",
        "18446744073709551615",
        "18446744073709551616",
        "0",
        "000",
        "",
        "-1",
        "+1",
        "1.5",
        "x",
        "1 ",
        "99999999999999999999999",
        "00000000000000000000000000001",
        "１",
    ])
}

/// Generates a section about the origin of a line: container, external data or cardinality.
fn origin() -> BoxedStrategy<Bytes> {
    prop_oneof![
        seq([is("c:"), tag(":")]),
        seq([is("e:"), tag(":")]),
        seq([is("card:"), one_of(&["none", "low", "orchestrator", "high", "low", "", "Low", "lower", "x"])]),
    ]
    .boxed()
}

fn section() -> BoxedStrategy<Bytes> {
    prop_oneof![
        4 => seq([is("@"), rate()]),
        5 => seq([is("#"), tags(":", ",")]),
        2 => seq([is("T"), time()]),
        4 => origin(),
        1 => one_of(&["", "x:1", "m:test", "0.1", "c", "e", "card", "t:info", "C:x", " @0.1", ":", "c|#k"]),
        1 => word(),
    ]
    .boxed()
}

fn packed() -> BoxedStrategy<Bytes> {
    let values =
        prop_oneof![4 => value(), 2 => join(value(), ":", 1..5), 1 => join(maybe(value()), ":", 1..5)];
    let sections = join(seq([is("|"), section()]), "", 0..5);
    let without_bar = prop_oneof![9 => is(""), 1 => seq([is("@"), rate()])];
    seq([name(), is(":"), values.boxed(), is("|"), kind(), without_bar.boxed(), sections])
}

fn legacy() -> BoxedStrategy<Bytes> {
    let rate = prop_oneof![2 => is(""), 1 => seq([is("|@"), rate()])];
    let field = seq([value(), is("|"), kind(), rate.boxed()]);
    let after = mostly(is(""), one_of(&[":", "|", "|#k:v", "|c:x", ":1", "|@", "@0.5"]));
    seq([name(), is(":"), join(field, ":", 2..5), after])
}

/// Generates a title or a text. Its length often differs between the units.
fn prose() -> BoxedStrategy<Bytes> {
    let piece = prop_oneof![
        12 => one_of(&["a", "b c", "é", "日", "😀", "e\u{301}"]),
        4 => one_of(&["|", "\\n", "\\", "n", "\\\\n", ":", "}", "|d:1", "\r"]),
        1 => prop_oneof![3 => is("x"), 1 => invalid_utf8()],
    ];
    join(piece.boxed(), "", 0..6)
}

fn field() -> BoxedStrategy<Bytes> {
    prop_oneof![
        2 => seq([is("d:"), time()]),
        2 => seq([is("h:"), word()]),
        1 => seq([is("k:"), word()]),
        1 => seq([is("s:"), tag(":")]),
        2 => seq([is("p:"), one_of(&["normal", "low", "low", "", "high", "LOW"])]),
        2 => seq([is("t:"), one_of(&["error", "warning", "info", "success", "success", "", "fatal"])]),
        3 => seq([is("#"), tags(":", ",")]),
        1 => origin(),
        1 => seq([is("m:"), prose()]),
        1 => one_of(&["", "x:1", "@0.1", "T5", "d", "h", "m", "p", "dd:5"]),
    ]
    .boxed()
}

fn fields() -> BoxedStrategy<Bytes> {
    join(seq([is("|"), field()]), "", 0..5)
}

/// The units in which a client may count the length of a text.
#[derive(Debug, Clone, Copy)]
enum Unit {
    Bytes,
    Characters,
    Utf16,
}

fn length(text: &[u8], unit: Unit) -> usize {
    let shown = String::from_utf8_lossy(text);
    match unit {
        Unit::Bytes => text.len(),
        Unit::Characters => shown.chars().count(),
        Unit::Utf16 => shown.encode_utf16().count(),
    }
}

fn event() -> BoxedStrategy<Bytes> {
    let unit = || prop_oneof![Just(Unit::Bytes), Just(Unit::Characters), Just(Unit::Utf16)];
    let units = prop_oneof![8 => unit().prop_map(|unit| (unit, unit)), 1 => (unit(), unit())];
    let written = |right: usize| {
        prop_oneof![
            40 => Just(right.to_string()),
            1 => Just(format!("00{right}")),
            1 => Just(format!("+{right}")),
            1 => Just((right + 1).to_string()),
            1 => Just(right.saturating_sub(1).to_string()),
            1 => proptest::sample::select(vec!["", "0", "-1", "x", " 1", "99999999999999999999", "1,1", "18446744073709551615"])
                .prop_map(str::to_string),
        ]
    };
    (prose(), prose(), units, mostly(is("}:"), one_of(&["}", ":", "", "},", "}:}:"])), fields())
        .prop_flat_map(move |(title, text, (of_title, of_text), end, fields)| {
            let lengths = (written(length(&title, of_title)), written(length(&text, of_text)));
            lengths.prop_map(move |(of_title, of_text)| {
                let lengths = format!("_e{{{of_title},{of_text}").into_bytes();
                [&lengths[..], &end, &title, b"|", &text, &fields].concat()
            })
        })
        .boxed()
}

fn service_check() -> BoxedStrategy<Bytes> {
    let status =
        mostly(one_of(&["0", "1", "2", "3"]), one_of(&["", "4", "-1", "00", "OK", "1.0", "21", " 0"]));
    let name = mostly(word(), name());
    seq([is("_sc|"), name, is("|"), status, fields()])
}

pub(super) fn generated() -> BoxedStrategy<Bytes> {
    prop_oneof![6 => packed(), 3 => legacy(), 3 => event(), 2 => service_check()]
        .prop_map(as_one_line)
        .boxed()
}

/// Replaces line feeds, which would end the line, with spaces.
pub(super) fn as_one_line(mut line: Bytes) -> Bytes {
    line.iter_mut().filter(|byte| **byte == b'\n').for_each(|byte| *byte = b' ');
    line
}
