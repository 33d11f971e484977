//! Runs the blocks of docs/clients.md with other ports.

use std::io::{BufRead, BufReader, Write};
use std::net::UdpSocket;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{ChildStdout, Command, Stdio};
use std::sync::LazyLock;
use std::time::Duration;

use cadence::prelude::*;
use cadence::{BufferedUdpMetricSink, BufferedUnixMetricSink, StatsdClient};
use serde_json::{Value, json};
use tallyd_harness::http::{exchange, get_unchunked};
use tallyd_harness::process::{Running, without_variables};
use tallyd_harness::{Daemon, Document, Finished, wait_for_ok};

use crate::shop::*;

static PAGE: LazyLock<Document> = LazyLock::new(|| Document::read("docs/clients.md"));

/// The info strings of the blocks that a test runs.
const RUN: [&str; 21] = [
    "python statsd",
    "python datadog",
    "python datadog-events",
    "javascript hot-shots",
    "javascript hot-shots-events",
    "rust cadence",
    "rust cadence-unix",
    "go datadog-go",
    "go cactus",
    "ruby statsd-ruby",
    "php",
    "perl Net::Statsd",
    "bash",
    "sh netcat",
    "ini airflow",
    "ini airflow-datadog",
    "python gunicorn",
    "ini uwsgi",
    "nginx lua",
    "toml tallyd",
    "toml tallyd-transports",
];

/// The info strings of the blocks that no test runs, because the registries that the tests use lack these clients.
const NOT_RUN: [&str; 5] = [
    "java java-dogstatsd-client",
    "ruby dogstatsd-ruby",
    "php php-datadogstatsd",
    "nginx nginx-statsd",
    "yaml envoy",
];

#[test]
fn each_block_of_the_page_is_run_or_listed_as_not_run() {
    PAGE.assert_has_only(&[&RUN[..], &NOT_RUN].concat());
    let marks =
        PAGE.text.lines().filter(|line| line.contains("*not run*") || line.contains("*Not run.*")).count();
    // Three more marks are in the explanation at the top, in a section without a block, and before a table.
    assert_eq!(marks, NOT_RUN.len() + 3);
}

/// The clients in the table of transports, each with the block in which the table changes a line.
const CLIENTS_OVER_OTHER_TRANSPORTS: [(&str, &str); 9] = [
    ("Python `statsd`", "python statsd"),
    ("Python `datadog`", "python datadog"),
    ("Node `hot-shots`", "javascript hot-shots"),
    ("Go `datadog-go`", "go datadog-go"),
    ("PHP", "php"),
    ("bash", "bash"),
    ("netcat", "sh netcat"),
    ("gunicorn", "python gunicorn"),
    ("nginx with Lua", "nginx lua"),
];

/// Returns the cells of each row of the table of transports.
fn rows_of_transports() -> Vec<[String; 4]> {
    let rows = PAGE.table("| client | listener | instead of | write |");
    rows.into_iter().map(|cells| cells.try_into().expect("four cells")).collect()
}

/// Returns the other transports of a block's client. Each has a function that changes the block for a port or a path.
fn other_transports(info: &str) -> impl Iterator<Item = (Transport, impl Fn(&str) -> String)> {
    let (client, _) = CLIENTS_OVER_OTHER_TRANSPORTS.iter().find(|(_, block)| *block == info).unwrap();
    let rows = rows_of_transports().into_iter().filter(move |row| row[0] == *client);
    rows.map(move |[_, listener, old, new]| {
        let transport = match &*listener {
            "`tcp`" => Transport::Tcp,
            "`unix_datagram`" => Transport::UnixDatagram,
            "`unix_stream`" => Transport::UnixStream,
            "`unix_stream`, lines" => Transport::UnixStreamOfLines,
            _ => panic!("no such listener: {listener}"),
        };
        let [old, new] = [&old, &new].map(|cell| cell.trim_matches('`'));
        let block = shown(info, "8125");
        assert!(block.contains(old), "{info} does not show {old}");
        let block = block.replace(old, new);
        let changed = move |address: &str| match transport {
            Transport::Tcp => block.replace("8125", address),
            _ => block.replace(PATHS[0], address).replace(PATHS[1], address),
        };
        (transport, changed)
    })
}

/// The paths of the sockets on the page.
const PATHS: [&str; 2] = ["/run/tallyd/tallyd.sock", "/run/tallyd/tallyd-stream.sock"];

#[test]
fn each_row_of_the_table_of_transports_is_run() {
    let rows = rows_of_transports();
    for (client, _) in CLIENTS_OVER_OTHER_TRANSPORTS {
        assert!(rows.iter().any(|row| row[0] == client), "{client}");
    }
    for row in rows {
        assert!(CLIENTS_OVER_OTHER_TRANSPORTS.iter().any(|(client, _)| *client == row[0]), "{row:?}");
    }
}

/// Runs a block over UDP and over each other transport of the table. Asserts that each run sells an order.
fn assert_sells(info: &str, tags: &Value) {
    assert_sold(&after(|port| run_block(info, &shown(info, port))), tags.clone());
    for (transport, changed) in other_transports(info) {
        assert_sold(&after_over(transport, |address| run_block(info, &changed(address))), tags.clone());
    }
}

/// Runs a block that is a program.
fn run_block(info: &str, block: &str) {
    match info.split(' ').next().unwrap() {
        "python" => run(with(PYTHON, "-c", block), &[]),
        "javascript" => {
            let mut node = with("node", "-e", block);
            node.current_dir(CLIENTS);
            run(node, &[]);
        }
        "go" => {
            let directory = tempfile::tempdir().unwrap();
            let [source, program] = ["sell.go", "sell"].map(|name| directory.path().join(name));
            // Debian's modules have versions before 2, so their paths contain no version.
            std::fs::write(&source, block.replace("/v5/statsd", "/statsd")).unwrap();
            build_go(&source, &program);
            run(Command::new(&program), &[]);
        }
        "php" => run(with("php", "-r", block.strip_prefix("<?php").unwrap()), &[]),
        "bash" | "sh" => run(with("bash", "-c", block), &[]),
        program => run(with(program, "-e", block), &[]),
    }
}

#[test]
#[ignore = "needs Python with clients from PyPI; run make test"]
fn blocks_for_python_sell_an_order() {
    assert_sells("python statsd", &json!({}));
    assert_sells("python datadog", &json!({"region": "eu"}));
}

#[test]
#[ignore = "needs Node with a client from npm; run make test"]
fn blocks_for_node_sell_an_order() {
    assert_sells("javascript hot-shots", &json!({"region": "eu"}));
}

#[test]
fn blocks_for_rust_sell_an_order() {
    let source: Vec<_> = include_str!("clients_page.rs").lines().map(str::trim).collect();
    let unix = shown("rust cadence-unix", "8125").replace(&format!("{:?}", PATHS[0]), "path");
    for line in shown("rust cadence", "port").lines().chain(unix.lines()) {
        assert!(source.contains(&line.trim()), "not run here: {line}");
    }
    let finished = after(|port| sell_over_udp(port.parse().unwrap()).unwrap());
    assert_sold(&finished, json!({"region": "eu"}));
    let finished = after_over(Transport::UnixDatagram, |path| sell_over_unix(path).unwrap());
    assert_sold(&finished, json!({"region": "eu"}));
}

fn sell_over_udp(port: u16) -> Result<(), Box<dyn std::error::Error>> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    let sink = BufferedUdpMetricSink::from(("127.0.0.1", port), socket)?;
    let client = StatsdClient::from_sink("shop", sink);
    sell_with(&client)
}

fn sell_over_unix(path: &str) -> Result<(), Box<dyn std::error::Error>> {
    let sink = BufferedUnixMetricSink::from(path, UnixDatagram::unbound()?);
    let client = StatsdClient::from_sink("shop", sink);
    sell_with(&client)
}

fn sell_with(client: &StatsdClient) -> Result<(), Box<dyn std::error::Error>> {
    client.count_with_tags("orders", 1).with_tag("region", "eu").try_send()?;
    client.gauge("stock", 27_u64)?;
    client.time("checkout", Duration::from_millis(250))?;
    client.flush()?;
    Ok(())
}

#[test]
#[ignore = "needs Go with clients from Debian; run make test"]
fn blocks_for_go_sell_an_order() {
    assert_sells("go datadog-go", &json!({"region": "eu"}));
    let finished = after(|port| run_block("go cactus", &shown("go cactus", port)));
    assert_sold(&finished, json!({"region": "eu"}));
}

#[test]
#[ignore = "needs Ruby, Perl and PHP with clients from Debian; run make test"]
fn blocks_for_ruby_perl_and_php_sell_an_order() {
    for info in ["ruby statsd-ruby", "perl Net::Statsd"] {
        assert_sold(&after(|port| run_block(info, &shown(info, port))), json!({}));
    }
    assert_sells("php", &json!({"region": "eu"}));
}

#[test]
#[ignore = "needs netcat; run make test"]
fn blocks_for_shells_sell_an_order() {
    for info in ["bash", "sh netcat"] {
        assert_sells(info, &json!({"region": "eu"}));
    }
}

#[test]
#[ignore = "needs Python and Node with clients from PyPI and npm; run make test"]
fn events_and_checks_of_the_blocks_are_reported() {
    for info in ["python datadog-events", "javascript hot-shots-events"] {
        let finished = after(|port| run_block(info, &shown(info, port)));
        assert_all_taken(&finished);
        let event = finished.rows.iter().find(|row| row["type"] == "event").unwrap();
        let fields = ["title", "text", "alert_type", "tags"].map(|field| &event[field]);
        let regional = json!({"region": "eu"});
        assert_eq!(fields, [&json!("Café opens"), &json!("on the left"), &json!("success"), &regional]);
        let check = finished.named("service_check").next().unwrap();
        assert_eq!(check["value"], 1.0);
        assert_eq!(check["tags"], json!({"check": "db.up", "region": "eu"}));
        assert_lines(&finished, 2);
    }
}

#[test]
#[ignore = "needs Python and Node with clients from PyPI and npm; run make test"]
fn clients_reconnect_after_a_restart_as_the_page_says() {
    let statsd = "import statsd; client = statsd.UnixSocketStatsClient('ADDRESS'); send = client.incr";
    let datadog = "from datadog.dogstatsd import DogStatsd; send = DogStatsd(socket_path='ADDRESS', disable_telemetry=True).increment";
    let [statsd, datadog] = [statsd, datadog].map(|client| {
        move |address: &str| {
            let program = format!("{}\n{SEND_FOR_EACH_LINE}", client.replace("ADDRESS", address));
            Seller::start(with(PYTHON, "-c", &program))
        }
    });
    let hot_shots = |options: &'static str| {
        move |address: &str| {
            let options = options.replace("ADDRESS", address);
            // The client sends after a pause, so that it notices the end of its connection first.
            let program = format!(
                "const client = new (require('hot-shots'))({{ {options}, maxBufferSize: 0, errorHandler: () => 0 }});
                const send = () => client.increment('shop.orders', (error) => console.log(error ? 'failed' : 'sent'));
                require('readline').createInterface({{ input: process.stdin }}).on('line', () => setTimeout(send, 50));"
            );
            let mut node = with("node", "-e", &program);
            node.current_dir(CLIENTS);
            Seller::start(node)
        }
    };
    // By default, the client connects again at most once per second.
    let uds = hot_shots("protocol: 'uds', path: 'ADDRESS', udsGracefulRestartRateLimit: 1");
    let tcp = hot_shots("protocol: 'tcp', host: '127.0.0.1', port: ADDRESS, tcpGracefulRestartRateLimit: 1");
    // Python's datadog reports no error, and loses the first sample.
    assert_eq!(after_restart(Transport::UnixDatagram, &datadog), ("sent sent sent".into(), 2.0));
    assert_eq!(after_restart(Transport::UnixStream, &datadog), ("sent sent sent".into(), 2.0));
    let broken = ["BrokenPipeError"; 3].join(" ");
    assert_eq!(after_restart(Transport::UnixStreamOfLines, &statsd), (broken, 0.0));
    let reconnecting = |address: &str| {
        let client = "import statsd; client = statsd.UnixSocketStatsClient('ADDRESS')";
        let send = "def send(name):\n    client.reconnect()\n    client.incr(name)\n";
        let program = format!("{}\n{send}{SEND_FOR_EACH_LINE}", client.replace("ADDRESS", address));
        Seller::start(with(PYTHON, "-c", &program))
    };
    assert_eq!(after_restart(Transport::UnixStreamOfLines, &reconnecting), ("sent sent sent".into(), 3.0));
    assert_eq!(after_restart(Transport::UnixDatagram, &uds), ("failed sent sent".into(), 2.0));
    assert_eq!(after_restart(Transport::Tcp, &tcp), ("failed failed failed".into(), 0.0));
}

#[test]
fn cadence_continues_after_a_restart_as_the_page_says() {
    let directory = tempfile::tempdir().unwrap();
    let (daemon, path) = start_over(Transport::UnixDatagram, directory.path(), &[]);
    let sink = BufferedUnixMetricSink::from(path, UnixDatagram::unbound().unwrap());
    let client = StatsdClient::from_sink("shop", sink);
    sell_with(&client).unwrap();
    assert_sold(&daemon.stop(), json!({"region": "eu"}));
    let (daemon, _) = start_over(Transport::UnixDatagram, directory.path(), &[]);
    sell_with(&client).unwrap();
    assert_sold(&daemon.stop(), json!({"region": "eu"}));
}

const SEND_FOR_EACH_LINE: &str = "
import sys
for _ in sys.stdin:
    try:
        send('shop.orders')
        print('sent', flush=True)
    except OSError as error:
        print(type(error).__name__, flush=True)
";

/// Makes a client send once to one tallyd, and three times to another tallyd at the same address. Returns the client's three
/// outcomes, and the number of samples that the second tallyd reported.
fn after_restart(transport: Transport, start: &impl Fn(&str) -> Seller) -> (String, f64) {
    let directory = tempfile::tempdir().unwrap();
    let (daemon, address) = start_over(transport, directory.path(), &[]);
    let mut seller = start(&address);
    assert_eq!(seller.sell(), "sent");
    let finished = daemon.stop();
    assert_eq!(finished.sum("shop.orders", "value"), 1.0);
    let bind = format!("listeners.tcp.bind=127.0.0.1:{address}");
    let again = if transport == Transport::Tcp { vec![bind.as_str()] } else { vec![] };
    let (daemon, _) = start_over(transport, directory.path(), &again);
    let sold = [(); 3].map(|()| seller.sell());
    drop(seller);
    (sold.join(" "), daemon.stop().sum("shop.orders", "value"))
}

/// A client that sends an order for each line of its input, and prints the outcome.
struct Seller {
    client: Running,
    answers: BufReader<ChildStdout>,
}

impl Seller {
    fn start(mut command: Command) -> Self {
        let command = without_variables(&mut command).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut client = Running::start(command);
        let answers = BufReader::new(client.0.stdout.take().unwrap());
        Self { client, answers }
    }

    fn sell(&mut self) -> String {
        writeln!(self.client.0.stdin.as_mut().unwrap()).unwrap();
        let mut answer = String::new();
        self.answers.read_line(&mut answer).unwrap();
        answer.trim_end().to_owned()
    }
}

/// Asserts that one order was reported with these tags.
fn assert_sold(finished: &Finished, tags: Value) {
    assert_reported(
        finished,
        &[
            distribution("timing", "shop.checkout", 1.0, 250.0),
            tagged(counter("shop.orders", 1.0), tags),
            gauge("shop.stock", 27.0),
        ],
    );
    assert_lines(finished, 3);
}

#[test]
#[ignore = "needs Python with a part of Airflow from PyPI; run make test"]
fn block_for_airflow_reports_its_tasks() {
    let finished = after(|port| run_airflow(&shown("ini airflow", port)));
    assert_reported(
        &finished,
        &[
            gauge("airflow.executor.open_slots", 32.0),
            distribution("timing", "airflow.task.duration", 1.0, 1234.5),
            counter("airflow.task.start", 3.0),
        ],
    );
    let finished =
        after(|port| run_airflow(&(shown("ini airflow", port) + "statsd_influxdb_enabled = True\n")));
    let of_task = |row| tagged(row, json!({"dag_id": "shop", "task_id": "sell"}));
    assert_reported(
        &finished,
        &[
            gauge("airflow.executor.open_slots", 32.0),
            of_task(distribution("timing", "airflow.task.duration", 1.0, 1234.5)),
            of_task(counter("airflow.task.start", 3.0)),
        ],
    );
    let finished = after(|port| run_airflow(&shown("ini airflow-datadog", port)));
    let of_task = |row| tagged(row, json!({"dag_id": "shop", "env": "prod", "task_id": "sell"}));
    assert_reported(
        &finished,
        &[
            tagged(gauge("airflow.executor.open_slots", 32.0), json!({"env": "prod"})),
            of_task(distribution("timing", "airflow.task.duration", 1.0, 1234.5)),
            of_task(counter("airflow.task.start", 3.0)),
        ],
    );
}

fn run_airflow(config: &str) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("airflow.cfg");
    std::fs::write(&path, config).unwrap();
    run(python("send_airflow.py"), &[path.to_str().unwrap()]);
}

#[test]
#[ignore = "needs gunicorn from PyPI; run make test"]
fn block_for_gunicorn_reports_its_requests() {
    assert_gunicorn(&after(|port| run_gunicorn(&shown("python gunicorn", port))));
    for (transport, changed) in other_transports("python gunicorn") {
        assert_gunicorn(&after_over(transport, |address| run_gunicorn(&changed(address))));
    }
}

#[test]
#[ignore = "needs gunicorn from PyPI; run make test"]
fn gunicorn_does_not_reconnect_after_a_restart_as_the_page_says() {
    let (_, changed) = other_transports("python gunicorn").next().unwrap();
    let [sockets, directory] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let (mut daemon, address) =
        start_over(Transport::UnixDatagram, sockets.path(), &["flush.interval=100ms"]);
    let (gunicorn, socket) = start_gunicorn(directory.path(), &changed(&address));
    get(&socket, "/", 200);
    daemon.wait_for(|row| row["name"] == "shop.gunicorn.requests");
    daemon.stop();
    let (daemon, _) = start_over(Transport::UnixDatagram, sockets.path(), &[]);
    get(&socket, "/", 200);
    gunicorn.stop("TERM");
    assert_eq!(daemon.stop().sum("tallyd.lines", "value"), 0.0);
}

/// Makes gunicorn answer two requests.
fn run_gunicorn(config: &str) {
    let directory = tempfile::tempdir().unwrap();
    let (gunicorn, socket) = start_gunicorn(directory.path(), config);
    get(&socket, "/", 200);
    get(&socket, "/missing", 404);
    gunicorn.stop("TERM");
}

/// Starts gunicorn in a directory. Returns the process and the path of its socket.
fn start_gunicorn(directory: &Path, config: &str) -> (Running, PathBuf) {
    let [file, socket] = ["gunicorn.conf.py", "web.sock"].map(|name| directory.join(name));
    std::fs::write(&file, config).unwrap();
    let mut gunicorn = Command::new(PYTHON);
    gunicorn.args(["-m", "gunicorn", "--no-control-socket", "--chdir", CLIENTS, "--config"]).arg(file);
    gunicorn.arg("--bind").arg(format!("unix:{}", socket.display())).arg("serve_gunicorn:app");
    (start_server(gunicorn), socket)
}

fn assert_gunicorn(finished: &Finished) {
    let constant = |row| tagged(row, json!({"canary": "", "env": "prod"}));
    assert_reported(
        finished,
        &[
            constant(row("timing", "shop.gunicorn.request.duration", &[("count", 2.0)])),
            constant(counter("shop.gunicorn.request.status.200", 1.0)),
            constant(counter("shop.gunicorn.request.status.404", 1.0)),
            constant(counter("shop.gunicorn.requests", 2.0)),
            constant(row("gauge", "shop.gunicorn.workers", &[])),
            constant(gauge("shop.stock", 27.0)),
        ],
    );
    assert_took(finished, "shop.gunicorn.request.duration", Duration::ZERO, 1e3);
}

#[test]
#[ignore = "needs nginx with Lua from Debian; run make test"]
fn block_for_nginx_reports_its_requests() {
    let daemon = Daemon::start(&["flush.interval=100ms"]);
    let block = shown("nginx lua", &daemon.address().port().to_string());
    assert_nginx(daemon, &block);
    for (transport, changed) in other_transports("nginx lua") {
        let directory = tempfile::tempdir().unwrap();
        let (daemon, address) = start_over(transport, directory.path(), &["flush.interval=100ms"]);
        assert_nginx(daemon, &changed(&address));
    }
}

/// Makes nginx answer three requests, and asserts that tallyd reports them.
fn assert_nginx(mut daemon: Daemon, block: &str) {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("documented.conf"), block).unwrap();
    std::fs::copy(Path::new(CLIENTS).join("serve_nginx.conf"), directory.path().join("nginx.conf")).unwrap();
    let mut nginx = Command::new("/usr/sbin/nginx");
    nginx
        .args(["-e", "stderr", "-c", "nginx.conf", "-p"])
        .arg(directory.path())
        .current_dir(directory.path());
    let nginx = start_server(nginx);
    for _ in 0..2 {
        get(&directory.path().join("web.sock"), "/", 204);
    }
    get(&directory.path().join("web.sock"), "/missing", 404);
    // nginx answers a request before it sends the samples of that request.
    let mut counted = 0.0;
    while counted < 3.0 {
        let is_counted = |row: &Value| row["name"] == "nginx.requests" && row["value"] != 0.0;
        counted += daemon.wait_for_next(is_counted)["value"].as_f64().unwrap();
    }
    nginx.stop("QUIT");
    let finished = daemon.stop();
    assert_all_taken(&finished);
    for (status, requests) in [("204", 2.0), ("404", 1.0)] {
        assert_eq!(finished.sum_of("nginx.requests", ("status", status)), requests);
    }
    assert_eq!(finished.sum("nginx.request_time", "count"), 3.0);
}

#[test]
#[ignore = "needs uWSGI from Debian; run make test"]
fn block_for_uwsgi_counts_requests_once_and_its_totals_at_each_push() {
    let directory = tempfile::tempdir().unwrap();
    let [config, socket] = ["uwsgi.ini", "web.sock"].map(|name| directory.path().join(name));
    let mut daemon = Daemon::start(&["flush.interval=100ms"]);
    let block = shown("ini uwsgi", &daemon.address().port().to_string());
    // This plugin answers each request with the request itself, and without headers.
    let server = format!("plugins = echo\nhttp-socket = {}\nhttp-socket-modifier1 = 101\n", socket.display());
    let block = block.replace("stats-pusher-default-freq = 10", "stats-pusher-default-freq = 1") + &server;
    std::fs::write(&config, block).unwrap();
    let mut uwsgi = Command::new("uwsgi-core");
    uwsgi.arg("--ini").arg(&config);
    let uwsgi = start_server(uwsgi);
    for _ in 0..5 {
        let connection = wait_for_ok(|| UnixStream::connect(&socket));
        exchange(connection, "GET / HTTP/1.0\r\nHost: shop.test\r\n\r\n").unwrap();
    }
    let mut totals = 0.0;
    while totals <= 10.0 {
        let is_total = |row: &Value| row["name"] == "shop.worker.0.requests" && row["value"] != 0.0;
        totals += daemon.wait_for_next(is_total)["value"].as_f64().unwrap();
    }
    uwsgi.stop("INT");
    let finished = daemon.stop();
    assert_all_taken(&finished);
    assert_eq!(finished.sum("shop.orders", "value"), 5.0);
}

/// Returns a block of the page with another port.
fn shown(info: &str, port: &str) -> String {
    PAGE.block(info).replace("8125", port)
}

/// Returns a command that runs `text` as a program.
fn with(program: &str, option: &str, text: &str) -> Command {
    let mut command = Command::new(program);
    command.args([option, text]);
    command
}

/// Starts a server that sends to tallyd.
fn start_server(mut command: Command) -> Running {
    without_variables(&mut command).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    Running::start(&mut command)
}

/// Requests a page from a web server as soon as it listens, and asserts the status of the response.
fn get(socket: &Path, path: &str, status: u16) {
    let response = get_unchunked(wait_for_ok(|| UnixStream::connect(socket)), path);
    assert_eq!(response.code, status, "{response:?}");
}
