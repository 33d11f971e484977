//! Tests tallyd on a terminal and on a pipe: what it shows there, and what it does when they are closed.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use nix::fcntl::OFlag;
use nix::pty::{grantpt, posix_openpt, ptsname_r, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use tallyd_harness::process::{Running, send_signal, tallyd_command, without_variables};
use tallyd_harness::{wait_for, wait_until};
use tempfile::TempDir;

/// A tallyd that receives over a Unix socket and logs to a file.
struct Fixture {
    directory: TempDir,
    tallyd: Running,
}

impl Fixture {
    fn start(stdout: Stdio, variables: &[(&str, &str)], settings: &[&str]) -> Self {
        let directory = TempDir::new().unwrap();
        let log = File::create(directory.path().join("log")).unwrap();
        let socket = format!("listeners.unix_datagram.path={}", directory.path().join("socket").display());
        let defaults = [
            "listeners.udp.enabled=false",
            "listeners.unix_datagram.enabled=true",
            &socket,
            "flush.interval=100ms",
            "shutdown.timeout=5s",
        ];
        let mut command = tallyd_command();
        without_variables(&mut command)
            .envs(variables.iter().copied())
            .args(defaults.iter().chain(settings).flat_map(|setting| ["--set", *setting]));
        let tallyd = Running::start(command.stdin(Stdio::null()).stdout(stdout).stderr(log));
        let fixture = Self { directory, tallyd };
        wait_until(|| fixture.log().contains("listening on"));
        fixture
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap()
    }

    fn send(&self, lines: &str) {
        send_to(&self.path("socket"), lines);
    }

    /// Waits until tallyd has ended by itself.
    fn wait(&mut self) {
        wait_for(|| self.tallyd.0.try_wait().unwrap());
    }
}

fn send_to(socket: &Path, lines: &str) {
    UnixDatagram::unbound().unwrap().send_to(lines.as_bytes(), socket).unwrap();
}

/// Returns both ends of a terminal with 80 columns: the one of the window, and the one of the program.
fn terminal() -> (BufReader<File>, OwnedFd) {
    // No child may inherit the window: the terminal would stay open.
    let window = posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC).unwrap();
    grantpt(&window).unwrap();
    unlockpt(&window).unwrap();
    let program = ptsname_r(&window).unwrap();
    let flags = OFlag::O_NOCTTY.bits();
    let program = File::options().read(true).write(true).custom_flags(flags).open(program).unwrap();
    tcsetwinsize(&program, Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
    (BufReader::new(File::from(OwnedFd::from(window))), program.into())
}

/// Reads lines up to one for which `is_end` returns true.
fn read_until(window: &mut BufReader<File>, is_end: impl Fn(&str) -> bool) -> Vec<String> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        window.read_line(&mut line).unwrap();
        let line = line.trim_end().to_owned();
        let is_last = is_end(&line);
        lines.push(line);
        if is_last {
            return lines;
        }
    }
}

#[test]
fn a_terminal_shows_rows_that_fit_and_losses_in_red() {
    for (variables, is_red) in [(&[][..], true), (&[("NO_COLOR", "1")], false)] {
        let (mut window, program) = terminal();
        let fixture = Fixture::start(program.into(), variables, &["exporters.console.max_rows=2"]);
        fixture.send("api.latency:5:7:9|ms|#env:prod\na:1|g\nb:1|g\nc:1|g\nbroken");
        let lines = read_until(&mut window, |line| line.contains("more"));
        let plain = |line: &String| line.replace("\u{1b}[31m", "").replace("\u{1b}[0m", "");
        for line in lines.iter().map(plain) {
            assert!(line.chars().count() <= 80, "{line}");
        }
        let rows: Vec<_> =
            lines.iter().filter(|line| line.starts_with("  gauge") || line.starts_with("  timing")).collect();
        assert_eq!(rows.len(), 2, "{lines:?}");
        assert!(lines.last().unwrap().contains("and 2 more"), "{lines:?}");
        assert_eq!(lines.iter().any(|line| line.contains("\u{1b}[31m1 rejected")), is_red, "{lines:?}");
    }
}

#[test]
fn hang_up_of_its_terminal_stops_tallyd_but_another_one_reloads() {
    let (window, program) = terminal();
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("tallyd.prom");
    let textfile = format!("exporters.textfile.path={}", path.display());
    // The text file shows that the last interval is delivered.
    let settings = [
        "exporters.textfile.enabled=true",
        &textfile,
        "exporters.console.enabled=false",
        "flush.interval=1h",
    ];
    let mut fixture = Fixture::start(program.into(), &[], &settings);
    send_signal(fixture.tallyd.0.id(), "HUP");
    wait_until(|| fixture.log().contains("take effect"));
    fixture.send("hits:1|c");
    drop(window);
    send_signal(fixture.tallyd.0.id(), "HUP");
    fixture.wait();
    assert!(fixture.log().contains("the terminal was closed"), "{}", fixture.log());
    assert!(fs::read_to_string(&path).unwrap().contains("hits_total 1\n"));
}

#[test]
fn loss_of_the_only_exporter_stops_tallyd() {
    let mut fixture = Fixture::start(Stdio::piped(), &[], &[]);
    drop(fixture.tallyd.0.stdout.take());
    fixture.wait();
    assert!(fixture.log().contains("standard output was closed"), "{}", fixture.log());
}

#[test]
fn loss_of_one_of_two_exporters_does_not_stop_tallyd() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("tallyd.prom");
    let textfile = format!("exporters.textfile.path={}", path.display());
    let settings = ["exporters.textfile.enabled=true", &textfile];
    let mut fixture = Fixture::start(Stdio::piped(), &[], &settings);
    drop(fixture.tallyd.0.stdout.take());
    wait_until(|| fixture.log().contains("Broken pipe"));
    fixture.send("hits:1|c");
    wait_until(|| fs::read_to_string(&path).is_ok_and(|page| page.contains("hits_total 1\n")));
    assert_eq!(fixture.tallyd.0.try_wait().unwrap(), None);
}
