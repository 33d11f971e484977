//! Appends whole intervals to a file that begins with a header, and renames it when it is large or old enough.
//!
//! Other programs stop reading at a line that is not complete. So an interval is in the file as a whole or not at all, and
//! what an earlier process left incomplete is cut off.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::header::{FIRST, LEGEND, start_of};
use crate::export::append::has_moved;

/// The ending of all logs.
const ENDING: &str = ".hlog";

/// The bytes at the beginning of a file among which its start time is.
const BEGINNING: usize = 4096;

/// The limits of a file, and the number of old ones.
#[derive(Debug, Clone)]
pub(super) struct Rotation {
    /// The size in bytes from which on the file is renamed.
    pub(super) max_size: u64,
    /// The age from which on the file is renamed.
    pub(super) max_age: Duration,
    /// The number of old files that stay.
    pub(super) keep: usize,
}

/// A log that is written.
#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    rotation: Rotation,
    open: Option<OpenLog>,
}

/// An open file, which this process has locked.
#[derive(Debug)]
struct OpenLog {
    file: File,
    /// The time at which the first interval begins.
    start: SystemTime,
    /// The length of the file without the interval that is being written.
    len: u64,
}

/// An incident with the file, for the log.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Notice {
    /// The file was moved or deleted, and its path is opened again.
    Moved,
    /// The bytes of an incomplete interval were cut off.
    CutOff(u64),
    /// The file could not be renamed, or old files could not be removed, and the reason.
    NotRotated(String),
}

impl LogFile {
    pub(super) fn new(path: PathBuf, rotation: Rotation) -> Self {
        Self { path, rotation, open: None }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Prepares the file for an interval from `start` to `end`. `header` returns the beginning of a new file.
    pub(super) fn begin(
        &mut self,
        (start, end): (SystemTime, SystemTime),
        header: impl FnOnce() -> io::Result<Vec<u8>>,
        mut notice: impl FnMut(Notice),
    ) -> io::Result<()> {
        if self.open.as_ref().is_some_and(|open| has_moved(&open.file, &self.path)) {
            self.open = None;
            notice(Notice::Moved);
        }
        let mut open = match self.open.take() {
            Some(open) => open,
            None => OpenLog::open(&self.path, start)?,
        };
        let cut_off = open.mend()?;
        if cut_off > 0 {
            notice(Notice::CutOff(cut_off));
        }
        let age = end.duration_since(open.start).unwrap_or_default();
        if open.len > 0 && (open.len >= self.rotation.max_size || age >= self.rotation.max_age) {
            match self.rotate(end) {
                Ok(()) => open = OpenLog::open(&self.path, start)?,
                Err(error) => notice(Notice::NotRotated(error.to_string())),
            }
        }
        if open.len == 0 {
            open.start = start;
            // A part of a header would be taken for a whole one.
            open.append(&header()?).inspect_err(|_| _ = open.file.set_len(0))?;
        }
        self.open = Some(open);
        Ok(())
    }

    /// Appends a part of the interval.
    pub(super) fn write(&mut self, part: &[u8]) -> io::Result<()> {
        match &mut self.open {
            Some(open) => open.append(part),
            None => Ok(()),
        }
    }

    /// Takes back what was written of the interval, after a failure. What cannot be cut off now is cut off before the
    /// next interval.
    pub(super) fn undo(&mut self) {
        if let Some(OpenLog { file, len, .. }) = self.open.take() {
            _ = file.set_len(len);
        }
    }

    /// Renames the file, and removes the oldest ones.
    fn rotate(&self, now: SystemTime) -> io::Result<()> {
        let mut name = old_name(&self.path, now);
        // The wall clock may have been set back.
        let mut later = now;
        while name.try_exists()? {
            later += Duration::from_millis(1);
            name = old_name(&self.path, later);
        }
        fs::rename(&self.path, name)?;
        let mut old = old_files(&self.path)?;
        old.sort_unstable();
        let surplus = old.len().saturating_sub(self.rotation.keep);
        for path in &old[..surplus] {
            if let Err(error) = fs::remove_file(path) {
                let problem = format!("{} cannot be removed: {error}", path.display());
                return Err(io::Error::new(error.kind(), problem));
            }
        }
        Ok(())
    }
}

impl OpenLog {
    /// Opens and locks the file. It creates a missing one. It refuses a file that is not a log of tallyd, because it could
    /// cut off what another program wrote.
    fn open(path: &Path, now: SystemTime) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let problem = "another tallyd writes to it; give each a path of its own";
                return Err(io::Error::new(io::ErrorKind::ResourceBusy, problem));
            }
            Err(TryLockError::Error(error)) => return Err(error),
        }
        let mut beginning = vec![0; BEGINNING];
        let read = file.read_at(&mut beginning, 0)?;
        let beginning = String::from_utf8_lossy(&beginning[..read]);
        let is_own = beginning.starts_with(FIRST) && beginning.contains(LEGEND);
        // A crash may have torn the header of a new file.
        let is_torn = read < BEGINNING && (beginning.starts_with(FIRST) || FIRST.starts_with(&*beginning));
        if is_torn && !is_own {
            file.set_len(0)?;
        } else if !is_own {
            let problem = "it is not a log of tallyd; move it away, or configure another path";
            return Err(io::Error::new(io::ErrorKind::InvalidData, problem));
        }
        Ok(Self { start: start_of(&beginning).unwrap_or(now), len: 0, file })
    }

    /// Cuts off what follows the last line feed. Returns the number of bytes.
    fn mend(&mut self) -> io::Result<u64> {
        // Another program may have truncated the file.
        let len = self.file.metadata()?.len();
        self.len = whole_len(&self.file, len)?;
        if self.len == len {
            return Ok(0);
        }
        if self.file.set_len(self.len).is_err() {
            // Some file systems permit only appending. Then only this line is lost for other programs.
            self.file.write_all(b"\n")?;
            self.len = len + 1;
        }
        Ok(len.abs_diff(self.len))
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)
    }
}

/// Returns the length of a file up to its last line feed.
fn whole_len(file: &File, len: u64) -> io::Result<u64> {
    let mut buffer = [0; 8192];
    let mut end = len;
    while end > 0 {
        // The last byte is nearly always a line feed.
        let begin = if end == len { end - 1 } else { end.saturating_sub(buffer.len() as u64) };
        let part = &mut buffer[..(end - begin) as usize];
        file.read_exact_at(part, begin)?;
        if let Some(at) = memchr::memrchr(b'\n', part) {
            return Ok(begin + at as u64 + 1);
        }
        end = begin;
    }
    Ok(0)
}

/// Returns the name of a file that ends at `time`: `tallyd.20261201T111419.250Z.hlog`. Such names sort by time.
fn old_name(path: &Path, time: SystemTime) -> PathBuf {
    let whole = humantime::format_rfc3339_millis(time).to_string();
    let time: String = whole.chars().filter(|character| !matches!(character, '-' | ':')).collect();
    path.with_extension(format!("{time}{ENDING}"))
}

/// Returns the old files of a path.
fn old_files(path: &Path) -> io::Result<Vec<PathBuf>> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let is_old = |name: &str| {
        let time = name
            .strip_prefix(&*stem)
            .and_then(|rest| rest.strip_prefix('.')?.strip_suffix(ENDING))
            .unwrap_or_default();
        let shape: String =
            time.chars().map(|character| if character.is_ascii_digit() { '0' } else { character }).collect();
        shape == "00000000T000000.000Z"
    };
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name();
        if name.to_str().is_some_and(is_old) {
            files.push(path.with_file_name(name));
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Vec<u8> {
        format!("#[Logged by tallyd 1]\n#[StartTime: 1000.000 (seconds since epoch)]\n{LEGEND}").into()
    }

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn log(path: &Path, max_size: u64, max_age: u64, keep: usize) -> LogFile {
        let max_age = Duration::from_secs(max_age);
        LogFile::new(path.to_owned(), Rotation { max_size, max_age, keep })
    }

    /// Writes one interval of ten seconds. Returns the notices.
    fn write(log: &mut LogFile, end: u64, line: &str) -> Vec<Notice> {
        let mut notices = Vec::new();
        log.begin((at(end - 10), at(end)), || Ok(header()), |notice| notices.push(notice)).unwrap();
        log.write(line.as_bytes()).unwrap();
        notices
    }

    fn lines(path: &Path) -> Vec<String> {
        let text = fs::read_to_string(path).unwrap();
        text.lines().filter(|line| !line.starts_with(['#', '"'])).map(str::to_owned).collect()
    }

    #[test]
    fn a_restart_appends_and_cuts_off_an_incomplete_line() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.hlog");
        assert_eq!(write(&mut log(&path, 1 << 20, 1 << 20, 1), 1010, "one\ntwo\n"), []);
        for torn in
            ["t", "three, which is much longer than the block that is read at once".repeat(1000).as_str()]
        {
            fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(torn.as_bytes()).unwrap();
            let cut_off = Notice::CutOff(torn.len() as u64);
            assert_eq!(write(&mut log(&path, 1 << 20, 1 << 20, 1), 1020, "four\n"), [cut_off]);
        }
        assert_eq!(lines(&path), ["one", "two", "four", "four"]);
        assert_eq!(fs::read_to_string(&path).unwrap().matches("#[StartTime").count(), 1);
    }

    #[test]
    fn an_incomplete_header_is_written_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.hlog");
        for len in [0, 5, 30, header().len() - 1] {
            fs::write(&path, &header()[..len]).unwrap();
            write(&mut log(&path, 1 << 20, 1 << 20, 1), 1010, "one\n");
            assert_eq!(fs::read(&path).unwrap(), [&header()[..], b"one\n"].concat(), "{len}");
        }
    }

    #[test]
    fn an_interval_that_failed_is_taken_back() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.hlog");
        let mut log = log(&path, 1 << 20, 1 << 20, 1);
        write(&mut log, 1010, "one\n");
        write(&mut log, 1020, "two\ninc");
        log.undo();
        assert_eq!(write(&mut log, 1030, "three\n"), []);
        assert_eq!(lines(&path), ["one", "three"]);
    }

    #[test]
    fn a_large_or_old_file_is_renamed_and_only_the_latest_ones_stay() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.hlog");
        fs::write(directory.path().join("a.old.hlog"), "not of tallyd").unwrap();
        let long = format!("{}\n", "x".repeat(1000));
        let mut by_size = log(&path, 1000, 1 << 20, 2);
        (1..=5).for_each(|n| assert_eq!(write(&mut by_size, 1000 + n * 10, &long), []));
        let mut names: Vec<_> = fs::read_dir(directory.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort_unstable();
        let old = ["a.19700101T001720.000Z.hlog", "a.19700101T001730.000Z.hlog"];
        assert_eq!(names, [old[0], old[1], "a.hlog", "a.old.hlog"]);
        drop(by_size);
        // The start time in the header outlives a restart.
        let mut by_age = log(&path, 1 << 20, 100, 2);
        write(&mut by_age, 1099, "young\n");
        assert_eq!(lines(&path).len(), 2);
        write(&mut by_age, 1100, "old\n");
        assert_eq!(lines(&path), ["old"]);
    }

    #[test]
    fn the_names_of_two_files_of_one_moment_differ() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.hlog");
        let mut log = log(&path, 1, 1 << 20, 9);
        (0..4).for_each(|_| _ = write(&mut log, 1010, "one\n"));
        assert_eq!(old_files(&path).unwrap().len(), 3);
    }

    #[test]
    fn a_file_that_was_moved_or_truncated_begins_again_with_a_header() {
        let directory = tempfile::tempdir().unwrap();
        let [path, moved] = ["a.hlog", "b.hlog"].map(|name| directory.path().join(name));
        let mut log = log(&path, 1 << 20, 1 << 20, 1);
        write(&mut log, 1010, "one\n");
        fs::rename(&path, &moved).unwrap();
        assert_eq!(write(&mut log, 1020, "two\n"), [Notice::Moved]);
        assert_eq!((lines(&moved), lines(&path)), (vec!["one".to_owned()], vec!["two".to_owned()]));
        fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(0).unwrap();
        assert_eq!(write(&mut log, 1030, "three\n"), []);
        assert_eq!(fs::read(&path).unwrap(), [&header()[..], b"three\n"].concat());
    }

    #[test]
    fn a_file_of_another_program_or_another_tallyd_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.hlog");
        let refusal = |log: &mut LogFile| {
            let begun = log.begin((at(0), at(10)), || Ok(header()), |_| {});
            begun.unwrap_err().to_string()
        };
        fs::write(&path, "mine").unwrap();
        assert!(refusal(&mut log(&path, 1, 1, 1)).contains("not a log of tallyd"));
        assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
        fs::remove_file(&path).unwrap();
        let mut first = log(&path, 1 << 20, 1 << 20, 1);
        write(&mut first, 1010, "one\n");
        assert!(refusal(&mut log(&path, 1, 1, 1)).contains("another tallyd"));
    }

    #[test]
    fn times_in_names_are_those_of_the_log() {
        let name = old_name(Path::new("/x/tallyd.hlog"), at(1_764_588_000));
        assert_eq!(name, Path::new("/x/tallyd.20251201T112000.000Z.hlog"));
    }
}
