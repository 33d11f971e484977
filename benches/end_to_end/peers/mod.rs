//! Other StatsD servers, which receive the same streams as tallyd.
//!
//! Each server runs as shipped, except for its configuration file in this folder. It flushes every second and does
//! nothing else. If possible, it computes the same percentiles as tallyd and writes its results to standard output,
//! which is discarded. Its receive buffer has the size that it requests, or the kernel's default. The bench checks only
//! that the server received the datagrams. It does not check the results.

use std::fs::{self, File};
use std::io;
use std::net::UdpSocket;
use std::path::PathBuf;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::process::{self, Cores, Error, Process};

/// The time within which a server must start to listen, or must end.
const TIMEOUT: Duration = Duration::from_secs(20);

/// A server, with its configuration and the command that starts it.
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    /// The name of its program in `PATH`.
    program: &'static str,
    /// The command that installs it.
    pub(crate) install: &'static str,
    /// The text of the configuration file. The bench fills in `{port}` and `{folder}`.
    configuration: &'static str,
    /// The arguments that keep it in the foreground. The bench fills in `{folder}`, and the path of the file for
    /// `{configuration}`.
    arguments: &'static [&'static str],
}

/// The servers that a package manager can install.
pub(crate) const ALL: [Peer; 3] = [
    Peer {
        name: "collectd",
        program: "collectd",
        install: "apt-get install collectd-core",
        configuration: include_str!("collectd.conf"),
        arguments: &["-f", "-C", "{configuration}"],
    },
    Peer {
        name: "netdata",
        program: "netdata",
        install: "apt-get install netdata-core",
        configuration: include_str!("netdata.conf"),
        arguments: &["-D", "-P", "{folder}/pid", "-c", "{configuration}"],
    },
    Peer {
        name: "statsd (Node)",
        program: "statsd",
        install: "npm install --global statsd",
        configuration: include_str!("statsd.js"),
        arguments: &["{configuration}"],
    },
];

impl Peer {
    pub(crate) fn is_installed(&self) -> bool {
        self.path().is_some()
    }

    fn path(&self) -> Option<PathBuf> {
        let path = std::env::var_os("PATH")?;
        std::env::split_paths(&path).map(|folder| folder.join(self.program)).find(|path| path.is_file())
    }
}

/// A running peer, in a folder of its own.
pub(crate) struct Server {
    pub(crate) process: Process,
    /// Dropping this removes the folder.
    _folder: TempDir,
}

impl Server {
    /// Starts a peer on a free port, and waits until it listens.
    pub(crate) fn start(peer: &Peer, cores: Cores) -> Result<Self, Error> {
        let folder = tempfile::tempdir()?;
        // The port is free again at once. The kernel assigns other ports before it assigns this port again.
        let address = UdpSocket::bind("127.0.0.1:0")?.local_addr()?;
        let fill_in = |text: &str, configuration: &str| {
            text.replace("{port}", &address.port().to_string())
                .replace("{folder}", &folder.path().to_string_lossy())
                .replace("{configuration}", configuration)
        };
        let file = folder.path().join("configuration");
        fs::write(&file, fill_in(peer.configuration, ""))?;
        let file = file.to_string_lossy();
        let arguments: Vec<_> = peer.arguments.iter().map(|argument| fill_in(argument, &file)).collect();
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        let program = peer.path().ok_or_else(|| format!("{} is not installed", peer.name))?;

        let log = folder.path().join("log");
        let mut command = process::command(cores, &program.to_string_lossy(), &arguments)?;
        // The program may be a script, which looks for its interpreter.
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.stdout(Stdio::null()).stderr(File::create(&log)?);
        let mut process = Process::new(command.spawn()?, address)?;
        if wait_for_socket(&mut process)? {
            return Ok(Self { process, _folder: folder });
        }
        let output = fs::read_to_string(&log)?;
        Err(format!("{} does not listen; it printed:\n{output}", peer.name).into())
    }

    /// Asks the peer to end, together with all processes that it started.
    pub(crate) fn stop(mut self) -> Result<(), Error> {
        self.process.terminate()?;
        let deadline = Instant::now() + TIMEOUT;
        while !self.process.has_ended()? && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }
}

/// Waits until the process opens its socket. Returns false if the process ends or does not open a socket in time.
fn wait_for_socket(process: &mut Process) -> io::Result<bool> {
    let deadline = Instant::now() + TIMEOUT;
    while process.socket().is_err() {
        if process.has_ended()? || Instant::now() > deadline {
            return Ok(false);
        }
        thread::sleep(Duration::from_millis(10));
    }
    Ok(true)
}
