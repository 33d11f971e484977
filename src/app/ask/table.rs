//! Tables of texts and numbers, which are sorted, filtered and printed.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;

use crate::text::visible::visible;

/// A column of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::app) struct Column {
    pub(in crate::app) title: Cow<'static, str>,
    /// True for numbers, which are aligned to the right.
    pub(in crate::app) is_number: bool,
}

impl Column {
    /// Returns a column of texts.
    pub(in crate::app) const fn text(title: &'static str) -> Self {
        Self { title: Cow::Borrowed(title), is_number: false }
    }

    /// Returns a column of numbers.
    pub(in crate::app) const fn number(title: &'static str) -> Self {
        Self { title: Cow::Borrowed(title), is_number: true }
    }

    /// Returns a column of numbers whose title depends on the options.
    pub(in crate::app) fn number_named(title: String) -> Self {
        Self { title: Cow::Owned(title), is_number: true }
    }
}

/// A cell of a table.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::app) struct Cell {
    /// The text, without hidden characters.
    shown: String,
    /// The number that sorts the cell.
    value: Option<f64>,
    /// The number of characters before the one to mark.
    marked: Option<usize>,
}

impl Cell {
    /// Returns a cell with a text, whose hidden characters are escaped.
    pub(in crate::app) fn text(text: &str) -> Self {
        Self { shown: visible(text).into_owned(), value: None, marked: None }
    }

    /// Returns a cell with a number, and a function that writes it.
    pub(in crate::app) fn number(value: f64, write: impl Fn(f64) -> String) -> Self {
        Self { shown: write(value), value: Some(value), marked: None }
    }

    /// Returns a cell with a number, or with a dash if the number is unknown.
    pub(in crate::app) fn known(value: Option<f64>, write: impl Fn(f64) -> String) -> Self {
        value.map_or_else(|| Self::text("-"), |value| Self::number(value, write))
    }

    /// Marks the character that comes after so many others.
    pub(in crate::app) fn with_mark(self, marked: Option<usize>) -> Self {
        Self { marked, ..self }
    }

    /// Returns the number of characters before the one to mark.
    pub(in crate::app) fn marked(&self) -> Option<usize> {
        self.marked
    }

    /// Returns the text, without hidden characters.
    pub(in crate::app) fn shown(&self) -> &str {
        &self.shown
    }

    /// Compares numbers by their values, and texts by their letters. An unknown number is the smallest.
    fn compare(&self, other: &Self) -> Ordering {
        match (self.value, other.value) {
            (Some(value), Some(other)) => value.total_cmp(&other),
            (None, None) => self.shown.cmp(&other.shown),
            (one, other) => one.is_some().cmp(&other.is_some()),
        }
    }
}

/// A table. Each row has a cell for each column.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::app) struct Table {
    pub(in crate::app) columns: Vec<Column>,
    pub(in crate::app) rows: Vec<Vec<Cell>>,
}

impl Table {
    /// Sorts the rows by a column. Equal rows keep their order.
    pub(in crate::app) fn sort(&mut self, column: usize, is_descending: bool) {
        self.rows.sort_by(|a, b| {
            let order = a[column].compare(&b[column]);
            if is_descending { order.reverse() } else { order }
        });
    }

    /// Keeps the rows that have this text in a cell, in upper or lower case.
    pub(in crate::app) fn keep(&mut self, text: &str) {
        let wanted = text.to_lowercase();
        self.rows.retain(|row| row.iter().any(|cell| cell.shown.to_lowercase().contains(&wanted)));
    }

    /// Returns the width of each column in characters.
    pub(in crate::app) fn widths(&self) -> Vec<usize> {
        let width = |column: usize, title: &str| {
            let cells = self.rows.iter().map(|row| row[column].shown.as_str());
            cells.chain([title]).map(|text| text.chars().count()).max().unwrap_or(0)
        };
        self.columns.iter().enumerate().map(|(column, Column { title, .. })| width(column, title)).collect()
    }
}

/// Writes the table with a line of titles.
impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widths = self.widths();
        let mut write = |cells: &mut dyn Iterator<Item = &str>| {
            let padded = cells.zip(&self.columns).zip(&widths).map(|((text, column), width)| {
                if column.is_number { format!("{text:>width$}") } else { format!("{text:<width$}") }
            });
            writeln!(f, "{}", padded.collect::<Vec<_>>().join("  ").trim_end())
        };
        write(&mut self.columns.iter().map(|column| &*column.title))?;
        self.rows.iter().try_for_each(|row| write(&mut row.iter().map(Cell::shown)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let row = |name: &str, value: Option<f64>| {
            vec![Cell::text(name), Cell::known(value, |value| format!("{value}"))]
        };
        Table {
            columns: vec![Column::text("NAME"), Column::number("SAMPLES")],
            rows: vec![row("b", Some(9.0)), row("Page.views", Some(10.0)), row("a\u{1b}", None)],
        }
    }

    #[test]
    fn tables_are_aligned_and_escape_control_characters() {
        let expected =
            "NAME        SAMPLES\nb                 9\nPage.views       10\na\\u{1b}           -\n";
        assert_eq!(table().to_string(), expected);
    }

    #[test]
    fn rows_are_sorted_by_value_and_found_in_any_case() {
        let names =
            |table: &Table| table.rows.iter().map(|row| row[0].shown().to_owned()).collect::<Vec<_>>();
        let mut sorted = table();
        sorted.sort(1, true);
        assert_eq!(names(&sorted), ["Page.views", "b", "a\\u{1b}"]);
        sorted.sort(0, false);
        assert_eq!(names(&sorted), ["Page.views", "a\\u{1b}", "b"]);
        sorted.keep("pAGE");
        assert_eq!(names(&sorted), ["Page.views"]);
    }
}
