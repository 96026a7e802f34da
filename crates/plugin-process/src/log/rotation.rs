//! A full log file: moved aside, packed, and deleted when there are enough of them.
//!
//! File names are lumberjack's (`multus-2026-01-02T03-04-05.678.log.gz`), because that is what upstream leaves and what log shippers
//! match. A call that finds a full file moves it, which takes no time, and packs it after its answer: none of its own time is used up.
//! A runtime waits for the end of the process, and so for that, once in as many megabytes as a file may have. If it dies before, the
//! next one that finds a full file does it.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use plan::LogOptions;

use super::{append, rfc3339};

/// A file that was moved aside because it was full.
#[derive(Debug)]
pub(super) struct Full {
    path: PathBuf,
    options: LogOptions,
}

/// Whether the file has the size at which it is rotated.
pub(super) fn is_due(path: &Path, options: LogOptions) -> bool {
    // 0 is lumberjack's word for its default, not for a file that is always full.
    let megabytes = match options.max_size {
        0 => LogOptions::default().max_size,
        size => size,
    };
    fs::metadata(path).is_ok_and(|found| found.len() >= megabytes.saturating_mul(1 << 20))
}

/// Moves the full file aside; none where somebody else is at it, for whom no call waits. The lock is on the file itself; whoever gets
/// it second finds a small new file and leaves it.
pub(super) fn rotate(path: &Path, options: LogOptions) -> io::Result<Option<Full>> {
    let full = append(path)?;
    let Some(_alone) = alone(&full)? else { return Ok(None) };
    if !is_due(path, options) {
        return Ok(None);
    }
    fs::rename(path, backup_name(path, SystemTime::now()))?;
    Ok(Some(Full { path: path.to_owned(), options }))
}

/// The right to work on a file, until it is dropped.
struct Alone<'a>(&'a File);

impl Drop for Alone<'_> {
    fn drop(&mut self) {
        // Unlocking, not closing: a plugin that another thread starts just now has the descriptor until it runs its program.
        let _ = self.0.unlock();
    }
}

/// Nothing where somebody else works on the file.
fn alone(file: &File) -> io::Result<Option<Alone<'_>>> {
    match file.try_lock() {
        Ok(()) => Ok(Some(Alone(file))),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

impl Full {
    /// Deletes what is too old or too much, and packs the rest. Old logs that cannot be packed fail nothing.
    pub(super) fn tidy_up(&self) {
        let Self { path, options } = self;
        if let Err(error) = prune(path, *options) {
            complain(path, &error);
        }
        if !options.compress {
            return;
        }
        for backup in backups(path).unwrap_or_default() {
            if backup.extension().is_some_and(|extension| extension == "gz") {
                continue;
            }
            match pack(&backup) {
                // Somebody else was faster.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => complain(&backup, &error),
                Ok(()) => {}
            }
        }
    }
}

fn complain(path: &Path, error: &io::Error) {
    use std::io::Write as _;
    let _ = writeln!(io::stderr(), "multus logging: cannot tidy up log file {}: {error}", path.display());
}

/// A file that was packed in part, by a process that was killed, is packed anew.
fn pack(path: &Path) -> io::Result<()> {
    let from = File::open(path)?;
    let Some(_alone) = alone(&from)? else { return Ok(()) };
    let mut packed = path.as_os_str().to_owned();
    packed.push(".gz");
    let out = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&packed)?;
    let mut encoder = flate2::write::GzEncoder::new(out, flate2::Compression::default());
    io::copy(&mut &from, &mut encoder)?;
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
    let is_aged = |backup: &Path| -> io::Result<bool> {
        let age = fs::metadata(backup)?.modified()?.elapsed();
        Ok(options.max_age > 0 && age.is_ok_and(|age| age > oldest))
    };
    for (index, backup) in backups.iter().enumerate() {
        let removed = match index < surplus || is_aged(backup).unwrap_or(false) {
            true => fs::remove_file(backup),
            false => Ok(()),
        };
        match removed {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Rotated files of `path`; their names sort by age.
pub(super) fn backups(path: &Path) -> io::Result<Vec<PathBuf>> {
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

fn backup_name(path: &Path, now: SystemTime) -> PathBuf {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let extension = path.extension().map_or_else(String::new, |e| format!(".{}", e.to_string_lossy()));
    let millis = now.duration_since(UNIX_EPOCH).unwrap_or_default().subsec_millis();
    let stamp = rfc3339(now).replace(':', "-");
    path.with_file_name(format!("{stem}-{}.{millis:03}{extension}", stamp.trim_end_matches('Z')))
}

#[cfg(test)]
mod tests {
    use engine::{Level, Log};

    use super::*;
    use crate::log::ProcessLog;

    fn lines(path: &Path) -> Vec<String> {
        fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect()
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
    fn q35_the_file_is_packed_only_after_the_call() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("multus.log");
        let options = LogOptions { max_size: 1, ..LogOptions::default() };
        fs::write(&path, vec![b'x'; 1 << 20]).unwrap();
        // One that a killed call left, with what it had packed of it.
        let left = dir.path().join("multus-2026-01-02T00-00-00.000.log");
        fs::write(&left, "left").unwrap();
        fs::write(dir.path().join("multus-2026-01-02T00-00-00.000.log.gz"), "in part").unwrap();
        let log = ProcessLog::new(Level::Error, false, Some(&path), options);
        log.line(Level::Error, format_args!("new"));
        assert_eq!(lines(&path).len(), 1);
        let is_packed = |backup: &PathBuf| backup.extension().is_some_and(|extension| extension == "gz");
        assert_eq!(backups(&path).unwrap().iter().filter(|backup| !is_packed(backup)).count(), 2);
        drop(log);
        let packed = backups(&path).unwrap();
        assert!(packed.len() == 2 && packed.iter().all(is_packed), "{packed:?}");
        let mut text = String::new();
        let file = File::open(left.with_extension("log.gz")).unwrap();
        io::Read::read_to_string(&mut flate2::read::GzDecoder::new(file), &mut text).unwrap();
        assert_eq!(text, "left");
    }

    #[test]
    fn q35_no_call_waits_for_another_that_rotates() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("multus.log");
        let options = LogOptions { max_size: 1, ..LogOptions::default() };
        fs::write(&path, format!("{}\n", "x".repeat(1 << 20))).unwrap();
        let other = append(&path).unwrap();
        other.lock().unwrap();
        ProcessLog::new(Level::Error, false, Some(&path), options).line(Level::Error, format_args!("new"));
        assert_eq!((lines(&path).len(), backups(&path).unwrap().len()), (2, 0));
    }

    #[test]
    fn q35_no_size_is_the_default_size() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("multus.log");
        let options = LogOptions { max_size: 0, ..LogOptions::default() };
        fs::write(&path, "x").unwrap();
        assert!(!is_due(&path, options));
        File::create(&path).unwrap().set_len(100 << 20).unwrap();
        assert!(is_due(&path, options));
    }
}
