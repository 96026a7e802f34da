//! What `install_plugins` put into a directory, by hash. `sha256sum --check .multus-rs-plugins` can read it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::thin_entrypoint::files;

/// The record's file. No container runtime runs it: a plugin's type is no hidden file's name.
pub(super) const NAME: &str = ".multus-rs-plugins";

/// Names, each with the hashes under which the file is this program's. There is more than one only while copying is under way.
#[derive(Debug, Default)]
pub(super) struct Record(BTreeMap<String, BTreeSet<String>>);

impl Record {
    /// The record in `dir`. A line that makes no sense says nothing: its file then counts as another program's and stays.
    pub(super) fn read(dir: &Path) -> io::Result<Self> {
        let mut record = Self::default();
        let bytes = match fs::read(dir.join(NAME)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(record),
            bytes => bytes?,
        };
        for line in String::from_utf8_lossy(&bytes).lines() {
            if let Some((hash, name)) = line.split_once("  ") {
                record.add(name, hash);
            }
        }
        Ok(record)
    }

    pub(super) fn write(&self, dir: &Path) -> io::Result<()> {
        let mut text = String::new();
        for (name, hashes) in &self.0 {
            for hash in hashes {
                // Writing to a String cannot fail.
                let _ = writeln!(text, "{hash}  {name}");
            }
        }
        files::replace(&dir.join(NAME), text.as_bytes(), 0o644).map(drop)
    }

    pub(super) fn names(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    pub(super) fn has(&self, name: &str, hash: &str) -> bool {
        self.0.get(name).is_some_and(|hashes| hashes.contains(hash))
    }

    /// Also `hash` is this program's.
    pub(super) fn add(&mut self, name: &str, hash: &str) {
        self.0.entry(name.to_owned()).or_default().insert(hash.to_owned());
    }

    /// Only `hash` is this program's.
    pub(super) fn set(&mut self, name: &str, hash: &str) {
        self.0.insert(name.to_owned(), BTreeSet::from([hash.to_owned()]));
    }
}

/// SHA-256 of a file, as `sha256sum` prints it.
pub(super) fn hash(path: &Path) -> io::Result<String> {
    let (mut file, mut hasher, mut buffer) = (File::open(path)?, Sha256::new(), vec![0; 64 << 10]);
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            return Ok(hasher
                .finalize()
                .iter()
                .fold(String::new(), |text, byte| format!("{text}{byte:02x}")));
        }
        hasher.update(&buffer[..count]);
    }
}
