//! `tallyd health`: checks that a running tallyd works.

use std::io::Write;

use super::client::Client;
use super::error::AskError;
use crate::text::visible::shortened;

/// Prints `healthy` if tallyd works. With `needs_results`, prints `ready` if it works and its first interval has ended.
///
/// # Errors
///
/// Returns an error if tallyd does not answer, or if it answers that it does not work.
pub(super) fn check(client: &Client, needs_results: bool, output: &mut impl Write) -> Result<(), AskError> {
    let state = if needs_results { "ready" } else { "healthy" };
    match client.get_at(&format!("/-/{state}"), &[]) {
        Ok(text) if text.trim_end() == state => Ok(writeln!(output, "{state}")?),
        // Other servers have a page at this path, too.
        Ok(text) => Err(client.unreadable(&format!("it answered {:?}", shortened(text.trim())))),
        Err(AskError::Refused { url, status: 503, text }) if text.starts_with("not ") => {
            Err(AskError::Unhealthy { url, reason: text })
        }
        Err(error) => Err(error),
    }
}
