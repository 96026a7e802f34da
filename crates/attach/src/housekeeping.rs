//! What earlier calls could not finish, or were never asked to: networks that were set aside, sandboxes of before a reboot, results
//! of sandboxes that are gone. Done a little at a time, after other work, and never for a sandbox on which somebody works.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use libcni::Object;
use plan::Sandbox;

use crate::del;
use crate::error::Error;
use crate::host::Host;
use crate::journal::{Element, Loaded, Store};
use crate::lock::{NodeLock, SandboxLock};
use crate::netns;
use crate::undo::{Undo, now};

/// How often the node is looked through at most; a node has hundreds of journals, and calls come in bursts.
const PAUSE: Duration = Duration::from_secs(10);

/// How long plugins may run however little of the budget is left.
const AT_LEAST: Duration = Duration::from_secs(2);

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
    // GC keeps the node to itself (C-49). Neither is worth waiting for the other.
    let Ok(_node) = NodeLock::shared(&host.cni_dir, Instant::now()) else { return tidied };
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

/// Until when the plugins of one sandbox may run. The budget says what is still begun; a plugin that is killed when it ends
/// would be killed the same way every time.
fn patience(deadline: Instant) -> Instant {
    deadline.max(Instant::now() + AT_LEAST)
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
    let elements = match store.load(id) {
        Loaded::Found(elements) => elements,
        Loaded::Broken(_) => return broken(host, id, deadline),
        Loaded::Missing => return None,
    };
    let dead = is_dead(host, id, &elements);
    if !dead && !elements.iter().any(is_parked_and_due) {
        return None;
    }
    let lock = SandboxLock::try_acquire(&host.cni_dir, id).ok()?;
    // Somebody may have been here between the look and the lock.
    let elements = match store.load(id) {
        Loaded::Found(elements) => elements,
        Loaded::Broken(_) => return None,
        Loaded::Missing => {
            lock.release_and_remove();
            return None;
        }
    };
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
    let undone = Undo::new(host, &sandbox, patience(deadline)).all(due);
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

/// A journal that tells nothing, of a sandbox that cannot exist any more; left there it would keep GC from working for ever.
fn broken(host: &Host, id: &str, deadline: Instant) -> Option<String> {
    if !is_gone(host, id) {
        return None;
    }
    let lock = SandboxLock::try_acquire(&host.cni_dir, id).ok()?;
    let sandbox = Sandbox { container_id: id.to_owned(), ..Sandbox::default() };
    Some(match del::locked(host, &sandbox, &Object::default(), patience(deadline)) {
        Ok(()) => {
            lock.release_and_remove();
            format!("sandbox {id}: freed what the result cache named in place of its unusable journal")
        }
        Err(failures) => format!("sandbox {id}: {}", Error::Del(failures)),
    })
}

/// Whether a sandbox about which its journal does not say it cannot exist any more: the journal is older than this boot, or the
/// result cache knows its namespace and it is gone.
fn is_gone(host: &Host, id: &str) -> bool {
    let path = Store::new(&host.cni_dir).path(id);
    let written = fs::metadata(path).and_then(|found| found.modified()).ok();
    if written.zip(booted()).is_some_and(|(written, booted)| written < booted) {
        return true;
    }
    let entries = host.cache().list().map(|listing| listing.entries).unwrap_or_default();
    let mut mine = entries.iter().filter(|entry| entry.container_id == id).peekable();
    mine.peek().is_some()
        && mine.all(|entry| !entry.netns.is_empty() && netns::identity(&entry.netns).is_none())
}

fn booted() -> Option<SystemTime> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    let seconds = stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

/// Whether the sandbox cannot exist any more: it is of another boot, or its namespace is gone. What is not known to be dead lives.
pub(crate) fn is_dead(host: &Host, id: &str, elements: &[Element]) -> bool {
    elements.iter().all(|element| {
        let Some(own) = &element.own else { return is_gone(host, id) };
        if own.netns.is_empty() || own.netns_id.is_none() {
            return own.boot_id != host.boot_id;
        }
        own.boot_id != host.boot_id || netns::identity(&own.netns) != own.netns_id
    })
}

/// Cached results that no journal stands for and whose namespace is gone.
fn results(host: &Host, journaled: &[String], deadline: Instant, tidied: &mut Tidied) {
    let Ok(listing) = host.cache().list() else { return };
    let mut entries = listing.entries;
    // A result says not when it was tried last. One whose plugin hangs takes the whole budget, so that each look begins elsewhere.
    let start = usize::try_from(now()).unwrap_or(0).checked_rem(entries.len()).unwrap_or(0);
    entries.rotate_left(start);
    for entry in entries {
        let id = entry.container_id.clone();
        let orphaned =
            !journaled.contains(&id) && !entry.netns.is_empty() && netns::identity(&entry.netns).is_none();
        if !orphaned || Instant::now() >= deadline {
            continue;
        }
        let name = format!("sandbox {id}: {} without a journal", entry.if_name);
        let sandbox = Sandbox { container_id: id, ..Sandbox::default() };
        let Some(element) = del::element_of(host, entry, &sandbox) else { continue };
        let Ok(lock) = SandboxLock::try_acquire(&host.cni_dir, &sandbox.container_id) else { continue };
        if !matches!(Store::new(&host.cni_dir).load(&sandbox.container_id), Loaded::Missing) {
            continue;
        }
        tidied.lines.push(
            match Undo::new(host, &sandbox, patience(deadline)).all(vec![element]).failed.pop() {
                None => format!("{name}: freed"),
                Some((_, failure)) => format!("{name}: still not freed: {}", failure.error),
            },
        );
        lock.release_and_remove();
    }
}

#[cfg(test)]
mod tests;
