//! Runs cases under Callgrind, which counts their instructions, and which of these are atomic.

use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::thread;

use parking_lot::Mutex;

use crate::Failure;
use crate::arguments::COUNTED;
use crate::cases::Case;

/// Callgrind counts from the beginning of this function to its end, on each thread for itself. It knows it by its name.
#[inline(never)]
pub(crate) fn counted(work: impl FnOnce()) {
    work();
}

/// What a case took, altogether.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Counts {
    units: u64,
    instructions: u64,
    /// Instructions that lock the bus, as Callgrind has it.
    atomics: u64,
}

impl Counts {
    pub(crate) fn instructions_a_unit(&self) -> f64 {
        self.instructions as f64 / self.units as f64
    }

    pub(crate) fn atomics_a_unit(&self) -> f64 {
        self.atomics as f64 / self.units as f64
    }
}

/// Counts as many cases at a time as there are cores: instructions do not mind the company.
pub(crate) fn count_all(cases: &[Case]) -> Result<Vec<Counts>, Failure> {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let waiting = Mutex::new(cases.iter().enumerate());
    let counted = Mutex::new(Vec::new());
    let next = || waiting.lock().next();
    thread::scope(|scope| {
        for _core in 0..cores {
            scope.spawn(|| {
                while let Some((index, case)) = next() {
                    let counts = count(case);
                    counted.lock().push((index, counts));
                }
            });
        }
    });
    let mut counted = counted.into_inner();
    counted.sort_by_key(|&(index, _)| index);
    counted.into_iter().map(|(_, counts)| counts).collect()
}

fn count(case: &Case) -> Result<Counts, Failure> {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("instructions");
    fs::create_dir_all(&folder)?;
    let profile = folder.join(case.name.replace('/', "."));
    // A profile of another time must not be taken for that of this one.
    _ = fs::remove_file(&profile);
    let mut valgrind = Command::new("valgrind");
    valgrind
        .args(["--quiet", "--tool=callgrind", "--toggle-collect=*instructions*counted*", "--collect-bus=yes"])
        .arg(format!("--callgrind-out-file={}", profile.display()))
        .arg(std::env::current_exe()?)
        .args([COUNTED, &case.name]);
    let Output { status, stdout, stderr } = valgrind.output().map_err(|error| match error.kind() {
        ErrorKind::NotFound => "valgrind is missing: apt-get install valgrind".to_owned(),
        _ => format!("cannot start valgrind: {error}"),
    })?;
    let failed = |what| format!("{}: {what}\n{}", case.name, String::from_utf8_lossy(&stderr));
    if !status.success() {
        return Err(failed("did not run under valgrind").into());
    }
    let units = String::from_utf8_lossy(&stdout).trim().parse()?;
    match events(&fs::read_to_string(profile)?) {
        Some([instructions, atomics]) if instructions > 0 => Ok(Counts { units, instructions, atomics }),
        _ => Err(failed("Callgrind counted nothing; does it still know `counted` by its name?").into()),
    }
}

/// Those of the whole process.
fn events(profile: &str) -> Option<[u64; 2]> {
    let mut lines = profile.lines();
    lines.find(|&line| line == "events: Ir Ge")?;
    let totals = lines.find_map(|line| line.strip_prefix("totals: "))?;
    let (instructions, atomics) = totals.split_once(' ').unwrap_or((totals, "0"));
    Some([instructions.parse().ok()?, atomics.parse().ok()?])
}
