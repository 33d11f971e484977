//! The reasons why a question to a running tallyd has no answer, in words.

use std::fmt;
use std::io;

use crate::text::visible::shortened;

/// The reason why a command that asks tallyd failed.
#[derive(Debug)]
pub(super) enum AskError {
    /// An option or the environment is wrong, so nothing was asked.
    Options(String),
    /// No answer came.
    Unreachable {
        url: String,
        /// What went wrong, and what to do.
        problem: String,
    },
    /// The server answered with an error.
    Refused {
        url: String,
        /// The status code, such as 404.
        status: u16,
        /// The text of the server, or the target of a redirection.
        text: String,
    },
    /// tallyd answered that it does not work.
    Unhealthy {
        url: String,
        /// The words of tallyd, such as `not ready: the first interval has not ended yet`.
        reason: String,
    },
    /// The server answered with something that is not an answer of tallyd.
    Unreadable { url: String, problem: String },
    /// The output or the terminal failed.
    Output(io::Error),
}

impl AskError {
    /// Returns true if the same question may succeed later, for example because tallyd restarts.
    pub(super) fn is_temporary(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Refused { status: 500.., .. })
    }

    /// Returns true if a reader of the output, such as `head`, closed it. This is not a failure.
    pub(super) fn is_closed_output(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}

impl From<io::Error> for AskError {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

impl fmt::Display for AskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Options(problem) => f.write_str(problem),
            Self::Unreachable { url, problem } => write!(f, "no answer from {url}: {problem}"),
            Self::Unhealthy { url, reason } => write!(f, "{url} is {}", shortened(reason.trim_end())),
            Self::Unreadable { url, problem } => {
                write!(f, "{url} is not the endpoint of a tallyd: {problem}; check --url")
            }
            Self::Output(error) => write!(f, "cannot write the output: {error}"),
            Self::Refused { url, status, text } => {
                let text = shortened(text.trim_end());
                match status {
                    300..=399 => {
                        write!(f, "{url} redirects to {text}; give the URL of tallyd's endpoint with --url")
                    }
                    401 => write!(
                        f,
                        "{url} asks for a user: give the right --user, and its password with --password-file"
                    ),
                    404 => write!(
                        f,
                        "{url} refused with 404: {text}; check the name, --url and the version of tallyd"
                    ),
                    _ => write!(f, "{url} refused with {status}: {text}"),
                }
            }
        }
    }
}
