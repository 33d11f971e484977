//! Compares the files for containers with tallyd and with their page.

use std::fs;
use std::path::Path;

use tallyd_harness::Document;
use tallyd_harness::process::{ROOT, stderr, stdout, tallyd_command, without_variables};
use tempfile::TempDir;

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(ROOT).join("packaging").join(path)).unwrap()
}

/// Returns tallyd's variables in the image, with their values.
fn variables() -> Vec<(String, String)> {
    let file = read("container/Containerfile");
    let words = file.split_whitespace().filter_map(|word| word.split_once('='));
    words
        .filter(|(name, _)| name.starts_with("TALLYD_"))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

#[test]
fn the_image_sets_variables_that_tallyd_reads_and_the_page_lists() {
    let variables = variables();
    let mut tallyd = tallyd_command();
    let output =
        without_variables(&mut tallyd).arg("check").envs(variables.iter().cloned()).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    for (name, value) in &variables {
        let line =
            stdout(&output).lines().find(|line| line.ends_with(&format!(" # environment variable {name}")));
        assert!(
            line.is_some_and(|line| line.replace('"', "").contains(&format!(" = {value} #"))),
            "{name}: {line:?}"
        );
    }
    let rows = Document::read("docs/containers.md").table("| variable |");
    let listed: Vec<_> = rows.iter().map(|row| (row[0].replace('`', ""), row[1].replace('`', ""))).collect();
    assert_eq!(listed, variables);
}

#[test]
fn image_and_manifests_have_the_version_of_the_package() {
    let version = env!("CARGO_PKG_VERSION");
    assert!(read("container/Containerfile").contains(&format!("\nARG VERSION={version}\n")));
    for file in ["kubernetes/tallyd.yaml", "kubernetes/application.yaml"] {
        let text = read(file);
        let images: Vec<_> =
            text.split("/tallyd:").skip(1).map(|rest| rest.split_whitespace().next()).collect();
        assert!(!images.is_empty() && images.iter().all(|&tag| tag == Some(version)), "{file}: {images:?}");
    }
}

/// The pod has the variables of the image, and the file of the `ConfigMap`.
#[test]
fn the_configuration_for_kubernetes_is_valid() {
    let manifest = read("kubernetes/tallyd.yaml");
    let (_, rest) = manifest.split_once("  tallyd.toml: |\n").unwrap();
    let (configuration, _) = rest.split_once("---\n").unwrap();
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("tallyd.toml");
    fs::write(&file, configuration.replace("\n    ", "\n")).unwrap();
    let mut tallyd = tallyd_command();
    without_variables(&mut tallyd).arg("check").arg("--config").arg(&file).envs(variables());
    let output = tallyd.output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    for listener in ["unix_datagram", "unix_stream"] {
        let (_, section) = stdout(&output).split_once(&format!("[listeners.{listener}]\n")).unwrap();
        assert!(section.starts_with("enabled = true"), "{section}");
    }
}
