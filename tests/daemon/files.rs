//! Tests the files that tallyd writes: console, log and text file.

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use tallyd_harness::{Daemon, wait_for, wait_until};

#[test]
fn files_that_were_rotated_are_created_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let console = format!("exporters.console.path={}", path("out.json").display());
    let log = format!("logging.file_path={}", path("log").display());
    let daemon =
        Daemon::start(&[&console, &log, r#"logging.output=["console","file"]"#, "flush.interval=100ms"]);
    let holds =
        |file: &str, text: &str| fs::read_to_string(path(file)).is_ok_and(|content| content.contains(text));
    wait_until(|| holds("out.json", "tallyd.build_info") && holds("log", "listening"));
    for name in ["out.json", "log"] {
        fs::rename(path(name), path(&format!("{name}.1"))).unwrap();
    }
    daemon.signal("HUP");
    wait_until(|| holds("out.json", "tallyd.build_info") && holds("log", "SIGHUP"));
    assert!(daemon.stop().status.success());
}

#[test]
fn failing_exporter_is_counted_and_does_not_affect_others() {
    let textfile = "exporters.textfile.path=/nonexistent/directory/tallyd.prom";
    let mut daemon = Daemon::start(&["exporters.textfile.enabled=true", textfile, "flush.interval=100ms"]);
    daemon.send("a:1|c");
    daemon.wait_for(|row| row["name"] == "a");
    daemon.wait_for_count("tallyd.export_errors", ("exporter", "textfile"));
    let finished = daemon.stop();
    assert_eq!(finished.status.code(), Some(1), "the last interval is lost");
    assert!(finished.log.contains("create the directory"), "{}", finished.log);
}

#[test]
fn text_file_shows_running_totals_and_is_never_incomplete() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tallyd.prom");
    let textfile = format!("exporters.textfile.path={}", path.display());
    let settings = ["exporters.textfile.enabled=true", &textfile, "flush.interval=100ms"];
    let daemon = Daemon::start(&[&settings[..], &["exporters.textfile.on_exit=remove"]].concat());
    let page = || fs::read_to_string(&path).unwrap_or_default();
    for round in 1..=20 {
        daemon.send("hits:1|c|#env:prod\nlatency:250|ms");
        wait_until(|| {
            let page = page();
            assert!(
                page.is_empty()
                    || page.ends_with('\n') && page.contains("tallyd_textfile_timestamp_seconds ")
            );
            page.contains(&format!("hits_total{{env=\"prod\"}} {round}\n"))
        });
    }
    assert!(page().contains("latency_seconds_sum 5\nlatency_seconds_count 20\n"), "{}", page());
    assert!(daemon.stop().status.success());
    assert!(!path.exists(), "on_exit = \"remove\"");
}

#[test]
fn classic_histogram_counts_timings_in_seconds() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tallyd.prom");
    let textfile = format!("exporters.textfile.path={}", path.display());
    let daemon = Daemon::start(&[
        "exporters.textfile.enabled=true",
        &textfile,
        "exporters.prometheus.timings=histogram",
        "exporters.prometheus.buckets=[0.1, 1]",
    ]);
    daemon.send("t:50|ms\nt:100|ms\nt:400|ms|@0.5\nt:5000|ms\nd:0.5|d");
    assert!(daemon.stop().status.success());
    let page = fs::read_to_string(&path).unwrap();
    for line in [
        "# TYPE t_seconds histogram",
        "t_seconds_bucket{le=\"0.1\"} 2",
        "t_seconds_bucket{le=\"1\"} 4",
        "t_seconds_bucket{le=\"+Inf\"} 5",
        "t_seconds_sum 5.95",
        "t_seconds_count 5",
        "d_bucket{le=\"0.1\"} 0",
        "d_bucket{le=\"1\"} 1",
    ] {
        assert!(page.lines().any(|other| other == line), "{line} is not in\n{page}");
    }
}

#[test]
fn last_interval_that_cannot_be_written_makes_the_exit_code_1() {
    let finished = Daemon::start(&["exporters.console.path=/dev/full"]).stop();
    assert_eq!(finished.status.code(), Some(1));
    let lost = "the last interval may be lost: console (cannot write to /dev/full";
    assert!(finished.log.contains(lost) && finished.log.contains("free some space"), "{}", finished.log);
}

#[test]
fn console_file_that_was_moved_or_deleted_is_opened_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("console.json");
    let console = format!("exporters.console.path={}", path.display());
    let daemon = Daemon::start(&[&console, "flush.interval=100ms"]);
    let has = |name: &str| fs::read_to_string(&path).is_ok_and(|text| text.contains(name));
    daemon.send("first:1|g");
    wait_until(|| has("first"));
    fs::rename(&path, directory.path().join("moved")).unwrap();
    wait_until(|| has("first"));
    fs::remove_file(&path).unwrap();
    daemon.send("second:1|g");
    wait_until(|| has("second"));
    let finished = daemon.stop();
    assert!(finished.log.contains("moved or deleted"), "{}", finished.log);
}

#[test]
fn every_user_can_read_the_text_file_despite_the_umask() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tallyd.prom");
    let textfile = format!("exporters.textfile.path={}", path.display());
    let wrapper = ["sh", "-c", "umask 077 && exec \"$@\"", "sh"];
    let settings = ["exporters.textfile.enabled=true", &textfile, "flush.interval=100ms"];
    let _daemon = Daemon::start_in(&wrapper, &settings);
    let file = wait_for(|| fs::metadata(&path).ok());
    let mode = file.permissions().mode();
    assert_eq!(mode & 0o777, 0o644, "{mode:o}");
}

/// Returns the settings of a text file at this path.
fn textfile_at(path: &Path) -> [String; 3] {
    let path = format!("exporters.textfile.path={}", path.display());
    ["exporters.textfile.enabled=true".to_owned(), path, "flush.interval=100ms".to_owned()]
}

fn start_with(settings: &[String]) -> Daemon {
    Daemon::start(&settings.iter().map(String::as_str).collect::<Vec<_>>())
}

#[test]
fn links_and_pipes_at_guessed_names_are_neither_followed_nor_opened() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    fs::write(path("secret"), "secret").unwrap();
    fs::set_permissions(path("secret"), Permissions::from_mode(0o600)).unwrap();
    symlink(path("secret"), path("tallyd.prom.new")).unwrap();
    // This would be the name of another tallyd's file.
    assert!(Command::new("mkfifo").arg(path("other.prom.new")).status().unwrap().success());
    for name in ["tallyd.prom", "other.prom"] {
        let daemon = start_with(&textfile_at(&path(name)));
        wait_until(|| path(name).exists());
        assert!(daemon.stop().status.success());
    }
    assert_eq!(fs::read_to_string(path("secret")).unwrap(), "secret");
    assert_eq!(fs::metadata(path("secret")).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn text_file_behind_a_link_is_replaced_and_the_link_stays() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    fs::create_dir(path("directory")).unwrap();
    symlink("directory/real.prom", path("tallyd.prom")).unwrap();
    // A killed tallyd left this file behind.
    fs::write(path("directory/.real.prom.abc.new"), "half").unwrap();
    let daemon = start_with(&textfile_at(&path("tallyd.prom")));
    wait_until(|| path("directory/real.prom").exists());
    assert!(daemon.stop().status.success());
    assert!(fs::symlink_metadata(path("tallyd.prom")).unwrap().is_symlink());
    let names: Vec<_> =
        fs::read_dir(path("directory")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["real.prom"]);

    fs::write(path("passwd"), "root").unwrap();
    symlink(path("passwd"), path("planted.prom")).unwrap();
    let mut daemon = start_with(&textfile_at(&path("planted.prom")));
    daemon.wait_for_count("tallyd.export_errors", ("exporter", "textfile"));
    let finished = daemon.stop();
    assert!(finished.log.contains("passwd, which does not end in .prom"), "{}", finished.log);
    assert_eq!(fs::read_to_string(path("passwd")).unwrap(), "root");
}

#[test]
fn own_series_of_two_tallyds_in_one_directory_differ_by_a_tag() {
    let directory = tempfile::tempdir().unwrap();
    let pages = ["a", "b"].map(|instance| {
        let path = directory.path().join(format!("{instance}.prom"));
        let tags = format!("telemetry.tags=[\"instance:{instance}\"]");
        let daemon = start_with(&[&textfile_at(&path)[..], &[tags]].concat());
        wait_until(|| path.exists());
        assert!(daemon.stop().status.success());
        fs::read_to_string(path).unwrap()
    });
    let series = |page: &String| -> BTreeSet<String> {
        let lines = page.lines().filter(|line| !line.starts_with('#'));
        lines.map(|line| line.rsplit_once(' ').unwrap().0.to_owned()).collect()
    };
    let [a, b] = [series(&pages[0]), series(&pages[1])];
    assert!(a.contains("tallyd_textfile_timestamp_seconds{instance=\"a\"}"), "{a:?}");
    assert!(a.len() > 10 && a.is_disjoint(&b), "{:?}", a.intersection(&b).collect::<Vec<_>>());
}

#[test]
fn readers_see_either_the_old_or_the_new_text_file() {
    const HEARTBEAT: &str = "tallyd_textfile_timestamp_seconds";
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tallyd.prom");
    let textfile = format!("exporters.textfile.path={}", path.display());
    let daemon = Daemon::start(&["exporters.textfile.enabled=true", &textfile, "flush.interval=100ms"]);
    let files = || fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path());
    // The page is so long that tallyd needs several calls to write it.
    for thousand in 0..5 {
        let names: Vec<_> = (0..1000).map(|number| format!("gauge.{thousand}.{number}:1|g")).collect();
        names.chunks(100).for_each(|chunk| daemon.send(chunk.join("\n")));
    }
    let mut pages = BTreeSet::new();
    wait_for(|| {
        let others = files().filter(|other| *other != path);
        let others: Vec<_> =
            others.filter(|other| other.extension().is_some_and(|end| end == "prom")).collect();
        assert!(others.is_empty(), "{others:?}");
        let page = fs::read_to_string(&path).ok()?;
        let (_, heartbeat) =
            page.rsplit_once(HEARTBEAT).unwrap_or_else(|| panic!("an incomplete page: {page}"));
        assert!(heartbeat.ends_with('\n'), "an incomplete page: {page}");
        pages.insert(heartbeat.trim().to_owned());
        (pages.len() > 10).then_some(())
    });
    assert!(daemon.stop().status.success());
    assert_eq!(files().collect::<Vec<_>>(), std::slice::from_ref(&path));
}
