//! Tests `tallyd top` and the question of `tallyd delete` in tmux, a real terminal.

use std::fs;
use std::process::{Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};

use tallyd_harness::fake::{FakeServer, respond_json, stream};
use tallyd_harness::http::free_address;
use tallyd_harness::process::{path_with_tallyd, send_signal, spawn};
use tallyd_harness::{Daemon, HTTP, wait_until};
use tempfile::TempDir;

/// A terminal in which a shell runs. Dropping this ends its server.
struct Terminal {
    directory: TempDir,
}

impl Terminal {
    fn open(width: u16, height: u16) -> Self {
        let terminal = Self { directory: TempDir::new().unwrap() };
        let size = [width.to_string(), height.to_string()];
        // The prompt shows that the shell reads commands again.
        terminal.tmux(&[
            "-f",
            "/dev/null",
            "new-session",
            "-d",
            "-x",
            &size[0],
            "-y",
            &size[1],
            "PS1='READY> ' sh -i",
        ]);
        terminal.wait_for("READY>");
        terminal
    }

    fn tmux(&self, arguments: &[&str]) -> String {
        let mut command = Command::new("tmux");
        command.arg("-S").arg(self.directory.path().join("tmux")).args(arguments);
        command.env("PATH", path_with_tallyd()).env("TERM", "xterm-256color").env_remove("TMUX");
        let output = spawn(command.stdout(Stdio::piped()).stderr(Stdio::null())).wait_with_output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    fn screen(&self) -> String {
        self.tmux(&["capture-pane", "-p"])
    }

    fn wait_for(&self, text: &str) {
        wait_until(|| self.screen().contains(text));
    }

    fn type_line(&self, line: &str) {
        self.tmux(&["send-keys", "-l", line]);
        self.press("Enter");
    }

    fn press(&self, key: &str) {
        self.tmux(&["send-keys", key]);
    }

    /// Waits until the shell has the terminal again, and checks that it is as before: with the text from before, and
    /// with an echo of what is typed.
    fn assert_restored(&self, exit_code: u8) {
        // What is typed too early is for tallyd.
        wait_until(|| self.screen().trim_end().ends_with("\nREADY>"));
        self.type_line("echo code $?");
        wait_until(|| {
            let screen = self.screen();
            let is_echoed = screen.contains("READY> echo code $?");
            is_echoed && screen.trim_end().ends_with(&format!("code {exit_code}\nREADY>"))
        });
        let screen = self.screen();
        // The first prompt is before the command.
        assert!(screen.matches("READY>").count() == 3 && !screen.contains("q quit"), "{screen}");
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.tmux(&["kill-server"]);
    }
}

const STATUS: &str = r#"{"version": "0.1.0", "started": "2026-12-01T00:00:00Z", "uptime_seconds": 65.0,
    "exporters": [{"name": "prometheus", "age_seconds": 3.2, "waiting_samples": 0, "failures": 0, "error": null}],
    "configuration": {},
    "interval": {"time": "2026-12-01T01:02:10Z", "seconds": 10.0, "series": 1200, "lines": 500000, "samples": 500100,
    "losses": [{"kind": "lines_rejected", "by": "bad_value", "count": 3.0}], "drops_known": true, "flush_seconds": 0.004,
    "memory": {"used": 120000000.0, "max": 400000000.0, "resident": 90000000.0}}}"#;

const TALKERS: &str = r#"{"time": "2026-12-01T01:02:10Z", "seconds": 10.0, "sampled": {"lines": 500000, "kept": 2048},
    "names": [{"name": "page.views", "samples": 120394.0, "error": 4000.0}, {"name": "disk", "samples": 10.0, "error": 0}],
    "series": [], "new": [], "rejected": [],
    "senders": [{"sender": {"address": "10.0.0.7"}, "listener": "udp", "lines": 5000.0, "error": 300.0}]}"#;

const REJECTED: &str = r#"{"lines": [{"time": "2026-12-01T01:02:10Z", "reason": "bad_value", "line": "page.views:one|c",
    "length": 16, "begin": 0, "column": 12, "caret": 11, "listener": "udp", "sender": {"address": "127.0.0.1:52037"}}], "quarantined": []}"#;

/// A server with the documented answers, which the test stops and starts again.
struct Server {
    server: FakeServer,
    state: Arc<(Mutex<State>, Condvar)>,
}

/// What the server says.
struct State {
    /// The name with the most samples, or `None` while the server is stopped.
    busiest: Option<&'static str>,
}

impl Server {
    fn start() -> Self {
        let state = Arc::new((Mutex::new(State { busiest: Some("page.views") }), Condvar::new()));
        let shared = Arc::clone(&state);
        let server = FakeServer::start(move |request, connection| {
            let (state, changed) = &*shared;
            let Some(busiest) = state.lock().unwrap().busiest else { return };
            match request {
                "GET /api/v1/status" => respond_json(connection, STATUS),
                "GET /api/v1/talkers" => respond_json(connection, &TALKERS.replace("page.views", busiest)),
                "GET /api/v1/rejected" => respond_json(connection, REJECTED),
                "GET /api/v1/series?match=page.*&limit=0" => {
                    respond_json(connection, r#"{"matched": 12, "series": []}"#);
                }
                "POST /api/v1/delete?match=page.*" => respond_json(connection, r#"{"deleted": 12}"#),
                _ => {
                    stream(connection, "event: interval\ndata: {}\n\n");
                    let runs = |state: &mut State| state.busiest.is_some();
                    drop(changed.wait_while(state.lock().unwrap(), runs));
                }
            }
        });
        Self { server, state }
    }

    /// Stops the server, or starts it with another name.
    fn set(&self, busiest: Option<&'static str>) {
        self.state.0.lock().unwrap().busiest = busiest;
        self.state.1.notify_all();
    }

    /// Returns the command that shows this server.
    fn command(&self) -> String {
        format!("tallyd top --url {}", self.server.url())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.set(None);
    }
}

#[test]
#[ignore = "needs tmux; run make test"]
fn losses_are_red_unless_no_color_is_set() {
    let server = Server::start();
    for (variable, is_red) in [("NO_COLOR=", true), ("NO_COLOR=1", false)] {
        let terminal = Terminal::open(80, 24);
        terminal.type_line(&format!("env {variable} {}", server.command()));
        terminal.wait_for("5 losses");
        // With the escape sequences of colors.
        let screen = terminal.tmux(&["capture-pane", "-p", "-e"]);
        assert_eq!(screen.contains("\x1b[38;5;1m"), is_red, "{screen:?}");
    }
}

#[test]
#[ignore = "needs tmux; run make test"]
fn a_real_tallyd_is_shown_before_and_after_its_first_interval() {
    for (settings, text) in
        [(&[][..], "the first interval has not ended"), (&["flush.interval=100ms"], "lines/s")]
    {
        let daemon = Daemon::start(&[&HTTP[..], settings].concat());
        let terminal = Terminal::open(80, 24);
        terminal.type_line(&format!("tallyd top --url http://{}", daemon.http_address()));
        terminal.wait_for(text);
        terminal.press("4");
        terminal.wait_for("prometheus");
        if !settings.is_empty() {
            terminal.press("1");
            wait_until(|| {
                daemon.send("page.views:1|c");
                terminal.screen().contains("page.views")
            });
            daemon.send("page.views:one|c");
            terminal.press("3");
            terminal.wait_for("page.views:one|c");
            daemon.stop();
            terminal.wait_for("not connected, retrying");
        }
        terminal.press("q");
        terminal.assert_restored(0);
    }
}

#[test]
#[ignore = "needs tmux; run make test"]
fn keys_show_views_filter_rows_and_quit() {
    let server = Server::start();
    let terminal = Terminal::open(80, 24);
    terminal.type_line(&server.command());
    terminal.wait_for("page.views");
    for text in ["tallyd 0.1.0  up 1m 5s", "50k lines/s", "3 lost", "SAMPLES/S", "q quit"] {
        assert!(terminal.screen().contains(text), "{}", terminal.screen());
    }
    for (key, text) in
        [("2", "10.0.0.7"), ("3", "page.views:one|c"), ("Tab", "prometheus"), ("5", "lines_rejected")]
    {
        terminal.press(key);
        terminal.wait_for(text);
    }
    terminal.press("3");
    terminal.wait_for("page.views:one|c");
    let screen = terminal.screen();
    let caret = screen.lines().skip_while(|line| !line.contains("page.views:one|c")).nth(1).unwrap();
    assert!(caret.trim() == "^", "{screen}");
    terminal.press("1");
    terminal.wait_for("disk");
    terminal.press("/");
    terminal.press("v");
    terminal.wait_for("/v_");
    wait_until(|| !terminal.screen().contains("disk"));
    terminal.press("Enter");
    terminal.wait_for("only \"v\"");
    terminal.press("?");
    terminal.wait_for("Press any key.");
    terminal.press("x");
    terminal.wait_for("page.views");
    terminal.press("q");
    terminal.assert_restored(0);
}

#[test]
#[ignore = "needs tmux; run make test"]
fn a_signal_restores_the_terminal() {
    let server = Server::start();
    for signal in ["INT", "TERM"] {
        let terminal = Terminal::open(80, 24);
        let pid = terminal.directory.path().join("pid");
        terminal.type_line(&format!("sh -c 'echo $$ > {}; exec {}'", pid.display(), server.command()));
        terminal.wait_for("page.views");
        send_signal(fs::read_to_string(&pid).unwrap().trim().parse().unwrap(), signal);
        terminal.assert_restored(0);
    }
    let terminal = Terminal::open(80, 24);
    terminal.type_line(&server.command());
    terminal.wait_for("page.views");
    terminal.press("C-c");
    terminal.assert_restored(0);
}

/// A thread cannot start if its stack is larger than the address space, and then `thread::spawn` panics.
#[test]
#[ignore = "needs tmux; run make test"]
fn a_panic_restores_the_terminal() {
    let server = Server::start();
    let terminal = Terminal::open(80, 24);
    terminal.type_line(&format!("RUST_BACKTRACE=0 RUST_MIN_STACK=999999999999999 {}", server.command()));
    terminal.wait_for("panicked");
    terminal.assert_restored(101);
}

#[test]
#[ignore = "needs tmux; run make test"]
fn a_lost_connection_is_shown_until_tallyd_is_back() {
    let server = Server::start();
    let terminal = Terminal::open(80, 24);
    terminal.type_line(&server.command());
    terminal.wait_for("page.views");
    server.set(None);
    terminal.wait_for("not connected, retrying: ");
    assert!(terminal.screen().contains("page.views"), "{}", terminal.screen());
    server.set(Some("after.restart"));
    terminal.wait_for("after.restart");
    assert!(!terminal.screen().contains("not connected"), "{}", terminal.screen());
    server.set(None);
    terminal.wait_for("not connected, retrying: ");
    terminal.press("q");
    terminal.assert_restored(0);
}

#[test]
#[ignore = "needs tmux; run make test"]
fn without_a_tallyd_it_fails_at_once() {
    let terminal = Terminal::open(80, 24);
    terminal.type_line(&format!("tallyd top --url http://{}", free_address()));
    terminal.wait_for("is tallyd running there");
    terminal.assert_restored(1);
}

/// The system connects 0.0.0.0 to itself, but it is no loopback address.
#[test]
#[ignore = "needs tmux; run make test"]
fn a_password_that_others_can_read_causes_a_warning_on_the_screen() {
    let server = Server::start();
    let terminal = Terminal::open(80, 24);
    let command = server.command().replace("127.0.0.1", "0.0.0.0");
    terminal.type_line(&format!("TALLYD_PASSWORD=secret {command} --user ann"));
    terminal.wait_for("warning: the password travels unencrypted; use https:// in --url");
    terminal.press("q");
    terminal.assert_restored(0);
}

#[test]
#[ignore = "needs tmux; run make test"]
fn a_small_terminal_shows_what_fits_and_may_be_resized() {
    let server = Server::start();
    let terminal = Terminal::open(30, 6);
    terminal.type_line(&server.command());
    terminal.wait_for("page.views");
    assert!(!terminal.screen().contains("REJECTED"));
    terminal.tmux(&["resize-window", "-x", "100", "-y", "30"]);
    terminal.wait_for("REJECTED");
    terminal.tmux(&["resize-window", "-x", "8", "-y", "2"]);
    wait_until(|| !terminal.screen().contains("NAME"));
    terminal.tmux(&["resize-window", "-x", "80", "-y", "24"]);
    terminal.wait_for("REJECTED");
    terminal.press("q");
    terminal.assert_restored(0);
}

#[test]
#[ignore = "needs tmux; run make test"]
fn delete_asks_a_person_before_it_deletes() {
    let server = Server::start();
    let command = format!("tallyd delete 'page.*' --url {}", server.server.url());
    let is_sent = || server.server.requests().iter().any(|request| request.starts_with("POST"));
    for (answer, outcome) in
        [("", "nothing was deleted"), ("no", "nothing was deleted"), ("y", "12 series deleted")]
    {
        assert!(!is_sent());
        let terminal = Terminal::open(80, 24);
        terminal.type_line(&command);
        terminal.wait_for("Delete 12 series that match page.* on http");
        terminal.type_line(answer);
        terminal.wait_for(outcome);
    }
    assert!(is_sent());
}
