//! Tests that other StatsD servers take what tallyd relays, with its probes: statsd, netdata and tallyd.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};

use tallyd_harness::http::{connect, free_address, get_unchunked};
use tallyd_harness::process::Running;
use tallyd_harness::{Daemon, wait_for, wait_until};
use tempfile::TempDir;

use crate::admin::Statsd;

/// A running netdata that only serves StatsD.
struct Netdata {
    samples: SocketAddr,
    web: SocketAddr,
    _process: (Running, TempDir),
}

impl Netdata {
    fn start() -> Self {
        // Another program may take a port before netdata does.
        wait_for(Self::try_start)
    }

    fn try_start() -> Option<Self> {
        let (samples, web) = (free_address(), free_address());
        let directory = TempDir::new().unwrap();
        let path = directory.path().display();
        // Its other plugins would look at the whole machine.
        let off = ["timex", "idlejitter", "tc", "proc", "diskspace", "cgroups", "slabinfo", "apps", "ebpf"];
        let off = off.map(|plugin| format!("{plugin} = no\n")).concat();
        let user = std::env::var("USER").unwrap_or_else(|_| "root".to_owned());
        // By default, it runs only when no other program needs the processor.
        let configuration = format!(
            "[global]\nrun as user = {user}\nprocess scheduling policy = keep\n[db]\nmode = ram\nupdate every = 1\n\
             [directories]\nconfig = {path}\ncache = {path}\nlib = {path}\nlog = {path}\nhome = {path}\n\
             [web]\nbind to = {web}\n[health]\nenabled = no\n[ml]\nenabled = no\n\
             [plugins]\n{off}enable running new plugins = no\nnetdata monitoring = no\nstatsd = yes\n\
             [statsd]\nenabled = yes\nbind to = udp:{samples} tcp:{samples}\nupdate every (flushInterval) = 1\n"
        );
        let file = directory.path().join("netdata.conf");
        fs::write(&file, configuration).unwrap();
        let mut netdata = Command::new("netdata");
        netdata.args(["-D", "-c"]).arg(file).stdout(Stdio::null()).stderr(Stdio::null());
        let mut process = Running::start(&mut netdata);
        let is_ready = wait_for(|| {
            let has_ended = process.0.try_wait().unwrap().is_some();
            let is_ready = [web, samples].iter().all(|address| TcpStream::connect(address).is_ok());
            (has_ended || is_ready).then_some(is_ready && !has_ended)
        });
        is_ready.then(|| Self { samples, web, _process: (process, directory) })
    }

    /// Returns the total of a counter.
    fn total(&self, name: &str) -> Option<f64> {
        let page =
            get_unchunked(connect(self.web), "/api/v1/allmetrics?format=prometheus&source=raw&help=no");
        let series = format!("netdata_statsd_{}_counter_total{{", name.replace('.', "_"));
        let line = page.text().lines().find(|line| line.starts_with(&series))?;
        line.split_once("} ")?.1.split_whitespace().next()?.parse().ok()
    }
}

#[test]
#[ignore = "needs netdata-core, and Node with statsd from npm; run make test"]
fn statsd_netdata_and_tallyd_get_the_same_samples() {
    let directory = TempDir::new().unwrap();
    let socket = format!("listeners.unix_stream.path={}", directory.path().join("s").display());
    let tallyd =
        Daemon::start(&["listeners.udp.enabled=false", "listeners.unix_stream.enabled=true", &socket]);
    let (statsd, netdata) = (Statsd::start(3_600_000), Netdata::start());
    let urls = [
        format!("udp://{}", statsd.samples),
        format!("tcp://{}", netdata.samples),
        format!("unixstream://{}", tallyd.address_of("unix_stream")),
    ];
    let relay = format!("relay=[{{ to = {urls:?} }}]");
    let source = Daemon::start(&[&relay]);
    // statsd opens its socket for samples at about the same time as that for commands.
    wait_until(|| {
        source.send("ready.now:1|g");
        statsd.values("gauges")["ready.now"] == 1
    });
    for number in 1..=100 {
        source.send(format!("page.visits:{number}|c\npage.hits:1|c|@0.5"));
        source.send("page.visits:1|c\n");
    }
    source.send("page.last:1|c");
    wait_until(|| statsd.values("counters")["page.last"] == 1);
    let of_statsd = statsd.values("counters");
    wait_until(|| netdata.total("page.last") == Some(1.0));
    let source = source.stop();
    let tallyd = tallyd.stop();
    for (name, total) in [("page.visits", 5150.0), ("page.hits", 200.0), ("page.last", 1.0)] {
        assert_eq!(of_statsd[name].as_f64(), Some(total), "{of_statsd}");
        wait_until(|| netdata.total(name) == Some(total));
        assert_eq!([&source, &tallyd].map(|finished| finished.sum(name, "value")), [total; 2], "{name}");
    }
    // A probe is a valid line everywhere, and changes no sum.
    assert_eq!(of_statsd["statsd.bad_lines_seen"], 0, "{of_statsd}");
    assert_eq!(of_statsd["tallyd.relay_probe"], 0, "{of_statsd}");
    wait_until(|| netdata.total("tallyd.relay_probe") == Some(0.0));
    assert_eq!(source.sum("tallyd.relay_datagrams_dropped", "value"), 0.0, "{}", source.log);
}
