//! Tests UDP: receivers, large and dropped datagrams, IPv6, and shared ports.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};
use tallyd_harness::http::exchange;
use tallyd_harness::process::{stderr, stdout, tallyd};
use tallyd_harness::scraped::{scrape, start, wait_for_value};
use tallyd_harness::{Daemon, HTTP};

#[test]
fn datagrams_dropped_by_the_kernel_are_counted_and_logged() {
    let daemon = Daemon::start(&["listeners.udp.receive_buffer=16KiB", "flush.interval=200ms"]);
    daemon.signal("STOP");
    (0..2000).for_each(|_| daemon.send("a:1|c"));
    daemon.signal("CONT");
    let mut daemon = daemon;
    daemon.wait_for(|row| row["name"] == "tallyd.datagrams_dropped" && row["value"].as_f64() > Some(0.0));
    let finished = daemon.stop();
    let dropped = finished.sum("tallyd.datagrams_dropped", "value");
    assert!(dropped > 0.0);
    assert_eq!(finished.sum("a", "value") + dropped, 2000.0);
    assert!(finished.log.contains("receive_buffer"), "{}", finished.log);
}

#[test]
fn clients_outside_the_permitted_networks_are_refused_counted_and_named() {
    let permitted = ["udp", "tcp"].map(|listener| {
        format!("listeners.{listener}.permitted_networks=[\"127.0.0.1\", \"127.0.7.0/24\", \"::1\"]")
    });
    let (daemon, address) = start(&[
        &permitted[0],
        &permitted[1],
        "listeners.udp.bind=[::]:0",
        "listeners.tcp.enabled=true",
        "listeners.tcp.bind=127.0.0.1:0",
        "exporters.prometheus.permitted_networks=[\"127.0.7.0/24\"]",
    ]);
    let tcp: SocketAddr = daemon.address_of("tcp").parse().unwrap();
    let udp = SocketAddr::from(([127, 0, 0, 1], daemon.address().port()));
    daemon.send("a:1|c");
    for (source, value) in
        [([127, 0, 0, 1], 2), ([127, 0, 7, 255], 4), ([127, 0, 0, 2], 8), ([127, 0, 8, 0], 16)]
    {
        let sender = UdpSocket::bind(SocketAddr::from((source, 0))).unwrap();
        // More than one batch, of which every datagram is checked.
        (0..100).for_each(|_| _ = sender.send_to(format!("a:{value}|c").as_bytes(), udp).unwrap());
        let mut connection = connect_from(source, tcp);
        // tallyd may have closed the connection already.
        _ = connection.write_all(format!("b:{value}|c\n").as_bytes());
        connection.shutdown(Shutdown::Write).unwrap_or_default();
        _ = connection.read(&mut [0]);
        let mut scraper = connect_from(source, address);
        let answered = exchange(&mut scraper, "GET /-/healthy HTTP/1.0\r\n\r\n");
        assert_eq!(answered.is_ok_and(|answer| !answer.is_empty()), source[2] == 7, "{source:?}");
    }
    let finished = daemon.stop();
    assert_eq!(finished.sum("a", "value"), 601.0);
    assert_eq!(finished.sum("b", "value"), 6.0);
    assert_eq!(finished.sum("tallyd.datagrams", "value"), 201.0);
    assert_eq!(finished.sum("tallyd.lines", "value"), 203.0);
    assert_eq!(finished.sum("tallyd.datagrams_refused", "value"), 200.0);
    assert_eq!(finished.sum("tallyd.connections_refused", "value"), 2.0);
    assert_eq!(finished.sum("tallyd.http_connections_refused", "value"), 3.0);
    for key in ["listeners.udp", "listeners.tcp", "exporters.prometheus"] {
        let named = format!("clients outside the networks of {key}.permitted_networks were refused");
        assert!(
            finished.log.contains(&named) && finished.log.contains("latest=127.0.8.0"),
            "{}",
            finished.log
        );
    }
}

fn connect_from(source: [u8; 4], address: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((source, 0)).into()).unwrap();
    socket.connect(&address.into()).unwrap();
    socket.into()
}

/// The number of short datagrams that fit into a receive buffer of 208 KiB, the usual limit without privileges. The
/// kernel doubles the size, and a datagram takes 832 bytes of it.
const ROOM: u32 = 2 * (208 << 10) / 832;

/// Sends a burst to a new tallyd with a small receive buffer. Before the burst, the client sends at a low and steady pace for
/// the given time, or nothing. Returns true if the kernel keeps all datagrams.
fn is_burst_kept(coalesce_delay: &str, steady: Duration, burst: u32) -> bool {
    let delay = format!("listeners.coalesce_delay={coalesce_delay}");
    let daemon = Daemon::start(&["listeners.udp.receive_buffer=208KiB", &delay]);
    let mut sent = 0;
    let mut send = || {
        daemon.send("a:1|c");
        sent += 1;
    };
    let begin = Instant::now();
    while begin.elapsed() < steady {
        send();
        let due = Instant::now() + Duration::from_micros(500);
        while Instant::now() < due {
            std::hint::spin_loop();
        }
    }
    (0..burst).for_each(|_| send());
    let dropped = dropped_by_kernel(daemon.address().port());
    let finished = daemon.stop();
    let counted = finished.sum("a", "value") + finished.sum("tallyd.datagrams_dropped", "value");
    assert_eq!(counted, f64::from(sent));
    dropped == 0
}

/// Returns the number of datagrams that the kernel has dropped at the socket of a port.
fn dropped_by_kernel(port: u16) -> u64 {
    let table = std::fs::read_to_string("/proc/net/udp").unwrap();
    let address = format!("0100007F:{port:04X}");
    let rows = table.lines().map(|line| line.split_ascii_whitespace().collect::<Vec<_>>());
    let row = rows.into_iter().find(|row| row.get(1) == Some(&address.as_str())).unwrap();
    row.last().unwrap().parse().unwrap()
}

#[test]
fn rests_lose_no_burst_that_a_small_buffer_holds_without_them() {
    for steady in [Duration::ZERO, Duration::from_millis(150)] {
        for burst in [ROOM / 8, ROOM / 2, ROOM * 7 / 8, ROOM * 2, ROOM * 4, ROOM * 8] {
            // On a busy machine, even a receiver that never rests may get no CPU for too long.
            let is_kept = |delay| (0..5).any(|_| is_burst_kept(delay, steady, burst));
            // Only if a receiver that never rests reliably keeps a burst that is larger than the buffer, rests must, too.
            let is_kept_without = match burst {
                0..=ROOM => is_kept("0s"),
                _ => (0..3).all(|_| is_burst_kept("0s", steady, burst)),
            };
            assert!(is_kept_without || burst > ROOM, "{burst} datagrams after {steady:?}, without rests");
            assert!(!is_kept_without || is_kept("50ms"), "{burst} datagrams after {steady:?}");
        }
    }
}

#[test]
#[ignore = "needs unshare and the permission to mount; run make test"]
fn drops_are_counted_without_proc() {
    let hide_proc = [
        "unshare",
        "--mount",
        "--map-root-user",
        "sh",
        "-c",
        "mount -t tmpfs none /proc && exec \"$@\"",
        "sh",
    ];
    let settings = ["listeners.udp.receive_buffer=16KiB", "flush.interval=200ms"];
    let daemon = Daemon::start_in(&hide_proc, &[&HTTP, &settings[..]].concat());
    wait_for_value(daemon.http_address(), "tallyd_drops_unreadable", 0.0);
    assert_eq!(machine_errors(daemon.http_address()), [""; 0], "unknown counts are absent");
    daemon.signal("STOP");
    (0..2000).for_each(|_| daemon.send("a:1|c"));
    daemon.signal("CONT");
    let finished = daemon.stop();
    assert_eq!(finished.sum("a", "value") + finished.sum("tallyd.datagrams_dropped", "value"), 2000.0);
}

/// Returns the reasons of errors over IPv4 that the page shows.
fn machine_errors(address: SocketAddr) -> Vec<String> {
    let is_shown = |name: &str, family: Option<&String>| {
        name == "tallyd_machine_udp_errors_total" && family == Some(&"ipv4".to_owned())
    };
    let page = scrape(address).0;
    let shown = page.keys().filter(|(name, labels)| is_shown(name, labels.get("family")));
    shown.map(|(_, labels)| labels["error"].clone()).collect()
}

#[test]
fn errors_of_the_machine_are_counted_by_reason() {
    let (_daemon, address) = start(&["flush.interval=200ms"]);
    wait_for_value(address, "tallyd_drops_unreadable", 0.0);
    assert_eq!(machine_errors(address), ["checksum", "memory", "other", "receive_buffer"]);
}

#[test]
fn all_whole_lines_of_the_largest_and_of_a_truncated_datagram_count() {
    let daemon = Daemon::start(&[]);
    let lines = "a:1|c\n".repeat(65_507 / 6);
    daemon.send(format!("{lines}{}", "x".repeat(65_507 - lines.len())));
    let finished = daemon.stop();
    assert_eq!(finished.sum("a", "value"), 10_917.0);
    assert_eq!(finished.sum("tallyd.datagrams_truncated", "value"), 0.0);

    let daemon = Daemon::start(&["listeners.udp.max_datagram=512B"]);
    daemon.send("b:1234|c\n".repeat(100));
    let finished = daemon.stop();
    let whole = 512 / 9;
    assert_eq!(finished.sum("b", "value"), 1234.0 * f64::from(whole));
    assert_eq!(finished.sum("tallyd.datagrams_truncated", "value"), 1.0);
    assert_eq!(finished.sum("tallyd.datagram_bytes_truncated", "value"), f64::from((100 - whole) * 9));
    assert_eq!(finished.sum("tallyd.bytes", "value"), f64::from(whole * 9));
    assert_eq!(finished.sum("tallyd.lines_truncated", "value"), 1.0);
}

#[test]
fn many_receivers_give_the_totals_of_one() {
    let daemon = Daemon::start(&["listeners.udp.receivers=4"]);
    // The kernel chooses the receiver by the source address.
    let sockets: Vec<_> =
        (1..=32).map(|host| UdpSocket::bind(format!("127.0.0.{host}:0")).unwrap()).collect();
    for round in 0..50 {
        for (client, socket) in sockets.iter().enumerate() {
            let lines = format!("a:1|c\nb:{round}|ms\nc:{client}|s\nd:+1|g");
            socket.send_to(lines.as_bytes(), daemon.address()).unwrap();
        }
    }
    let finished = daemon.stop();
    assert_eq!(finished.sum("a", "value"), 1600.0);
    assert_eq!(finished.sum("b", "sum"), f64::from(32 * (49 * 50 / 2)));
    assert_eq!(finished.named("c").next().unwrap()["value"], 32.0);
    assert_eq!(finished.named("d").next().unwrap()["value"], 1600.0);
    assert_eq!(finished.named("tallyd.receive_buffer_bytes").count(), 4);
}

#[test]
fn last_value_that_a_host_sent_wins_with_many_receivers() {
    let daemon = Daemon::start(&["listeners.udp.receivers=4"]);
    for round in 1..=20 {
        for series in 0..100 {
            // Like a shell script, this sends each line through a socket of its own.
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            socket.send_to(format!("set.{series}:{round}|g").as_bytes(), daemon.address()).unwrap();
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            let line = if round == 1 { format!("sum.{series}:0|g") } else { format!("sum.{series}:+1|g") };
            socket.send_to(line.as_bytes(), daemon.address()).unwrap();
        }
    }
    let finished = daemon.stop();
    for series in 0..100 {
        assert_eq!(finished.sum(&format!("set.{series}"), "value"), 20.0);
        assert_eq!(finished.sum(&format!("sum.{series}"), "value"), 19.0);
    }
}

#[test]
fn by_default_one_receiver_serves_an_address() {
    let check = tallyd(&["check"]);
    assert!(stdout(&check).contains("receivers = 1\n"), "{}", stdout(&check));
}

/// Rates divide by the length of the interval, so an interval must have the samples of all its time.
#[test]
fn samples_that_arrive_during_a_pause_belong_to_the_interval_of_the_pause() {
    const PAUSE: Duration = Duration::from_millis(1500);
    let mut daemon = Daemon::start(&["flush.interval=500ms"]);
    let mut complete = 0;
    for round in 0..4 {
        daemon.signal("STOP");
        let begin = Instant::now();
        (0..400).for_each(|_| daemon.send(format!("a.{round}:1|c")));
        thread::sleep(PAUSE.saturating_sub(begin.elapsed()));
        daemon.signal("CONT");
        let row = daemon.wait_for(|row| row["name"] == format!("a.{round}"));
        let rate = row["rate"].as_f64().unwrap();
        let has_pause = rate <= 400.0 / PAUSE.as_secs_f64();
        complete += u32::from(row["value"] == 400.0 && has_pause);
    }
    // A flush does not wait for ever, and a busy machine may keep a receiver from running. Then the samples belong to
    // the next interval, as they do if the pause begins in the middle of a flush.
    assert!(complete >= 3, "{complete} of 4 intervals");
}

#[test]
fn udp_listens_on_several_addresses_at_once() {
    for bind in [r#"["127.0.0.1:0", "[::1]:0"]"#, r#"["0.0.0.0:0", "[::]:0"]"#] {
        let daemon = Daemon::start(&[&format!("listeners.udp.bind={bind}"), "listeners.udp.receivers=2"]);
        let addresses = daemon.addresses_of("udp");
        assert_eq!(addresses.len(), 2);
        for (address, local) in addresses.into_iter().zip(["127.0.0.1", "::1"]) {
            let port: u16 = address.rsplit_once(':').unwrap().1.parse().unwrap();
            UdpSocket::bind((local, 0)).unwrap().send_to(b"a:1|c", (local, port)).unwrap();
        }
        let finished = daemon.stop();
        assert_eq!(finished.sum("a", "value"), 2.0);
        let buffers = finished.named("tallyd.receive_buffer_bytes");
        let receivers: Vec<_> = buffers.map(|row| row["tags"]["receiver"].as_str().unwrap()).collect();
        assert_eq!(receivers, ["0", "1", "2", "3"]);
    }
}

#[test]
fn ipv4_and_ipv6_of_all_interfaces_can_share_a_port() {
    let free = UdpSocket::bind("[::]:0").unwrap().local_addr().unwrap().port();
    let bind = format!(r#"listeners.udp.bind=["[::]:{free}", "0.0.0.0:{free}"]"#);
    let daemon = Daemon::start(&[&bind]);
    for local in ["127.0.0.1", "::1"] {
        UdpSocket::bind((local, 0)).unwrap().send_to(b"a:1|c", (local, free)).unwrap();
    }
    assert_eq!(daemon.stop().sum("a", "value"), 2.0);
}

#[test]
fn addresses_that_cannot_work_are_refused() {
    for (settings, problem) in [
        (&["listeners.udp.bind=[]"][..], "the list is empty"),
        (&[r#"listeners.udp.bind=["127.0.0.1:1", "127.0.0.1:1"]"#], "appears twice"),
        (&[r#"listeners.udp.bind=["localhost:1"]"#], "host names are not looked up"),
        (&["listeners.udp.bind=7"], "is not an IP address"),
        (&["listeners.udp.share_port=true", "listeners.udp.receivers=2"], "must be 1"),
    ] {
        let arguments: Vec<_> = settings.iter().flat_map(|setting| ["--set", *setting]).collect();
        let refused = tallyd(&[&["check"], &arguments[..]].concat());
        assert_eq!(refused.status.code(), Some(78), "{settings:?}");
        assert!(stderr(&refused).contains(problem), "{}", stderr(&refused));
    }
}

#[test]
fn datagrams_arrive_over_ipv6() {
    let daemon = Daemon::start(&["listeners.udp.bind=[::1]:0"]);
    daemon.send("a:1|c");
    assert_eq!(daemon.stop().sum("a", "value"), 1.0);
}

#[test]
fn second_tallyd_on_a_port_is_refused_unless_the_port_is_shared() {
    let daemon = Daemon::start(&[]);
    let bind = format!("listeners.udp.bind={}", daemon.address());
    let second = tallyd(&["--set", &bind]);
    assert_eq!(second.status.code(), Some(1));
    assert!(stderr(&second).contains("share_port"), "{}", stderr(&second));
    drop(daemon);

    let first = Daemon::start(&["listeners.udp.share_port=true"]);
    let bind = format!("listeners.udp.bind={}", first.address());
    let second = Daemon::start(&[&bind, "listeners.udp.share_port=true"]);
    assert_eq!(second.address(), first.address());
}
