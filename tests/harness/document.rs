//! A page of the documentation, and what it shows.

pub struct Document {
    /// Its path.
    pub path: &'static str,
    pub text: &'static str,
}

impl Document {
    /// The block behind whose backquotes this stands.
    pub fn block(&self, info: &str) -> &'static str {
        let fence = format!("\n```{info}\n");
        let block = self.text.split_once(&fence).and_then(|(_, rest)| rest.split_once("```"));
        block.unwrap_or_else(|| panic!("{} does not show {info}", self.path)).0
    }

    /// It shows each of these blocks once, and no other.
    pub fn assert_shows_just(&self, blocks: &[&str]) {
        let fences = self.text.lines().filter_map(|line| line.strip_prefix("```"));
        let mut shown: Vec<_> = fences.filter(|info| !info.is_empty()).collect();
        let mut expected = blocks.to_vec();
        shown.sort_unstable();
        expected.sort_unstable();
        assert_eq!(shown, expected, "{}", self.path);
    }
}
