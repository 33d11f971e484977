//! Starts programs, sends them signals, and kills them at the end of a test.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};

use command_fds::{CommandFdExt, FdMapping};

use super::wait::wait_for;

/// The root of the repository.
pub const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// Returns the path of the tallyd under test, which `cargo test` has built. If `TALLYD_CONFINED` is set, this is a program
/// that runs it under the system call filter of its systemd unit.
pub fn tallyd_path() -> String {
    let tallyd = std::env::var("CARGO_BIN_EXE_tallyd").expect("`cargo test` sets CARGO_BIN_EXE_tallyd");
    if std::env::var_os("TALLYD_CONFINED").is_none() {
        return tallyd;
    }
    // The program looks for tallyd in its own directory, because some tests clear the environment.
    let confined = format!("{tallyd}-confined");
    match symlink(format!("{ROOT}/tests/confined/tallyd"), &confined) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => panic!("{confined}: {error}"),
        _ => confined,
    }
}

/// Returns the value of `PATH` with the directory of the tallyd under test in front.
pub fn path_with_tallyd() -> String {
    let directory = Path::new(&tallyd_path()).parent().unwrap().display().to_string();
    format!("{directory}:{}", std::env::var("PATH").unwrap())
}

/// Returns a command that runs tallyd.
pub fn tallyd_command() -> Command {
    Command::new(tallyd_path())
}

/// The first file descriptor that systemd passes (`SD_LISTEN_FDS_START`).
const FIRST_PASSED: i32 = 3;

/// Returns a command that runs tallyd with these sockets, as systemd does for a socket unit. The unit of the last ones, if
/// any, has the name of the endpoint.
pub fn tallyd_with_sockets(sockets: &[OwnedFd], endpoint: &[OwnedFd]) -> Command {
    // Only the process itself knows its id.
    let mut command = Command::new("sh");
    command.args(["-c", "export LISTEN_PID=$$; exec \"$@\"", "sh", &tallyd_path()]);
    let names = [vec!["tallyd.socket"; sockets.len()], vec!["prometheus"; endpoint.len()]].concat();
    command.env("LISTEN_FDS", names.len().to_string()).env("LISTEN_FDNAMES", names.join(":"));
    let sockets = sockets.iter().chain(endpoint);
    let mappings = sockets.zip(FIRST_PASSED..).map(|(socket, child_fd)| {
        let parent_fd = socket.try_clone().unwrap();
        FdMapping { parent_fd, child_fd }
    });
    command.fd_mappings(mappings.collect()).unwrap();
    command
}

/// Runs tallyd until it ends.
pub fn tallyd(arguments: &[&str]) -> Output {
    tallyd_command().args(arguments).output().unwrap()
}

/// Returns what a program wrote to standard error.
pub fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

/// Returns what a program wrote to standard output.
pub fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

/// A running program. Dropping this kills it.
pub struct Running(pub Child);

impl Running {
    /// Starts a program. If this fails, the message says how to install it.
    pub fn start(command: &mut Command) -> Self {
        Self(spawn(command))
    }

    /// Sends a signal to the program, and waits until it has ended. `signal` is the name of the signal without `SIG`.
    pub fn stop(mut self, signal: &str) -> ExitStatus {
        send_signal(self.0.id(), signal);
        wait_for(|| self.0.try_wait().unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // This fails only if the program has ended already.
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

/// Starts a program. If this fails, the message says how to install it. The caller waits for the end of the program.
pub fn spawn(command: &mut Command) -> Child {
    command.spawn().unwrap_or_else(|error| panic!("{error}: {command:?}; run make install-test-tools"))
}

/// Sends a signal to a process. `signal` is the name of the signal without `SIG`.
pub fn send_signal(process: u32, signal: &str) {
    let status = Command::new("kill").args(["-s", signal, &process.to_string()]).status().unwrap();
    assert!(status.success());
}

/// Removes all environment variables except `PATH`, because clients and tallyd read configuration from them.
pub fn without_variables(command: &mut Command) -> &mut Command {
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap())
}

/// Removes all environment variables except `PATH` and those that tell cargo where its files are. With the variables
/// that `cargo test` sets for its tests, a nested cargo would build the crate ring again.
pub fn without_variables_except_cargos(command: &mut Command) -> &mut Command {
    let kept = ["HOME", "CARGO_HOME", "RUSTUP_HOME"];
    let kept = kept.iter().filter_map(|name| Some((name, std::env::var_os(name)?)));
    without_variables(command).envs(kept)
}

/// Runs `promtool check metrics` on a page. Returns the exit code and the remarks.
pub fn promtool(page: &Path) -> (Option<i32>, String) {
    let mut command = Command::new("promtool");
    command.args(["check", "metrics"]).stdin(File::open(page).unwrap());
    let output = spawn(command.stdout(Stdio::piped()).stderr(Stdio::piped())).wait_with_output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}
