//! The recorded counts of instructions, in the file `baselines.toml`.

use std::collections::BTreeMap;
use std::env::consts::ARCH;
use std::fmt;
use std::fs;
use std::process::Command;

use serde::{Deserialize, Serialize};

use crate::callgrind::{Case, Counts, Error};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../benches/instructions/baselines.toml");
const HEADING: &str = "\
# Recorded instructions per line, value or series. `make guard` compares new counts with them.
# `cargo bench --bench instructions -- --update` writes this file.

";

/// The recorded counts of instructions, and the tools that counted them.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Baselines {
    recorded_with: Toolchain,
    /// Instructions per unit, by case.
    instructions: BTreeMap<String, f64>,
}

/// The tools and the hardware that affect the number of instructions of the same code.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Toolchain {
    compiler: String,
    c_library: String,
    /// The architecture, with or without AVX2. valgrind emulates the same processor on all machines with AVX2. Without
    /// AVX2, memchr and the C library use other code, which takes up to 6 % more instructions.
    processor: String,
}

impl Baselines {
    pub(crate) fn of(counted: &[(&Case, Counts)]) -> Result<Self, Error> {
        // Further digits would change with every recording.
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

    /// Returns the percentage by which a case may exceed its recorded instructions.
    ///
    /// Two runs differ by at most 0.8 %, because hash tables draw random keys. One more lock per line costs 3 % to 4 %.
    /// With another compiler, C library or processor, the same code takes up to 6 % more instructions.
    pub(crate) fn tolerance(&self) -> Result<f64, Error> {
        Ok(if self.recorded_with == Toolchain::present()? { 2.0 } else { 10.0 })
    }

    /// Returns advice on exceeded limits.
    pub(crate) fn advice(&self) -> Result<String, Error> {
        let (recorded, present) = (&self.recorded_with, Toolchain::present()?);
        let reason = if *recorded == present {
            String::new()
        } else {
            format!(
                "the counts were recorded with {recorded}; this is {present}, which may explain the difference\n"
            )
        };
        Ok(reason
            + "`callgrind_annotate target/tmp/instructions/CASE` shows where a case spends its instructions; if they are \
               worth it, record the new counts: `cargo bench --bench instructions -- --update`")
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
