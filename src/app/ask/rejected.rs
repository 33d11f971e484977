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

/// Returns the lines that describe a rejected line. A caret marks the offending character.
fn described(rejected: &RejectedLine) -> String {
    let RejectedLine { time, reason, listener, sender, line, length, .. } = rejected;
    let sender = Sender::shown(sender.as_ref());
    let title = format!("{}  {}  {}  from {sender}", visible(time), visible(reason), visible(listener));
    if line.is_empty() {
        return format!("{title}\n  a line of {length} bytes\n");
    }
    let (text, marked) = shown(rejected);
    let caret = marked.map_or_else(String::new, |column| format!("  {:>width$}\n", "^", width = column + 1));
    format!("{title}\n  {text}\n{caret}")
}

/// Returns a line as the terminal shows it, and the number of characters before the offending one, if it is in the shown part.
pub(super) fn shown(rejected: &RejectedLine) -> (String, Option<usize>) {
    let before = if rejected.begin > 0 { "…" } else { "" };
    let marked = marked_column(rejected).map(|column| before.chars().count() + column);
    (format!("{before}{}", visible(&rejected.line)), marked)
}

/// Returns the number of characters before the offending one as the terminal shows them, if it is in the shown part.
fn marked_column(RejectedLine { line, caret, .. }: &RejectedLine) -> Option<usize> {
    let caret = usize::try_from((*caret)?).ok()?;
    let before: String = line.chars().take(caret).collect();
    (before.chars().count() == caret).then(|| visible(&before).chars().count())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(line: &str, begin: u64, caret: Option<u64>) -> RejectedLine {
        RejectedLine {
            time: "2026-12-01T00:00:00Z".to_owned(),
            reason: "bad_value".to_owned(),
            line: line.to_owned(),
            length: line.len() as u64,
            begin,
            column: None,
            caret,
            listener: "udp".to_owned(),
            sender: None,
        }
    }

    #[test]
    fn the_caret_is_below_the_offending_character() {
        for (text, caret, marked) in [
            ("page.views:one|c", Some(11), Some(11)),
            ("x|c", None, None),
            ("é\\u{1b}\\tb", Some(9), Some(9)),
            ("\x1bx", Some(1), Some(6)),
            ("short", Some(5), Some(5)),
            ("short", Some(6), None),
            ("short", Some(u64::MAX), None),
        ] {
            assert_eq!(marked_column(&line(text, 0, caret)), marked, "{text} {caret:?}");
        }
    }

    #[test]
    fn a_line_is_described_with_its_reason_listener_and_sender() {
        let expected = "2026-12-01T00:00:00Z  bad_value  udp  from unknown\n  page:one|c\n       ^\n";
        assert_eq!(described(&line("page:one|c", 0, Some(5))), expected);
        let long = described(&line("one|c", 600, Some(0)));
        assert!(long.ends_with("\n  …one|c\n   ^\n"), "{long}");
        let hidden = RejectedLine { reason: "\u{1b}[2J".to_owned(), length: 9000, ..line("", 0, None) };
        assert!(described(&hidden).ends_with("\\u{1b}[2J  udp  from unknown\n  a line of 9000 bytes\n"));
    }
}
