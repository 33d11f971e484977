//! The views of `tallyd top`: each is a table of a part of the answers.

use crate::app::ask::answers::{Answers, ExporterStatus, Loss, RejectedLine, Sender};
use crate::app::ask::rejected::shown;
use crate::app::ask::table::{Cell, Column, Table};
use crate::app::ask::talkers::{names, senders};
use crate::app::ask::units::{age, brief, short};

/// A view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum View {
    Names,
    Senders,
    Rejected,
    Exporters,
    Losses,
}

/// The column by which a view is sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sort {
    pub(super) column: usize,
    pub(super) is_descending: bool,
}

/// The views in the order of their keys.
pub(super) const VIEWS: [View; 5] =
    [View::Names, View::Senders, View::Rejected, View::Exporters, View::Losses];

impl View {
    /// Returns the name on the screen.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Names => "names",
            Self::Senders => "senders",
            Self::Rejected => "rejected",
            Self::Exporters => "exporters",
            Self::Losses => "losses",
        }
    }

    /// Returns the order in which the view is sorted at first: the largest or the latest row is the first.
    pub(super) fn first_sort(self) -> Sort {
        let (column, is_descending) = match self {
            Self::Names => (1, true),
            Self::Senders | Self::Losses => (2, true),
            Self::Rejected => (0, true),
            Self::Exporters => (0, false),
        };
        Sort { column, is_descending }
    }

    /// Returns what the screen shows if the view has no rows.
    pub(super) fn empty(self) -> &'static str {
        match self {
            Self::Names | Self::Senders => "nothing was received in the latest interval",
            Self::Rejected => "no line was rejected",
            Self::Exporters => "there is no exporter",
            Self::Losses => "nothing was lost in the latest interval",
        }
    }

    /// Returns true if the view shows something that a person should look at.
    pub(super) fn has_failures(self, answers: &Answers) -> bool {
        match self {
            Self::Exporters => answers.status.exporters.iter().any(|exporter| exporter.failures > 0.0),
            Self::Losses => {
                answers.status.interval.as_ref().is_some_and(|interval| !interval.losses.is_empty())
            }
            _ => false,
        }
    }

    /// Returns the rows in the order of the answers.
    pub(super) fn table(self, answers: &Answers) -> Table {
        match self {
            Self::Names => names(&answers.talkers),
            Self::Senders => senders(&answers.talkers),
            Self::Rejected => rejected(&answers.rejected.lines),
            Self::Exporters => exporters(&answers.status.exporters),
            Self::Losses => {
                losses(answers.status.interval.as_ref().map_or(&[], |interval| interval.losses.as_slice()))
            }
        }
    }
}

fn rejected(lines: &[RejectedLine]) -> Table {
    let row = |line: &RejectedLine| {
        let (text, marked) = shown(line);
        vec![
            Cell::text(time_of_day(&line.time)),
            Cell::text(&line.reason),
            Cell::text(&Sender::shown(line.sender.as_ref())),
            Cell::text(&line.listener),
            Cell::known(line.column.map(|column| column as f64), brief),
            Cell::text(&text).with_mark(marked),
        ]
    };
    let columns = vec![
        Column::text("TIME"),
        Column::text("REASON"),
        Column::text("SENDER"),
        Column::text("LISTENER"),
        Column::number("COLUMN"),
        Column::text("LINE"),
    ];
    Table { columns, rows: lines.iter().map(row).collect() }
}

/// Returns the time without the date. The latest lines come from the last minutes.
pub(super) fn time_of_day(time: &str) -> &str {
    time.split_once('T').map_or(time, |(_, time)| time)
}

fn exporters(exporters: &[ExporterStatus]) -> Table {
    let row = |exporter: &ExporterStatus| {
        vec![
            Cell::text(&exporter.name),
            Cell::known(exporter.age_seconds, age),
            Cell::number(exporter.waiting_samples, short),
            Cell::number(exporter.failures, short),
            Cell::text(exporter.error.as_deref().unwrap_or("")),
        ]
    };
    let columns = vec![
        Column::text("EXPORTER"),
        Column::number("DELIVERED"),
        Column::number("WAITING"),
        Column::number("FAILURES"),
        Column::text("ERROR"),
    ];
    Table { columns, rows: exporters.iter().map(row).collect() }
}

fn losses(losses: &[Loss]) -> Table {
    let row =
        |Loss { kind, by, count }: &Loss| vec![Cell::text(kind), Cell::text(by), Cell::number(*count, short)];
    let columns = vec![Column::text("LOST"), Column::text("BY"), Column::number("COUNT")];
    Table { columns, rows: losses.iter().map(row).collect() }
}
