//! A receiver's process: pinned to its core before its first instruction, and never alive after the bench.

use std::io;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{Signal, kill};
use nix::time::ClockId;
use nix::unistd::Pid;

use crate::Failure;
use crate::arguments::LAUNCHER;
use crate::cores::{Cores, pin};
use crate::socket::{self, Socket};

/// Starts `program` by way of [`become_pinned`]. Its standard output goes to a pipe.
pub(crate) fn command(cores: Cores, program: &str, arguments: &[&str]) -> io::Result<Command> {
    let core = cores.receiver.map_or("any".to_owned(), |core| core.to_string());
    let mut command = Command::new(std::env::current_exe()?);
    command.args([LAUNCHER, &core, program]).args(arguments);
    // Variables could change tallyd's configuration.
    command.env_clear().stdin(Stdio::null()).stdout(Stdio::piped());
    Ok(command)
}

/// Turns this process into `program`. What it sets up outlasts the exec: the core, for all threads that there will be,
/// and that the kernel kills the process when the bench's main thread has ended, however that came.
///
/// Returns only why it could not.
pub(crate) fn become_pinned(core: Option<usize>, program: &str, arguments: &[String]) -> Failure {
    if let Err(error) = set_pdeathsig(Signal::SIGKILL).and_then(|()| core.map_or(Ok(()), pin)) {
        return error.into();
    }
    let error = Command::new(program).args(arguments).exec();
    format!("cannot start {program}: {error}").into()
}

/// A receiver that listens. Killed when dropped.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    cpu: ClockId,
    pub(crate) address: SocketAddr,
}

/// Memory of a process, in bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Memory {
    pub(crate) resident: u64,
    /// The most that was ever resident.
    pub(crate) peak: u64,
}

impl Process {
    pub(crate) fn new(child: Child, address: SocketAddr) -> Result<Self, Failure> {
        let cpu = ClockId::pid_cpu_clock_id(pid_of(&child))?;
        Ok(Self { child, cpu, address })
    }

    /// User and system time that all threads took, also those that have ended, and all processes that it started, as far
    /// as they are alive.
    ///
    /// This clock is the scheduler's own account, in nanoseconds and up to the present moment.
    /// `/proc/PID/stat` counts whole ticks of 10 ms instead, and `/proc/PID/task/*/schedstat` lacks threads that have
    /// ended and, for one that runs, the time since the scheduler last looked at it.
    pub(crate) fn cpu(&self) -> Result<Duration, Failure> {
        let mut cpu = Duration::from(self.cpu.now()?);
        let mut processes = children(pid_of(&self.child))?;
        while let Some(process) = processes.pop() {
            // One that ends at this moment has no clock, and no children.
            if let Ok(time) = ClockId::pid_cpu_clock_id(process).and_then(ClockId::now) {
                cpu += Duration::from(time);
                processes.extend(children(process).unwrap_or_default());
            }
        }
        Ok(cpu)
    }

    /// How long the main thread was ready to run while another one had the core.
    pub(crate) fn waited(&self) -> io::Result<Duration> {
        let times = std::fs::read_to_string(format!("/proc/{}/schedstat", self.child.id()))?;
        // Nanoseconds on the core, nanoseconds waiting for it, and how often it was given.
        let waited = times.split_ascii_whitespace().nth(1).and_then(|number| number.parse().ok());
        Ok(Duration::from_nanos(waited.unwrap_or(0)))
    }

    /// How often its threads, as far as they are alive, went to sleep.
    pub(crate) fn sleeps(&self) -> io::Result<u64> {
        let mut sleeps = 0;
        for thread in std::fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            let status = std::fs::read_to_string(thread?.path().join("status"))?;
            sleeps += number(&status, "voluntary_ctxt_switches:");
        }
        Ok(sleeps)
    }

    pub(crate) fn socket(&self) -> io::Result<Socket> {
        socket::read(self.address)
    }

    pub(crate) fn memory(&self) -> io::Result<Memory> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let bytes = |key| number(&status, key) * 1024;
        Ok(Memory { resident: bytes("VmRSS:"), peak: bytes("VmHWM:") })
    }

    /// Asks it to stop.
    pub(crate) fn terminate(&self) -> nix::Result<()> {
        // The child has not been waited for, so the number is still its own.
        kill(pid_of(&self.child), Signal::SIGTERM)
    }

    pub(crate) fn has_ended(&mut self) -> io::Result<bool> {
        self.child.try_wait().map(|status| status.is_some())
    }

    pub(crate) fn wait(&mut self) -> io::Result<ExitStatus> {
        self.child.wait()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Fails only if it has ended already.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// The number behind a key of a `status` file, without its unit.
fn number(status: &str, key: &str) -> u64 {
    let rest = status.lines().find_map(|line| line.strip_prefix(key));
    let number = rest.and_then(|rest| rest.split_ascii_whitespace().next());
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// The processes that the threads of a process started.
fn children(process: Pid) -> io::Result<Vec<Pid>> {
    let mut children = Vec::new();
    for thread in std::fs::read_dir(format!("/proc/{process}/task"))? {
        // A thread that ends at this moment has none.
        let numbers = std::fs::read_to_string(thread?.path().join("children")).unwrap_or_default();
        let numbers = numbers.split_ascii_whitespace().filter_map(|number| number.parse().ok());
        children.extend(numbers.map(Pid::from_raw));
    }
    Ok(children)
}

/// Process numbers are at most 2^22.
fn pid_of(child: &Child) -> Pid {
    Pid::from_raw(child.id().cast_signed())
}
