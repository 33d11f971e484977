//! Runs cases under Callgrind, which counts their instructions and their atomic operations.

use std::fs;
use std::io::ErrorKind;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::thread;

use parking_lot::Mutex;

/// An error whose message the bench prints.
pub(crate) type Error = Box<dyn std::error::Error + Send + Sync>;

/// A piece of work whose instructions are counted.
pub(crate) struct Case {
    /// The name, `stage/input`, as in the other benches.
    pub(crate) name: String,
    /// The unit of work, in the singular. The cost of a case is proportional to the number of its units.
    pub(crate) unit: &'static str,
    /// The expected number of atomic operations per unit. If it is `None`, the bench compares instructions per unit
    /// instead.
    pub(crate) atomics: Option<RangeInclusive<f64>>,
    run: Box<dyn Fn() -> usize + Sync>,
}

impl Case {
    /// Makes a case. `run` does the counted work within [`counted_region`], and returns its number of units.
    pub(crate) fn new(
        name: impl Into<String>,
        unit: &'static str,
        run: impl Fn() -> usize + Sync + 'static,
    ) -> Self {
        Self { name: name.into(), unit, atomics: None, run: Box::new(run) }
    }

    /// Makes the bench compare atomic operations instead of instructions.
    pub(crate) fn expecting_atomics(self, atomics: RangeInclusive<f64>) -> Self {
        Self { atomics: Some(atomics), ..self }
    }

    pub(crate) fn run(&self) -> usize {
        (self.run)()
    }
}

/// Runs the counted work. Callgrind finds this function by its name, and counts on each thread from its start to its
/// end.
#[inline(never)]
pub(crate) fn counted_region(work: impl FnOnce()) {
    work();
}

/// The counts of all units of a case.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Counts {
    units: u64,
    instructions: u64,
    /// The number of atomic operations. Callgrind calls them global bus events.
    atomics: u64,
}

impl Counts {
    pub(crate) fn instructions_per_unit(&self) -> f64 {
        self.instructions as f64 / self.units as f64
    }

    pub(crate) fn atomics_per_unit(&self) -> f64 {
        self.atomics as f64 / self.units as f64
    }
}

/// Counts all cases. One case runs on each core at a time, because other processes do not change the counts. Each case
/// runs in its own process. The first argument of the process is `role`, and the second is the name of the case.
pub(crate) fn count_all(cases: &[Case], role: &str) -> Result<Vec<Counts>, Error> {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let waiting = Mutex::new(cases.iter().enumerate());
    let counted = Mutex::new(Vec::new());
    let next = || waiting.lock().next();
    thread::scope(|scope| {
        for _core in 0..cores {
            scope.spawn(|| {
                while let Some((index, case)) = next() {
                    let counts = count(case, role);
                    counted.lock().push((index, counts));
                }
            });
        }
    });
    let mut counted = counted.into_inner();
    counted.sort_by_key(|&(index, _)| index);
    counted.into_iter().map(|(_, counts)| counts).collect()
}

fn count(case: &Case, role: &str) -> Result<Counts, Error> {
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("instructions");
    fs::create_dir_all(&directory)?;
    let profile = directory.join(case.name.replace('/', "."));
    // This prevents reading the profile of an earlier run by mistake.
    _ = fs::remove_file(&profile);
    let mut valgrind = Command::new("valgrind");
    valgrind
        .args(["--quiet", "--tool=callgrind", "--collect-bus=yes"])
        .arg("--toggle-collect=*instructions*counted_region*")
        .arg(format!("--callgrind-out-file={}", profile.display()))
        .arg(std::env::current_exe()?)
        .args([role, &case.name]);
    let Output { status, stdout, stderr } = valgrind.output().map_err(|error| match error.kind() {
        ErrorKind::NotFound => "valgrind is missing; install it with apt-get install valgrind".to_owned(),
        _ => format!("cannot start valgrind: {error}"),
    })?;
    let failed = |what| format!("{}: {what}\n{}", case.name, String::from_utf8_lossy(&stderr));
    if !status.success() {
        return Err(failed("the case failed under valgrind").into());
    }
    let units = String::from_utf8_lossy(&stdout).trim().parse()?;
    match total_counts(&fs::read_to_string(profile)?) {
        Some([instructions, atomics]) if instructions > 0 => Ok(Counts { units, instructions, atomics }),
        _ => {
            Err(failed("Callgrind counted nothing; does it still know `counted_region` by its name?").into())
        }
    }
}

/// Reads the instructions and the atomic operations of the whole process from a profile.
fn total_counts(profile: &str) -> Option<[u64; 2]> {
    let mut lines = profile.lines();
    lines.find(|&line| line == "events: Ir Ge")?;
    let totals = lines.find_map(|line| line.strip_prefix("totals: "))?;
    let (instructions, atomics) = totals.split_once(' ').unwrap_or((totals, "0"));
    Some([instructions.parse().ok()?, atomics.parse().ok()?])
}
