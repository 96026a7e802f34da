//! What is on record about a cluster, so that a later process finds it, and can remove it after a crash.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};

use super::Spec;
use super::machine::Record;
use crate::parts;

/// Whoever brings a cluster up or takes it down holds this; and as long as a cluster lives that ends with its process.
pub(super) fn lock(dir: &Path) -> Result<File> {
    let path = dir.with_extension("lock");
    fs::create_dir_all(dir.parent().unwrap_or(dir))
        .with_context(|| format!("create the folder of {}", path.display()))?;
    let lock = File::create(&path).with_context(|| format!("open the lock {}", path.display()))?;
    if rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
        parts::say(&format!("waiting for another process that has the cluster {}", dir.display()));
        rustix::fs::flock(&lock, FlockOperation::LockExclusive)
            .with_context(|| format!("lock {}", path.display()))?;
    }
    Ok(lock)
}

/// The record.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct State {
    pub(super) spec: Spec,
    /// Every machine that was ever started, the newest last.
    pub(super) machines: Vec<Record>,
    /// Whether the cluster came up; not so, if whoever brought it up was ended before.
    #[serde(default)]
    pub(super) up: bool,
}

impl State {
    /// Starts the record of a new cluster.
    pub(super) fn begin(dir: &Path, spec: &Spec) -> Result<()> {
        fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
        write(dir, &Self { spec: spec.clone(), machines: Vec::new(), up: false })
    }

    /// Nothing, where there is no cluster.
    pub(super) fn read(dir: &Path) -> Result<Option<Self>> {
        let path = file(dir);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("read {}", path.display())),
        };
        let state = serde_json::from_slice(&text).with_context(|| format!("read {}", path.display()))?;
        Ok(Some(state))
    }
}

/// Adds a machine.
pub(super) fn record(dir: &Path, machine: &Record) -> Result<()> {
    let mut state = State::read(dir)?.context("the cluster's record is gone")?;
    state.machines.push(machine.clone());
    write(dir, &state)
}

/// Notes that the cluster came up.
pub(super) fn finish(dir: &Path) -> Result<()> {
    let mut state = State::read(dir)?.context("the cluster's record is gone")?;
    state.up = true;
    write(dir, &state)
}

/// Whether the cluster came up, and any machine of it runs.
pub(super) fn is_alive(dir: &Path) -> bool {
    let state = State::read(dir).ok().flatten();
    state.is_some_and(|state| state.up && state.machines.iter().any(Record::is_alive))
}

/// Ends every machine on record.
pub(super) fn end_machines(dir: &Path) -> Result<()> {
    let Some(state) = State::read(dir)? else { return Ok(()) };
    state.machines.iter().try_for_each(Record::kill)
}

fn write(dir: &Path, state: &State) -> Result<()> {
    let path = file(dir);
    let fresh = path.with_extension("new");
    let text = serde_json::to_vec_pretty(state).context("write the cluster's record")?;
    fs::write(&fresh, text)
        .and_then(|()| fs::rename(&fresh, &path))
        .with_context(|| format!("write {}", path.display()))
}

fn file(dir: &Path) -> PathBuf {
    dir.join("cluster.json")
}
