//! Writes the page in Prometheus' text format to a file that node_exporter reads.

use std::fs::{self, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use super::exporter::{ExportError, Exporter};
use super::outcome::ExportOutcome;
use super::prometheus::{Format, Totals};
use crate::model::Snapshot;
use crate::text::number::push_number;

/// The action on the file when tallyd stops. node_exporter would serve a leftover file forever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum OnExit {
    /// The file stays.
    Keep,
    /// The file is removed.
    Remove,
}

/// The exporter `textfile`.
#[derive(Debug)]
pub(crate) struct Textfile {
    path: PathBuf,
    on_exit: OnExit,
    totals: Totals,
    /// The name and the labels of the time of the page.
    heartbeat: String,
    /// Whether the files that a killed tallyd left behind are removed.
    is_clean: bool,
}

/// The most symbolic links that lead from the path to the file, as in the kernel.
const MOST_LINKS: usize = 40;

impl Textfile {
    /// Creates an exporter that replaces the file at `path` after each snapshot. The file name must end in `.prom`.
    /// `heartbeat` is the name of the metric with the time of the page, with its labels.
    #[must_use]
    pub(crate) fn new(path: PathBuf, on_exit: OnExit, totals: Totals, heartbeat: String) -> Self {
        Self { path, on_exit, totals, heartbeat, is_clean: false }
    }

    /// Replaces the file. Readers see the old page or the new one, but never a part of a page. The page goes to a
    /// second file, whose name node_exporter ignores, and is renamed at the end.
    ///
    /// The second file must be a new one. In a directory in which others may write, its name could already be a pipe, or
    /// a link to a file of another user. So its name cannot be guessed, and creating it fails if the name is taken.
    fn replace(&mut self, snapshot: &Snapshot) -> io::Result<()> {
        let path = destination(&self.path)?;
        let directory =
            path.parent().filter(|directory| !directory.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let prefix = format!(".{}.", path.file_name().unwrap_or_default().to_string_lossy());
        if !self.is_clean {
            remove_leftovers(directory, &prefix);
            self.is_clean = true;
        }
        // Dropping the file removes it. On a full disk, an incomplete file would take the space that is needed.
        let mut file = tempfile::Builder::new().prefix(&prefix).suffix(SUFFIX).tempfile_in(directory)?;
        // Any user can read the file, whatever the umask is, because node_exporter runs as another user.
        file.as_file().set_permissions(Permissions::from_mode(0o644))?;
        Format::Text.render(&self.totals, |piece| file.write_all(piece))?;
        file.write_all(heartbeat(&self.heartbeat, snapshot).as_bytes())?;
        // Without this, a crash could leave the new name with incomplete content.
        file.as_file().sync_data()?;
        file.persist(&path)?;
        Ok(())
    }
}

/// The end of the names of incomplete files. node_exporter reads only files that end in `.prom`.
const SUFFIX: &str = ".new";

/// Returns the file that a path leads to. If the path is a symbolic link, the link stays and its target is replaced.
fn destination(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..MOST_LINKS {
        match fs::read_link(&path) {
            Ok(target) => path = path.parent().unwrap_or(Path::new("")).join(target),
            // The path is not a link, or there is no file yet.
            Err(_) if path.extension().is_some_and(|extension| extension == "prom") => return Ok(path),
            // In a directory in which others may write, the link could lead to any file.
            Err(_) => {
                let problem = format!("it is a link to {}, which does not end in .prom", path.display());
                return Err(io::Error::new(io::ErrorKind::InvalidInput, problem));
            }
        }
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, "it is a link that leads to itself"))
}

/// Removes the incomplete files of an earlier process that was killed, if tallyd may list the directory.
fn remove_leftovers(directory: &Path, prefix: &str) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let name = entry.file_name();
        if name.to_str().is_some_and(|name| name.starts_with(prefix) && name.ends_with(SUFFIX)) {
            // Another user may own the file, or another process may have removed it.
            _ = fs::remove_file(directory.join(name));
        }
    }
}

impl Exporter for Textfile {
    const KEEPS_TOTALS: bool = true;

    fn name(&self) -> &'static str {
        "textfile"
    }

    fn export(&mut self, snapshot: &Arc<Snapshot>) -> Result<ExportOutcome, ExportError> {
        let outcome = self.totals.add(snapshot);
        self.replace(snapshot)
            .map(|()| outcome)
            .map_err(|error| ExportError::new(format!("cannot write {}", self.path.display()), error))
    }

    fn state(&self) -> Option<Vec<u8>> {
        Some(self.totals.encode())
    }

    fn finish(&mut self, _: Duration) -> Result<(), ExportError> {
        match self.on_exit {
            OnExit::Keep => Ok(()),
            OnExit::Remove => match destination(&self.path).and_then(fs::remove_file) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    Err(ExportError::new(format!("cannot remove {}", self.path.display()), error))
                }
                _ => Ok(()),
            },
        }
    }
}

/// Returns a metric with the time of the page. It is present even if telemetry is disabled.
fn heartbeat(exposed: &str, snapshot: &Snapshot) -> String {
    let name = exposed.split('{').next().unwrap_or_default();
    let mut text = format!("# HELP {name} When tallyd wrote this file.\n# TYPE {name} gauge\n{exposed} ");
    push_number(&mut text, snapshot.time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64());
    text.push('\n');
    text
}
