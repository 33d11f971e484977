//! Notices that the terminal in which tallyd was started is gone.

use std::io::{self, IsTerminal};

/// Which of standard input, output and error are a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Terminal([bool; 3]);

impl Terminal {
    /// Looks at standard input, output and error.
    pub(super) fn now() -> Self {
        Self([io::stdin().is_terminal(), io::stdout().is_terminal(), io::stderr().is_terminal()])
    }

    /// Returns true if a terminal from the start is gone, for example after an SSH connection was lost. The kernel then
    /// sends SIGHUP. If a person or a service manager sends SIGHUP, the terminal is still there, or there never was
    /// one.
    pub(super) fn is_gone(self) -> bool {
        self.0.iter().zip(Self::now().0).any(|(&was_terminal, is_terminal)| was_terminal && !is_terminal)
    }
}
