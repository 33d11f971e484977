//! Remembers the latest lines that were not recorded, over many intervals.

use std::collections::{BTreeMap, VecDeque};

use serde::Serialize;

use super::super::totals::Totals;
use super::sender::SenderFields;
use crate::model::{Named, RejectedLine, Snapshot};
use crate::text::visible::visible;

/// The number of lines that are remembered for each reason. With 512 bytes of each line, and fewer than 20 reasons, they
/// take at most 400 KB.
const REMEMBERED: usize = 32;

/// The latest lines of each reason, oldest first.
#[derive(Debug, Default)]
pub(super) struct RejectedHistory(BTreeMap<&'static str, VecDeque<Remembered>>);

#[derive(Debug)]
struct Remembered {
    /// The end of the interval in which the line came.
    time: String,
    line: RejectedLine,
    sender: SenderFields,
}

/// The answer to `/api/v1/rejected`.
#[derive(Debug, Serialize)]
pub(super) struct Answer<'a> {
    /// Latest first.
    lines: Vec<Line<'a>>,
    /// Series whose rows in the latest interval are not on the page.
    quarantined: Vec<Quarantined>,
}

#[derive(Debug, Serialize)]
struct Line<'a> {
    time: &'a str,
    reason: &'a str,
    #[serde(rename = "line")]
    text: String,
    /// The length of the whole line in bytes.
    length: usize,
    /// The offset of `text` in the line, in bytes.
    begin: usize,
    column: Option<usize>,
    /// The number of characters of the text before the offending one.
    caret: Option<usize>,
    listener: &'a str,
    sender: &'a SenderFields,
}

#[derive(Debug, Serialize)]
struct Quarantined {
    series: String,
    reason: &'static str,
}

impl RejectedHistory {
    /// Adds the lines of an interval.
    pub(super) fn add(&mut self, snapshot: &Snapshot) {
        for line in &snapshot.rejected {
            let remembered = self.0.entry(line.reason).or_default();
            if remembered.len() == REMEMBERED {
                remembered.pop_front();
            }
            let sender = line.origin.sender.into();
            remembered.push_back(Remembered { time: snapshot.time_text(), line: line.clone(), sender });
        }
    }

    /// Returns all lines, and the series that are kept off the page.
    pub(super) fn to_answer(&self, totals: &Totals) -> Answer<'_> {
        let mut lines: Vec<_> = self.0.values().flatten().rev().map(Line::new).collect();
        // The sort is stable, so the latest lines of an interval stay first. Times of the same length sort as text.
        lines.sort_by(|a, b| b.time.cmp(a.time));
        let quarantined = totals.kept_off().iter().map(|(series, reason)| Quarantined {
            series: visible(&format!("{series:?}")).into_owned(),
            reason: reason.name(),
        });
        Answer { lines, quarantined: quarantined.collect() }
    }
}

impl<'a> Line<'a> {
    fn new(Remembered { time, line, sender }: &'a Remembered) -> Self {
        Self {
            time,
            reason: line.reason,
            text: shown(&line.bytes),
            length: line.length,
            begin: line.begin,
            column: line.column(),
            caret: line.offset.map(|offset| {
                shown(&line.bytes[..(offset - line.begin).min(line.bytes.len())]).chars().count()
            }),
            listener: line.origin.listener,
            sender,
        }
    }
}

/// Returns bytes of a line as text without hidden characters.
fn shown(bytes: &[u8]) -> String {
    visible(&String::from_utf8_lossy(bytes)).into_owned()
}
