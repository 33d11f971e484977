//! Tests statsd's admin interface.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::{Value, json};
use tallyd_harness::http::free_address;
use tallyd_harness::{Daemon, HTTP, wait_until};

/// Sends commands as `echo COMMAND | nc` does, and returns all that the server answers.
fn ask(address: SocketAddr, commands: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream.write_all(commands.as_bytes()).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Returns the object in the answer to a command.
fn values(address: SocketAddr, command: &str) -> Value {
    let answer = ask(address, &format!("{command}\n"));
    serde_json::from_str(answer.strip_suffix("\nEND\n\n").unwrap()).unwrap()
}

fn start(settings: &[&str]) -> (Daemon, SocketAddr) {
    let address = free_address();
    let bind = format!("admin.bind={address}");
    let own = ["admin.enabled=true", &bind];
    (Daemon::start(&[&own, settings].concat()), address)
}

#[test]
fn commands_show_the_values_of_the_latest_interval() {
    let (daemon, address) = start(&["flush.interval=100ms"]);
    daemon.send("disk.free:7|g\nroom:21.5|g|#floor:1\nwrong");
    wait_until(|| values(address, "gauges") == json!({"disk.free": 7, "room|#floor:1": 21.5}));
    let (mut counters, mut timers) = (Value::Null, Value::Null);
    wait_until(|| {
        daemon.send("page.views:2|c\npage.time:20:40|ms");
        counters = values(address, "counters");
        counters != json!({})
    });
    assert!(counters["page.views"].as_f64().unwrap() >= 2.0, "{counters}");
    wait_until(|| {
        daemon.send("page.time:20:40|ms");
        timers = values(address, "timers")["page.time"].clone();
        timers != Value::Null
    });
    assert_eq!((&timers["min"], &timers["mean"], &timers["max"]), (&json!(20), &json!(30), &json!(40)));
    let stats = ask(address, "stats\r\n");
    let (lines, end) = stats.split_at(stats.find("END").unwrap());
    assert_eq!(end, "END\n\n");
    let names: Vec<_> = lines.lines().map(|line| line.split_once(": ").unwrap().0).collect();
    assert_eq!(names[..3], ["uptime", "messages.last_msg_seen", "messages.bad_lines_seen"]);
    assert!(lines.contains("\nmessages.bad_lines_seen: 1\n"), "{lines}");
    assert!(names.contains(&"console.last_flush"), "{lines}");
}

#[test]
fn commands_delete_a_metric_or_a_folder() {
    let (daemon, address) = start(&["flush.interval=100ms"]);
    daemon.send("test.a:1|g\ntest.b.c:2|g\ntester:3|g\ntest.a:1|g|#x:y\nkept:1|g\ntest.timer:1|ms");
    wait_until(|| values(address, "gauges").as_object().unwrap().len() == 5);
    let deleted = "deleted: test.a\ndeleted: test.b.c\nmetric nothing not found\nEND\n\n";
    assert_eq!(ask(address, "delgauges test.* nothing\n"), deleted);
    wait_until(|| values(address, "gauges") == json!({"kept": 1, "tester": 3}));
    assert_eq!(ask(address, "delgauges kept\n"), "deleted: kept\nEND\n\n");
    wait_until(|| values(address, "gauges") == json!({"tester": 3}));
    assert_eq!(ask(address, "delcounters test.timer\n"), "metric test.timer not found\nEND\n\n");
    assert_eq!(ask(address, "deltimers test.timer\n"), "deleted: test.timer\nEND\n\n");
}

#[test]
fn commands_follow_each_other_and_wrong_ones_are_answered() {
    let (daemon, address) = start(&[]);
    let answer = ask(address, "health\nhealth down\nhealth\nhealth UP\nnothing\nhelp\nquit\nhealth\n");
    let expected = "health: up\nhealth: down\nhealth: down\nhealth: up\nERROR\nCommands: stats, counters, timers, gauges, \
                    delcounters, deltimers, delgauges, health, quit\n\n";
    assert_eq!(answer, expected);
    let mut long = TcpStream::connect(address).unwrap();
    long.write_all(&[b'a'; 5000]).unwrap();
    // The rest of the command makes the kernel reset the connection.
    let mut rest = Vec::new();
    _ = long.read_to_end(&mut rest);
    assert_eq!(rest, b"");
    assert_eq!(ask(address, "health"), "health: up\n");
    drop(daemon);
}

#[test]
fn clients_that_do_not_read_neither_delay_the_flush_nor_the_stop() {
    let (daemon, address) = start(&[&HTTP[..], &["flush.interval=100ms"]].concat());
    let lines: Vec<_> = (0..20_000).map(|number| format!("a.gauge.with.a.long.name.{number}:1|g")).collect();
    lines.chunks(30).for_each(|lines| daemon.send(lines.join("\n")));
    wait_until(|| values(address, "gauges").as_object().unwrap().len() == 20_000);
    let silent: Vec<_> = (0..16)
        .map(|_| {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.write_all(&b"gauges\n".repeat(50)).unwrap();
            stream
        })
        .collect();
    daemon.send("later:1|g");
    wait_until(|| values(address, "gauges")["later"] == 1);
    daemon.stop();
    drop(silent);
}
