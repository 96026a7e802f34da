//! Device-info files (NPWG device information specification; N-111 to N-118).
//!
//! A device plugin leaves a file for each device; the attachment gets a copy of its own, which the delegate may update and which
//! goes into the network status.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use libcni::Object;

/// More than any device needs; what is larger is not read.
const LIMIT: u64 = 1 << 20;

/// Copies the device plugin's file for one attachment. Both must be JSON objects; the copy is replaced if it is there.
pub(crate) fn copy(source: &Path, target: &Path) -> io::Result<()> {
    let object = read(source)?;
    let Some(dir) = target.parent() else { return Err(io::ErrorKind::InvalidInput.into()) };
    // Upstream makes this directory with mode 000 (Q32), which shuts out everything that is not root.
    DirBuilder::new().recursive(true).mode(0o755).create(dir)?;
    let temporary = temporary(target);
    let written = write(&temporary, &object.to_bytes()).and_then(|()| fs::rename(&temporary, target));
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written
}

/// What the attachment's file says; `None` where there is none, which is usual.
pub(crate) fn collect(path: &Path) -> io::Result<Option<Object>> {
    match read(path) {
        Ok(object) => Ok(Some(object)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Removes the attachment's file (N-115). Only below `root`: the path comes from a file on disk.
pub(crate) fn remove(root: &Path, path: &Path) -> io::Result<()> {
    if path.parent() != Some(root.join("cni").as_path()) {
        return Ok(());
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// The name that upstream gives to an attachment's file, for journals that do not hold the path.
pub(crate) fn path_for(root: &Path, delegate: &str, container_id: &str, if_name: &str) -> PathBuf {
    root.join("cni").join(format!("{delegate}-{container_id}_{if_name}").replace('/', "-"))
}

fn read(path: &Path) -> io::Result<Object> {
    let mut bytes = Vec::new();
    File::open(path)?.take(LIMIT + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LIMIT {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("it is larger than {LIMIT} bytes")));
    }
    Object::parse(&bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o444);
    options.open(path)?.write_all(bytes)
}

fn temporary(target: &Path) -> PathBuf {
    let name = target.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    target.with_file_name(format!(".{name}.{}", std::process::id()))
}

#[cfg(test)]
mod tests;
