//! Starts a tallyd that a test makes fail.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use tallyd_harness::process::ROOT;
use tallyd_harness::{Daemon, Finished};
use tempfile::TempDir;

/// A tallyd that listens on UDP, TCP and a Unix socket, and that a test makes fail in one thread.
pub(crate) struct Faulty {
    pub(crate) daemon: Daemon,
    folder: TempDir,
}

impl Faulty {
    /// Starts tallyd. `fault` is one of `fault.c`, and hits the thread named `thread`.
    pub(crate) fn start(fault: &str, thread: &str, settings: &[&str]) -> Self {
        Self::start_with((fault, thread), &[], settings)
    }

    /// Starts tallyd with further environment variables.
    pub(crate) fn start_with((fault, thread): (&str, &str), variables: &[&str], settings: &[&str]) -> Self {
        let folder = TempDir::new().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        let library = path("fault.so");
        let source = format!("{ROOT}/tests/daemon/fault.c");
        let compiled =
            Command::new("cc").args(["-shared", "-fPIC", "-o", &library, &source, "-ldl"]).status();
        assert!(compiled.unwrap().success());
        let faults = [
            format!("LD_PRELOAD={library}"),
            format!("FAULT={fault}"),
            format!("FAULT_THREAD={thread}"),
            format!("FAULT_FILE={}", path("fault")),
        ];
        let faults = faults.iter().map(String::as_str);
        let wrapper: Vec<_> = ["env"].into_iter().chain(faults).chain(variables.iter().copied()).collect();
        let socket = format!("listeners.unix_datagram.path={}", path("socket"));
        let listeners = [
            "listeners.tcp.enabled=true",
            "listeners.tcp.bind=127.0.0.1:0",
            "listeners.unix_datagram.enabled=true",
            &socket,
        ];
        let daemon = Daemon::start_in(&wrapper, &[&listeners, settings].concat());
        Self { daemon, folder }
    }

    /// Turns the fault on.
    pub(crate) fn fail(&self) {
        self.fail_by("");
    }

    /// Turns the fault on. `amount` says how large it is.
    pub(crate) fn fail_by(&self, amount: &str) {
        // tallyd never sees half of the text.
        let [new, fault] = ["new", "fault"].map(|name| self.folder.path().join(name));
        fs::write(&new, amount).unwrap();
        fs::rename(new, fault).unwrap();
    }

    /// Turns the fault off.
    pub(crate) fn recover(&self) {
        fs::remove_file(self.folder.path().join("fault")).unwrap();
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    /// Waits until tallyd has ended by itself, and checks that it says why.
    pub(crate) fn wait(self, reason: &str) -> Finished {
        let finished = self.daemon.wait();
        assert_eq!(finished.status.code(), Some(1), "{}", finished.log);
        assert!(finished.log.contains(reason), "{reason}: {}", finished.log);
        finished
    }
}
