//! `tallyd delete`: deletes series.

use std::io::{self, BufRead, IsTerminal, Write};

use super::answers::{Deleted, FoundSeries};
use super::client::Client;
use super::error::AskError;
use crate::text::visible::visible;

/// Deletes the series that match a pattern, and have a type if one is given. Asks before, if a person can answer.
pub(super) fn delete(
    client: &Client,
    pattern: &str,
    series_type: Option<&str>,
    has_consent: bool,
    output: &mut impl Write,
) -> Result<(), AskError> {
    let can_answer = io::stdin().is_terminal() && io::stdout().is_terminal();
    if !has_consent && can_answer && !confirm(client, pattern, series_type, output)? {
        return Ok(writeln!(output, "nothing was deleted")?);
    }
    let mut parameters = vec![("match", pattern)];
    parameters.extend(series_type.map(|series_type| ("type", series_type)));
    let Deleted { deleted } = client.post("delete", &parameters)?;
    Ok(writeln!(output, "{deleted} series deleted")?)
}

/// Asks the person at the terminal. Only `y` and `yes` mean yes.
fn confirm(
    client: &Client,
    pattern: &str,
    series_type: Option<&str>,
    output: &mut impl Write,
) -> Result<bool, AskError> {
    let which = if let Some(series_type) = series_type {
        // The API does not count the series of a type.
        format!("the series of type {series_type}")
    } else {
        let found: FoundSeries = client.get("series", &[("match", pattern), ("limit", "0")])?;
        format!("{} series", found.matched)
    };
    write!(output, "Delete {which} that match {} on {}? [y/N] ", visible(pattern), client.url())?;
    output.flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(["y", "yes"].contains(&answer.trim().to_lowercase().as_str()))
}
