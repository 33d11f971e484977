//! Tests that tallyd reports the totals of what real clients send.
//!
//! Each client plays a shop that sends a few hundred samples. Most clients have a script in `tests/clients`. The test
//! then stops tallyd and compares all rows that it wrote.

use std::io;
use std::net::UdpSocket;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use cadence::prelude::*;
use cadence::{
    BufferedUdpMetricSink, BufferedUnixMetricSink, MetricSink, QueuingMetricSink, StatsdClient,
    UdpMetricSink, UnixMetricSink,
};
use serde_json::{Value, json};
use tallyd_harness::{Finished, TIMEOUT};

use crate::shop::*;

#[test]
#[ignore = "needs Python with clients from PyPI; run make test"]
fn samples_of_the_python_client_statsd_are_reported() {
    assert_statsd(&after(|port| run(python("send_statsd.py"), &["udp", port])));
}

#[test]
#[ignore = "needs Python with clients from PyPI; run make test"]
fn samples_of_the_python_client_statsd_over_streams_are_reported() {
    for (transport, protocol) in [(Transport::Tcp, "tcp"), (Transport::UnixStreamOfLines, "unix")] {
        let finished = after_over(transport, |address| run(python("send_statsd.py"), &[protocol, address]));
        assert_statsd(&finished);
        assert_connections(&finished, 1);
    }
}

fn assert_statsd(finished: &Finished) {
    assert_reported(
        finished,
        &[
            gauge("shop.balance", -7.25),
            distribution("timing", "shop.checkout", 101.0, 7000.0),
            set("shop.customers", 25.0),
            row("timing", "shop.decorated", &[("count", 10.0)]),
            counter("shop.items", 200.0),
            row("timing", "shop.managed", &[("count", 10.0)]),
            counter("shop.orders", 97.0),
            counter("shop.piped", 100.0),
            distribution("timing", "shop.piped.time", 100.0, 4950.0),
            distribution("timing", "shop.render", 20.0, 200.0),
            gauge("shop.stock", 27.5),
            counter("shop.views", 100.0),
        ],
    );
    assert_lines(finished, 647);
    assert_took(finished, "shop.decorated", Duration::from_millis(2), 1e3);
    assert_took(finished, "shop.managed", Duration::from_millis(2), 1e3);
}

#[test]
#[ignore = "needs Python with clients from PyPI; run make test"]
fn samples_of_the_python_client_datadog_are_reported() {
    let finished = after(|port| run(python("send_datadog.py"), &[port, "direct"]));
    assert_reported(&finished, &with_sampled(datadog_rows()));
    assert_datadog_timers(&finished);
    // The client counts its own samples, too.
    assert_eq!(finished.sum("datadog.dogstatsd.client.metrics", "value"), 654.0);
    assert_eq!(finished.sum("datadog.dogstatsd.client.packets_dropped", "value"), 0.0);
}

#[test]
#[ignore = "needs Python with clients from PyPI; run make test"]
fn packed_samples_of_the_python_client_datadog_are_reported() {
    let finished = after(|port| run(python("send_datadog.py"), &[port, "buffered"]));
    assert_reported(&finished, &with_sampled(datadog_rows()));
    assert_lines(&finished, 654);
    assert_packed(&finished);
    assert_datadog_timers(&finished);
}

#[test]
#[ignore = "needs Python with clients from PyPI; run make test"]
fn aggregated_samples_of_the_python_client_datadog_are_reported() {
    let finished = after(|port| run(python("send_datadog.py"), &[port, "aggregated"]));
    assert_reported(&finished, &datadog_rows());
    assert_packed(&finished);
    assert_datadog_timers(&finished);
}

#[test]
#[ignore = "needs Python with clients from PyPI; run make test"]
fn samples_of_the_python_client_datadog_over_unix_sockets_are_reported() {
    for (transport, scheme) in [
        (Transport::UnixDatagram, ""),
        (Transport::UnixDatagram, "unix://"),
        (Transport::UnixDatagram, "unixgram://"),
        (Transport::UnixStream, "unix://"),
        (Transport::UnixStream, "unixstream://"),
    ] {
        let send = |mode| {
            after_over(transport, |path| run(python("send_datadog.py"), &[&format!("{scheme}{path}"), mode]))
        };
        let direct = send("direct");
        assert_reported(&direct, &with_sampled(datadog_rows()));
        assert_eq!(direct.sum("datadog.dogstatsd.client.metrics", "value"), 654.0);
        assert_eq!(direct.sum("datadog.dogstatsd.client.packets_dropped", "value"), 0.0);
        let buffered = send("buffered");
        assert_reported(&buffered, &with_sampled(datadog_rows()));
        assert_lines(&buffered, 654);
        let aggregated = send("aggregated");
        assert_reported(&aggregated, &datadog_rows());
        for finished in [direct, buffered, aggregated] {
            assert_datadog_timers(&finished);
            if transport == Transport::UnixStream {
                assert_connections(&finished, 1);
            }
        }
    }
}

fn datadog_rows() -> Vec<Value> {
    let constant = |row| tagged(row, json!({"canary": "", "env": "test"}));
    let regional = |region, row| tagged(row, json!({"canary": "", "env": "test", "region": region}));
    vec![
        constant(distribution("histogram", "shop.basket", 100.0, 2475.0)),
        constant(distribution("timing", "shop.checkout", 100.0, 4950.0)),
        constant(set("shop.customers", 25.0)),
        constant(row("timing", "shop.decorated", &[("count", 10.0)])),
        regional("eu", counter("shop.items", 50.0)),
        regional("us", counter("shop.items", 150.0)),
        regional("eu", distribution("distribution", "shop.latency", 25.0, 18.75)),
        regional("us", distribution("distribution", "shop.latency", 75.0, 58.59375)),
        constant(row("timing", "shop.managed", &[("count", 10.0)])),
        constant(row("distribution", "shop.managed.distribution", &[("count", 10.0)])),
        regional("eu", counter("shop.orders", 22.0)),
        regional("us", counter("shop.orders", 75.0)),
        constant(gauge("shop.stock", 27.5)),
        tagged(
            gauge("shop.stock", 12.0),
            json!({"canary": "", "env": "test", "url": "http://shop.test:80/a"}),
        ),
    ]
}

/// Adds the rows of sampled calls. The client does not sample when it aggregates.
fn with_sampled(mut rows: Vec<Value>) -> Vec<Value> {
    let sampled = [distribution("histogram", "shop.render", 20.0, 200.0), counter("shop.views", 100.0)];
    rows.extend(sampled.map(|row| tagged(row, json!({"canary": "", "env": "test"}))));
    rows.sort_by(|a, b| a["name"].as_str().cmp(&b["name"].as_str()));
    rows
}

fn assert_datadog_timers(finished: &Finished) {
    let pause = Duration::from_millis(2);
    assert_took(finished, "shop.decorated", pause, 1.0);
    assert_took(finished, "shop.managed", pause, 1e3);
    assert_took(finished, "shop.managed.distribution", pause, 1.0);
}

#[test]
#[ignore = "needs Node with a client from npm; run make test"]
fn samples_of_the_node_client_hot_shots_are_reported() {
    let finished = after(|port| run(node("send_hot_shots.js"), &["udp", port, "direct"]));
    assert_reported(&finished, &hot_shots_rows());
    assert_lines(&finished, 646);
    assert_hot_shots_timers(&finished);
}

#[test]
#[ignore = "needs Node with a client from npm; run make test"]
fn packed_samples_of_the_node_client_hot_shots_are_reported() {
    let finished = after(|port| run(node("send_hot_shots.js"), &["udp", port, "buffered"]));
    assert_reported(&finished, &hot_shots_rows());
    assert_lines(&finished, 646);
    assert_packed(&finished);
    assert_hot_shots_timers(&finished);
}

#[test]
#[ignore = "needs Node with a client from npm; run make test"]
fn aggregated_samples_of_the_node_client_hot_shots_are_reported() {
    let finished = after(|port| run(node("send_hot_shots.js"), &["udp", port, "aggregated"]));
    assert_reported(&finished, &hot_shots_rows());
    assert_packed(&finished);
    assert_hot_shots_timers(&finished);
}

#[test]
#[ignore = "needs Node with a client from npm; run make test"]
fn samples_of_the_node_client_hot_shots_with_influxdb_tags_are_reported() {
    let finished = after(|port| run(node("send_hot_shots.js"), &["udp", port, "telegraf"]));
    assert_reported(&finished, &hot_shots_rows());
    assert_lines(&finished, 646);
    assert_hot_shots_timers(&finished);
}

#[test]
#[ignore = "needs Node with a client from npm; run make test"]
fn samples_of_the_node_client_hot_shots_over_tcp_are_reported() {
    for mode in ["direct", "buffered", "aggregated", "telegraf"] {
        let finished =
            after_over(Transport::Tcp, |port| run(node("send_hot_shots.js"), &["tcp", port, mode]));
        assert_reported(&finished, &hot_shots_rows());
        assert_connections(&finished, 1);
        assert_hot_shots_timers(&finished);
    }
}

#[test]
#[ignore = "needs Node with a client and its unix-dgram from npm; run make test"]
fn samples_of_the_node_client_hot_shots_over_unix_datagrams_are_reported() {
    for mode in ["direct", "aggregated"] {
        let send = |path: &str| run(node("send_hot_shots.js"), &["uds", path, mode]);
        let finished = after_over(Transport::UnixDatagram, send);
        assert_reported(&finished, &hot_shots_rows());
        // Over Unix sockets, this client packs lines by default.
        assert_packed(&finished);
        assert_hot_shots_timers(&finished);
    }
}

fn hot_shots_rows() -> Vec<Value> {
    let global = |row| tagged(row, json!({"env": "test"}));
    let regional = |region, row| tagged(row, json!({"env": "test", "region": region}));
    vec![
        global(distribution("histogram", "shop.basket", 100.0, 2475.0)),
        global(distribution("timing", "shop.checkout", 100.0, 4950.0)),
        global(set("shop.customers", 25.0)),
        tagged(counter("shop.items", 200.0), json!({"canary": "", "env": "test"})),
        regional("eu", distribution("distribution", "shop.latency", 25.0, 18.75)),
        regional("us", distribution("distribution", "shop.latency", 75.0, 58.59375)),
        global(counter("shop.left", 2.0)),
        regional("eu", counter("shop.orders", 22.0)),
        regional("us", counter("shop.orders", 75.0)),
        global(distribution("timing", "shop.render", 20.0, 200.0)),
        global(counter("shop.right", 2.0)),
        global(gauge("shop.stock", 27.5)),
        global(counter("shop.views", 100.0)),
        global(row("timing", "shop.wrapped", &[("count", 10.0)])),
        global(row("timing", "shop.wrapped.async", &[("count", 10.0)])),
    ]
}

fn assert_hot_shots_timers(finished: &Finished) {
    // Node's timers count whole milliseconds, so the client may measure 3 ms as 2 ms.
    assert_took(finished, "shop.wrapped", Duration::from_millis(2), 1e3);
    assert_took(finished, "shop.wrapped.async", Duration::from_millis(2), 1e3);
}

#[test]
fn samples_of_the_rust_client_cadence_are_reported() {
    let finished = after(|port| {
        let sink = UdpMetricSink::from(address(port), socket()).unwrap();
        sell(&StatsdClient::from_sink("shop", sink));
    });
    assert_reported(&finished, &cadence_rows());
    assert_lines(&finished, 720);
}

#[test]
fn packed_samples_of_the_rust_client_cadence_are_reported() {
    let finished = after(|port| {
        let sink = BufferedUdpMetricSink::from(address(port), socket()).unwrap();
        let client = StatsdClient::builder("shop", sink).with_container_id("ci-0123456789abcdef").build();
        sell(&client);
        client.flush().unwrap();
    });
    assert_reported(&finished, &cadence_rows());
    assert_lines(&finished, 720);
    assert_packed(&finished);
}

#[test]
fn queued_samples_of_the_rust_client_cadence_are_reported() {
    let finished = after(|port| {
        let sink = BufferedUdpMetricSink::from(address(port), socket()).unwrap();
        let (end, ended) = channel();
        sell(&StatsdClient::from_sink("shop", QueuingMetricSink::from(ClosesChannel { sink, _end: end })));
        // A thread sends the last samples of the queue after the client is dropped.
        ended.recv_timeout(TIMEOUT).unwrap_err();
    });
    assert_reported(&finished, &cadence_rows());
    assert_lines(&finished, 720);
    assert_packed(&finished);
}

#[test]
fn samples_of_the_rust_client_cadence_over_unix_datagrams_are_reported() {
    let finished = after_over(Transport::UnixDatagram, |path| {
        let sink = UnixMetricSink::from(path, UnixDatagram::unbound().unwrap());
        sell(&StatsdClient::from_sink("shop", sink));
    });
    assert_reported(&finished, &cadence_rows());
    assert_lines(&finished, 720);
    let finished = after_over(Transport::UnixDatagram, |path| {
        let sink = BufferedUnixMetricSink::from(path, UnixDatagram::unbound().unwrap());
        let client = StatsdClient::from_sink("shop", sink);
        sell(&client);
        client.flush().unwrap();
    });
    assert_reported(&finished, &cadence_rows());
    assert_lines(&finished, 720);
    assert_packed(&finished);
}

/// A sink that closes a channel when it is dropped, after it has sent the rest of its buffer.
struct ClosesChannel {
    sink: BufferedUdpMetricSink,
    _end: Sender<()>,
}

impl MetricSink for ClosesChannel {
    fn emit(&self, metric: &str) -> io::Result<usize> {
        self.sink.emit(metric)
    }
}

fn sell(client: &StatsdClient) {
    for order in 0..100_u64 {
        let region = if order % 4 == 0 { "eu" } else { "us" };
        client.count_with_tags("orders", 1).with_tag("region", region).with_tag_value("canary").send();
        client.count("items", order % 5).unwrap();
        client.set("customers", i64::try_from(order % 25).unwrap()).unwrap();
        client.time("checkout", Duration::from_millis(order)).unwrap();
        client.time("steps", vec![order, 2 * order]).unwrap();
        client.histogram("basket", order as f64 / 2.0).unwrap();
        client.distribution("latency", vec![order as f64 / 64.0, 1.0]).unwrap();
    }
    client.decr("orders").unwrap();
    client.gauge("stock", 40_u64).unwrap();
    client.gauge("stock", 27.5).unwrap();
    for _ in 0..10 {
        client.count_with_tags("views", 1).with_sampling_rate(0.1).send();
    }
    for _ in 0..7 {
        client.meter("visits", 3).unwrap();
    }
}

fn cadence_rows() -> Vec<Value> {
    vec![
        distribution("histogram", "shop.basket", 100.0, 2475.0),
        distribution("timing", "shop.checkout", 100.0, 4950.0),
        set("shop.customers", 25.0),
        counter("shop.items", 200.0),
        distribution("distribution", "shop.latency", 200.0, 177.34375),
        counter("shop.orders", -1.0),
        tagged(counter("shop.orders", 25.0), json!({"canary": "", "region": "eu"})),
        tagged(counter("shop.orders", 75.0), json!({"canary": "", "region": "us"})),
        distribution("timing", "shop.steps", 200.0, 14850.0),
        gauge("shop.stock", 27.5),
        counter("shop.views", 100.0),
        counter("shop.visits", 21.0),
    ]
}

#[test]
#[ignore = "needs Go with clients from Debian; run make test"]
fn samples_of_the_go_client_datadog_are_reported() {
    let directory = tempfile::tempdir().unwrap();
    let program = go(directory.path(), "send_datadog.go");
    for mode in ["direct", "buffered"] {
        let udp = after(|port| run(Command::new(&program), &[&format!("127.0.0.1:{port}"), mode]));
        let unix = after_over(Transport::UnixDatagram, |path| {
            run(Command::new(&program), &[&format!("unix://{path}"), mode]);
        });
        for finished in [udp, unix] {
            assert_datadog_go(&finished);
            if mode == "buffered" {
                assert_packed(&finished);
            }
        }
    }
}

fn assert_datadog_go(finished: &Finished) {
    let constant = |row| tagged(row, json!({"canary": "", "env": "test"}));
    let regional = |region, row| tagged(row, json!({"canary": "", "env": "test", "region": region}));
    assert_reported(
        finished,
        &[
            constant(distribution("histogram", "shop.basket", 100.0, 2475.0)),
            constant(distribution("timing", "shop.checkout", 100.0, 4950.0)),
            constant(set("shop.customers", 25.0)),
            regional("eu", counter("shop.items", 50.0)),
            regional("us", counter("shop.items", 150.0)),
            constant(distribution("distribution", "shop.latency", 100.0, 77.34375)),
            regional("eu", counter("shop.orders", 24.0)),
            regional("us", counter("shop.orders", 75.0)),
            constant(distribution("timing", "shop.steps", 100.0, 5000.0)),
            constant(gauge("shop.stock", 27.5)),
            tagged(
                gauge("shop.stock", 12.0),
                json!({"canary": "", "env": "test", "url": "http://shop.test:80/a"}),
            ),
        ],
    );
    assert_lines(finished, 704);
}

#[test]
#[ignore = "needs Go with clients from Debian; run make test"]
fn samples_of_the_go_client_of_cactus_are_reported() {
    let directory = tempfile::tempdir().unwrap();
    let program = go(directory.path(), "send_cactus.go");
    // These are tags of DogStatsD, InfluxDB and Graphite.
    for format in ["octothorpe", "comma", "semicolon"] {
        let finished = after(|port| run(Command::new(&program), &[port, format]));
        assert_reported(&finished, &cactus_rows());
        assert_lines(&finished, 516);
        assert_packed(&finished);
    }
}

fn cactus_rows() -> Vec<Value> {
    let regional = |region, row| tagged(row, json!({"env": "test", "region": region}));
    vec![
        // The client means the value -7. It sends a change by -7, from 3.
        gauge("shop.balance", -4.0),
        distribution("timing", "shop.checkout", 100.0, 4950.0),
        set("shop.customers", 25.0),
        set("shop.numbers", 100.0),
        counter("shop.orders", -3.0),
        regional("eu", counter("shop.orders", 25.0)),
        regional("us", counter("shop.orders", 75.0)),
        distribution("timing", "shop.steps", 100.0, 2475.0),
        gauge("shop.stock", 27.0),
        counter("shop.views", 80.0),
    ]
}

/// Builds a client's program in a directory, and returns its path.
fn go(directory: &Path, source: &str) -> PathBuf {
    let program = directory.join("send");
    build_go(&Path::new(CLIENTS).join(source), &program);
    program
}

#[test]
#[ignore = "needs Ruby with a client from Debian; run make test"]
fn samples_of_the_ruby_client_statsd_ruby_are_reported() {
    // The client means the value -7.25. By default, tallyd reads it as a change by -7.25, from 3.
    for (setting, balance) in [
        ("aggregation.gauges.signed=delta", -4.25),
        ("aggregation.gauges.signed=absolute", -7.25),
        ("aggregation.gauges.absolute_prefixes=['shop.bal']", -7.25),
    ] {
        let finished = after_with(&[setting], |port| run(script_of("ruby", "send_statsd_ruby.rb"), &[port]));
        assert_reported(
            &finished,
            &[
                gauge("shop.balance", balance),
                distribution("timing", "shop.checkout", 100.0, 4950.0),
                set("shop.customers", 25.0),
                counter("shop.items", 200.0),
                counter("shop.orders", 99.0),
                counter("shop.packed", 4950.0),
                distribution("timing", "shop.render", 20.0, 200.0),
                gauge("shop.stock", 27.5),
                row("timing", "shop.timed", &[("count", 10.0)]),
                counter("shop.views", 100.0),
            ],
        );
        assert_lines(&finished, 535);
        assert_took(&finished, "shop.timed", Duration::from_millis(2), 1e3);
    }
}

#[test]
#[ignore = "needs Perl with a client from Debian; run make test"]
fn samples_of_the_perl_client_net_statsd_are_reported() {
    let finished = after(|port| run(script_of("perl", "send_net_statsd.pl"), &[port]));
    assert_reported(
        &finished,
        &[
            distribution("timing", "shop.checkout", 100.0, 4950.0),
            counter("shop.items", 200.0),
            counter("shop.left", -1.0),
            counter("shop.orders", 99.0),
            distribution("timing", "shop.render", 20.0, 200.0),
            gauge("shop.stock", 27.5),
            counter("shop.views", 100.0),
        ],
    );
    assert_lines(&finished, 324);
}

#[test]
#[ignore = "needs PHP; run make test"]
fn samples_of_plain_php_are_reported() {
    let send = |url: &str| run(script_of("php", "send_php.php"), &[url]);
    for finished in [
        after(|port| send(&format!("udp://127.0.0.1:{port}"))),
        after_over(Transport::Tcp, |port| send(&format!("tcp://127.0.0.1:{port}"))),
        after_over(Transport::UnixDatagram, |path| send(&format!("udg://{path}"))),
        after_over(Transport::UnixStreamOfLines, |path| send(&format!("unix://{path}"))),
    ] {
        assert_reported(
            &finished,
            &[
                tagged(distribution("timing", "shop.checkout", 100.0, 4950.0), json!({"region": "eu"})),
                set("shop.customers", 25.0),
                counter("shop.orders", 100.0),
                gauge("shop.stock", 27.5),
            ],
        );
        assert_lines(&finished, 302);
    }
}

#[test]
fn samples_of_bash_are_reported() {
    assert_bash(&after(|port| run(bash("send_bash.sh"), &["udp", port])));
    let finished = after_over(Transport::Tcp, |port| run(bash("send_bash.sh"), &["tcp", port]));
    assert_bash(&finished);
    assert_connections(&finished, 201);
}

fn assert_bash(finished: &Finished) {
    assert_reported(
        finished,
        &[
            distribution("histogram", "shop.basket", 100.0, 50.0),
            tagged(distribution("timing", "shop.checkout", 100.0, 4950.0), json!({"region": "eu"})),
            set("shop.customers", 25.0),
            counter("shop.orders", 100.0),
            gauge("shop.stock", 25.0),
        ],
    );
    assert_lines(finished, 402);
}

#[test]
#[ignore = "needs netcat; run make test"]
fn samples_of_netcat_are_reported() {
    let send = |arguments: &[&str]| run(bash("send_netcat.sh"), arguments);
    let udp = after(|port| send(&["-u", "127.0.0.1", port]));
    let datagrams = after_over(Transport::UnixDatagram, |path| send(&["-U", "-u", path]));
    let tcp = after_over(Transport::Tcp, |port| send(&["127.0.0.1", port]));
    let stream = after_over(Transport::UnixStreamOfLines, |path| send(&["-U", path]));
    for finished in [&udp, &datagrams, &tcp, &stream] {
        assert_reported(
            finished,
            &[
                distribution("histogram", "shop.basket", 100.0, 4950.0),
                tagged(distribution("timing", "shop.checkout", 20.0, 190.0), json!({"region": "eu"})),
                counter("shop.orders", 20.0),
            ],
        );
        assert_lines(finished, 140);
    }
    assert_connections(&tcp, 41);
    assert_connections(&stream, 41);
}

#[test]
#[ignore = "needs Python with clients from PyPI; run make test"]
fn events_and_checks_of_the_python_client_datadog_are_reported() {
    let send = |address: &str| run(python("send_events.py"), &[address]);
    for finished in [
        after(send),
        after_over(Transport::UnixDatagram, |path| send(&format!("unixgram://{path}"))),
        after_over(Transport::UnixStream, |path| send(&format!("unixstream://{path}"))),
    ] {
        let [balloon, deploy] = events("Café 🎈", "deploy");
        assert_eq!(reported_events(&finished), [&balloon, &balloon, &deploy, &deploy].map(Clone::clone));
        assert_checks(&finished, "db.up", 2.0);
        assert_eq!(noted(&finished), [("message".to_owned(), 2.0), ("timestamp".to_owned(), 2.0)]);
        assert_lines(&finished, 10);
    }
}

#[test]
#[ignore = "needs Node with a client and its unix-dgram from npm; run make test"]
fn events_and_checks_of_the_node_client_hot_shots_are_reported() {
    let send = |protocol, address: &str| run(node("send_events.js"), &[protocol, address]);
    for finished in
        [after(|port| send("udp", port)), after_over(Transport::UnixDatagram, |path| send("uds", path))]
    {
        assert_eq!(reported_events(&finished), events("shop.Café 🎈", "shop.deploy"));
        assert_checks(&finished, "shop.db.up", 1.0);
        assert_eq!(noted(&finished), [("message".to_owned(), 1.0), ("timestamp".to_owned(), 1.0)]);
        assert_lines(&finished, 5);
    }
}

#[test]
#[ignore = "needs Node with a client from npm; run make test"]
fn node_client_hot_shots_loses_text_beyond_ascii_over_tcp() {
    let finished = after_over(Transport::Tcp, |port| run(node("send_events.js"), &["tcp", port]));
    // The client writes only the lower byte of each UTF-16 unit: E9 for é, and 3C and 88 for the balloon.
    assert_eq!(reported_events(&finished), events("shop.Caf\u{fffd} <\u{fffd}", "shop.deploy"));
    assert_checks(&finished, "shop.db.up", 1.0);
    let noted = noted(&finished);
    assert_eq!(noted.iter().find(|(note, _)| note == "text_not_utf8").unwrap().1, 2.0);
    assert_lines(&finished, 5);
}

/// Returns the events that both clients send, sorted, with these titles.
fn events(balloon: &str, deploy: &str) -> [Value; 2] {
    [
        json!({
            "type": "event", "title": balloon, "text": "zwei\nZeilen | ein Strich", "timestamp": null,
            "host": null, "priority": "normal", "alert_type": "info", "aggregation_key": null,
            "source_type": null, "tags": {"env": "test"},
        }),
        json!({
            "type": "event", "title": deploy, "text": "v1.2", "timestamp": 1_463_746_133, "host": "web-1",
            "priority": "low", "alert_type": "success", "aggregation_key": "release", "source_type": "ci",
            "tags": {"env": "test", "region": "eu"},
        }),
    ]
}

/// Returns the reported events without times and intervals.
fn reported_events(finished: &Finished) -> Vec<Value> {
    let mut events: Vec<_> = finished.rows.iter().filter(|row| row["type"] == "event").cloned().collect();
    for event in &mut events {
        let event = event.as_object_mut().unwrap();
        event.retain(|field, _| field != "time" && field != "interval_s");
    }
    events
}

/// Asserts that the checks have their last values, and that tallyd counted `times` checks of each status that was sent.
fn assert_checks(finished: &Finished, name: &str, times: f64) {
    let checks: Vec<_> = finished.named("service_check").map(|row| (&row["tags"], &row["value"])).collect();
    assert_eq!(
        checks,
        [
            (&json!({"check": name, "env": "test"}), &json!(1.0)),
            (&json!({"check": name, "env": "test", "host": "web-1", "region": "eu"}), &json!(2.0)),
        ]
    );
    for (status, count) in [("ok", times), ("warning", times), ("critical", times), ("unknown", 0.0)] {
        let of_status = finished.named("tallyd.service_checks").filter(|row| row["tags"]["status"] == status);
        assert_eq!(of_status.map(|row| row["value"].as_f64().unwrap()).sum::<f64>(), count, "{status}");
    }
    assert_eq!(finished.sum("tallyd.lines_rejected", "value"), 0.0);
}

/// Returns each note with its number of lines.
fn noted(finished: &Finished) -> Vec<(String, f64)> {
    let notes = finished.named("tallyd.lines_noted").filter(|row| row["value"] != 0.0);
    notes.map(|row| (row["tags"]["note"].as_str().unwrap().into(), row["value"].as_f64().unwrap())).collect()
}

fn address(port: &str) -> (&'static str, u16) {
    ("127.0.0.1", port.parse().unwrap())
}

fn socket() -> UdpSocket {
    UdpSocket::bind("127.0.0.1:0").unwrap()
}
