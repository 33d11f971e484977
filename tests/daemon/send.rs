//! Tests `tallyd send` with the real binary on both sides.

use std::io::Write;
use std::process::{Output, Stdio};

use serde_json::json;
use tallyd_harness::Daemon;
use tallyd_harness::process::{stderr, tallyd_command};
use tempfile::TempDir;

fn send(arguments: &[&str], input: &str) -> Output {
    let mut child = tallyd_command()
        .arg("send")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The write fails if the program ended without reading.
    _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

fn assert_sent(arguments: &[&str], input: &str) {
    let output = send(arguments, input);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", stderr(&output));
    assert!(output.stderr.is_empty() && output.stdout.is_empty(), "{output:?}");
}

/// Starts tallyd with all listeners. Returns the URL of each.
fn with_all_listeners(directory: &TempDir) -> (Daemon, [String; 4]) {
    let path = |name: &str| directory.path().join(name).display().to_string();
    let daemon = Daemon::start(&[
        "listeners.tcp.enabled=true",
        "listeners.tcp.bind=127.0.0.1:0",
        "listeners.unix_datagram.enabled=true",
        &format!("listeners.unix_datagram.path={}", path("datagram")),
        "listeners.unix_stream.enabled=true",
        &format!("listeners.unix_stream.path={}", path("stream")),
    ]);
    let urls = [("udp", "udp"), ("tcp", "tcp"), ("unix", "unix_datagram"), ("unixstream", "unix_stream")]
        .map(|(scheme, listener)| format!("{scheme}://{}", daemon.address_of(listener)));
    (daemon, urls)
}

#[test]
fn framing_option_sends_to_a_listener_with_a_different_framing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("stream");
    let daemon = Daemon::start(&[
        "listeners.tcp.enabled=true",
        "listeners.tcp.bind=127.0.0.1:0",
        "listeners.tcp.framing=length",
        "listeners.unix_stream.enabled=true",
        "listeners.unix_stream.framing=lines",
        &format!("listeners.unix_stream.path={}", path.display()),
    ]);
    let tcp = format!("tcp://{}", daemon.address_of("tcp"));
    assert_sent(&["a", "1", "--to", &tcp, "--framing", "length"], "");
    let unix = format!("unixstream://{}", path.display());
    assert_sent(&["-", "--to", &unix, "--framing", "lines"], "a:2|c\na:3|c\n");
    let udp = format!("udp://{}", daemon.address());
    let refused = send(&["a", "1", "--to", &udp, "--framing", "lines"], "");
    assert_eq!(refused.status.code(), Some(2));
    assert!(stderr(&refused).contains("leave --framing out"), "{}", stderr(&refused));
    let finished = daemon.stop();
    assert_eq!(finished.sum("a", "value"), 6.0);
    assert_eq!(finished.sum("tallyd.lines_rejected", "value"), 0.0);
}

#[test]
fn send_with_a_configuration_sends_to_its_first_listener() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).display().to_string();
    let file = path("tallyd.toml");
    let sections = [
        format!(
            "[listeners.unix_stream]\nenabled = true\nframing = \"lines\"\npath = {:?}\n",
            path("stream")
        ),
        format!("[listeners.unix_datagram]\nenabled = true\npath = {:?}\n", path("datagram")),
    ];
    for number in 1..=2 {
        std::fs::write(&file, sections[..number].concat()).unwrap();
        let daemon = Daemon::start_from(
            file.as_ref(),
            &[
                "listeners.udp.enabled=false",
                "listeners.unix_stream.enabled=true",
                "listeners.unix_datagram.enabled=true",
            ][..=number],
        );
        assert_sent(&["a", "2", "--config", &file, "--set", "listeners.udp.enabled=false"], "");
        let stream = format!("unixstream://{}", path("stream"));
        assert_sent(&["a", "3", "--config", &file, "--to", &stream], "");
        let finished = daemon.stop();
        assert_eq!(finished.sum("a", "value"), 5.0, "{number}");
        assert_eq!(finished.sum("tallyd.datagrams", "value"), number as f64 - 1.0);
        assert_eq!(finished.sum("tallyd.lines_rejected", "value"), 0.0);
    }
    let free_port = send(&["a", "1", "--set", "listeners.udp.bind=127.0.0.1:0"], "");
    assert_eq!(free_port.status.code(), Some(2));
    assert!(stderr(&free_port).contains("give the port with --to"), "{}", stderr(&free_port));
    let wildcard = send(&["a", "1", "--set", "listeners.udp.bind=0.0.0.0:1"], "");
    assert!(stderr(&wildcard).contains("cannot send to udp://127.0.0.1:1: "), "{}", stderr(&wildcard));
}

#[test]
fn sample_of_each_type_arrives_over_each_transport() {
    let directory = tempfile::tempdir().unwrap();
    let (daemon, urls) = with_all_listeners(&directory);
    for url in &urls {
        assert_sent(&["hits", "2", "--rate", "0.5", "--tag", "env:prod", "--tag", "beta", "--to", url], "");
        assert_sent(&["queue", "-5", "--type", "g", "--to", url], "");
        assert_sent(&["queue", "--type", "g", "+8", "--to", url], "");
        assert_sent(&["latency", "12.5", "--type", "ms", "--to", url], "");
        assert_sent(&["users", "a:b", "--type", "s", "--to", url], "");
    }
    let finished = daemon.stop();
    assert_eq!(finished.sum("hits", "value"), 16.0);
    let hits = finished.named("hits").next().unwrap();
    assert_eq!(hits["tags"], json!({"beta": "", "env": "prod"}));
    assert_eq!(finished.sum("queue", "value"), 12.0);
    assert_eq!(finished.sum("latency", "count"), 4.0);
    assert_eq!(finished.sum("users", "value"), 1.0);
    assert_eq!(finished.sum("tallyd.lines", "value"), 20.0);
    assert_eq!(finished.sum("tallyd.lines_rejected", "value"), 0.0);
}

#[test]
fn send_packs_the_lines_of_its_input_and_all_of_them_arrive() {
    let directory = tempfile::tempdir().unwrap();
    let (daemon, urls) = with_all_listeners(&directory);
    let long = format!("long:{}|s\n", "x".repeat(9000));
    let input = format!("{}{long}\n\r\nlast:1|c", "a:1|c|#env:prod\n".repeat(1000));
    for url in &urls {
        assert_sent(&["-", "--to", url], &input);
    }
    let finished = daemon.stop();
    assert_eq!(finished.sum("a", "value"), 4000.0);
    assert_eq!(finished.sum("long", "value"), 1.0);
    assert_eq!(finished.sum("last", "value"), 4.0);
    // A UDP datagram of 1432 bytes holds 89 of the 1,000 lines of 16 bytes, and a Unix datagram of 8192 bytes holds
    // 512. The long line and the last line have datagrams of their own.
    let datagrams = finished.sum("tallyd.datagrams", "value");
    assert!((12.0 + 2.0 + 2.0 + 2.0..40.0).contains(&datagrams), "{datagrams}");
}

#[test]
fn send_does_not_hold_a_line_back_until_its_input_ends() {
    let mut daemon = Daemon::start(&["flush.interval=100ms"]);
    let mut child = tallyd_command()
        .args(["send", "-", "--to", &format!("udp://{}", daemon.address())])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(b"a:1|c\nb:").unwrap();
    daemon.wait_for(|row| row["name"] == "a");
    input.write_all(b"1|c").unwrap();
    drop(input);
    assert!(child.wait().unwrap().success());
    daemon.wait_for(|row| row["name"] == "b");
}

#[test]
fn send_refuses_samples_that_tallyd_would_reject_or_read_differently() {
    let daemon = Daemon::start(&[]);
    let to = format!("udp://{}", daemon.address());
    let cases: [(&[&str], &str); 9] = [
        (&["a:b", "1"], "not sent: \"a:b:1|c\" would be rejected: bad_value"),
        (&["a", "1", "--tag", "k:v,b"], "would mean something else: the tags would be"),
        (&["a", "1", "--tag", "k:v|@0.1"], "contains '|'"),
        (&["a", "one"], "bad_value"),
        (&["a", "1", "--rate", "2"], "bad_rate"),
        (&["a", "1", "--rate", "0.5", "--type", "s"], "no effect on a set"),
        (&["a", "1", "--type", "x"], "[possible values: c, g, ms, h, d, s, m, kv]"),
        (&["a"], "no value; try `tallyd send a 1`"),
        (&["-", "1"], "leave the value"),
    ];
    for (arguments, reason) in cases {
        let output = send(&[arguments, &["--to", &to]].concat(), "");
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(stderr(&output).contains(reason), "{arguments:?}: {}", stderr(&output));
    }
    let output = send(&["a", "1", "--to", "localhost:8125"], "");
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("udp://HOST:PORT"), "{}", stderr(&output));

    let output = send(&["-", "--to", &to], "good:1|c\nbad\ngood:2|c\n");
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output).contains("line 2 not sent: it would be rejected: missing_type"),
        "{}",
        stderr(&output)
    );
    assert!(stderr(&output).contains("1 of 3 lines"), "{}", stderr(&output));

    let finished = daemon.stop();
    assert_eq!(finished.sum("tallyd.lines", "value"), 2.0);
    assert_eq!(finished.sum("good", "value"), 3.0);
}

#[test]
fn send_without_a_listener_fails_with_exit_code_1_and_advice() {
    let directory = tempfile::tempdir().unwrap();
    let (daemon, urls) = with_all_listeners(&directory);
    assert!(daemon.stop().status.success());
    for (url, listener) in urls.iter().zip(["udp", "tcp", "unix_datagram", "unix_stream"]) {
        let output = send(&["a", "1", "--to", url], "");
        assert_eq!(output.status.code(), Some(1), "{url}: {}", stderr(&output));
        let advice = format!("is tallyd running there, with listeners.{listener}.enabled = true?");
        assert!(stderr(&output).contains(&format!("cannot send to {url}: ")), "{}", stderr(&output));
        assert!(stderr(&output).contains(&advice), "{}", stderr(&output));
    }
}

#[test]
fn send_fails_if_tallyd_refuses_the_connection() {
    let daemon = Daemon::start(&[
        "listeners.tcp.enabled=true",
        "listeners.tcp.bind=127.0.0.1:0",
        "listeners.tcp.permitted_networks=[\"192.0.2.0/24\"]",
    ]);
    let output = send(&["a", "1", "--to", &format!("tcp://{}", daemon.address_of("tcp"))], "");
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("does not permit this address"), "{}", stderr(&output));
}
