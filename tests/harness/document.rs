//! A page of the documentation, and its blocks.

/// A page of the documentation.
pub struct Document {
    /// The path from the root of the repository.
    pub path: &'static str,
    /// The text.
    pub text: &'static str,
}

impl Document {
    /// Returns the content of the block with this info string, the text after its opening backquotes.
    pub fn block(&self, info: &str) -> &'static str {
        let fence = format!("\n```{info}\n");
        let block = self.text.split_once(&fence).and_then(|(_, rest)| rest.split_once("```"));
        block.unwrap_or_else(|| panic!("{} has no block {info}", self.path)).0
    }

    /// Asserts that the page has exactly the blocks with these info strings. Blocks without an info string do not
    /// count.
    pub fn assert_has_only(&self, blocks: &[&str]) {
        let fences = self.text.lines().filter_map(|line| line.strip_prefix("```"));
        let mut shown: Vec<_> = fences.filter(|info| !info.is_empty()).collect();
        let mut expected = blocks.to_vec();
        shown.sort_unstable();
        expected.sort_unstable();
        assert_eq!(shown, expected, "{}", self.path);
    }
}
