//! What this process is to do: guard, or be what is counted.

/// First argument of a process that runs one case.
pub(crate) const COUNTED: &str = "--counted";

/// What the command line makes of the process.
pub(crate) enum Role {
    Guard(Arguments),
    Counted(String),
}

/// What is to be counted, and what for.
#[derive(Debug, Default)]
pub(crate) struct Arguments {
    /// Whether the counts become the recorded ones.
    pub(crate) update: bool,
    /// Whether cases are only to be tried, not counted.
    pub(crate) brief: bool,
    /// All of them if `None`.
    case: Option<String>,
}

impl Arguments {
    /// An update records all cases.
    pub(crate) fn selects(&self, case: &str) -> bool {
        self.update || self.case.as_deref().is_none_or(|part| case.contains(part))
    }
}

impl Role {
    pub(crate) fn of_this_process() -> Self {
        let mut words = std::env::args().skip(1).peekable();
        if words.next_if(|word| word == COUNTED).is_some() {
            return Self::Counted(words.next().unwrap_or_default());
        }
        Self::Guard(parse(words))
    }
}

/// cargo hands the same words to all benches, so those that mean nothing here are left alone.
fn parse(mut words: impl Iterator<Item = String>) -> Arguments {
    // `cargo test --benches` says nothing at all; `cargo bench` says `--bench`.
    let mut arguments = Arguments { brief: true, ..Arguments::default() };
    let mut test = false;
    while let Some(word) = words.next() {
        match word.as_str() {
            "--bench" => arguments.brief = false,
            "--test" => test = true,
            "--update" => arguments.update = true,
            "--case" => arguments.case = words.next(),
            _ => {}
        }
    }
    arguments.brief |= test;
    arguments
}
