//! A peer's process, in a folder of its own.

use std::fs::{self, File};
use std::io;
use std::net::UdpSocket;
use std::path::PathBuf;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::Peer;
use crate::Failure;
use crate::cores::Cores;
use crate::process::{self, Process};

/// How long a server may take to listen or to end.
const PATIENCE: Duration = Duration::from_secs(20);

impl Peer {
    pub(crate) fn is_installed(&self) -> bool {
        self.path().is_some()
    }

    fn path(&self) -> Option<PathBuf> {
        let path = std::env::var_os("PATH")?;
        std::env::split_paths(&path).map(|folder| folder.join(self.program)).find(|path| path.is_file())
    }
}

/// A running peer.
pub(crate) struct Server {
    pub(crate) process: Process,
    /// Removed when dropped.
    _folder: TempDir,
}

impl Server {
    /// Starts a peer on a free port, and waits until it listens.
    pub(crate) fn start(peer: &Peer, cores: Cores) -> Result<Self, Failure> {
        let folder = tempfile::tempdir()?;
        // Free again as soon as its number is known. The kernel deals out others first.
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
        // It may be a script, which looks for its interpreter.
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.stdout(Stdio::null()).stderr(File::create(&log)?);
        let mut process = Process::new(command.spawn()?, address)?;
        if wait_for_socket(&mut process)? {
            return Ok(Self { process, _folder: folder });
        }
        let said = fs::read_to_string(&log)?;
        Err(format!("{} does not listen; it said:\n{said}", peer.name).into())
    }

    /// Lets it end in its own way, with all processes that it started.
    pub(crate) fn stop(mut self) -> Result<(), Failure> {
        self.process.terminate()?;
        let deadline = Instant::now() + PATIENCE;
        while !self.process.has_ended()? && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }
}

/// Whether it opened its socket.
fn wait_for_socket(process: &mut Process) -> io::Result<bool> {
    let deadline = Instant::now() + PATIENCE;
    while process.socket().is_err() {
        if process.has_ended()? || Instant::now() > deadline {
            return Ok(false);
        }
        thread::sleep(Duration::from_millis(10));
    }
    Ok(true)
}
