//! Prints Markdown tables, and says which of their rows are wrong.

use crate::Failure;
use crate::baselines::Baselines;
use crate::callgrind::Counts;
use crate::cases::Case;
use crate::receivers::LINES_A_BATCH;

/// What a unit of each case takes, and what it took when it was recorded. Returns complaints.
pub(crate) fn instructions(
    counted: &[(&Case, Counts)],
    baselines: &Baselines,
) -> Result<Vec<String>, Failure> {
    let tolerance = baselines.tolerance()?;
    println!("| case | instructions | a | recorded | difference |");
    println!("|---|---:|---|---:|---:|");
    let mut complaints = Vec::new();
    for (Case { name, unit, .. }, counts) in counted {
        let present = counts.instructions_a_unit();
        let Some(recorded) = baselines.of_case(name) else {
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

/// What lines take with more and more receivers. Returns complaints.
pub(crate) fn receivers(counted: &[(&Case, Counts)]) -> Vec<String> {
    println!("\n| receivers | instructions a line | atomic operations a line | a batch of {LINES_A_BATCH} |");
    println!("|---|---:|---:|---:|");
    let mut complaints = Vec::new();
    for (Case { name, atomics, .. }, counts) in counted {
        let Some(expected) = atomics else { continue };
        let (instructions, atomics) = (counts.instructions_a_unit(), counts.atomics_a_unit());
        let [instructions_a_line, atomics_a_line] = [instructions, atomics].map(|a| a / LINES_A_BATCH as f64);
        println!("| {name} | {instructions_a_line:.1} | {atomics_a_line:.4} | {atomics:.2} |");
        if !expected.contains(&atomics) {
            complaints.push(format!("{name} takes {atomics:.2} atomic operations a batch, not {expected:?}"));
        }
    }
    complaints
}
