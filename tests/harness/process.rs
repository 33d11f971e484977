//! Starts programs, and leaves none of them behind.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};

use super::wait::wait_for;

/// The root of the repository.
pub const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// Returns the path of the tallyd that is tested, which `cargo test` has built.
pub fn tallyd_path() -> String {
    std::env::var("CARGO_BIN_EXE_tallyd").expect("`cargo test` sets CARGO_BIN_EXE_tallyd")
}

/// Returns a command that runs tallyd.
pub fn tallyd_command() -> Command {
    Command::new(tallyd_path())
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

/// A program that is killed when this is dropped.
pub struct Running(pub Child);

impl Running {
    /// Starts a program, which `make install-test-tools` installs.
    pub fn start(command: &mut Command) -> Self {
        Self(spawn(command))
    }

    /// Sends the program a signal by its name without `SIG`, and waits for its end.
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

/// Starts a program. The failure tells how to install it.
pub fn spawn(command: &mut Command) -> Child {
    command.spawn().unwrap_or_else(|error| panic!("{error}: {command:?}; run make install-test-tools"))
}

/// Sends a process a signal by its name without `SIG`.
pub fn send_signal(process: u32, signal: &str) {
    let status = Command::new("kill").args(["-s", signal, &process.to_string()]).status().unwrap();
    assert!(status.success());
}

/// Removes the variables of the environment, from which clients and tallyd would read their configuration.
pub fn without_variables(command: &mut Command) -> &mut Command {
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap())
}

/// Removes the variables of the environment except those by which cargo finds its files. Variables that `cargo test` sets for
/// its tests would make another cargo build ring again.
pub fn without_variables_but_cargos(command: &mut Command) -> &mut Command {
    let kept = ["HOME", "CARGO_HOME", "RUSTUP_HOME"];
    let kept = kept.iter().filter_map(|name| Some((name, std::env::var_os(name)?)));
    without_variables(command).envs(kept)
}

/// Returns promtool's exit code and remarks for a page.
pub fn promtool(page: &Path) -> (Option<i32>, String) {
    let mut command = Command::new("promtool");
    command.args(["check", "metrics"]).stdin(File::open(page).unwrap());
    let output = spawn(command.stdout(Stdio::piped()).stderr(Stdio::piped())).wait_with_output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}
