//! The recorded instructions, in a file beside this one.

use std::collections::BTreeMap;
use std::env::consts::ARCH;
use std::fmt;
use std::fs;
use std::process::Command;

use serde::{Deserialize, Serialize};

use crate::Failure;
use crate::callgrind::Counts;
use crate::cases::Case;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/instructions/baselines.toml");
const HEADING: &str = "\
# Instructions a line, value or series, with which `make guard` compares those of the code as it is.
# `cargo bench --bench instructions -- --update` writes this file.

";

/// What is compared with.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Baselines {
    recorded_with: Setting,
    /// A unit, by case.
    instructions: BTreeMap<String, f64>,
}

/// What the instructions of the same code depend on.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Setting {
    compiler: String,
    c_library: String,
    /// valgrind shows one and the same processor wherever there is AVX2. On a lesser one, memchr and the C library take
    /// other ways: up to 6 % more.
    processor: String,
}

impl Baselines {
    pub(crate) fn of(counted: &[(&Case, Counts)]) -> Result<Self, Failure> {
        // More digits would change with every recording.
        let to_tenths = |instructions: f64| (instructions * 10.0).round() / 10.0;
        let instructions = counted
            .iter()
            .map(|(case, counts)| (case.name.clone(), to_tenths(counts.instructions_a_unit())))
            .collect();
        Ok(Self { recorded_with: Setting::present()?, instructions })
    }

    pub(crate) fn read() -> Result<Self, Failure> {
        let text = fs::read_to_string(FILE).map_err(|error| format!("cannot read {FILE}: {error}"))?;
        Ok(toml::from_str(&text).map_err(|error| format!("{FILE}: {error}"))?)
    }

    pub(crate) fn write(&self) -> Result<(), Failure> {
        let text = format!("{HEADING}{}", toml::to_string(self)?);
        Ok(fs::write(FILE, text).map_err(|error| format!("cannot write {FILE}: {error}"))?)
    }

    /// `None` for a case that is new.
    pub(crate) fn of_case(&self, name: &str) -> Option<f64> {
        self.instructions.get(name).copied()
    }

    /// By how many percent a case may exceed what was recorded.
    ///
    /// Two runs differ by 0.8 at most, for hash tables draw their keys at random; one more lock a line is 3 to 4. With another
    /// compiler, C library or processor, the same code was up to 6 above.
    pub(crate) fn tolerance(&self) -> Result<f64, Failure> {
        Ok(if self.recorded_with == Setting::present()? { 2.0 } else { 10.0 })
    }

    /// For who sees complaints.
    pub(crate) fn advice(&self) -> Result<String, Failure> {
        let (recorded, present) = (&self.recorded_with, Setting::present()?);
        let reason = if *recorded == present {
            String::new()
        } else {
            format!("recorded with {recorded}; this is {present}, which may be the reason\n")
        };
        Ok(reason
            + "`callgrind_annotate target/tmp/instructions/CASE` says where the instructions of a case go; if they are \
               worth it: `cargo bench --bench instructions -- --update`")
    }
}

impl Setting {
    fn present() -> Result<Self, Failure> {
        let has_avx2 = fs::read_to_string("/proc/cpuinfo")?.contains(" avx2 ");
        Ok(Self {
            compiler: answer("rustc", "--version")?,
            c_library: answer("getconf", "GNU_LIBC_VERSION")?,
            processor: format!("{ARCH} {} AVX2", if has_avx2 { "with" } else { "without" }),
        })
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { compiler, c_library, processor } = self;
        write!(f, "{compiler}, {c_library}, {processor}")
    }
}

/// What a program says when it is asked.
fn answer(program: &str, question: &str) -> Result<String, Failure> {
    let output = Command::new(program).arg(question).output();
    let output = output.map_err(|error| format!("cannot run {program}: {error}"))?;
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}
