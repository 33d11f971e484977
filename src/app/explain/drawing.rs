//! Draws carets and labels below the parts of a line.

use std::fmt::Write;

use crate::protocol::Token;
use crate::text::visible::is_hidden;

/// The most labels below a line. With more, a reader could not follow the bars.
const MOST_LABELS: usize = 40;

/// A line as it is shown, with the column of each of its bytes.
#[derive(Debug)]
pub(super) struct Drawing {
    text: String,
    /// The column of each byte, and of the end of the line.
    columns: Vec<usize>,
}

impl Drawing {
    /// Prepares a line for display. Control characters and bytes that are not UTF-8 become escapes, because they could
    /// control the terminal or shift the rows below.
    pub(super) fn new(line: &[u8]) -> Self {
        let mut drawing = Self { text: String::new(), columns: Vec::with_capacity(line.len() + 1) };
        let mut width = 0;
        for chunk in line.utf8_chunks() {
            for character in chunk.valid().chars() {
                drawing.columns.extend(std::iter::repeat_n(width, character.len_utf8()));
                if is_hidden(character) {
                    let escape = character.escape_default().to_string();
                    width += escape.len();
                    drawing.text.push_str(&escape);
                } else {
                    width += 1;
                    drawing.text.push(character);
                }
            }
            for byte in chunk.invalid() {
                drawing.columns.push(width);
                // Writing to a string cannot fail.
                _ = write!(drawing.text, "\\x{byte:02x}");
                width += 4;
            }
        }
        drawing.columns.push(width);
        drawing
    }

    /// Returns the line as it is shown.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Returns a row with a caret under one byte.
    pub(super) fn pointer(&self, offset: usize) -> String {
        " ".repeat(self.columns[offset.min(self.columns.len() - 1)]) + "^"
    }

    /// Returns a row of carets under the tokens, and then a row for each label, from the last to the first:
    ///
    /// ```text
    /// a:1:2|ms|#k:v,l:w
    /// ^ ^ ^ ^^  ^^^ ^^^
    /// | |   |   tags
    /// | |   type
    /// | values
    /// name
    /// ```
    pub(super) fn labels(&self, tokens: &[Token]) -> Vec<String> {
        let mut carets = String::new();
        for Token { range, .. } in tokens {
            let (from, to) = (self.columns[range.start], self.columns[range.end]);
            carets.push_str(&" ".repeat(from.saturating_sub(carets.len())));
            carets.push_str(&"^".repeat(to.saturating_sub(carets.len())));
        }
        // Consecutive tokens of one kind share a label.
        let labels: Vec<_> = tokens
            .chunk_by(|a, b| a.part == b.part)
            .map(|run| (self.columns[run[0].range.start], label(run[0].part, run.len())))
            .take(MOST_LABELS)
            .collect();
        let mut rows = vec![carets];
        for (index, (column, label)) in labels.iter().enumerate().rev() {
            let mut row = String::new();
            for (bar, _) in &labels[..index] {
                row.push_str(&" ".repeat(bar.saturating_sub(row.len())));
                row.push('|');
            }
            row.push_str(&" ".repeat(column.saturating_sub(row.len())));
            row.push_str(label);
            rows.push(row);
        }
        rows
    }
}

fn label(part: &str, count: usize) -> String {
    if count > 1 { format!("{part}s") } else { part.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{Dialects, parse, tokens};

    #[test]
    fn each_token_has_carets_and_consecutive_ones_of_a_kind_share_a_label() {
        let line = b"a.b:1:2|ms|@0.5|#k:v,l";
        let rows = Drawing::new(line).labels(&tokens(line, &parse(line, Dialects::ALL).unwrap()));
        assert_eq!(
            rows,
            [
                "^^^ ^ ^ ^^ ^^^^  ^^^ ^",
                "|   |   |  |     tags",
                "|   |   |  rate",
                "|   |   type",
                "|   values",
                "name",
            ]
        );
    }

    #[test]
    fn columns_count_the_shown_width_of_escapes() {
        let drawing = Drawing::new(b"\xc3\xbc\t\xff:1");
        assert_eq!(drawing.text(), "ü\\t\\xff:1");
        assert_eq!(drawing.columns, [0, 0, 1, 3, 7, 8, 9]);
        assert_eq!(drawing.pointer(3), "   ^");
        assert_eq!(drawing.pointer(99), "         ^");
    }
}
