//! Checks the links in the documents, the lengths of two documents, and the sections of the design pages.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use tallyd_harness::Document;
use tallyd_harness::process::ROOT;

/// Returns the targets of all links in a document, except those in blocks.
fn links(document: &Document) -> Vec<String> {
    let prose = document.prose();
    let parts = prose.split("](").skip(1);
    parts.filter_map(|part| Some(part.split_once(')')?.0.to_owned())).collect()
}

/// Returns the anchors that GitHub generates for the headings of a page.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    let anchor = |heading: &str| -> String {
        let kept = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = kept.chars().filter(|&letter| letter.is_alphanumeric() || "-_ ".contains(letter));
        kept.map(|letter| if letter == ' ' { '-' } else { letter }).collect()
    };
    headings.map(anchor).collect()
}

#[test]
fn links_in_the_documents_lead_to_files_and_headings_that_exist() {
    let mut count = 0;
    for document in
        ["", "docs", "docs/design", "docs/migrate", "client"].into_iter().flat_map(Document::read_directory)
    {
        let path = &document.path;
        for link in links(&document).iter().filter(|link| !link.starts_with("http")) {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target =
                if file.is_empty() { PathBuf::from(path) } else { Path::new(path).with_file_name(file) };
            assert!(Path::new(ROOT).join(&target).exists(), "{path}: {link}");
            if !anchor.is_empty() {
                let page = Document::read(target.to_str().unwrap());
                assert!(anchors(&page.text).contains(anchor), "{path}: {link}");
            }
            count += 1;
        }
    }
    assert!(count > 100, "{count}");
}

#[test]
fn readme_and_architecture_are_short_enough_to_read() {
    for path in ["README.md", "ARCHITECTURE.md"] {
        let words = Document::read(path).text.split_whitespace().count();
        assert!(words <= 1500, "{path} has {words} words");
    }
}

#[test]
fn glossary_has_at_most_twenty_words_in_rows_of_their_own() {
    let rows = Document::read("ARCHITECTURE.md").table("| word |");
    assert!(rows.len() <= 20, "{}", rows.len());
    let lists: Vec<_> = rows.iter().map(|row| &row[0]).filter(|word| word.contains(',')).collect();
    assert!(lists.is_empty(), "{lists:?}");
}

#[test]
fn each_design_page_has_the_four_sections_and_is_listed() {
    let sections = ["## Problem", "## Choice", "## Figures", "## Alternatives tried"];
    let list = Document::read("docs/design/README.md").table("| page |");
    let mut pages = Document::read_directory("docs/design");
    pages.retain(|page| page.path != "docs/design/README.md");
    for page in &pages {
        let found: Vec<_> = page.text.lines().filter(|line| line.starts_with("## ")).collect();
        assert_eq!(found, sections, "{}", page.path);
        let name = page.path.rsplit('/').next().unwrap();
        assert!(
            list.iter().any(|row| row[0].ends_with(&format!("]({name})"))),
            "{} is not in the list",
            page.path
        );
    }
    assert_eq!(list.len(), pages.len());
}
