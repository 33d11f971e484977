//! Tests the plain parser itself.

use serde_json::json;

use crate::plain::{self, Dialects};

/// Invalid lines that the conformance cases do not cover well, each with the reason and the column.
const WRONG: [(&str, &str, Option<usize>); 38] = [
    ("", "empty_name", Some(1)),
    (",k=v:1|c", "empty_name", Some(1)),
    ("[k=v]:1|c", "empty_name", Some(1)),
    ("[k:v]", "empty_name", Some(1)),
    ("a\u{7f}:1|c", "bad_name", None),
    ("a\0", "bad_name", None),
    ("a", "missing_type", None),
    ("a:", "missing_type", None),
    ("a:x", "missing_type", None),
    ("a:1|", "missing_type", None),
    ("a:1||c", "missing_type", None),
    ("a:1|@0.1", "missing_type", None),
    ("a:x|zz", "unknown_type", Some(5)),
    ("a:1|C", "unknown_type", Some(5)),
    ("a:1|c:2", "unknown_type", Some(5)),
    ("a:1|c:2|zz", "unknown_type", Some(5)),
    ("a:1|c:2|c|#k", "unknown_type", Some(5)),
    ("a:1|c:2|c@0.5", "unknown_type", Some(5)),
    ("a|c", "bad_value", None),
    ("a|zz", "bad_value", None),
    ("a[b:1|zz]|c", "unknown_type", Some(7)),
    ("a:|s", "bad_value", None),
    ("a::|c", "bad_value", None),
    ("a:1::x:2|c|@x", "bad_value", Some(6)),
    ("a:1e|c", "bad_value", Some(3)),
    ("a:1|c@", "bad_rate", None),
    ("a:1|c|@x|@0.5", "bad_rate", None),
    ("a:1|c|@1e-309", "bad_rate", None),
    ("a,k:1|c|#k|@x", "bad_rate", None),
    ("a:1|c|@0.1:2|zz", "bad_rate", None),
    ("a,k:1|c|#k", "mixed_tags", None),
    ("a,[k]:1|c", "mixed_tags", None),
    ("a;k[k]:1|c:2|c", "mixed_tags", None),
    ("_e{1,1}:a|b}", "bad_event", None),
    ("_e{+1,1}:a|b", "bad_event", None),
    ("_e{1,99999999999999999999}:a|b", "bad_event", None),
    ("_sc|a\tb|0", "bad_service_check", None),
    ("_sc|a|00", "bad_service_check", None),
];

#[test]
fn plain_parser_names_the_first_error_of_a_line() {
    for (line, reason, column) in WRONG {
        let got = plain::meaning(line.as_bytes(), Dialects::default());
        assert_eq!(got, json!({"ok": false, "reason": reason}), "{line:?}");
        assert_eq!(plain::column(line.as_bytes(), Dialects::default()), column, "{line:?}");
    }
}

/// Valid lines, each with the name, type, value, rate and tags of its samples.
const RIGHT: [(&str, &str); 27] = [
    ("a:1|m", r#"["a","c",1.0,1.0,[]]"#),
    ("a:-1|kv|@x", r#"["a","g",-1.0,1.0,[]]"#),
    ("a:1|c@0.05|#k", r#"["a","c",1.0,0.05,[["k",""]]]"#),
    ("a:1|c|@0.5|@.1", r#"["a","c",1.0,0.1,[]]"#),
    ("a:1|c|@0.5:2|m|@1:x|s", r#"["a","c",1.0,0.5,[]] ["a","c",2.0,1.0,[]] ["a","s","x",1.0,[]]"#),
    // The rate of a gauge is not read, so it may hide fields of the legacy syntax. They count only if all their rates
    // are valid.
    ("a:1|g|@0.5:2|ms", r#"["a","g",1.0,1.0,[]] ["a","ms",2.0,1.0,[]]"#),
    ("a:1|g|@x:2|ms", r#"["a","g",1.0,1.0,[]]"#),
    ("a:1|c:2|g|@x", r#"["a","c",1.0,1.0,[]] ["a","g",2.0,1.0,[]]"#),
    ("a:1|c:x:y|s", r#"["a","c",1.0,1.0,[]] ["a","s","x:y",1.0,[]]"#),
    ("a,k=v:1|c:2|c", r#"["a","c",1.0,1.0,[["k","v"]]] ["a","c",2.0,1.0,[["k","v"]]]"#),
    ("a:x:y|s", r#"["a","s","x:y",1.0,[]]"#),
    ("a:::|s", r#"["a","s","::",1.0,[]]"#),
    ("a:1::2|h", r#"["a","h",1.0,1.0,[]] ["a","h",2.0,1.0,[]]"#),
    ("a:1|d|#z:1:2,##y,#|#,b:", r##"["a","d",1.0,1.0,[["#y",""],["b",""],["z","1:2"]]]"##),
    ("a,k=v=w,,x;y#z[:1|c", r#"["a","c",1.0,1.0,[["k","v=w"],["x;y#z[",""]]]"#),
    ("a;k=v,w;x:1|c", r#"["a","c",1.0,1.0,[["k","v,w"],["x",""]]]"#),
    ("a#k=v,w:1|c|#", r#"["a","c",1.0,1.0,[["k","v"],["w",""]]]"#),
    ("a[k=v:w,x;y]b[c]:1|c", r#"["ab[c]","c",1.0,1.0,[["k","v:w"],["x;y",""]]]"#),
    ("a[b:1|c", r#"["a[b","c",1.0,1.0,[]]"#),
    ("]a[:1|c", r#"["]a[","c",1.0,1.0,[]]"#),
    ("a:[b:c]|s", r#"["a","s","[b:c]",1.0,[]]"#),
    ("a[]:1|c|#k", r#"["a","c",1.0,1.0,[["k",""]]]"#),
    ("a,:1|c|#k", r#"["a","c",1.0,1.0,[["k",""]]]"#),
    ("_e:1|c", r#"["_e","c",1.0,1.0,[]]"#),
    ("_sc:1|c", r#"["_sc","c",1.0,1.0,[]]"#),
    ("a:1|c|T5|T0|Tx", r#"["a","c",1.0,1.0,[]]"#),
    ("a:+1.5E+3|ms|T5", r#"["a","ms",1500.0,1.0,[]]"#),
];

#[test]
fn plain_parser_accepts_every_form() {
    for (line, expected) in RIGHT {
        let got = plain::meaning(line.as_bytes(), Dialects::default());
        let samples: Vec<_> = got["samples"]
            .as_array()
            .unwrap_or_else(|| panic!("{line:?}: {got}"))
            .iter()
            .map(|sample| ["name", "type", "value", "rate", "tags"].map(|key| sample[key].clone()))
            .map(|sample| json!(sample).to_string())
            .collect();
        assert_eq!(samples.join(" "), expected, "{line:?}");
    }
}

#[test]
fn plain_parser_keeps_time_and_origin_with_the_sample() {
    let line = b"a:+1|g|T7|T8|T0|c:x|c:y|e:z|e:|card:low|card:middle";
    let got = plain::meaning(line, Dialects::default());
    let expected = json!({
        "name": "a", "type": "g", "value": 1.0, "delta": true, "rate": 1.0, "tags": [], "timestamp": 8,
        "container_id": "y", "cardinality": "low",
    });
    assert_eq!(got["samples"], json!([expected]));
}

#[test]
fn plain_parser_measures_events_in_bytes_then_characters_then_utf16() {
    let cases = [
        ("_e{2,4}:é|😀|h:x", "é", "😀", Some("x")),
        ("_e{1,1}:é|😀|h:x", "é", "😀", Some("x")),
        ("_e{1,2}:é|😀|h:x", "é", "😀", Some("x")),
        // Bytes take precedence even if characters fit, too.
        ("_e{3,0}:é|||", "é|", "", None),
        ("_e{4,0}:a\\nb|", "a\nb", "", None),
    ];
    for (line, title, text, hostname) in cases {
        let event = &plain::meaning(line.as_bytes(), Dialects::default())["events"][0];
        assert_eq!((&event["title"], &event["text"]), (&json!(title), &json!(text)), "{line:?}");
        assert_eq!(event["hostname"], json!(hostname), "{line:?}");
    }
    // Bytes after the text need not be UTF-8. The parser measures a title that is not UTF-8 only in bytes.
    let got = plain::meaning(b"_e{1,1}:\xc3\xa9|b|h:\xff", Dialects::default());
    assert_eq!(got["events"][0]["title"], "é");
    let got = plain::meaning(b"_e{2,1}:\xc3\xa9\xff|b", Dialects::default());
    assert_eq!(got["reason"], "bad_event");
}

#[test]
fn plain_parser_does_not_read_tags_of_disabled_dialects() {
    let off = Dialects { influxdb: false, librato: false, signalfx: false, graphite: false };
    for name in ["a,k=v", "a#k=v", "a[k=v]", "a;k=v", "a[k=v],k"] {
        let line = format!("{name}:1|c|#t");
        let got = plain::meaning(line.as_bytes(), off);
        assert_eq!(
            (&got["samples"][0]["name"], &got["samples"][0]["tags"][0]),
            (&json!(name), &json!(["t", ""]))
        );
    }
    assert_eq!(plain::meaning(b"a[b:c]:1|c", off)["reason"], "bad_value");
    let got = plain::meaning(b"a;b,c:1|c", Dialects { graphite: false, ..Dialects::default() });
    assert_eq!(got["samples"][0]["name"], "a;b");
}
