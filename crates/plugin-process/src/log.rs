//! The log of a one-shot process: `logToStderr`, `logFile`, `logLevel` and `logOptions` of the netconf.
//!
//! Plugins of many pods append to one file at the same time, so each line is a single write to a file opened for appending, and
//! a full file is moved aside by whoever sees it first (`rotation.rs`).

mod rotation;

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use engine::{LONGEST_LINE, Level, Log, bounded, printable};
use plan::{LogOptions, NetConf};

use rotation::Full;

/// Where this process's lines go.
#[derive(Debug)]
pub struct ProcessLog {
    level: Level,
    to_stderr: bool,
    file: Option<File>,
    /// What is left to do about a full file, when the call has been answered.
    full: Option<Full>,
}

impl Drop for ProcessLog {
    fn drop(&mut self) {
        if let Some(full) = self.full.take() {
            full.tidy_up();
        }
    }
}

impl ProcessLog {
    /// The log that `netconf` describes.
    pub(crate) fn of(netconf: &NetConf, to_stderr: bool) -> Self {
        let level = match netconf.log_level.as_str() {
            "" => Level::Panic,
            text => Level::parse(text).unwrap_or_else(|| {
                let _ = writeln!(io::stderr(), "multus logging: cannot set logging level to {text}");
                Level::Panic
            }),
        };
        let file = Some(netconf.log_file.as_str()).filter(|file| !file.is_empty()).map(Path::new);
        Self::new(level, netconf.log_to_stderr.unwrap_or(to_stderr), file, netconf.log_options)
    }

    /// A log that shows `level` and what matters more. A file that cannot be opened is reported on stderr and left out: a pod
    /// does not fail because of a log.
    fn new(level: Level, to_stderr: bool, file: Option<&Path>, options: LogOptions) -> Self {
        let opened = file.and_then(|path| match open(path, options) {
            Ok(opened) => Some(opened),
            Err(error) => {
                let _ = writeln!(
                    io::stderr(),
                    "multus logging: cannot open log file {}: {error}",
                    path.display()
                );
                None
            }
        });
        let (file, full) = opened.map_or((None, None), |(file, full)| (Some(file), full));
        Self { level, to_stderr, file, full }
    }
}

impl Log for ProcessLog {
    fn line(&self, level: Level, text: fmt::Arguments<'_>) {
        if level > self.level || (!self.to_stderr && self.file.is_none()) {
            return;
        }
        let text = text.to_string();
        // Annotations and other programs speak in it, and must not begin a line of their own.
        let text = printable(&text);
        let (time, level) = (rfc3339(SystemTime::now()), level.as_str());
        let line = format!("{time} [{level}] {}\n", bounded(&text, LONGEST_LINE));
        // A line that stderr or the disk does not take is lost by design.
        if self.to_stderr {
            let _ = io::stderr().write_all(line.as_bytes());
        }
        if let Some(mut file) = self.file.as_ref() {
            let _ = file.write_all(line.as_bytes());
        }
    }
}

/// A log file of a process that stays: rotated while it is written.
#[derive(Debug)]
pub struct LogFile {
    path: PathBuf,
    options: LogOptions,
    file: File,
}

impl LogFile {
    /// Opens the file, and its folders.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(path: &Path, options: LogOptions) -> io::Result<Self> {
        let (file, full) = open(path, options)?;
        tidy_up_beside(full);
        Ok(Self { path: path.to_owned(), options, file })
    }

    /// Appends a line; to a new file where this one is full, or was moved away.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn append(&mut self, line: &str) -> io::Result<()> {
        let moved = || -> io::Result<bool> {
            let (own, there) = (self.file.metadata()?, fs::metadata(&self.path)?);
            Ok((own.dev(), own.ino()) != (there.dev(), there.ino()))
        };
        if rotation::is_due(&self.path, self.options) || moved().unwrap_or(true) {
            let (file, full) = open(&self.path, self.options)?;
            self.file = file;
            tidy_up_beside(full);
        }
        self.file.write_all(line.as_bytes())
    }
}

/// Nobody who writes a line waits until a file is packed.
fn tidy_up_beside(full: Option<Full>) {
    if let Some(full) = full {
        drop(std::thread::spawn(move || full.tidy_up()));
    }
}

fn open(path: &Path, options: LogOptions) -> io::Result<(File, Option<Full>)> {
    if let Some(parent) = path.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o755).create(parent)?;
    }
    let full = match rotation::is_due(path, options) {
        true => rotation::rotate(path, options)?,
        false => None,
    };
    Ok((append(path)?, full))
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

/// A time in UTC, as RFC 3339 writes it, without a fraction: lines of several nodes are read side by side. By hand, since a crate for
/// times and their zones would be a twentieth of the shim's file, for this one line.
fn rfc3339(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // The civil calendar by eras of 400 years that begin in March, so that leap days come last (Hinnant's algorithm).
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let (day, month) = (day - (153 * month + 2) / 5 + 1, if month < 10 { month + 3 } else { month - 9 });
    let year = era * 400 + year + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", rest / 3600, rest / 60 % 60, rest % 60)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn lines(path: &Path) -> Vec<String> {
        fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect()
    }

    #[test]
    fn a_line_has_time_level_and_text() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/multus.log");
        let log = ProcessLog::new(Level::Error, false, Some(&path), LogOptions::default());
        log.line(Level::Error, format_args!("it broke"));
        log.line(Level::Verbose, format_args!("not shown"));
        let lines = lines(&path);
        assert_eq!(lines.len(), 1);
        let (time, rest) = lines[0].split_once(' ').unwrap();
        assert!(time.parse::<jiff::Timestamp>().is_ok(), "{time}");
        assert_eq!(rest, "[error] it broke");
    }

    #[test]
    fn what_others_say_stays_in_its_line_and_within_a_length() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("multus.log");
        let log = ProcessLog::new(Level::Error, false, Some(&path), LogOptions::default());
        log.line(Level::Error, format_args!("a\n2026-01-01T00:00:00Z [panic] forged\u{1b}[2J\u{9b}0m\r"));
        log.line(Level::Error, format_args!("{}", "x".repeat(1 << 20)));
        let lines = lines(&path);
        assert_eq!(lines.len(), 2);
        assert!(
            lines[0].ends_with(r"a\n2026-01-01T00:00:00Z [panic] forged\u{1b}[2J\u{9b}0m\r"),
            "{lines:?}"
        );
        assert!(lines[1].len() < LONGEST_LINE + 64);
    }

    #[test]
    fn times_are_those_of_the_calendar() {
        for day in 0..60_000_u64 {
            for second in [0, 43_200, 86_399] {
                let seconds = day * 86_400 + second;
                let expected = jiff::Timestamp::from_second(i64::try_from(seconds).unwrap()).unwrap();
                assert_eq!(rfc3339(UNIX_EPOCH + Duration::from_secs(seconds)), expected.to_string());
            }
        }
    }

    #[test]
    fn q35_a_file_is_rotated_while_it_is_written_and_followed_when_it_is_moved() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log/daemon.log");
        let options = LogOptions { max_size: 1, max_age: 0, max_backups: 0, compress: false };
        let mut log = LogFile::open(&path, options).unwrap();
        log.append(&format!("{}\n", "x".repeat(1 << 20))).unwrap();
        log.append("second\n").unwrap();
        assert_eq!((lines(&path), rotation::backups(&path).unwrap().len()), (vec!["second".to_owned()], 1));
        fs::rename(&path, dir.path().join("moved")).unwrap();
        log.append("third\n").unwrap();
        assert_eq!(lines(&path), ["third"]);
    }

    #[test]
    fn a_log_file_that_cannot_be_opened_fails_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let log = ProcessLog::new(Level::Debug, false, Some(dir.path()), LogOptions::default());
        log.line(Level::Error, format_args!("nowhere to go"));
        assert!(log.file.is_none());
    }
}
