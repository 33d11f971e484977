//! The terminal to which the console writes: its width, its colors, and how many rows it shows.

use std::env;
use std::io;

use rustix::termios::tcgetwinsize;

/// A terminal.
#[derive(Debug, Clone, Copy)]
pub(super) struct Screen {
    /// The width in columns.
    pub(super) width: usize,
    /// The most rows per interval.
    pub(super) max_rows: usize,
    /// Whether losses are red.
    pub(super) has_color: bool,
}

impl Screen {
    /// Creates a terminal. A width of 0 means that the width is unknown, and a limit of 0 that there is none.
    pub(super) fn new(width: usize, max_rows: usize, has_color: bool) -> Self {
        let or_unlimited = |number: usize| if number == 0 { usize::MAX } else { number };
        Self { width: or_unlimited(width), max_rows: or_unlimited(max_rows), has_color }
    }

    /// Returns the terminal of standard output as it is now. People change the width of their windows.
    pub(super) fn now(max_rows: usize) -> Self {
        let width = tcgetwinsize(io::stdout()).map_or(0, |size| usize::from(size.ws_col));
        let is_set = |name: &str| env::var_os(name).is_some_and(|value| !value.is_empty());
        let is_dumb = env::var_os("TERM").is_some_and(|terminal| terminal == "dumb");
        // https://no-color.org
        Self::new(width, max_rows, !is_dumb && !is_set("NO_COLOR"))
    }
}
