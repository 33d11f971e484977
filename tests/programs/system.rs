//! Tests full and read-only disks, in mount namespaces, and the files for systemd and logrotate.

use std::fs;
use std::path::Path;
use std::process::Command;

use tallyd_harness::process::{stderr, stdout, tallyd_path};
use tallyd_harness::{Daemon, wait_until};

/// Starts tallyd in a mount namespace of its own, after the shell command `mount`. The text file is in `directory`,
/// which the command calls `$D`.
fn start_on_mount(directory: &Path, mount: &str) -> Daemon {
    let script = format!("set -e; cd /; D='{}'; {mount}; exec \"$@\"", directory.display());
    let wrapper = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", &script, "sh"];
    let path = format!("exporters.textfile.path={}/tallyd.prom", directory.display());
    Daemon::start_in(&wrapper, &["exporters.textfile.enabled=true", &path, "flush.interval=100ms"])
}

#[test]
#[ignore = "needs user and mount namespaces; run make test"]
fn daemon_survives_a_full_disk_and_the_old_page_stays_whole() {
    let directory = tempfile::tempdir().unwrap();
    let mut daemon = start_on_mount(directory.path(), "mount -t tmpfs -o size=128k tmpfs \"$D\"");
    let seen_from_here = format!("/proc/{}/root{}", daemon.id(), directory.path().display());
    let page = || fs::read_to_string(format!("{seen_from_here}/tallyd.prom")).unwrap_or_default();
    wait_until(|| !page().is_empty());

    let filler = format!("{seen_from_here}/filler");
    assert!(fs::write(&filler, vec![0; 1 << 20]).is_err(), "the disk is not full");
    daemon.wait_for_count("tallyd.export_errors", ("exporter", "textfile"));
    let last = page().lines().last().map(str::to_owned);
    assert!(last.is_some_and(|line| line.starts_with("tallyd_textfile_timestamp_seconds ")));

    fs::remove_file(&filler).unwrap();
    daemon.send("after:1|c");
    wait_until(|| page().contains("after_total 1\n"));
    assert!(daemon.stop().log.contains("free some space"));
}

#[test]
#[ignore = "needs user and mount namespaces; run make test"]
fn daemon_survives_a_read_only_directory() {
    let directory = tempfile::tempdir().unwrap();
    let mount = "mount --bind \"$D\" \"$D\"; mount -o remount,bind,ro \"$D\"";
    let mut daemon = start_on_mount(directory.path(), mount);
    daemon.wait_for_count("tallyd.export_errors", ("exporter", "textfile"));
    daemon.send("a:1|c");
    daemon.wait_for(|row| row["name"] == "a");
    let finished = daemon.stop();
    // The text file does not have the last interval.
    assert_eq!(finished.status.code(), Some(1));
    assert!(finished.log.contains("let tallyd's user write there"), "{}", finished.log);
}

#[test]
#[ignore = "needs systemd-analyze; run make test"]
fn unit_files_are_valid_and_confine_tallyd() {
    let directory = tempfile::tempdir().unwrap();
    // systemd looks for the binary in its own directories. Here it is elsewhere.
    let unit = fs::read_to_string("systemd/tallyd.service").unwrap();
    let unit = unit.replace("ExecStart=tallyd ", &format!("ExecStart={} ", tallyd_path()));
    assert!(unit.contains(&tallyd_path()), "{unit}");
    let service = directory.path().join("tallyd.service");
    fs::write(&service, unit).unwrap();
    let sockets = ["tallyd.socket", "tallyd-prometheus.socket"].map(|name| {
        let path = directory.path().join(name);
        fs::copy(Path::new("systemd").join(name), &path).unwrap();
        path
    });
    let analyze = |arguments: &[&str], path: &Path| {
        let output = Command::new("systemd-analyze").args(arguments).arg(path).output().unwrap();
        (output.status.success(), format!("{}{}", stdout(&output), stderr(&output)))
    };
    for unit in sockets.iter().chain([&service]) {
        let (is_valid, said) = analyze(&["verify"], unit);
        assert!(is_valid && !said.contains("tallyd"), "{said}");
    }
    // The limit is an exposure of 1.5 of 10.
    let (is_confined, said) = analyze(&["security", "--offline=true", "--threshold=15"], &service);
    assert!(is_confined, "{said}");
}

#[test]
#[ignore = "needs systemd-sysusers; run make test"]
fn sysusers_file_creates_the_user_of_the_install_page() {
    let root = tempfile::tempdir().unwrap();
    let output = Command::new("systemd-sysusers")
        .args(["--dry-run", "--root", root.path().to_str().unwrap(), "-"])
        .stdin(fs::File::open("systemd/sysusers.conf").unwrap())
        .output()
        .unwrap();
    let said = format!("{}{}", stdout(&output), stderr(&output));
    assert!(output.status.success() && said.contains("user 'tallyd' ("), "{said}");
}

#[test]
#[ignore = "needs logrotate; run make test"]
fn logrotate_rotates_the_log_and_reloads_tallyd() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).display().to_string();
    fs::write(path("tallyd.log"), "a line\n").unwrap();
    let shipped = fs::read_to_string("systemd/logrotate.conf").unwrap();
    let reload = format!("touch {}", path("reloaded"));
    let adapted = shipped.replace("/var/log/tallyd/", &path("")).replace("systemctl reload tallyd", &reload);
    assert_eq!(adapted.matches(&path("")).count(), 2, "{adapted}");
    fs::write(path("logrotate.conf"), adapted).unwrap();
    let arguments = ["--force", "--state", &path("state"), &path("logrotate.conf")];
    let output = Command::new("/usr/sbin/logrotate").args(arguments).output().unwrap();
    assert!(output.status.success() && stderr(&output).is_empty(), "{}", stderr(&output));
    assert_eq!(fs::read_to_string(path("tallyd.log.1")).unwrap(), "a line\n");
    assert!(Path::new(&path("reloaded")).exists() && !Path::new(&path("tallyd.log")).exists());
}

/// A command in which `/etc` is another directory. It needs no rights, because the directory changes only for this process.
fn with_etc(directory: &str) -> [&str; 6] {
    ["unshare", "-rm", "sh", "-c", "mount --bind \"$0\" /etc && exec \"$@\"", directory]
}

#[test]
#[ignore = "needs user and mount namespaces; run make test"]
fn the_file_in_etc_is_read_if_the_command_line_names_none() {
    let etc = tempfile::tempdir().unwrap();
    fs::create_dir(etc.path().join("tallyd")).unwrap();
    let file = etc.path().join("tallyd/tallyd.toml");
    fs::write(&file, "[flush]\ninterval = \"7s\"\n").unwrap();
    let wrapper = with_etc(etc.path().to_str().unwrap());
    let check = |more: &[&str]| {
        let mut command = Command::new(wrapper[0]);
        command.args(&wrapper[1..]).arg(tallyd_path()).arg("check").args(more).output().unwrap()
    };
    let read = check(&[]);
    assert!(stdout(&read).contains("interval = \"7s\" # /etc/tallyd/tallyd.toml:2"), "{}", stderr(&read));
    assert!(stdout(&check(&["--config", "/dev/null"])).contains("interval = \"10s\"\n"));
    let finished = Daemon::start_in(&wrapper, &[]).stop();
    assert!(
        finished.log.contains("tallyd starts") && finished.log.contains("config=\"/etc/tallyd/tallyd.toml\""),
        "{}",
        finished.log
    );
    fs::write(&file, "[flush]\ninterval = \"x\"\n").unwrap();
    let refused = check(&[]);
    assert_eq!(refused.status.code(), Some(78));
    assert!(stderr(&refused).starts_with("tallyd: /etc/tallyd/tallyd.toml:2: "), "{}", stderr(&refused));
}
