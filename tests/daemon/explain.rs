//! Tests what `tallyd explain` prints, as text and as JSON.

use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::process::Stdio;

use serde_json::{Value as Json, json};
use tallyd_harness::process::tallyd_command;

/// Returns what `tallyd explain` prints for these arguments and this standard input.
fn explain(arguments: &[&OsStr], input: &[u8]) -> String {
    let mut child = tallyd_command()
        .arg("explain")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();
    // 2 means that a line is rejected.
    assert!(matches!(output.status.code(), Some(0 | 2)), "{output:?}");
    // The command may end before it has read all of its input.
    _ = writer.join().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

fn words<'a>(arguments: &'a [&str]) -> Vec<&'a OsStr> {
    arguments.iter().map(OsStr::new).collect()
}

fn objects(arguments: &[&str], input: &[u8]) -> Vec<Json> {
    let arguments = [&["--format", "json"], arguments].concat();
    explain(&words(&arguments), input).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn the_probe_of_a_relay_is_no_refused_line() {
    let probe = explain(&words(&["tallyd.relay_probe:0|c|@0.4739201847562034"]), b"");
    assert!(probe.contains("tallyd.relay_probes") && !probe.contains("refused"), "{probe}");
    assert!(explain(&words(&["tallyd.relay:0|c"]), b"").contains("reserved_name"));
}

#[test]
fn tags_of_an_event_are_shown_as_the_log_will_have_them() {
    let settings = ["--set", "shaping.drop_tags=[\"user\"]", "--set", "shaping.tags=[\"env:prod\"]"];
    let shown = explain(&words(&[&settings[..], &["_e{1,1}:a|b|#user:7,k"]].concat()), b"");
    assert!(shown.contains("\n  tags            env:prod,k\n"), "{shown}");
    assert!(!explain(&words(&["_e{1,1}:a|b"]), b"").contains("  tags"));
}

#[test]
fn json_objects_say_why_a_sample_is_refused() {
    for (setting, line, reason) in [
        ("shaping.prefix=a.", "tallyd.x:1|c", "reserved_name"),
        ("aggregation.max_name=64B", &format!("{}:1|c", "n".repeat(65)), "name_too_long"),
        ("mapping.mappings=[{match = \"a\", name = \"a\", action = \"drop\"}]", "a:1|c", "mapping_drop"),
    ] {
        let objects = objects(&["--set", setting, line], b"");
        assert_eq!(objects[0]["samples"][0]["refused"], reason, "{objects:?}");
    }
    assert_eq!(objects(&["a:1|c"], b"")[0]["samples"][0].get("refused"), None);
}

#[test]
fn json_objects_have_the_documented_form() {
    assert_eq!(
        explain(&words(&["--format", "json", "a:1|c|@0.5|#k:v", "a:x|c"]), b""),
        concat!(
            r#"{"ok":true,"samples":[{"name":"a","type":"c","value":1.0,"delta":false,"rate":0.5,"tags":[["k","v"]],"timestamp":null}],"events":[],"service_checks":[]}"#,
            "\n",
            r#"{"ok":false,"reason":"bad_value","column":3,"line":2}"#,
            "\n"
        )
    );
    assert_eq!(
        objects(&["a:b|s|c:box|e:pod|card:low", "a:+1|g|T5", "b:2|kv"], b""),
        [
            json!({"ok":true,"samples":[{"name":"a","type":"s","value":"b","delta":false,"rate":1.0,"tags":[],
                "timestamp":null,"container_id":"box","external_data":"pod","cardinality":"low"}],
                "events":[],"service_checks":[]}),
            json!({"ok":true,"samples":[{"name":"a","type":"g","value":1.0,"delta":true,"rate":1.0,"tags":[],
                "timestamp":5}],"events":[],"service_checks":[]}),
            json!({"ok":true,"samples":[{"name":"b","type":"g","value":2.0,"delta":false,"rate":1.0,"tags":[],
                "timestamp":null}],"events":[],"service_checks":[]}),
        ]
    );
    assert_eq!(
        objects(&["_e{1,4}:a|b\\nc|t:error|#k", "_sc|up|3|h:web|m:no"], b""),
        [
            json!({"ok":true,"samples":[],"events":[{"title":"a","text":"b\nc","timestamp":null,"hostname":null,
                "priority":"normal","alert_type":"error","aggregation_key":null,"source_type":null,
                "tags":[["k",""]]}],"service_checks":[]}),
            json!({"ok":true,"samples":[],"events":[],"service_checks":[{"name":"up","status":3,"timestamp":null,
                "hostname":"web","message":"no","tags":[]}]}),
        ]
    );
}

#[test]
fn json_has_the_matching_rule_and_its_effect() {
    const RULES: &str = r#"mapping.mappings=[
        { match = "checkout.*.latency", name = "checkout", labels = { region = "$1" }, scale = 0.5 },
        { match = "debug.*", name = "debug", action = "drop" }]"#;
    let lines = ["checkout.eu.latency:5|ms|#a:b", "debug.x:1|c", "other:1|c"];
    let output =
        tallyd_command().args(["--set", RULES, "explain", "--format", "json"]).args(lines).output().unwrap();
    let rules: Vec<_> = String::from_utf8(output.stdout).unwrap().lines().map(rule_of).collect();
    let expected = [
        json!({"number":1,"match":"checkout.*.latency","name":"checkout","tags":[["a","b"],["region","eu"]],"scale":0.5}),
        json!({"number":2,"match":"debug.*","refused":"mapping_drop"}),
        Json::Null,
    ];
    assert_eq!(rules, expected);
}

fn rule_of(object: &str) -> Json {
    serde_json::from_str::<Json>(object).unwrap()["samples"][0]["rule"].clone()
}

#[test]
fn standard_input_is_split_into_lines_like_a_stream() {
    let long = "x".repeat(70_000);
    let input = format!("a:1|c\r\n\n{long}:1|c\nb:1|c").into_bytes();
    assert_eq!(objects(&["-"], &input), objects(&[], &input));
    let objects = objects(&[], &input);
    assert_eq!(objects.len(), 3);
    assert_eq!(objects[0]["samples"][0]["name"], "a");
    assert_eq!(objects[1], json!({"ok":false,"reason":"line_too_long","column":65_537,"line":3}));
    assert_eq!(objects[2]["samples"][0]["name"], "b");
    let argument = format!("{long}:1|c");
    let alone = json!({"ok":false,"reason":"line_too_long","column":65_537,"line":1});
    assert_eq!(self::objects(&[&argument], b""), [alone]);
}

#[test]
fn lines_need_not_be_utf8() {
    let tag = [&b"a:1|c|#k:\xff"[..], b"a\xff:1|c"];
    let expected = ["\u{fffd}", "bad_name"];
    let from_arguments =
        tag.map(|line| explain(&[OsStr::new("--format"), OsStr::new("json"), OsStr::from_bytes(line)], b""));
    let from_input = tag.map(|line| explain(&words(&["--format", "json"]), line));
    assert_eq!(from_arguments, from_input);
    for (explanation, expected) in from_input.iter().zip(expected) {
        assert!(explanation.contains(expected), "{explanation}");
    }
}

#[test]
fn text_shows_the_parts_of_a_line_and_its_effect() {
    assert_eq!(
        explain(&words(&["api.latency:12.5:13|ms|@0.1|#env:prod,canary"]), b""),
        "\
api.latency:12.5:13|ms|@0.1|#env:prod,canary
^^^^^^^^^^^ ^^^^ ^^ ^^ ^^^^  ^^^^^^^^ ^^^^^^
|           |       |  |     tags
|           |       |  rate
|           |       type
|           values
name
  dialect         dogstatsd
  timing          12.5 ms, counts as 10
  timing          13 ms, counts as 10
  series          api.latency|ms|#canary,env:prod
  prometheus      api_latency_seconds{canary=\"true\",env=\"prod\"}
"
    );
    assert_eq!(
        explain(&words(&["page.views:one|c"]), b""),
        "\
page.views:one|c
           ^
  rejected        bad_value at column 12: a value is a finite decimal number after a colon, such as 5, -0.5 or 1e3
"
    );
    assert_eq!(
        explain(&words(&["_sc|db.up|2|h:web-1|m:no"]), b""),
        "\
_sc|db.up|2|h:web-1|m:no
    ^^^^^ ^ ^^^^^^^ ^^^^
    |     | |       message
    |     | hostname
    |     status
    name
  gauge           2, that is critical
  series          service_check|g|#check:db.up,host:web-1
  prometheus      service_check{check=\"db.up\",host=\"web-1\"}
  note            message: no exporter shows the message of a service check
"
    );
}

#[test]
fn plain_line_is_statsd_and_a_line_with_an_origin_is_dogstatsd() {
    let shown = explain(&words(&["a:1|c"]), b"");
    assert!(shown.contains("  dialect         statsd\n  counter         1\n"), "{shown}");
    let shown = explain(&words(&["a:1|c|c:box"]), b"");
    assert!(shown.contains("  dialect         dogstatsd\n"), "{shown}");
}

#[test]
fn escape_sequences_in_lines_do_not_reach_the_terminal() {
    let lines = [
        "a\u{1b}[31m:1|c",
        "a:1|c|#k:\u{1b}[31m",
        "_e{5,1}:\u{1b}[31m|b",
        "_e{1,5}:a|\u{1b}[31m",
        "_e{1,1}:a|b|#\u{1b}[31m",
        "a:\u{1b}[31m|s",
    ];
    for line in lines {
        let explanation = explain(&words(&[line]), b"");
        assert!(!explanation.contains('\u{1b}'), "{explanation:?}");
    }
}

#[test]
fn json_escapes_hidden_characters_and_reads_back_as_the_same_text() {
    let value = "\u{9b}31m \u{202e}";
    let json = explain(&words(&["--format", "json", &format!("a:1|c|#k:{value}")]), b"");
    assert!(json.contains(r"\u009b31m \u202e"), "{json:?}");
    let read: Json = serde_json::from_str(&json).unwrap();
    assert_eq!(read["samples"][0]["tags"], json!([["k", value]]));
}

#[test]
fn configuration_applies_as_in_the_daemon() {
    let line = "a.b,k=v:1|c|c:box";
    let absolute =
        objects(&["--set", "aggregation.gauges.absolute_prefixes=[\"t.\"]", "t.a:-5|g", "u:-5|g"], b"");
    assert_eq!(absolute.iter().map(|line| &line["samples"][0]["delta"]).collect::<Vec<_>>(), [false, true]);
    let shown = explain(&words(&[line]), b"");
    assert!(shown.contains("a.b|c|#k:v\n") && shown.contains("a_b_total{k=\"v\"}\n"), "{shown}");
    let settings = [
        "--set",
        "protocol.dialects.influxdb=false",
        "--set",
        "protocol.container_id_tag=true",
        "--set",
        "exporters.prometheus.naming=statsd_exporter",
        line,
    ];
    let shown = explain(&words(&settings), b"");
    assert!(shown.contains("a.b,k=v|c|#container_id:box\n"), "{shown}");
    assert!(shown.contains("a_b_k_v{container_id=\"box\"}\n"), "{shown}");
}
