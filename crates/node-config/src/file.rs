//! Files that other programs read at any moment: written beside, synced, renamed over; never when they are right already.

use std::fs::{self, File, OpenOptions};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// After this time a temporary file is what a killed process left.
const ABANDONED: Duration = Duration::from_secs(60);
/// How long a plugin may take to tell its versions: some milliseconds, and more on a node that has no time for us.
const ANSWER: Duration = Duration::from_secs(5);

/// Makes `path` hold `content` with `mode`. Returns whether anything had to be done.
///
/// # Errors
/// When it cannot be written; what was there before stays.
pub fn replace(path: &Path, content: &[u8], mode: u32) -> io::Result<bool> {
    if holds(path, content, mode) {
        return Ok(false);
    }
    let temporary = Temporary::beside(path, mode)?;
    temporary.file()?.write_all(content)?;
    temporary.rename(path)?;
    Ok(true)
}

/// Whether `path` is a regular file with this content and mode.
#[must_use]
pub fn holds(path: &Path, content: &[u8], mode: u32) -> bool {
    let Ok(found) = fs::symlink_metadata(path) else { return false };
    found.is_file()
        && found.len() == content.len() as u64
        && found.mode() & 0o7777 == mode
        && fs::read(path).is_ok_and(|bytes| bytes == content)
}

/// Removes the file at `path`. Returns whether there was one.
///
/// # Errors
/// When it is there and cannot be removed.
pub fn remove(path: &Path) -> io::Result<bool> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Makes a directory that others may read, and those above it.
///
/// # Errors
/// When it cannot be made.
pub fn create_dir(dir: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o755).create(dir)
}

/// Copies the program `from` to `to`, with its mode. One of ours has to answer VERSION before it takes the old one's place.
/// Returns whether anything had to be done.
///
/// # Errors
/// When it cannot be copied, or the copy does not run; what was there before stays.
pub fn install(from: &Path, to: &Path) -> io::Result<bool> {
    let mut source = File::open(from)?;
    let mode = source.metadata()?.mode() & 0o7777;
    if same(&mut source, to, mode)? {
        return Ok(false);
    }
    let mut source = File::open(from)?;
    let mut temporary = Temporary::beside(to, mode)?;
    io::copy(&mut source, &mut temporary.file()?)?;
    self_test(temporary.finish()?)?;
    temporary.rename(to)?;
    Ok(true)
}

/// Whether `to` is a copy of the program `from`.
///
/// # Errors
/// When `from` cannot be read.
pub fn is_copy(from: &Path, to: &Path) -> io::Result<bool> {
    let mut source = File::open(from)?;
    let mode = source.metadata()?.mode() & 0o7777;
    same(&mut source, to, mode)
}

fn same(source: &mut File, to: &Path, mode: u32) -> io::Result<bool> {
    let Ok(mut target) = File::open(to) else { return Ok(false) };
    let found = target.metadata()?;
    if !found.is_file() || found.len() != source.metadata()?.len() || found.mode() & 0o7777 != mode {
        return Ok(false);
    }
    let (mut left, mut right) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    loop {
        let count = source.read(&mut left)?;
        if count == 0 {
            return Ok(true);
        }
        if target.read_exact(&mut right[..count]).is_err() || left[..count] != right[..count] {
            return Ok(false);
        }
    }
}

/// Whether the copy runs on this machine. A file that is no ELF program was put there by somebody who knows why.
fn self_test(program: &Path) -> io::Result<()> {
    let mut magic = [0; 4];
    if File::open(program)?.read_exact(&mut magic).is_err() || magic != *b"\x7fELF" {
        return Ok(());
    }
    answers(program)
        .map_err(|error| io::Error::other(format!("the copy does not run on this machine: {error}")))
}

/// Asks the plugin `program` for its VERSION, as a runtime does that wants to know whether there is one.
///
/// # Errors
/// When it cannot be started, fails, takes too long or answers something else.
pub fn answers(program: &Path) -> Result<(), libcni::Error> {
    libcni::plugin_versions(program, Instant::now() + ANSWER).map(drop)
}

/// A file beside its target, without an extension that a CNI runtime would read. Dropped before the rename, it is removed.
pub(crate) struct Temporary {
    file: Option<File>,
    path: Option<PathBuf>,
}

impl Temporary {
    pub(crate) fn beside(target: &Path, mode: u32) -> io::Result<Self> {
        let name = target.file_name().ok_or_else(|| io::Error::other("names no file"))?;
        let prefix = format!(".{}.", name.to_string_lossy().replace('.', "-"));
        let dir = target.parent().unwrap_or(Path::new("/"));
        sweep(dir, &prefix);
        // Not the process's number: in two containers, both have the same.
        let number = RandomState::new().hash_one(target);
        let path = dir.join(format!("{prefix}{number:016x}"));
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        let temporary = Self { file: Some(file), path: Some(path) };
        // Not at the opening: the umask would take part.
        temporary.file()?.set_permissions(fs::Permissions::from_mode(mode))?;
        Ok(temporary)
    }

    pub(crate) fn file(&self) -> io::Result<&File> {
        self.file.as_ref().ok_or_else(|| io::Error::other("closed"))
    }

    /// Syncs and closes: a program that is open for writing cannot be run.
    fn finish(&mut self) -> io::Result<&Path> {
        if let Some(file) = self.file.take() {
            file.sync_all()?;
        }
        self.path.as_deref().ok_or_else(|| io::Error::other("renamed"))
    }

    fn rename(mut self, target: &Path) -> io::Result<()> {
        fs::rename(self.finish()?, target)?;
        self.path = None;
        // The rename itself is on stable storage only with the directory.
        target.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())
    }

    /// Renames it over `target` and hands over the open file. Not synced: for what means nothing after a reboot.
    pub(crate) fn rename_open(mut self, target: &Path) -> io::Result<File> {
        let (Some(file), Some(path)) = (self.file.take(), self.path.as_deref()) else {
            return Err(io::Error::other("closed"));
        };
        fs::rename(path, target)?;
        self.path = None;
        Ok(file)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            // Nothing reads a file of this name; what cannot be removed does no harm.
            let _ = fs::remove_file(path);
        }
    }
}

/// Removes what killed processes left. Nothing else has names like these.
fn sweep(dir: &Path, prefix: &str) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let is_ours = entry.file_name().to_string_lossy().starts_with(prefix);
        let age = || entry.metadata().ok()?.modified().ok()?.elapsed().ok();
        if is_ours && age().is_some_and(|age| age > ABANDONED) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests;
