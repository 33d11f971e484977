//! Numbers that eleven other servers make of the same lines, and what tallyd makes of them.

mod answer;
mod deviations;
mod replay;
mod row;
mod spelling;

use std::collections::BTreeMap;

use answer::Statistic;
use deviations::{DEVIATIONS, INCOMPARABLE, Obstacle, RejectReason};
use replay::Replay;
use row::Row;

/// A row is the lines of some intervals, and a peer's numbers.
const ROWS: &str = include_str!("../data/aggregates.jsonl");

/// What was looked at; a row or a number that is lost shows here.
const COUNTED: Counted = Counted { rows: 140, same: 2453, deviating: 340, incomparable: 118 };

/// Of numbers above 1, relative: the cases have twelve digits.
const TOLERANCE: f64 = 1e-9;

#[derive(Debug, Default, PartialEq)]
struct Counted {
    rows: usize,
    /// Numbers that are the peer's.
    same: usize,
    deviating: usize,
    incomparable: usize,
}

#[test]
fn every_number_is_the_peers_or_stands_in_a_table_with_the_reason() {
    let rows: Vec<_> = ROWS.lines().map(Row::parse).collect();
    let mut deviations = by_place(DEVIATIONS.iter().flat_map(|&(reason, row, fields)| {
        fields.iter().map(move |&(field, number)| ((row, field), (reason, number)))
    }));
    let mut incomparable = by_place(
        INCOMPARABLE
            .iter()
            .flat_map(|&(obstacle, row, fields)| fields.iter().map(move |&field| ((row, field), obstacle))),
    );
    let mut counted = Counted::default();
    let mut wrong = Vec::new();
    for row in &rows {
        assert!(!row.facts.is_empty(), "{} says nothing", row.id);
        counted.rows += 1;
        let asked: Vec<_> = row.facts.iter().map(|fact| spelling::statistic(row, fact)).collect();
        let replay = replay(row, &asked);
        for (fact, statistic) in row.facts.iter().zip(asked) {
            let place = (&*row.id, &*fact.label);
            let listed = (deviations.remove(&place), incomparable.remove(&place));
            let got = statistic.as_ref().and_then(|statistic| statistic.value(&replay, fact));
            let is_known = statistic.is_some();
            let tolerance = match statistic {
                Some(Statistic::Stddev | Statistic::Variance) => row.tolerance,
                _ => None,
            };
            match judge(is_known, got, fact.expected, tolerance, listed) {
                Ok(Verdict::Same) => counted.same += 1,
                Ok(Verdict::Deviating) => counted.deviating += 1,
                Ok(Verdict::Incomparable) => counted.incomparable += 1,
                Err(error) => {
                    wrong.push(format!("{place:?}: {error}; {got:?} for the peer's {:?}", fact.expected));
                }
            }
        }
    }
    wrong.extend(
        deviations.keys().chain(incomparable.keys()).map(|place| format!("{place:?}: there is none")),
    );
    assert!(wrong.is_empty(), "{} numbers are not as told:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!(counted, COUNTED);
}

enum Verdict {
    Same,
    Deviating,
    Incomparable,
}

/// Whether a number is what the peer, or else the tables, say of it. `is_known` says that tallyd has a number of the
/// peer's meaning, `got` is none where it reports nothing all the same.
fn judge(
    is_known: bool,
    got: Option<f64>,
    expected: Option<f64>,
    tolerance: Option<f64>,
    listed: (Option<(RejectReason, f64)>, Option<Obstacle>),
) -> Result<Verdict, &'static str> {
    let same = is_known && is_near(got, expected, tolerance);
    match listed {
        (Some(_), Some(_)) => Err("is in both tables"),
        (None, Some(_)) if same || got.is_some() && expected.is_some() => Err("can be compared"),
        (None, Some(_)) => Ok(Verdict::Incomparable),
        (Some(_), None) if same => Err("does not deviate"),
        (Some((_, says)), None) if is_near(got, (!says.is_nan()).then_some(says), None) => {
            Ok(Verdict::Deviating)
        }
        (Some(_), None) => Err("deviates otherwise than the table says"),
        (None, None) if same => Ok(Verdict::Same),
        (None, None) => Err("deviates"),
    }
}

fn is_near(got: Option<f64>, expected: Option<f64>, tolerance: Option<f64>) -> bool {
    match (got, expected) {
        (Some(got), Some(expected)) => {
            (got - expected).abs() <= tolerance.unwrap_or(TOLERANCE * expected.abs().max(1.0))
        }
        (got, expected) => got.is_none() && expected.is_none(),
    }
}

/// A table by row and field; no place may be told twice.
fn by_place<T>(
    entries: impl Iterator<Item = ((&'static str, &'static str), T)>,
) -> BTreeMap<(&'static str, &'static str), T> {
    let mut table = BTreeMap::new();
    for (place, entry) in entries {
        assert!(table.insert(place, entry).is_none(), "{place:?} is listed twice");
    }
    table
}

/// Twice: the number of values decides which percentiles are those of all ranks.
fn replay(row: &Row, asked: &[Option<Statistic>]) -> Replay {
    let asked = || asked.iter().flatten();
    let bounds: Vec<_> = asked().flat_map(Statistic::bounds).collect();
    let counts = Replay::of(row, &[], &[]).counts();
    let percentiles: Vec<_> = asked().flat_map(|statistic| statistic.percentiles(&counts)).collect();
    Replay::of(row, &percentiles, &bounds)
}
