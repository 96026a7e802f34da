//! The log of a one-shot process: `logToStderr`, `logFile`, `logLevel` and `logOptions` of the netconf.
//!
//! Plugins of many pods append to one file at the same time, so each line is a single write to a file opened for appending, and
//! the file is rotated under a lock. File names are lumberjack's (`multus-2026-01-02T03-04-05.678.log.gz`), because that is what
//! upstream leaves and what log shippers match.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use engine::{LONGEST_LINE, Level, Log, bounded, printable};
use plan::{LogOptions, NetConf};
use rustix::fs::{FlockOperation, flock};

/// Where this process's lines go.
#[derive(Debug)]
pub struct ProcessLog {
    level: Level,
    to_stderr: bool,
    file: Option<File>,
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
        let file = file.and_then(|path| match open(path, options) {
            Ok(file) => Some(file),
            Err(error) => {
                let _ = writeln!(
                    io::stderr(),
                    "multus logging: cannot open log file {}: {error}",
                    path.display()
                );
                None
            }
        });
        Self { level, to_stderr, file }
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
        Ok(Self { path: path.to_owned(), options, file: open(path, options)? })
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
        if too_large(&self.path, self.options) || moved().unwrap_or(true) {
            self.file = open(&self.path, self.options)?;
        }
        self.file.write_all(line.as_bytes())
    }
}

fn open(path: &Path, options: LogOptions) -> io::Result<File> {
    if let Some(parent) = path.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o755).create(parent)?;
    }
    if too_large(path, options) {
        rotate(path, options)?;
    }
    append(path)
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

fn too_large(path: &Path, options: LogOptions) -> bool {
    fs::metadata(path).is_ok_and(|found| found.len() >= options.max_size.saturating_mul(1 << 20))
}

/// Moves the full file aside. The lock is on the file itself; whoever gets it second finds a small new file and leaves it.
fn rotate(path: &Path, options: LogOptions) -> io::Result<()> {
    let full = append(path)?;
    flock(&full, FlockOperation::LockExclusive)?;
    if !too_large(path, options) {
        return Ok(());
    }
    let moved = backup_name(path, SystemTime::now());
    fs::rename(path, &moved)?;
    if options.compress {
        pack(&moved)?;
    }
    prune(path, options)
}

fn pack(path: &Path) -> io::Result<()> {
    let mut packed = path.as_os_str().to_owned();
    packed.push(".gz");
    let out = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&packed)?;
    let mut encoder = flate2::write::GzEncoder::new(out, flate2::Compression::default());
    io::copy(&mut File::open(path)?, &mut encoder)?;
    encoder.finish()?;
    fs::remove_file(path)
}

fn prune(path: &Path, options: LogOptions) -> io::Result<()> {
    let mut backups = backups(path)?;
    backups.sort();
    let surplus = match usize::try_from(options.max_backups).unwrap_or(usize::MAX) {
        0 => 0,
        keep => backups.len().saturating_sub(keep),
    };
    let oldest = Duration::from_secs(options.max_age.saturating_mul(24 * 3600));
    for (index, backup) in backups.iter().enumerate() {
        let aged =
            options.max_age > 0 && fs::metadata(backup)?.modified()?.elapsed().is_ok_and(|age| age > oldest);
        if index < surplus || aged {
            fs::remove_file(backup)?;
        }
    }
    Ok(())
}

/// Rotated files of `path`; their names sort by age.
fn backups(path: &Path) -> io::Result<Vec<PathBuf>> {
    let (Some(dir), Some(stem)) = (path.parent(), path.file_stem()) else {
        return Ok(Vec::new());
    };
    let prefix = format!("{}-", stem.to_string_lossy());
    let suffix = path.extension().map_or_else(String::new, |e| format!(".{}", e.to_string_lossy()));
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?.path();
        let name = entry.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let stamp = name.strip_prefix(&prefix).map(|rest| rest.strip_suffix(".gz").unwrap_or(rest));
        if stamp.and_then(|rest| rest.strip_suffix(&suffix)).is_some_and(is_stamp) {
            found.push(entry);
        }
    }
    Ok(found)
}

fn is_stamp(text: &str) -> bool {
    text.len() == "2026-01-02T03-04-05.678".len()
        && text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'-' | b'T' | b'.'))
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

fn backup_name(path: &Path, now: SystemTime) -> PathBuf {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let extension = path.extension().map_or_else(String::new, |e| format!(".{}", e.to_string_lossy()));
    let millis = now.duration_since(UNIX_EPOCH).unwrap_or_default().subsec_millis();
    let stamp = rfc3339(now).replace(':', "-");
    path.with_file_name(format!("{stem}-{}.{millis:03}{extension}", stamp.trim_end_matches('Z')))
}

#[cfg(test)]
mod tests {
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
    fn q35_a_full_file_is_rotated_packed_and_pruned() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("multus.log");
        let options = LogOptions { max_size: 1, max_age: 5, max_backups: 2, compress: true };
        for day in 1..=3 {
            fs::write(dir.path().join(format!("multus-2026-01-0{day}T00-00-00.000.log.gz")), "old").unwrap();
        }
        fs::write(dir.path().join("multus-notes.log"), "not ours").unwrap();
        fs::write(&path, vec![b'x'; 1 << 20]).unwrap();
        ProcessLog::new(Level::Error, false, Some(&path), options).line(Level::Error, format_args!("new"));
        assert_eq!(lines(&path).len(), 1);
        let mut backups = backups(&path).unwrap();
        backups.sort();
        assert_eq!(backups.len(), 2, "{backups:?}");
        assert!(backups[1].to_string_lossy().ends_with(".log.gz"), "{backups:?}");
        let name = backup_name(&path, UNIX_EPOCH + Duration::from_millis(1_767_323_045_678));
        assert_eq!(name, dir.path().join("multus-2026-01-02T03-04-05.678.log"), "as lumberjack names them");
        assert!(fs::metadata(&backups[1]).unwrap().len() < 1 << 16);
        assert!(dir.path().join("multus-notes.log").exists());
    }

    #[test]
    fn q35_a_file_is_rotated_while_it_is_written_and_followed_when_it_is_moved() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log/daemon.log");
        let options = LogOptions { max_size: 1, max_age: 0, max_backups: 0, compress: false };
        let mut log = LogFile::open(&path, options).unwrap();
        log.append(&format!("{}\n", "x".repeat(1 << 20))).unwrap();
        log.append("second\n").unwrap();
        assert_eq!((lines(&path), backups(&path).unwrap().len()), (vec!["second".to_owned()], 1));
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
