//! `tallyd explain`: explains what happens to a line, using the receivers' own code.

mod drawing;
mod json;
mod text;
mod words;

use std::io::{self, Read, Write};

use crate::aggregate::AggregationOptions;
use crate::export::prometheus::Naming;
use crate::listen::{Deframer, End, Frame, Framing};
use crate::mapping::Mapping;
use crate::protocol::{self, RejectReason};

use json::Meaning;
use text::Describer;

/// The format of an explanation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum ExplainFormat {
    /// For people: the line, its parts, and what happens to it.
    Text,
    /// For programs: one JSON object per line.
    Json,
}

/// Explains how a daemon with the same options reads lines.
#[derive(Debug)]
pub struct Explainer {
    /// The options for reading lines.
    pub options: AggregationOptions,
    /// The rules that give series other names and labels.
    pub mapping: Mapping,
    /// The naming of series in the Prometheus exporters.
    pub naming: Naming,
    /// The longest line that is accepted, in bytes.
    pub max_line: usize,
    /// The longest name of a series that is accepted, in bytes.
    pub max_name: usize,
    /// The format of the explanations.
    pub format: ExplainFormat,
    /// Whether the text for a rejected line has the number of the line.
    pub is_numbered: bool,
}

/// The default explains lines for people, as the shipped configuration reads them.
impl Default for Explainer {
    fn default() -> Self {
        Self {
            options: AggregationOptions::default(),
            mapping: Mapping::default(),
            naming: Naming::Prometheus,
            max_line: 64 << 10,
            max_name: 1 << 10,
            format: ExplainFormat::Text,
            is_numbered: false,
        }
    }
}

impl Explainer {
    /// Explains the lines of `input`, each as soon as it is read. Returns the number of rejected lines.
    ///
    /// # Errors
    ///
    /// Returns an error if the input cannot be read or the output cannot be written.
    pub(crate) fn explain_all(&self, mut input: impl Read, mut output: impl Write) -> io::Result<u64> {
        let mut deframer = Deframer::new(Framing::Lines, self.max_line);
        let mut buffer = vec![0; 64 << 10];
        let mut explanations = String::new();
        let (mut number, mut rejected) = (0_u64, 0_u64);
        let mut push = |explanations: &mut String, frame: Frame<'_>| {
            let mut push_one = |Explanation { text, is_rejected }| {
                rejected += u64::from(is_rejected);
                explanations.push_str(&text);
            };
            match frame {
                Frame::Lines(lines) => {
                    // Empty lines count, so that the numbers are those of an editor.
                    for line in lines.strip_suffix(b"\n").unwrap_or(lines).split(|&byte| byte == b'\n') {
                        number += 1;
                        protocol::lines(line).for_each(|line| push_one(self.explanation(line, Some(number))));
                    }
                }
                Frame::TooLong => {
                    number += 1;
                    push_one(self.reject(&[], RejectReason::LineTooLong, self.max_line, Some(number)));
                }
                Frame::Truncated => {}
            }
        };
        loop {
            let read = input.read(&mut buffer)?;
            if read == 0 {
                deframer.end(End::Whole, |frame| push(&mut explanations, frame));
                output.write_all(explanations.as_bytes())?;
                output.flush()?;
                return Ok(rejected);
            }
            let pushed = deframer.push(&buffer[..read], |frame| push(&mut explanations, frame));
            pushed.map_err(io::Error::other)?;
            output.write_all(explanations.as_bytes())?;
            output.flush()?;
            explanations.clear();
        }
    }

    /// Returns the explanation of one line, as rows that each end in a line feed.
    #[must_use]
    pub fn explain(&self, line: &[u8]) -> String {
        self.explanation(line, None).text
    }

    fn explanation(&self, line: &[u8], number: Option<u64>) -> Explanation {
        if line.len() > self.max_line {
            return self.reject(line, RejectReason::LineTooLong, self.max_line, number);
        }
        match protocol::parse(line, self.options.dialects) {
            Err(error) => self.reject(line, error.reason(), error.offset(), number),
            Ok(parsed) => {
                let Self { options, mapping, naming, max_name, format, .. } = self;
                let text = match format {
                    ExplainFormat::Json => Meaning::new(&parsed, options, mapping, *max_name).to_json(),
                    ExplainFormat::Text => {
                        Describer { options, mapping, naming: *naming, max_name: *max_name }
                            .describe(line, &parsed)
                    }
                };
                Explanation { text, is_rejected: false }
            }
        }
    }

    fn reject(&self, line: &[u8], reason: RejectReason, offset: usize, number: Option<u64>) -> Explanation {
        let text = match self.format {
            ExplainFormat::Json => Meaning::rejected(reason, offset, number).to_json(),
            ExplainFormat::Text => text::rejection(line, reason, offset, number.filter(|_| self.is_numbered)),
        };
        Explanation { text, is_rejected: true }
    }
}

/// The explanation of one line.
struct Explanation {
    text: String,
    is_rejected: bool,
}
