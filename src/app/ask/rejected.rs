//! `tallyd rejected`: prints the latest lines that were not recorded.

use std::io::Write;

use super::answers::{Quarantined, Rejected, RejectedLine, Sender};
use super::client::Client;
use super::error::AskError;
use super::series::print_json;
use crate::text::visible::visible;

/// Prints the lines with their reasons and senders, the latest ones first, and the quarantined series.
pub(super) fn print_rejected(client: &Client, json: bool, output: &mut impl Write) -> Result<(), AskError> {
    let text = client.get_text("rejected", &[])?;
    let Rejected { lines, quarantined } = client.parse(&text)?;
    if json {
        return print_json(&text, output);
    }
    lines.iter().try_for_each(|line| output.write_all(described(line).as_bytes()))?;
    for Quarantined { series, reason } in &quarantined {
        writeln!(output, "{} is not on the Prometheus page: {}", visible(series), visible(reason))?;
    }
    if lines.is_empty() && quarantined.is_empty() {
        writeln!(output, "no line was rejected")?;
    }
    Ok(())
}

/// Returns the lines that describe a rejected line. A caret marks the offending byte.
fn described(rejected: &RejectedLine) -> String {
    let RejectedLine { time, reason, listener, sender, line, length, begin, .. } = rejected;
    let sender = Sender::shown(sender.as_ref());
    let title = format!("{}  {}  {}  from {sender}", visible(time), visible(reason), visible(listener));
    if line.is_empty() {
        return format!("{title}\n  a line of {length} bytes\n");
    }
    let before = if *begin > 0 { "…" } else { "" };
    let caret = marked_column(rejected).map_or_else(String::new, |column| {
        format!("  {:>width$}\n", "^", width = before.chars().count() + column + 1)
    });
    format!("{title}\n  {before}{}\n{caret}", visible(line))
}

/// Returns the number of characters before the offending byte in the shown part of a line.
///
/// The API gives the column in bytes of the original line, and escapes hidden characters. An escape such as `\u{1b}`
/// stands for one character, so each one before the column moves the caret to the right. A client can send the text of an
/// escape, too. Then the caret is a few columns off.
fn marked_column(rejected: &RejectedLine) -> Option<usize> {
    let target = rejected.column?.checked_sub(1)?.checked_sub(rejected.begin)?;
    let mut bytes = 0;
    let mut rest = rejected.line.as_str();
    let mut column = 0;
    while bytes < target {
        let (length, width) = next_original(rest)?;
        bytes += width;
        column += visible(&rest[..length]).chars().count();
        rest = &rest[length..];
    }
    Some(column)
}

/// Returns the length of the next character as it is shown, and its length in the original line.
fn next_original(shown: &str) -> Option<(usize, u64)> {
    let escape = shown.strip_prefix("\\u{").and_then(|rest| rest.split_once('}')).and_then(|(digits, _)| {
        let character = char::from_u32(u32::from_str_radix(digits, 16).ok()?)?;
        Some((digits.len() + "\\u{}".len(), character))
    });
    let short = ["\\t", "\\r", "\\n"].iter().find(|escape| shown.starts_with(**escape));
    match (escape, short) {
        (Some((length, character)), _) => Some((length, character.len_utf8() as u64)),
        (None, Some(escape)) => Some((escape.len(), 1)),
        // An invalid byte is shown as a replacement character, which has three bytes.
        (None, None) => match shown.chars().next()? {
            char::REPLACEMENT_CHARACTER => Some((char::REPLACEMENT_CHARACTER.len_utf8(), 1)),
            character => Some((character.len_utf8(), character.len_utf8() as u64)),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(line: &str, begin: u64, column: Option<u64>) -> RejectedLine {
        RejectedLine {
            time: "2026-12-01T00:00:00Z".to_owned(),
            reason: "bad_value".to_owned(),
            line: line.to_owned(),
            length: line.len() as u64,
            begin,
            column,
            listener: "udp".to_owned(),
            sender: None,
        }
    }

    #[test]
    fn the_caret_is_below_the_offending_byte() {
        for (text, begin, column, marked) in [
            ("page.views:one|c", 0, Some(12), Some(11)),
            ("x|c", 100, Some(102), Some(1)),
            ("x|c", 0, None, None),
            ("é\\u{1b}\\tb", 0, Some(5), Some(9)),
            ("é\\u{1b}\\tb", 0, Some(4), Some(7)),
            ("\u{fffd}x", 0, Some(2), Some(1)),
            ("\u{fffd}\u{fffd}x", 0, Some(3), Some(2)),
            ("a\\u{", 0, Some(5), Some(4)),
            ("short", 0, Some(900), None),
            ("short", 9, Some(2), None),
            ("", 0, Some(0), None),
        ] {
            assert_eq!(marked_column(&line(text, begin, column)), marked, "{text} {column:?}");
        }
    }

    #[test]
    fn a_line_is_described_with_its_reason_listener_and_sender() {
        let expected = "2026-12-01T00:00:00Z  bad_value  udp  from unknown\n  page:one|c\n       ^\n";
        assert_eq!(described(&line("page:one|c", 0, Some(6))), expected);
        let long = described(&line("one|c", 600, Some(601)));
        assert!(long.ends_with("\n  …one|c\n   ^\n"), "{long}");
        let hidden = RejectedLine { reason: "\u{1b}[2J".to_owned(), length: 9000, ..line("", 0, None) };
        assert!(described(&hidden).ends_with("\\u{1b}[2J  udp  from unknown\n  a line of 9000 bytes\n"));
    }
}
