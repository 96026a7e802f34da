//! GC: what belongs to no attachment is freed, and nothing else.
//!
//! The runtime lists what it knows: container and `eth0`. Each network is told the runtime's list united with every journaled
//! attachment, since the runtime cannot know of net1, nor of sandboxes that another runtime made.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use libcni::{GcAttachment, Network, Object};
use plan::Sandbox;

use crate::del;
use crate::error::Error;
use crate::host::Host;
use crate::housekeeping;
use crate::journal::{Element, Loaded, Store};
use crate::lock::{NodeLock, SandboxLock};
use crate::undo::Undo;

/// How long GC waits for ADDs and DELs to end (C-49).
const WAIT: Duration = Duration::from_secs(10);

/// What GC did.
#[derive(Debug, Default)]
pub struct GcReport {
    /// One line for each thing that was freed.
    pub done: Vec<String>,
}

/// Frees what belongs to no valid attachment, for the default network and for every network that a journal names.
///
/// # Errors
/// [`Error::GcUnsafe`] when what is valid cannot be known: the runtime sent no list, or a journal cannot be read.
/// [`Error::Gc`] when plugins failed; everything else is done (C-51).
pub fn gc(
    host: &Host,
    primary: Option<&Network>,
    valid: Option<&[GcAttachment]>,
    deadline: Instant,
) -> Result<GcReport, Error> {
    let valid = valid.ok_or_else(|| {
        Error::GcUnsafe(
            "the runtime sent no list of valid attachments (cni.dev/valid-attachments)".to_owned(),
        )
    })?;
    let _node = NodeLock::exclusive(&host.cni_dir, deadline.min(Instant::now() + WAIT))
        .map_err(|error| Error::node_locked(error, "pods are being attached or detached on this node"))?;
    let mut sweep = Sweep { host, valid, deadline, report: GcReport::default(), errors: Vec::new() };
    let journals = sweep.journals()?;
    let journals = sweep.dead_journals(journals);
    sweep.stale_results(&journals)?;
    sweep.plugins(primary, &journals);
    if sweep.errors.is_empty() { Ok(sweep.report) } else { Err(Error::Gc(sweep.errors)) }
}

type Journals = BTreeMap<String, Vec<Element>>;

struct Sweep<'a> {
    host: &'a Host,
    valid: &'a [GcAttachment],
    deadline: Instant,
    report: GcReport,
    errors: Vec<String>,
}

impl Sweep<'_> {
    fn journals(&self) -> Result<Journals, Error> {
        let store = Store::new(&self.host.cni_dir);
        let ids = store
            .container_ids()
            .map_err(|error| Error::GcUnsafe(format!("cannot list the journals: {error}")))?;
        let mut journals = Journals::new();
        for id in ids {
            match store.load(&id) {
                Loaded::Found(elements) => drop(journals.insert(id, elements)),
                Loaded::Missing => {}
                Loaded::Broken(reason) => return Err(Error::GcUnsafe(reason)),
            }
        }
        Ok(journals)
    }

    fn is_listed(&self, container_id: &str) -> bool {
        self.valid.iter().any(|attachment| attachment.container_id == container_id)
    }

    /// Undoes sandboxes that the runtime does not know and whose namespace is gone; the others are returned.
    fn dead_journals(&mut self, journals: Journals) -> Journals {
        let (dead, alive): (Journals, Journals) = journals.into_iter().partition(|(id, elements)| {
            !self.is_listed(id) && housekeeping::is_dead(self.host, id, elements)
        });
        let mut left = alive;
        for (id, elements) in dead {
            let sandbox = Sandbox { container_id: id.clone(), ..Sandbox::default() };
            let Ok(lock) = SandboxLock::try_acquire(&self.host.cni_dir, &id) else {
                left.insert(id, elements);
                continue;
            };
            match del::locked(self.host, &sandbox, &Object::default(), self.deadline) {
                Ok(()) => {
                    self.report.done.push(format!("sandbox {id}, whose namespace is gone"));
                    lock.release_and_remove();
                }
                Err(failures) => {
                    self.errors.push(Error::Del(failures).to_string());
                    // What could be freed is valid no more.
                    let kept = match Store::new(&self.host.cni_dir).load(&id) {
                        Loaded::Found(kept) => kept,
                        Loaded::Missing | Loaded::Broken(_) => elements,
                    };
                    left.insert(id, kept);
                }
            }
        }
        left
    }

    /// Undoes cached attachments of sandboxes that neither the runtime nor a journal knows (C-54: what frees leaked leases).
    fn stale_results(&mut self, journals: &Journals) -> Result<(), Error> {
        let listing = self.host.cache().list().map_err(|error| Error::GcUnsafe(error.to_string()))?;
        for entry in listing.entries {
            let id = entry.container_id.clone();
            if self.is_listed(&id) || journals.contains_key(&id) {
                continue;
            }
            let name = format!("{} of sandbox {id}", entry.if_name);
            let sandbox = Sandbox { container_id: id, ..Sandbox::default() };
            let Some(element) = del::element_of(self.host, entry, &sandbox) else { continue };
            if element.network.disable_gc {
                continue;
            }
            // Only a DEL that could not share the node's lock, on a read-only disk, can still be at work there.
            let Ok(lock) = SandboxLock::try_acquire(&self.host.cni_dir, &sandbox.container_id) else {
                continue;
            };
            let undone = Undo::new(self.host, &sandbox, self.deadline).all(vec![element]);
            lock.release_and_remove();
            match undone.failed.into_iter().next() {
                None => self.report.done.push(name),
                Some((_, failure)) => self.errors.push(format!("{name}: {}", failure.error)),
            }
        }
        Ok(())
    }

    /// Calls the plugins' own GC, once for each network, with all that is valid of it (C-53).
    fn plugins(&mut self, primary: Option<&Network>, journals: &Journals) {
        let mut networks: BTreeMap<Vec<u8>, Network> = BTreeMap::new();
        let mut attached: BTreeMap<String, BTreeSet<(String, String)>> = BTreeMap::new();
        for (id, elements) in journals {
            for (index, element) in elements.iter().enumerate() {
                let if_name = match &element.own {
                    Some(own) => own.if_name.clone(),
                    None if element.requests.if_name.is_empty() && index == 0 => "eth0".to_owned(),
                    None if element.requests.if_name.is_empty() => format!("net{index}"),
                    None => element.requests.if_name.clone(),
                };
                attached.entry(element.network.name.clone()).or_default().insert((id.clone(), if_name));
                networks.insert(element.network.to_bytes(), element.network.clone());
            }
        }
        if let Some(primary) = primary {
            networks.insert(primary.to_bytes(), primary.clone());
        }
        for network in networks.into_values() {
            let mut valid = attached.get(&network.name).cloned().unwrap_or_default();
            // Of a sandbox with a journal the journal knows better; the runtime's own entry is about the default network.
            let is_primary = primary.is_some_and(|primary| primary.name == network.name);
            let listed =
                self.valid.iter().filter(|listed| is_primary || !journals.contains_key(&listed.container_id));
            valid.extend(listed.map(|listed| (listed.container_id.clone(), listed.if_name.clone())));
            let valid: Vec<_> = valid
                .into_iter()
                .map(|(container_id, if_name)| GcAttachment { container_id, if_name })
                .collect();
            if let Err(errors) = self.host.runtime(self.deadline).gc(&network, &valid) {
                self.errors.extend(errors.iter().map(ToString::to_string));
            }
        }
    }
}

#[cfg(test)]
mod tests;
