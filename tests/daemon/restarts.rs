//! Tests that a restart loses nothing: with sockets that systemd holds, and with two tallyds that share a port.

use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, SockRef, Socket, Type};
use tallyd_harness::meanwhile::{Sent, SetOnDrop, send_paced};
use tallyd_harness::process::{stderr, tallyd_with_sockets};
use tallyd_harness::{Daemon, scraped};

/// The memory that the kernel counts for a small datagram.
const DATAGRAM_BYTES: usize = 832;

/// The longest time for which no tallyd may read a socket in these tests, in seconds.
const LONGEST_GAP: usize = 8;

/// Opens a UDP socket as systemd does. Returns it with its address, and the datagrams per second that its buffer can
/// hold back during a restart.
fn udp_socket() -> (UdpSocket, SocketAddr, u32) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    // Without CAP_NET_ADMIN, the buffer stays as small as the system permits.
    _ = setsockopt(&socket, sockopt::RcvBufForce, &(64 << 20));
    let buffer = SockRef::from(&socket).recv_buffer_size().unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address, (buffer / DATAGRAM_BYTES / LONGEST_GAP).min(20_000) as u32)
}

/// Sends from 8 clients while `restart` runs. Returns what they have sent.
fn send_during(address: SocketAddr, per_second: u32, restart: impl FnOnce()) -> Sent {
    let finished = AtomicBool::new(false);
    thread::scope(|scope| {
        let clients = scope.spawn(|| send_paced(address, 8, per_second, &finished));
        let guard = SetOnDrop(&finished);
        restart();
        drop(guard);
        clients.join().unwrap()
    })
}

#[test]
fn restarts_lose_nothing_if_the_service_manager_holds_the_socket() {
    let (socket, address, per_second) = udp_socket();
    let held = [OwnedFd::from(socket)];
    let mut recorded = 0.0;
    let sent = send_during(address, per_second, || {
        for _ in 0..4 {
            let mut daemon = Daemon::start_with_sockets(&held, &["flush.interval=100ms"]);
            assert_eq!(daemon.address(), address);
            daemon.wait_for(|row| row["name"] == "meanwhile");
            let finished = daemon.stop();
            assert!(finished.status.success(), "{}", finished.log);
            recorded += finished.sum("meanwhile", "value");
        }
    });
    let last = Daemon::start_with_sockets(&held, &[]);
    recorded += last.stop().sum("meanwhile", "value");
    assert_eq!(sent.errors, 0);
    assert_eq!(recorded, sent.datagrams as f64);
}

#[test]
fn no_scrape_fails_during_restarts_if_the_service_manager_holds_the_socket_of_the_endpoint() {
    let directory = tempfile::tempdir().unwrap();
    let state = format!("state.path={}", directory.path().join("state").display());
    let settings = ["exporters.prometheus.start_http_server=true", &state];
    let endpoint = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = endpoint.local_addr().unwrap();
    let endpoint = [OwnedFd::from(endpoint)];
    let start = || Daemon::start_with_all_sockets(&[], &endpoint, &settings);
    let (mut daemon, finished) = (start(), AtomicBool::new(false));
    assert_eq!(daemon.http_address(), address);
    thread::scope(|scope| {
        let scraper = scope.spawn(|| {
            let mut totals = Vec::new();
            while !finished.load(Ordering::Relaxed) {
                totals.push(scraped::scrape(address).value("c_total", &[]).unwrap_or_default());
            }
            totals
        });
        let guard = SetOnDrop(&finished);
        for _ in 0..4 {
            daemon.send("c:1|c");
            assert!(daemon.stop().status.success());
            daemon = start();
        }
        scraped::wait_for_value(address, "c_total", 4.0);
        drop(guard);
        let totals = scraper.join().unwrap();
        assert!(totals.is_sorted() && totals.contains(&4.0), "{totals:?}");
    });
}

#[test]
fn a_held_socket_of_an_endpoint_that_is_off_is_refused() {
    let endpoint = OwnedFd::from(TcpListener::bind("127.0.0.1:0").unwrap());
    let output =
        tallyd_with_sockets(&[], &[endpoint]).args(["--set", "listeners.udp.bind=127.0.0.1:0"]).output();
    let output = output.unwrap();
    assert!(!output.status.success());
    assert!(
        stderr(&output).contains("set exporters.prometheus.start_http_server to true"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn new_tallyd_takes_over_a_shared_port_before_the_old_one_stops_and_nothing_is_lost() {
    const SHARED: &str = "listeners.udp.share_port=true";
    let mut running = Daemon::start(&["flush.interval=100ms", SHARED]);
    let address = running.address();
    let bind = format!("listeners.udp.bind={address}");
    let mut recorded = 0.0;
    let sent = send_during(address, 4_000, || {
        for _ in 0..4 {
            let next = Daemon::start(&["flush.interval=100ms", SHARED, &bind]);
            let finished = std::mem::replace(&mut running, next).stop();
            recorded += finished.sum("meanwhile", "value");
            running.wait_for(|row| row["name"] == "meanwhile");
        }
    });
    recorded += running.stop().sum("meanwhile", "value");
    assert_eq!(sent.errors, 0);
    assert_eq!(recorded, sent.datagrams as f64);
}

#[test]
fn all_kinds_of_sockets_can_be_held_and_keep_what_arrives_while_no_tallyd_runs() {
    let directory = tempfile::tempdir().unwrap();
    let [datagram_path, stream_path] = ["datagram", "stream"].map(|name| directory.path().join(name));
    let (udp, udp_address, _) = udp_socket();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let tcp_address = tcp.local_addr().unwrap();
    let datagrams = UnixDatagram::bind(&datagram_path).unwrap();
    let streams = UnixListener::bind(&stream_path).unwrap();
    let held = [udp.into(), tcp.into(), datagrams.into(), streams.into()];
    // By default, all listeners but UDP are off. The sockets turn them on.
    let settings = ["flush.interval=100ms", "listeners.unix_stream.framing=lines"];
    let send = |name: &str| {
        let line = format!("{name}:1|c\n");
        UdpSocket::bind("127.0.0.1:0").unwrap().send_to(line.as_bytes(), udp_address).unwrap();
        UnixDatagram::unbound().unwrap().send_to(line.as_bytes(), &datagram_path).unwrap();
        TcpStream::connect(tcp_address).unwrap().write_all(line.as_bytes()).unwrap();
        UnixStream::connect(&stream_path).unwrap().write_all(line.as_bytes()).unwrap();
    };
    for round in 0..3 {
        send(&format!("between.{round}"));
        let mut daemon = Daemon::start_with_sockets(&held, &settings);
        let recorded = |daemon: &mut Daemon, name: &str| {
            // The four lines may belong to several intervals.
            let mut left = 4.0;
            while left > 0.0 {
                left -= daemon.wait_for_next(|row| row["name"] == name)["value"].as_f64().unwrap();
            }
        };
        recorded(&mut daemon, &format!("between.{round}"));
        send(&format!("meanwhile.{round}"));
        recorded(&mut daemon, &format!("meanwhile.{round}"));
        let finished = daemon.stop();
        assert!(finished.status.success(), "{}", finished.log);
        assert!(datagram_path.exists() && stream_path.exists(), "the files belong to the service manager");
    }
}

#[test]
fn stop_records_what_a_held_socket_had_received() {
    let (socket, address, _) = udp_socket();
    let daemon = Daemon::start_with_sockets(&[socket.into()], &["listeners.coalesce_delay=0s"]);
    daemon.signal("STOP");
    (0..200).for_each(|_| daemon.send("a:1|c"));
    daemon.signal("TERM");
    daemon.signal("CONT");
    let finished = daemon.wait();
    assert_eq!(finished.sum("a", "value"), 200.0, "{address}: {}", finished.log);
}

#[test]
fn datagrams_of_one_sender_reach_one_of_several_held_sockets_of_an_address() {
    let open = |address: SocketAddr| {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
        socket.set_reuse_port(true).unwrap();
        socket.bind(&address.into()).unwrap();
        UdpSocket::from(socket)
    };
    let first = open("127.0.0.1:0".parse().unwrap());
    let second = open(first.local_addr().unwrap());
    let daemon = Daemon::start_with_sockets(&[first.into(), second.into()], &[]);
    for value in 0..100 {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.send_to(format!("a:{value}|g").as_bytes(), daemon.address()).unwrap();
    }
    let finished = daemon.stop();
    assert_eq!(finished.sum("a", "value"), 99.0);
    let receivers = finished.named("tallyd.receive_buffer_bytes");
    assert_eq!(receivers.count(), 2);
}

#[test]
fn descriptors_that_tallyd_cannot_read_are_refused() {
    let tcp = || OwnedFd::from(TcpListener::bind("127.0.0.1:0").unwrap());
    let file = || OwnedFd::from(tempfile::tempfile().unwrap());
    for (sockets, problem) in [
        (vec![tcp(), file()], "file descriptor 2 of the service manager is not a socket"),
        (vec![tcp(), tcp()], "the service manager passed two sockets for tcp"),
    ] {
        let output = tallyd_with_sockets(&sockets, &[]).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(stderr(&output).contains(problem), "{}", stderr(&output));
    }
}
