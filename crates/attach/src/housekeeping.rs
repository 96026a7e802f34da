//! What earlier calls could not finish, or were never asked to: networks that were set aside, sandboxes of before a reboot, results
//! of sandboxes that are gone. Done a little at a time, after other work, and never for a sandbox on which somebody works.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::time::{Duration, Instant, SystemTime};

use libcni::Object;
use plan::Sandbox;

use crate::del;
use crate::host::Host;
use crate::journal::{Element, Loaded, Store};
use crate::lock::SandboxLock;
use crate::netns;
use crate::undo::{Undo, now};

/// How often the node is looked through at most; a node has hundreds of journals, and calls come in bursts.
const PAUSE: Duration = Duration::from_secs(10);

/// What was done.
#[derive(Debug, Default)]
pub struct Tidied {
    /// One line for each sandbox that was worked on.
    pub lines: Vec<String>,
}

/// Goes on with what is due, for as long as `budget` allows. Never fails: what cannot be done now is done later.
pub fn housekeeping(host: &Host, budget: Duration) -> Tidied {
    let mut tidied = Tidied::default();
    let deadline = Instant::now() + budget;
    if budget.is_zero() || !is_due(host) {
        return tidied;
    }
    let Ok(ids) = Store::new(&host.cni_dir).container_ids() else { return tidied };
    for id in &ids {
        if Instant::now() >= deadline {
            return tidied;
        }
        tidied.lines.extend(sandbox(host, id, deadline));
    }
    results(host, &ids, deadline, &mut tidied);
    tidied
}

/// Whether the last look is long enough ago; marks this one.
fn is_due(host: &Host) -> bool {
    let stamp = host.cni_dir.join(".locks/.housekeeping");
    let recent = fs::metadata(&stamp)
        .and_then(|found| found.modified())
        .is_ok_and(|last| SystemTime::now().duration_since(last).is_ok_and(|since| since < PAUSE));
    if recent {
        return false;
    }
    let marked = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&stamp);
    marked.and_then(|file| file.set_modified(SystemTime::now())).is_ok()
}

fn sandbox(host: &Host, id: &str, deadline: Instant) -> Option<String> {
    let store = Store::new(&host.cni_dir);
    let Loaded::Found(elements) = store.load(id) else { return None };
    let dead = is_dead(host, &elements);
    if !dead && !elements.iter().any(is_parked_and_due) {
        return None;
    }
    let lock = SandboxLock::try_acquire(&host.cni_dir, id).ok()?;
    // Somebody may have been here between the look and the lock.
    let Loaded::Found(elements) = store.load(id) else { return None };
    let (due, mut kept): (Vec<_>, Vec<_>) =
        elements.into_iter().partition(|element| match element.own.as_ref() {
            Some(own) if own.next_try.is_some() => {
                is_parked_and_due(element) || (dead && own.next_try <= Some(now()))
            }
            _ => dead,
        });
    if due.is_empty() {
        return None;
    }
    let sandbox = Sandbox { container_id: id.to_owned(), ..Sandbox::default() };
    let undo = Undo { host, sandbox: &sandbox, runtime_config: &Object::default(), deadline };
    let undone = undo.all(due);
    let line = match undone.failed.as_slice() {
        [] => format!("sandbox {id}: freed {} left-over attachment(s)", undone.freed.len()),
        failed => {
            format!("sandbox {id}: {} attachment(s) still not freed: {}", failed.len(), failed[0].1.error)
        }
    };
    kept.extend(undone.failed.into_iter().map(|(element, _)| element));
    let empty = kept.is_empty();
    if del::keep(&store, id, &kept).is_ok() && empty {
        lock.release_and_remove();
    }
    Some(line)
}

fn is_parked_and_due(element: &Element) -> bool {
    element.own.as_ref().is_some_and(|own| own.parked && own.next_try.is_some_and(|next| next <= now()))
}

/// Whether the sandbox cannot exist any more: it is of another boot, or its namespace is gone. What is not known to be dead lives.
pub(crate) fn is_dead(host: &Host, elements: &[Element]) -> bool {
    elements.iter().all(|element| {
        let Some(own) = &element.own else { return false };
        if own.netns.is_empty() || own.netns_id.is_none() {
            return own.boot_id != host.boot_id;
        }
        own.boot_id != host.boot_id || netns::identity(&own.netns) != own.netns_id
    })
}

/// Cached results that no journal stands for and whose namespace is gone.
fn results(host: &Host, journaled: &[String], deadline: Instant, tidied: &mut Tidied) {
    let Ok(listing) = host.cache().list() else { return };
    for entry in listing.entries {
        let id = entry.container_id.clone();
        let orphaned =
            !journaled.contains(&id) && !entry.netns.is_empty() && netns::identity(&entry.netns).is_none();
        if !orphaned || Instant::now() >= deadline {
            continue;
        }
        let Ok(lock) = SandboxLock::try_acquire(&host.cni_dir, &id) else { continue };
        if !matches!(Store::new(&host.cni_dir).load(&id), Loaded::Missing) {
            continue;
        }
        let name = format!("sandbox {id}: {} without a journal", entry.if_name);
        let sandbox = Sandbox { container_id: id, ..Sandbox::default() };
        let Some(element) = del::element_of(host, entry, &sandbox) else { continue };
        let undo = Undo { host, sandbox: &sandbox, runtime_config: &Object::default(), deadline };
        match undo.all(vec![element]).failed.pop() {
            None => {
                tidied.lines.push(format!("{name}: freed"));
                lock.release_and_remove();
            }
            Some((_, failure)) => tidied.lines.push(format!("{name}: still not freed: {}", failure.error)),
        }
    }
}
