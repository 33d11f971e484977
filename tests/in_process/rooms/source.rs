//! Reads the paths that the files of a crate name outside of tests and comments.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// The directory of tallyd's sources.
pub(super) const SRC: &str = env!("CARGO_MANIFEST_DIR");

/// The directory of the sources of the client for Rust applications.
pub(super) const CLIENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../client/src");

/// An import of another file.
pub(super) struct Import {
    /// The line number, counted from 1.
    pub(super) line: usize,
    /// The path of the file that defines the imported item.
    pub(super) target: String,
}

/// All files of a crate except `lib.rs` and `main.rs`, by their paths from the directory of its sources.
pub(super) struct Sources {
    /// The code, with blank lines in place of tests and comments.
    pub(super) code: BTreeMap<String, String>,
    /// The imports of other files.
    pub(super) imports: BTreeMap<String, Vec<Import>>,
    /// The paths into the standard library and other crates, with their line numbers.
    pub(super) foreign: BTreeMap<String, Vec<(usize, Vec<String>)>>,
}

/// A path that a file names.
struct Named {
    line: usize,
    /// The path from the root of the crate, or from the root of another crate.
    path: Vec<String>,
    /// The name of the item in this file.
    name: String,
    /// True if a `use` with a visibility names it, so the file may only re-export it.
    is_reexport: bool,
    is_foreign: bool,
}

impl Sources {
    /// Reads the files in a directory.
    pub(super) fn read(directory: &str) -> Self {
        let mut code = BTreeMap::new();
        let mut tests = BTreeSet::new();
        collect(Path::new(directory), "", &mut code, &mut tests);
        let foreign = foreign_crates(directory);
        code.retain(|file, _| !tests.contains(file) && file != "lib.rs" && file != "main.rs");
        let named: BTreeMap<_, _> =
            code.iter().map(|(file, code)| (module_of(file), named(file, code, &foreign))).collect();
        let mut sources = Self { code, imports: BTreeMap::new(), foreign: BTreeMap::new() };
        for (file, code) in &sources.code {
            let (mut imports, mut foreign) = (Vec::new(), Vec::new());
            for Named { line, path, name, is_reexport, is_foreign } in &named[&module_of(file)] {
                if *is_foreign {
                    foreign.push((*line, path.clone()));
                } else if let Some(target) = sources.file_of(&named, path, 0)
                    && target != *file
                    && !(*is_reexport && is_only_reexported(code, name))
                {
                    imports.push(Import { line: *line, target });
                }
            }
            sources.imports.insert(file.clone(), imports);
            sources.foreign.insert(file.clone(), foreign);
        }
        sources
    }

    /// Returns the file that defines a path. It follows names that modules import from other modules.
    fn file_of(
        &self,
        named: &BTreeMap<Vec<String>, Vec<Named>>,
        path: &[String],
        depth: usize,
    ) -> Option<String> {
        assert!(depth < 20, "{path:?} is defined by itself");
        let length = (1..=path.len()).rev().find(|length| named.contains_key(&path[..*length]))?;
        let module = &path[..length];
        let next = path.get(length);
        let elsewhere = next.and_then(|next| {
            let found = named[module].iter().find(|other| other.name == *next && !other.is_foreign)?;
            let whole = [&found.path[..], &path[length + 1..]].concat();
            (whole != path).then(|| self.file_of(named, &whole, depth + 1))?
        });
        elsewhere.or_else(|| self.code.keys().find(|file| module_of(file) == module).cloned())
    }
}

/// Returns the names of the standard library and of the crates that a crate depends on.
fn foreign_crates(sources: &str) -> BTreeSet<String> {
    let manifest = fs::read_to_string(Path::new(sources).with_file_name("Cargo.toml")).unwrap();
    let manifest: toml::Table = toml::from_str(&manifest).unwrap();
    let dependencies = manifest["dependencies"].as_table().unwrap().keys();
    // The library of this package has another name.
    let name = |package: &String| package.replace("rustls-webpki", "webpki").replace('-', "_");
    dependencies.map(name).chain(["std", "core", "alloc"].map(str::to_owned)).collect()
}

/// Reads the files of a directory into `code`. Adds the paths of test modules to `tests`.
fn collect(
    directory: &Path,
    prefix: &str,
    code: &mut BTreeMap<String, String>,
    tests: &mut BTreeSet<String>,
) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = format!("{prefix}{}", path.file_name().unwrap().to_str().unwrap());
        if path.is_dir() {
            collect(&path, &format!("{name}/"), code, tests);
        } else if path.extension().is_some_and(|end| end == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let directory = match name.strip_suffix("mod.rs") {
                Some(directory) => directory.to_owned(),
                None => format!("{}/", name.trim_end_matches(".rs")),
            };
            let (stripped, modules) = without_tests_and_comments(&text);
            tests.extend(modules.iter().map(|module| format!("{directory}{module}.rs")));
            code.insert(name, stripped);
        }
    }
}

/// Blanks out comments and test items. Also returns the names of the test modules that have files of their own.
fn without_tests_and_comments(text: &str) -> (String, Vec<String>) {
    let mut code = String::new();
    let mut modules = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let indentation = &line[..line.len() - line.trim_start().len()];
        if line.trim_start().starts_with("#[cfg(test)]") {
            code.push('\n');
            // The last line of an item has the item's indentation. It is a closing brace, or ends with a semicolon.
            for line in lines.by_ref() {
                code.push('\n');
                let item = line.trim();
                modules.extend(child(item).map(str::to_owned));
                let is_end = line
                    .strip_prefix(indentation)
                    .is_some_and(|rest| rest == "}" || rest.ends_with(';') && !rest.starts_with(' '));
                if is_end || item.ends_with("{}") {
                    break;
                }
            }
        } else {
            let line = if line.trim_start().starts_with("//") { "" } else { line };
            code.push_str(line.split(" // ").next().unwrap());
            code.push('\n');
        }
    }
    (code, modules)
}

/// Returns the path of a file's module from the root of the crate.
fn module_of(file: &str) -> Vec<String> {
    let path = file.trim_end_matches(".rs").trim_end_matches("/mod");
    path.split('/').map(str::to_owned).collect()
}

/// Returns all paths that a file names, in `use` declarations and elsewhere.
fn named(file: &str, code: &str, foreign: &BTreeSet<String>) -> Vec<Named> {
    let module = module_of(file);
    let children: Vec<_> = code.lines().filter_map(child).collect();
    let mut named = Vec::new();
    let mut end_of_path = 0;
    for (start, word) in words(code) {
        // Words in the groups of a path belong to the path.
        if start < end_of_path {
            continue;
        }
        let rest = &code[start + word.len()..];
        let before = code[..start].trim_end();
        let is_begin = !before.ends_with("::") && rest.starts_with("::");
        let is_foreign = foreign.contains(word);
        let root = match word {
            "crate" => Vec::new(),
            "super" => module[..module.len() - 1].to_vec(),
            "self" => module.clone(),
            _ if is_foreign => vec![word.to_owned()],
            _ if children.contains(&word) => [&module[..], &[word.to_owned()]].concat(),
            _ => continue,
        };
        // `pub(in crate::app)` limits the visibility of an item, and imports nothing.
        if !is_begin || before.ends_with("pub(in") {
            continue;
        }
        let line = code[..start].matches('\n').count() + 1;
        let is_reexport = before.ends_with("pub use") || before.ends_with(") use");
        let mut paths = Vec::new();
        end_of_path = code.len() - read_tree(&rest[2..], &root, &mut paths).len();
        for (path, name) in paths {
            named.push(Named { line, path, name, is_reexport, is_foreign });
        }
    }
    named
}

/// Returns the name of a child module that a line declares, with any visibility.
fn child(line: &str) -> Option<&str> {
    let item = line.strip_prefix("pub").map_or(line, |rest| match rest.split_once(") ") {
        Some((visibility, item)) if visibility.starts_with('(') => item,
        _ => rest.trim_start(),
    });
    item.strip_prefix("mod ")?.strip_suffix(';')
}

/// Returns all words with their positions.
fn words(code: &str) -> impl Iterator<Item = (usize, &str)> {
    let is_word = |character: char| character.is_alphanumeric() || character == '_';
    code.split(move |character| !is_word(character)).filter(|word| !word.is_empty()).map(|word| {
        // The word is a part of the code, so its position is the difference of the addresses.
        (word.as_ptr() as usize - code.as_ptr() as usize, word)
    })
}

/// Reads the rest of a path after `::`, which may be a group, and adds its paths to `paths`. Returns the code after it.
fn read_tree<'a>(code: &'a str, root: &[String], paths: &mut Vec<(Vec<String>, String)>) -> &'a str {
    let code = code.trim_start();
    if let Some(mut rest) = code.strip_prefix('{') {
        loop {
            rest = rest.trim_start();
            if let Some(behind) = rest.strip_prefix('}') {
                return behind;
            }
            rest = read_tree(rest, root, paths).trim_start().trim_start_matches(',');
        }
    }
    let end =
        code.find(|character: char| !character.is_alphanumeric() && character != '_').unwrap_or(code.len());
    let (word, rest) = code.split_at(end.max(usize::from(code.starts_with('*'))));
    let mut root = root.to_vec();
    match word {
        "super" => _ = root.pop(),
        "self" | "*" | "" => {}
        _ => root.push(word.to_owned()),
    }
    if let Some(rest) = rest.strip_prefix("::").filter(|rest| !rest.starts_with('<')) {
        return read_tree(rest, &root, paths);
    }
    let mut name = root.last().cloned().unwrap_or_default();
    let mut rest = rest;
    if let Some(renamed) = rest.strip_prefix(" as ") {
        let end = renamed
            .find(|character: char| !character.is_alphanumeric() && character != '_')
            .unwrap_or(renamed.len());
        renamed[..end].clone_into(&mut name);
        rest = &renamed[end..];
    }
    paths.push((root, name));
    rest
}

/// Returns true if a name occurs in a file only in `use` declarations.
fn is_only_reexported(code: &str, name: &str) -> bool {
    let mut in_use = false;
    let mut outside = String::new();
    for line in code.lines() {
        let begins = line.trim_start().trim_start_matches("pub").trim_start();
        let begins = begins
            .split_once(") ")
            .map_or(begins, |(before, rest)| if before.starts_with('(') { rest } else { begins });
        in_use |= begins.starts_with("use ");
        if !in_use {
            outside.push_str(line);
            outside.push('\n');
        }
        in_use &= !line.ends_with(';');
    }
    words(&outside).all(|(_, word)| word != name)
}

#[test]
fn reader_finds_imports_in_groups_and_code_and_skips_tests_and_comments() {
    let text = "\
mod globs;
pub(crate) mod seen;
pub(in crate::mapping) mod near;
#[cfg(test)]
pub(crate) mod tests;
use std::time::{Duration, Instant};
use nom::{bytes::complete::tag, branch::alt};
/// Not [`crate::comment`].
use crate::model::{Kind, series::{self, Series as Own}};
fn f() {
    super::text::push(globs::find(), seen::all(), near::all());
}
#[cfg(test)]
mod more {
    use crate::app;
}
";
    let (code, tests) = without_tests_and_comments(text);
    assert_eq!(tests, ["tests"]);
    let foreign = ["std", "nom", "bytes"].map(str::to_owned).into();
    let found = named("mapping/mod.rs", &code, &foreign);
    let found: Vec<_> = found.iter().map(|named| (named.line, named.path.join("::"), &*named.name)).collect();
    let expected = [
        (6, "std::time::Duration", "Duration"),
        (6, "std::time::Instant", "Instant"),
        (7, "nom::bytes::complete::tag", "tag"),
        (7, "nom::branch::alt", "alt"),
        (9, "model::Kind", "Kind"),
        (9, "model::series", "series"),
        (9, "model::series::Series", "Own"),
        (11, "text::push", "push"),
        (11, "mapping::globs::find", "find"),
        (11, "mapping::seen::all", "all"),
        (11, "mapping::near::all", "all"),
    ];
    assert_eq!(found, expected.map(|(line, path, name)| (line, path.to_owned(), name)));
}
