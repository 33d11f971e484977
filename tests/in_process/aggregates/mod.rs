//! Compares tallyd's results with those of eleven other servers for the same lines.

mod names;
mod replay;
mod row;
mod statistic;

use std::collections::BTreeMap;

use serde::Deserialize;

use replay::Replay;
use row::Row;
use statistic::Statistic;

/// Each row has the lines of some intervals, and a peer's numbers.
const ROWS: &str = include_str!("../../data/aggregates.jsonl");

/// Lists every number that differs from the peer's or cannot be compared, with the reason. If two reasons apply, the
/// file names weight before rank and standard deviation.
const DEVIATIONS: &str = include_str!("../../data/aggregates_deviations.json");

/// The expected counts, so that no row and no number can get lost.
const COUNTED: Counted = Counted { rows: 140, same: 2453, deviating: 340, incomparable: 118 };

/// The allowed error: relative for numbers above 1, else absolute. The cases have twelve digits.
const TOLERANCE: f64 = 1e-9;

#[derive(Debug, Default, PartialEq)]
struct Counted {
    rows: usize,
    /// The numbers that equal the peer's.
    same: usize,
    deviating: usize,
    incomparable: usize,
}

/// The file of deviations. It groups rows by reason, and names numbers by their labels.
#[derive(Deserialize)]
struct Deviations {
    deviations: Vec<Group<BTreeMap<String, Option<f64>>>>,
    incomparable: Vec<Group<Vec<String>>>,
}

#[derive(Deserialize)]
struct Group<T> {
    reason: String,
    rows: BTreeMap<String, T>,
}

/// The entry of a number in the file of deviations.
#[derive(Clone, Copy)]
enum Listed {
    /// tallyd reports this number instead, or no number.
    Deviation(Option<f64>),
    Incomparable,
}

/// Returns the entries of the file of deviations by row and label.
fn listed() -> BTreeMap<(String, String), Listed> {
    let Deviations { deviations, incomparable } = serde_json::from_str(DEVIATIONS).unwrap();
    let reasons = deviations.iter().map(|group| &group.reason);
    assert!(
        reasons.chain(incomparable.iter().map(|group| &group.reason)).all(|reason| reason.ends_with('.'))
    );
    let deviations = deviations.into_iter().flat_map(|group| group.rows).flat_map(|(row, numbers)| {
        numbers.into_iter().map(move |(label, says)| ((row.clone(), label), Listed::Deviation(says)))
    });
    let incomparable = incomparable.into_iter().flat_map(|group| group.rows).flat_map(|(row, labels)| {
        labels.into_iter().map(move |label| ((row.clone(), label), Listed::Incomparable))
    });
    let mut listed = BTreeMap::new();
    for (place, says) in deviations.chain(incomparable) {
        assert!(listed.insert(place.clone(), says).is_none(), "{place:?} is listed twice");
    }
    listed
}

#[test]
fn each_number_equals_the_peers_or_is_listed_with_a_reason() {
    let mut listed = listed();
    let mut counted = Counted::default();
    let mut wrong = Vec::new();
    for row in ROWS.lines().map(Row::parse) {
        assert!(!row.facts.is_empty(), "{} has no numbers", row.id);
        counted.rows += 1;
        let asked: Vec<_> = row.facts.iter().map(|fact| names::statistic(&row, fact)).collect();
        let replay = replay(&row, &asked);
        for (fact, statistic) in row.facts.iter().zip(asked) {
            let place = (row.id.clone(), fact.label.clone());
            let says = listed.remove(&place);
            let got = statistic.as_ref().and_then(|statistic| statistic.value(&replay, fact));
            let tolerance = match statistic {
                Some(Statistic::Stddev | Statistic::Variance) => row.tolerance,
                _ => None,
            };
            let is_same = statistic.is_some() && is_near(got, fact.expected, tolerance);
            match says {
                None if is_same => counted.same += 1,
                Some(Listed::Deviation(says)) if !is_same && is_near(got, says, None) => {
                    counted.deviating += 1;
                }
                Some(Listed::Incomparable) if !is_same && (got.is_none() || fact.expected.is_none()) => {
                    counted.incomparable += 1;
                }
                _ => {
                    let error = match says {
                        None => "deviates",
                        Some(Listed::Deviation(_)) if is_same => "does not deviate",
                        Some(Listed::Deviation(_)) => "deviates in another way than the file says",
                        Some(Listed::Incomparable) => "can be compared",
                    };
                    wrong.push(format!(
                        "{place:?}: {error}; {got:?} instead of the peer's {:?}",
                        fact.expected
                    ));
                }
            }
        }
    }
    wrong.extend(listed.keys().map(|place| format!("{place:?}: no row has this number")));
    assert!(wrong.is_empty(), "{} numbers are wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!(counted, COUNTED);
}

fn is_near(got: Option<f64>, expected: Option<f64>, tolerance: Option<f64>) -> bool {
    match (got, expected) {
        (Some(got), Some(expected)) => {
            (got - expected).abs() <= tolerance.unwrap_or(TOLERANCE * expected.abs().max(1.0))
        }
        (got, expected) => got.is_none() && expected.is_none(),
    }
}

/// Replays a row twice. The first replay counts the values, and their number decides which percentiles the second
/// needs.
fn replay(row: &Row, asked: &[Option<Statistic>]) -> Replay {
    let asked = || asked.iter().flatten();
    let bounds: Vec<_> = asked().flat_map(Statistic::bounds).collect();
    let counts = Replay::of(row, &[], &[]).summary_counts();
    let percentiles: Vec<_> = asked().flat_map(|statistic| statistic.percentiles(&counts)).collect();
    Replay::of(row, &percentiles, &bounds)
}
