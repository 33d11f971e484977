//! The recorded instructions, in the file `baselines.toml`.

use std::collections::BTreeMap;
use std::env::consts::ARCH;
use std::fmt;
use std::fs;
use std::process::Command;

use serde::{Deserialize, Serialize};

use crate::callgrind::{Case, Counts, Error};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/instructions/baselines.toml");
const HEADING: &str = "\
# Instructions per line, value or series, with which `make guard` compares the present ones.
# `cargo bench --bench instructions -- --update` writes this file.

";

/// The recorded instructions, and the tools that they were counted with.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Baselines {
    recorded_with: Toolchain,
    /// Instructions per unit, by case.
    instructions: BTreeMap<String, f64>,
}

/// The tools and the hardware on which the instructions of the same code depend.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Toolchain {
    compiler: String,
    c_library: String,
    /// valgrind emulates the same processor wherever AVX2 is available. Without AVX2, memchr and the C library use other
    /// code, which takes up to 6 % more instructions.
    processor: String,
}

impl Baselines {
    pub(crate) fn of(counted: &[(&Case, Counts)]) -> Result<Self, Error> {
        // More digits would change with every recording.
        let to_tenths = |instructions: f64| (instructions * 10.0).round() / 10.0;
        let instructions = counted
            .iter()
            .map(|(case, counts)| (case.name.clone(), to_tenths(counts.instructions_per_unit())))
            .collect();
        Ok(Self { recorded_with: Toolchain::present()?, instructions })
    }

    pub(crate) fn read() -> Result<Self, Error> {
        let text = fs::read_to_string(FILE).map_err(|error| format!("cannot read {FILE}: {error}"))?;
        Ok(toml::from_str(&text).map_err(|error| format!("{FILE}: {error}"))?)
    }

    pub(crate) fn write(&self) -> Result<(), Error> {
        let text = format!("{HEADING}{}", toml::to_string(self)?);
        Ok(fs::write(FILE, text).map_err(|error| format!("cannot write {FILE}: {error}"))?)
    }

    /// Returns the recorded instructions of a case, or `None` if the case is new.
    pub(crate) fn recorded(&self, name: &str) -> Option<f64> {
        self.instructions.get(name).copied()
    }

    /// Returns by how many percent a case may exceed its recorded instructions.
    ///
    /// Two runs differ by at most 0.8 %, because hash tables draw random keys. One more lock per line is 3 % to 4 %. With
    /// another compiler, C library or processor, the same code took up to 6 % more.
    pub(crate) fn tolerance(&self) -> Result<f64, Error> {
        Ok(if self.recorded_with == Toolchain::present()? { 2.0 } else { 10.0 })
    }

    /// Returns advice for people who see complaints.
    pub(crate) fn advice(&self) -> Result<String, Error> {
        let (recorded, present) = (&self.recorded_with, Toolchain::present()?);
        let reason = if *recorded == present {
            String::new()
        } else {
            format!("the counts were recorded with {recorded}; this is {present}, which may be the reason\n")
        };
        Ok(reason
            + "`callgrind_annotate target/tmp/instructions/CASE` shows where the instructions of a case are; if they are \
               worth it, record them: `cargo bench --bench instructions -- --update`")
    }
}

impl Toolchain {
    fn present() -> Result<Self, Error> {
        let has_avx2 = fs::read_to_string("/proc/cpuinfo")?.contains(" avx2 ");
        Ok(Self {
            compiler: output_of("rustc", "--version")?,
            c_library: output_of("getconf", "GNU_LIBC_VERSION")?,
            processor: format!("{ARCH} {} AVX2", if has_avx2 { "with" } else { "without" }),
        })
    }
}

impl fmt::Display for Toolchain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { compiler, c_library, processor } = self;
        write!(f, "{compiler}, {c_library}, {processor}")
    }
}

/// Runs a program, and returns what it prints.
fn output_of(program: &str, argument: &str) -> Result<String, Error> {
    let output = Command::new(program).arg(argument).output();
    let output = output.map_err(|error| format!("cannot run {program}: {error}"))?;
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}
