//! A receiver's process, and the kernel's figures about it. The process is pinned to its core before its first
//! instruction, and never outlives the bench.

use std::io;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{Signal, kill};
use nix::time::ClockId;
use nix::unistd::Pid;

use crate::arguments::LAUNCHER;
use crate::wait_clock::WaitClock;

/// An error whose message the bench prints.
pub(crate) type Error = Box<dyn std::error::Error + Send + Sync>;

/// The number that means the calling thread in calls to the scheduler.
const SELF: Pid = Pid::from_raw(0);

/// The cores of the generator and the receivers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cores {
    /// The core of the receivers, or `None` on a machine with one core.
    pub(crate) receiver: Option<usize>,
}

impl Cores {
    /// Pins this thread and its future children to the first available core, and reserves the last one for the
    /// receivers.
    pub(crate) fn assign() -> Result<Self, Error> {
        let allowed = sched_getaffinity(SELF)?;
        let mut cores = (0..CpuSet::count()).filter(|&core| allowed.is_set(core) == Ok(true));
        let (first, last) = (cores.next(), cores.next_back());
        if let Some(first) = first.filter(|_| last.is_some()) {
            pin(first)?;
        } else {
            eprintln!("the machine has one core: generator and receivers share it, so the times mean little");
        }
        Ok(Self { receiver: last })
    }
}

/// Pins the calling thread, and all threads and processes that it starts.
fn pin(core: usize) -> nix::Result<()> {
    let mut set = CpuSet::new();
    set.set(core)?;
    sched_setaffinity(SELF, &set)
}

/// Returns a command that starts `program` through [`become_pinned`]. Its standard output goes to a pipe.
pub(crate) fn command(cores: Cores, program: &str, arguments: &[&str]) -> io::Result<Command> {
    let core = cores.receiver.map_or("any".to_owned(), |core| core.to_string());
    let mut command = Command::new(std::env::current_exe()?);
    command.args([LAUNCHER, &core, program]).args(arguments);
    // Environment variables could change tallyd's configuration.
    command.env_clear().stdin(Stdio::null()).stdout(Stdio::piped());
    Ok(command)
}

/// Turns this process into `program`, and pins all its threads to the core. The kernel kills the process when the
/// bench's main thread ends for any reason. Both settings survive the exec.
///
/// Returns only if this fails.
pub(crate) fn become_pinned(core: Option<usize>, program: &str, arguments: &[String]) -> Error {
    if let Err(error) = set_pdeathsig(Signal::SIGKILL).and_then(|()| core.map_or(Ok(()), pin)) {
        return error.into();
    }
    let error = Command::new(program).args(arguments).exec();
    format!("cannot start {program}: {error}").into()
}

/// A listening receiver. Dropping this kills the process.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    cpu: ClockId,
    pub(crate) address: SocketAddr,
}

/// The memory of a process, in bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Memory {
    pub(crate) resident: u64,
    /// The largest amount that was ever resident.
    pub(crate) peak: u64,
}

impl Process {
    pub(crate) fn new(child: Child, address: SocketAddr) -> Result<Self, Error> {
        let cpu = ClockId::pid_cpu_clock_id(pid_of(&child))?;
        Ok(Self { child, cpu, address })
    }

    /// Returns the user and system time of the process and of all live processes that it started. The time includes
    /// threads that have ended.
    ///
    /// The CPU clock of a process is the scheduler's own figure, in nanoseconds up to the present moment.
    /// `/proc/PID/stat` counts only whole ticks of 10 ms. `/proc/PID/task/*/schedstat` lacks threads that have ended.
    /// For a running thread, it also lacks the time since the scheduler's last update.
    pub(crate) fn cpu(&self) -> Result<Duration, Error> {
        let mut cpu = Duration::from(self.cpu.now()?);
        let mut processes = children(pid_of(&self.child))?;
        while let Some(process) = processes.pop() {
            // A process that has just ended has no clock and no children.
            if let Ok(time) = ClockId::pid_cpu_clock_id(process).and_then(ClockId::now) {
                cpu += Duration::from(time);
                processes.extend(children(process).unwrap_or_default());
            }
        }
        Ok(cpu)
    }

    /// Returns the total time for which the main thread was ready to run while another thread had the core.
    pub(crate) fn waited(&self) -> io::Result<Duration> {
        WaitClock::of(format!("/proc/{}", self.child.id()))?.read()
    }

    /// Returns the number of times that its live threads went to sleep.
    pub(crate) fn sleeps(&self) -> io::Result<u64> {
        let mut sleeps = 0;
        for thread in std::fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            let status = std::fs::read_to_string(thread?.path().join("status"))?;
            sleeps += number(&status, "voluntary_ctxt_switches:")?;
        }
        Ok(sleeps)
    }

    pub(crate) fn socket(&self) -> io::Result<Socket> {
        Socket::bound_to(self.address)
    }

    pub(crate) fn memory(&self) -> io::Result<Memory> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let bytes = |key| Ok::<_, io::Error>(number(&status, key)? * 1024);
        Ok(Memory { resident: bytes("VmRSS:")?, peak: bytes("VmHWM:")? })
    }

    /// Asks the process to stop.
    pub(crate) fn terminate(&self) -> nix::Result<()> {
        // Nothing has waited for the child yet, so the kernel has not reused its number.
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
        // This fails only if the process has already ended.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// The kernel's figures for a receiving socket, from `/proc/net/udp`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Socket {
    /// Bytes in the receive queue, including the kernel's overhead per datagram.
    pub(crate) queued: u64,
    /// Datagrams dropped since the socket was opened, because the queue was full.
    pub(crate) dropped: u64,
}

impl Socket {
    /// Reads the row of the socket that is bound to an address.
    pub(crate) fn bound_to(address: SocketAddr) -> io::Result<Self> {
        let table = std::fs::read_to_string("/proc/net/udp")?;
        let port = format!(":{:04X}", address.port());
        let row = table.lines().find_map(|line| Self::parse(line, &port));
        row.ok_or_else(|| io::Error::other(format!("{address} has no row in /proc/net/udp")))
    }

    /// Parses a row. Counted from 0, column 1 is the local address, column 4 has the sizes of the queues, and column 12
    /// is the number of drops.
    ///
    /// ```text
    ///    sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
    ///  1234: 0100007F:1FBD 00000000:0000 07 00000000:00000A00 00:00000000 00000000     0        0 7777 2 0000000000000000 0
    /// ```
    fn parse(line: &str, port: &str) -> Option<Self> {
        let columns: Vec<_> = line.split_ascii_whitespace().collect();
        if !columns.get(1)?.ends_with(port) {
            return None;
        }
        let (_, queued) = columns.get(4)?.split_once(':')?;
        Some(Self { queued: u64::from_str_radix(queued, 16).ok()?, dropped: columns.get(12)?.parse().ok()? })
    }
}

/// Returns the number after a key of a `status` file, without its unit.
fn number(status: &str, key: &str) -> io::Result<u64> {
    let rest = status.lines().find_map(|line| line.strip_prefix(key));
    let number = rest.and_then(|rest| rest.split_ascii_whitespace().next());
    let number = number.and_then(|number| number.parse().ok());
    number.ok_or_else(|| io::Error::other(format!("the process has no number for {key}")))
}

/// Returns the processes that the threads of a process started.
fn children(process: Pid) -> io::Result<Vec<Pid>> {
    let mut children = Vec::new();
    for thread in std::fs::read_dir(format!("/proc/{process}/task"))? {
        // A thread that has just ended has no children.
        let numbers = std::fs::read_to_string(thread?.path().join("children")).unwrap_or_default();
        let numbers = numbers.split_ascii_whitespace().filter_map(|number| number.parse().ok());
        children.extend(numbers.map(Pid::from_raw));
    }
    Ok(children)
}

/// Returns the number of a process, which is at most 2^22.
fn pid_of(child: &Child) -> Pid {
    Pid::from_raw(child.id().cast_signed())
}
