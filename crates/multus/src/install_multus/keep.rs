//! `--keep`: the programs of thick mode stay in place for as long as the pod lives, and go when the install does. The daemon in the
//! container beside this one sees their directory read-only, and takes the configuration away that calls them; so this one needs
//! neither rights over the configuration nor any capability.
//!
//! Nothing that happens to the directory ends it: what is there goes on working, the probe tells why the rest does not, and the
//! daemon's container keeps running beside it.

use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kube_cluster::{Session, Source};
use node_config::{Caller, Changes, Usage, callers};

use super::Delivery;
use super::folder::Folder;
use crate::thin_entrypoint::daemon_set::Watcher;
use crate::thin_entrypoint::flags::Values;
use crate::thin_entrypoint::install::Say;
use crate::thin_entrypoint::options::{Own, RUNTIME_CACHE, own, owner};
use crate::thin_entrypoint::stop::Stop;
use crate::thin_entrypoint::uninstall::{executable, words};
use crate::thin_entrypoint::{last_line, say};

/// How often everything is looked at, also where the kernel tells of no change: another machine's disk, a swapped link.
const TICK: Duration = Duration::from_secs(1);
/// How long the daemon may take to take the configuration away. The pod is killed 60 seconds after it was asked to end.
const PATIENCE: Duration = Duration::from_secs(40);

/// What is kept, and what it depends on whether it goes.
#[derive(Debug, Clone)]
pub(super) struct Keeping {
    pub(super) delivery: Delivery,
    /// Where the configuration is that calls the plugin.
    pub(super) conf_dir: PathBuf,
    /// The install's name.
    pub(super) owner: Option<String>,
    pub(super) own: Option<Own>,
    pub(super) api: Source,
    /// The journals, and the directory above the runtime's result cache, as this process sees them if it does.
    pub(super) journals: PathBuf,
    pub(super) runtime_cache: PathBuf,
    pub(super) patience: Duration,
}

impl Keeping {
    pub(super) fn of(values: &Values, delivery: Delivery) -> Result<Self, String> {
        let own = own(values)?;
        Ok(Self {
            delivery,
            conf_dir: values.text("cni-conf-dir").into(),
            owner: owner(values, own.as_ref()),
            own,
            api: Source::Pod,
            journals: values.text("journals").into(),
            runtime_cache: RUNTIME_CACHE.into(),
            patience: PATIENCE,
        })
    }
}

/// Keeps until a signal comes.
pub(super) fn run(keeping: &Keeping) -> Result<(), String> {
    let stop = Stop::on_signals().map_err(|error| format!("cannot listen for signals: {error}"))?;
    keep(keeping, &stop, &say)
}

/// Keeps until `stop` is asked for.
pub(super) fn keep(keeping: &Keeping, stop: &Stop, say: Say<'_>) -> Result<(), String> {
    let watcher = watcher(keeping)?;
    let delivery = &keeping.delivery;
    let mut folders: Vec<Folder> =
        delivery.destinations.iter().map(|dir| Folder::new(delivery, dir)).collect();
    let mut changes = Changes::of(watched(&folders));
    let stopped = loop {
        folders.iter_mut().for_each(|folder| folder.look(say));
        let stopped = changes.wait(stop.as_fd(), TICK);
        watcher.iter().flat_map(Watcher::lines).for_each(|line| say(&line));
        match stopped {
            Ok(false) => {}
            Ok(true) => break Ok(()),
            Err(error) => break Err(format!("cannot wait for changes: {error}")),
        }
    };
    if let (Ok(()), Some(watcher)) = (&stopped, &watcher) {
        say(&last_line(watcher, || remove(keeping, &mut folders, say)));
    }
    folders.into_iter().for_each(Folder::end);
    stopped
}

fn watcher(keeping: &Keeping) -> Result<Option<Watcher>, String> {
    let Some(own) = keeping.own.clone() else { return Ok(None) };
    let session = Session::start(keeping.api.clone()).map_err(|error| {
        format!("cannot speak to the API server with the pod's own account, as --daemonset needs: {error}")
    })?;
    Ok(Some(Watcher::start(Arc::new(session), own)))
}

/// A directory tells of what is in it; that it is swapped as a whole, the one above it tells.
fn watched(folders: &[Folder]) -> Vec<PathBuf> {
    let dirs = folders.iter().map(Folder::dir);
    dirs.flat_map(|dir| std::iter::once(dir).chain(dir.parent())).map(PathBuf::from).collect()
}

/// Removes what nobody needs any more, and says what became of it.
fn remove(keeping: &Keeping, folders: &mut [Folder], say: Say<'_>) -> String {
    let (mut removed, mut kept) = (Vec::new(), Vec::new());
    let needed = until_nobody_calls(keeping, say).err();
    let usage = Usage::of(&keeping.journals, &keeping.runtime_cache);
    for folder in folders {
        let stays = needed.clone().or_else(|| others(folder));
        for program in folder.programs() {
            let gone = match &stays {
                Some(_) if !program.path().exists() => Ok(false),
                Some(reason) => Err(reason.clone()),
                None => executable(program, &usage),
            };
            match gone {
                Ok(true) => removed.push(program.path().to_owned()),
                Ok(false) => {}
                Err(reason) => kept.push(format!("{} ({reason})", program.path().display())),
            }
        }
    }
    words(&removed, &kept)
}

/// Why what is in `folder` is not this process's to remove.
fn others(folder: &mut Folder) -> Option<String> {
    if !folder.dir().is_dir() {
        return None;
    }
    match folder.has_turn() {
        Ok(true) => None,
        Ok(false) => Some("a newer pod of this install keeps it".to_owned()),
        Err(error) => Some(error.to_string()),
    }
}

/// Waits until the daemon has taken the configuration away: a runtime that calls a plugin which is not there starts no pod. Or why
/// the plugin has to stay.
fn until_nobody_calls(keeping: &Keeping, say: Say<'_>) -> Result<(), String> {
    let failed = |error: io::Error| format!("cannot wait for the configuration: {error}");
    // Never readable while its other end is held. A second signal ends the process whatever it waits for.
    let (nobody_asks, _held) = io::pipe().map_err(failed)?;
    let mut changes = Changes::of(vec![keeping.conf_dir.clone()]);
    let until = Instant::now() + keeping.patience;
    let mut told = false;
    loop {
        let callers =
            callers(&keeping.conf_dir, keeping.delivery.plugin).map_err(|error| error.to_string())?;
        let Some(caller) = callers.first() else { return Ok(()) };
        if let Some(reason) = callers.iter().find_map(|caller| stays(caller, keeping.owner.as_deref())) {
            return Err(reason);
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            let (path, patience) = (caller.path.display(), keeping.patience.as_secs());
            return Err(format!(
                "{path} still calls {} after {patience} seconds; delete both, the configuration first",
                keeping.delivery.plugin
            ));
        }
        if !std::mem::replace(&mut told, true) {
            say(&format!("waiting until the daemon has taken {} away", caller.path.display()));
        }
        changes.wait(nobody_asks.as_fd(), left.min(TICK)).map_err(failed)?;
    }
}

/// Why nobody will take this configuration away.
fn stays(caller: &Caller, owner: Option<&str>) -> Option<String> {
    let theirs = caller.owner.as_deref().filter(|theirs| owner != Some(theirs))?;
    Some(format!("{}, the one of another install, {theirs:?}, calls it", caller.path.display()))
}

#[cfg(test)]
mod tests;
