//! `tallyd talkers`: prints the names and the senders with the most samples, series and lines.

use std::io::Write;

use super::answers::{NameCount, NameSamples, Sender, SenderLines, Talkers};
use super::client::Client;
use super::error::AskError;
use super::series::print_json;
use super::table::{Cell, Column, Table};
use super::units::short;

/// Prints the tables of names and of senders.
pub(super) fn print_talkers(client: &Client, json: bool, output: &mut impl Write) -> Result<(), AskError> {
    let text = client.get_text("talkers", &[])?;
    let talkers: Talkers = client.parse(&text)?;
    if json {
        return print_json(&text, output);
    }
    Ok(write!(output, "{}\n{}", names(&talkers), senders(&talkers))?)
}

/// Returns the names that are in one of the lists, with all that is known about them. Those with the most samples are
/// first.
pub(super) fn names(talkers: &Talkers) -> Table {
    let Talkers { seconds, names, series, new, rejected, .. } = talkers;
    let mut rows = Vec::new();
    let mut listed: Vec<&str> = Vec::new();
    let all = names.iter().map(|NameSamples { name, .. }| name);
    let counted = [series, new, rejected].into_iter().flatten().map(|NameCount { name, .. }| name);
    for name in all.chain(counted) {
        if listed.contains(&name.as_str()) {
            continue;
        }
        listed.push(name);
        let samples = names.iter().find(|other| other.name == *name);
        let count = |list: &[NameCount]| {
            let found = list.iter().find(|other| other.name == *name);
            Cell::known(found.map(|found| found.count), short)
        };
        rows.push(vec![
            Cell::text(name),
            Cell::known(samples.map(|found| found.samples / seconds), short),
            Cell::known(samples.map(|found| found.error / seconds), margin),
            count(series),
            count(new),
            count(rejected),
        ]);
    }
    let columns = vec![
        Column::text("NAME"),
        Column::number("SAMPLES/S"),
        Column::number("±"),
        Column::number("SERIES"),
        Column::number("NEW"),
        Column::number("REJECTED"),
    ];
    Table { columns, rows }
}

/// Returns the senders, those with the most lines first.
pub(super) fn senders(talkers: &Talkers) -> Table {
    let row = |SenderLines { sender, listener, lines, error }: &SenderLines| {
        vec![
            Cell::text(&Sender::shown(sender.as_ref())),
            Cell::text(listener),
            Cell::number(lines / talkers.seconds, short),
            Cell::number(error / talkers.seconds, margin),
        ]
    };
    let columns = vec![
        Column::text("SENDER"),
        Column::text("LISTENER"),
        Column::number("LINES/S"),
        Column::number("±"),
    ];
    Table { columns, rows: talkers.senders.iter().map(row).collect() }
}

/// Writes a margin of error. An exact number has none.
fn margin(error: f64) -> String {
    if error == 0.0 { String::new() } else { format!("±{}", short(error)) }
}
