//! DEL: from the journal, or from what else the node knows of the sandbox. Never needs to write.

use std::time::{Duration, Instant};

use libcni::{Cache, Entry, Network, Object};
use plan::{Plan, Planned, Sandbox, SpecMode};

use crate::error::{Error, Failure};
use crate::host::Host;
use crate::journal::{Element, Loaded, Own, Requests, State, Store};
use crate::lock::{LockError, NodeLock, SandboxLock};
use crate::undo::{Undo, may_be_parked};
use crate::{netns, step};

/// How long DEL waits at most for what still works on the sandbox, and then on the node.
const LONGEST_WAIT: Duration = Duration::from_secs(20);

/// What DEL has to know.
pub struct DelRequest<'a> {
    /// The sandbox as the runtime names it.
    pub sandbox: &'a Sandbox,
    /// Whether a secondary network that keeps failing may be set aside.
    pub mode: SpecMode,
    /// What the runtime hands over for the default network; used only where no record holds what the ADD was given.
    pub runtime_config: &'a Object,
    /// The default network, for a sandbox of which the node knows nothing at all (C-31).
    pub without_records: &'a dyn Fn() -> Option<Plan>,
    /// When to give up.
    pub deadline: Instant,
}

/// What DEL did.
#[derive(Debug, Default)]
pub struct Deleted {
    /// In the order in which they had been attached.
    pub attachments: Vec<Detached>,
    /// What an administrator may want to know.
    pub notes: Vec<String>,
}

/// One network of the sandbox.
#[derive(Debug)]
pub struct Detached {
    /// Its name.
    pub network: String,
    /// The interface.
    pub if_name: String,
    /// How it ended.
    pub outcome: Outcome,
}

/// How detaching one network ended, where DEL succeeds.
#[derive(Debug)]
pub enum Outcome {
    /// It is detached.
    Freed,
    /// It was set aside, so that the pod can go; housekeeping goes on trying. With the last error.
    Parked(String),
}

/// Detaches everything of the sandbox, in reverse order. Succeeds again and again (C-30).
///
/// # Errors
/// [`Error::Del`] names what could not be detached, after everything else was (N-98, N-99); it stays in the journal.
pub fn del(host: &Host, request: &DelRequest<'_>) -> Result<Deleted, Error> {
    let id = &request.sandbox.container_id;
    let mut deleted = Deleted::default();
    let lock = match SandboxLock::acquire(&host.cni_dir, id, patience(request.deadline, Instant::now())) {
        Ok(lock) => Some(lock),
        // A disk that takes no lock file takes no ADD either.
        Err(LockError::Unusable(path, error)) => {
            deleted.notes.push(format!("went on without the lock {}: {error}", path.display()));
            None
        }
        Err(error) => return Err(Error::locked(id, error)),
    };
    if lock.as_ref().is_some_and(|lock| lock.taken_over) {
        deleted.notes.push("a plugin of a call that was killed does not end; went on without it".to_owned());
    }
    let _node = match NodeLock::shared(&host.cni_dir, patience(request.deadline, Instant::now())) {
        Ok(lock) => Some(lock),
        Err(LockError::Unusable(..)) => None,
        Err(error) => return Err(Error::node_locked(error, "garbage collection is running on this node")),
    };
    let left = run(host, request, &mut deleted);
    if let (true, Some(lock)) = (left.is_empty(), lock) {
        lock.release_and_remove();
    }
    if left.is_empty() { Ok(deleted) } else { Err(Error::Del(left)) }
}

/// Until when DEL waits for a lock: half of what time it has at most, so that some remains for its own work.
fn patience(deadline: Instant, now: Instant) -> Instant {
    now + (deadline.saturating_duration_since(now) / 2).min(LONGEST_WAIT)
}

/// The same for a caller that holds the sandbox's lock: all must go, and nothing is set aside.
pub(crate) fn locked(
    host: &Host,
    sandbox: &Sandbox,
    runtime_config: &Object,
    deadline: Instant,
) -> Result<(), Vec<Failure>> {
    let request =
        DelRequest { sandbox, mode: SpecMode::Strict, runtime_config, without_records: &|| None, deadline };
    let left = run(host, &request, &mut Deleted::default());
    if left.is_empty() { Ok(()) } else { Err(left) }
}

fn run(host: &Host, request: &DelRequest<'_>, deleted: &mut Deleted) -> Vec<Failure> {
    let store = Store::new(&host.cni_dir);
    let (elements, cache) = records(host, &store, request, &mut deleted.notes);
    step::reached("before the first DEL");
    let undo = Undo {
        runtime_config: Some(request.runtime_config),
        cache,
        ..Undo::new(host, request.sandbox, request.deadline)
    };
    let undone = undo.all(elements);
    let mut kept = Vec::new();
    let mut left = Vec::new();
    for (mut element, failure) in undone.failed {
        let parks = request.mode == SpecMode::Compat && element.own.as_ref().is_some_and(may_be_parked);
        if let (true, Some(own)) = (parks, element.own.as_mut()) {
            own.parked = true;
            deleted.attachments.push(detached(&element, Outcome::Parked(failure.error.to_string())));
        } else {
            left.push(failure);
        }
        kept.push(element);
    }
    deleted.attachments.extend(undone.freed.iter().rev().map(|element| detached(element, Outcome::Freed)));
    step::reached("before the journal goes");
    if let Err(error) = keep(&store, &request.sandbox.container_id, &kept) {
        let path = store.path(&request.sandbox.container_id);
        deleted.notes.push(format!("the journal {} is out of date: {error}", path.display()));
    }
    step::reached("after the journal went");
    left
}

fn detached(element: &Element, outcome: Outcome) -> Detached {
    let if_name = element.own.as_ref().map_or(&element.requests.if_name, |own| &own.if_name);
    Detached { network: element.network.name.clone(), if_name: if_name.clone(), outcome }
}

/// Makes the journal say what is left; nothing left, no journal.
pub(crate) fn keep(store: &Store<'_>, container_id: &str, left: &[Element]) -> std::io::Result<()> {
    if left.is_empty() {
        return store.remove(container_id);
    }
    store.write(container_id, left)?.sync()
}

/// What is known of the sandbox, from the best record that can be read, and the cache that holds the results.
fn records(
    host: &Host,
    store: &Store<'_>,
    request: &DelRequest<'_>,
    notes: &mut Vec<String>,
) -> (Vec<Element>, Cache) {
    let id = &request.sandbox.container_id;
    match store.load(id) {
        Loaded::Found(elements) => return (elements, host.cache()),
        Loaded::Broken(reason) => notes.push(format!("{reason}; the result cache serves in its place")),
        Loaded::Missing => {}
    }
    for cache in [host.cache(), Cache::new(&host.runtime_cache)] {
        let elements = cached(host, &cache, request.sandbox);
        if !elements.is_empty() {
            return (elements, cache);
        }
    }
    let plan = (request.without_records)();
    let planned = plan.iter().flat_map(|plan| &plan.attachments);
    (planned.map(|planned| unrecorded(host, planned, request.sandbox)).collect(), host.cache())
}

/// An attachment as it would have been made.
fn unrecorded(host: &Host, planned: &Planned, sandbox: &Sandbox) -> Element {
    Element {
        name: planned.name.clone(),
        network: planned.network.clone(),
        requests: Requests::default(),
        own: Some(Own {
            if_name: planned.if_name.clone(),
            args: planned.args.clone(),
            capability_args: planned.capability_args.clone(),
            boot_id: host.boot_id.clone(),
            netns: sandbox.netns.clone(),
            primary: planned.primary,
            ..Own::default()
        }),
    }
}

/// What a result cache holds of the sandbox. A meta-plugin's own entry is not a network to undo: it would call itself.
fn cached(host: &Host, cache: &Cache, sandbox: &Sandbox) -> Vec<Element> {
    let Ok(listing) = cache.list() else { return Vec::new() };
    let mine = listing.entries.into_iter().filter(|entry| entry.container_id == sandbox.container_id);
    let mut elements: Vec<Element> = mine.filter_map(|entry| element_of(host, entry, sandbox)).collect();
    // The default network first, then net1, net2, …, net10: as they had been attached.
    elements.sort_by_key(|element| {
        let own = element.own.as_ref();
        let if_name = own.map(|own| own.if_name.clone()).unwrap_or_default();
        (!own.is_some_and(|own| own.primary), if_name.len(), if_name)
    });
    elements
}

pub(crate) fn element_of(host: &Host, entry: Entry, sandbox: &Sandbox) -> Option<Element> {
    let network = Network::parse(&entry.config).ok()?;
    let meta = |plugin: &libcni::Plugin| matches!(plugin.plugin_type.as_str(), "multus" | "multus-shim");
    if network.plugins.iter().any(meta) {
        return None;
    }
    // The runtime knows which namespace is its sandbox's.
    let netns = match entry.netns != sandbox.netns && is_anothers(host, &entry.container_id, &entry.netns) {
        true => String::new(),
        false => entry.netns,
    };
    Some(Element {
        name: network.name.clone(),
        requests: Requests { if_name: entry.if_name.clone(), ..Requests::default() },
        network,
        own: Some(Own {
            state: State::Deleting,
            primary: entry.if_name == sandbox.if_name,
            if_name: entry.if_name,
            args: entry.cni_args,
            capability_args: entry.capability_args,
            boot_id: host.boot_id.clone(),
            netns,
            ..Own::default()
        }),
    })
}

/// Whether the namespace at `path` belongs to another sandbox as far as the node's records tell. A result does not say which
/// namespace it was, only where.
fn is_anothers(host: &Host, container_id: &str, path: &str) -> bool {
    let Some(here) = netns::identity(path) else { return false };
    let store = Store::new(&host.cni_dir);
    let ids = store.container_ids().unwrap_or_default();
    let journaled = ids.iter().filter(|id| *id != container_id).any(|id| match store.load(id) {
        Loaded::Found(elements) => elements
            .iter()
            .filter_map(|element| element.own.as_ref())
            .any(|own| own.netns == path && own.netns_id.as_ref().is_none_or(|id| *id == here)),
        Loaded::Missing | Loaded::Broken(_) => false,
    });
    let entries = host.cache().list().map(|listing| listing.entries).unwrap_or_default();
    journaled || entries.iter().any(|entry| entry.container_id != container_id && entry.netns == path)
}

#[cfg(test)]
mod tests;
