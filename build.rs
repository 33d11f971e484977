//! Finds out the commit and the features of a build, for `tallyd --version`.

use std::path::Path;
use std::process::Command;

fn main() {
    // Packagers, who build without a repository, can set the commit themselves.
    println!("cargo::rerun-if-env-changed=TALLYD_COMMIT");
    let given = std::env::var("TALLYD_COMMIT").ok();
    println!("cargo::rustc-env=TALLYD_COMMIT={}", given.or_else(commit).as_deref().unwrap_or("unknown"));
    let features = if cfg!(feature = "jemalloc") { "jemalloc" } else { "none" };
    println!("cargo::rustc-env=TALLYD_FEATURES={features}");
    // Each commit and each checkout adds a line to this file.
    if let Some(log) = git(&["rev-parse", "--git-path", "logs/HEAD"]).filter(|log| Path::new(log).exists()) {
        println!("cargo::rerun-if-changed={log}");
    }
    println!("cargo::rerun-if-changed=build.rs");
}

/// Returns the commit and its date.
fn commit() -> Option<String> {
    git(&["show", "--no-patch", "--abbrev=12", "--format=%h (%cs)", "HEAD"])
}

/// Returns what git prints, or `None` if this is no repository.
fn git(arguments: &[&str]) -> Option<String> {
    let output =
        Command::new("git").args(arguments).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}
