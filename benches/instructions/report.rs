//! Prints Markdown tables, and lists the rows that exceed their limits.

use crate::baselines::Baselines;
use crate::callgrind::{Case, Counts, Error};
use crate::receivers::LINES_PER_BATCH;

/// Prints the instructions per unit of each case next to the recorded instructions. Returns complaints.
pub(crate) fn instructions(counted: &[(&Case, Counts)], baselines: &Baselines) -> Result<Vec<String>, Error> {
    let tolerance = baselines.tolerance()?;
    println!("| case | instructions | per | recorded | difference |");
    println!("|---|---:|---|---:|---:|");
    let mut complaints = Vec::new();
    for (Case { name, unit, .. }, counts) in counted {
        let present = counts.instructions_per_unit();
        let Some(recorded) = baselines.recorded(name) else {
            println!("| {name} | {present:.1} | {unit} | | |");
            complaints.push(format!("{name} is not recorded"));
            continue;
        };
        let percent = (present / recorded - 1.0) * 100.0;
        let remark = if percent < -tolerance { "; lower the baseline" } else { "" };
        println!("| {name} | {present:.1} | {unit} | {recorded:.1} | {percent:+.1} %{remark} |");
        if percent > tolerance {
            complaints.push(format!("{name} takes {percent:.1} % more instructions than recorded"));
        }
    }
    if !complaints.is_empty() {
        complaints.push(baselines.advice()?);
    }
    Ok(complaints)
}

/// Prints the cost of a line for each number of receivers. Returns complaints.
pub(crate) fn receivers(counted: &[(&Case, Counts)]) -> Vec<String> {
    println!(
        "\n| receivers | instructions per line | atomic operations per line | per batch of {LINES_PER_BATCH} |"
    );
    println!("|---|---:|---:|---:|");
    let mut complaints = Vec::new();
    for (Case { name, atomics, .. }, counts) in counted {
        let Some(expected) = atomics else { continue };
        let (instructions, atomics) = (counts.instructions_per_unit(), counts.atomics_per_unit());
        let [instructions_per_line, atomics_per_line] =
            [instructions, atomics].map(|count| count / LINES_PER_BATCH as f64);
        println!("| {name} | {instructions_per_line:.1} | {atomics_per_line:.4} | {atomics:.2} |");
        if !expected.contains(&atomics) {
            complaints
                .push(format!("{name} takes {atomics:.2} atomic operations per batch, not {expected:?}"));
        }
    }
    complaints
}
