//! A page of the documentation, with its blocks and its tables.

use std::fs;
use std::path::Path;

use super::process::ROOT;

/// A page of the documentation.
pub struct Document {
    /// The path from the root of the repository.
    pub path: String,
    /// The whole page, in Markdown.
    pub text: String,
}

impl Document {
    /// Reads a page. The path begins at the root of the repository.
    pub fn read(path: &str) -> Self {
        let text = fs::read_to_string(Path::new(ROOT).join(path));
        let text = text.unwrap_or_else(|error| panic!("{path}: {error}"));
        Self { path: path.to_owned(), text }
    }

    /// Reads the pages in a directory, which begins at the root of the repository, in the order of their names.
    pub fn read_directory(directory: &str) -> Vec<Self> {
        let files =
            fs::read_dir(Path::new(ROOT).join(directory)).unwrap().map(|entry| entry.unwrap().file_name());
        let mut paths: Vec<_> = files.map(|name| Path::new(directory).join(name)).collect();
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
        paths.sort();
        paths.iter().map(|path| Self::read(path.to_str().unwrap())).collect()
    }

    /// Returns the blocks. Each has an info string, the text after its opening backquotes, and a content.
    pub fn blocks(&self) -> impl Iterator<Item = (&str, &str)> {
        let blocks = self.text.split("```").skip(1).step_by(2);
        blocks.map(|block| block.split_once('\n').unwrap_or_else(|| panic!("{}: {block}", self.path)))
    }

    /// Returns the content of the first block with this info string.
    pub fn block(&self, info: &str) -> &str {
        let block = self.blocks().find(|(other, _)| *other == info);
        block.unwrap_or_else(|| panic!("{} has no block {info}", self.path)).1
    }

    /// Writes each block whose info string ends in the name of a file to that file.
    pub fn write_files(&self, directory: &Path) {
        for (info, block) in self.blocks() {
            if let Some((_, name)) =
                info.split_once(' ').filter(|(_, name)| name.contains('.') && !name.contains('/'))
            {
                fs::write(directory.join(name), block).unwrap();
            }
        }
    }

    /// Returns the text outside blocks.
    pub fn prose(&self) -> String {
        self.text.split("```").step_by(2).collect()
    }

    /// Returns the rows of all tables whose heading begins with this text, split into cells.
    pub fn table(&self, heading: &str) -> Vec<Vec<String>> {
        let mut rows = Vec::new();
        let mut lines = self.text.lines();
        while let Some(line) = lines.next() {
            if line.starts_with(heading) {
                rows.extend(lines.by_ref().skip(1).take_while(|line| line.starts_with('|')).map(cells));
            }
        }
        assert!(!rows.is_empty(), "{} has no table {heading}", self.path);
        rows
    }

    /// Asserts that the page has exactly the blocks with these info strings. Blocks without an info string do not
    /// count.
    pub fn assert_has_only(&self, blocks: &[&str]) {
        let mut shown: Vec<_> = self.blocks().map(|(info, _)| info).filter(|info| !info.is_empty()).collect();
        let mut expected = blocks.to_vec();
        shown.sort_unstable();
        expected.sort_unstable();
        assert_eq!(shown, expected, "{}", self.path);
    }
}

/// Splits a row of a table into cells. A backslash escapes a bar within a cell.
pub fn cells(row: &str) -> Vec<String> {
    let row = row.trim_matches('|').replace("\\|", "\0");
    row.split('|').map(|cell| cell.trim().replace('\0', "|")).collect()
}
