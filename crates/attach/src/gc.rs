//! GC: what belongs to no attachment is freed, and nothing else.
//!
//! The runtime lists what it knows: container and `eth0`. Each network is told the runtime's list united with every journaled
//! attachment, since the runtime cannot know of net1, nor of sandboxes that another runtime made.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
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
/// How much time plugins that hang may cost each phase, while ADDs and DELs wait for GC. What is left then is for the next one. Work that
/// comes to its end does not count: after a reboot there may be much of it.
const LOST: Duration = Duration::from_secs(5);
/// How long the plugins of one sandbox or network may take however many others wait: a plugin that gets less is killed the same way
/// every time.
const SHORTEST_TURN: Duration = Duration::from_secs(2);

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
    let mut sweep = Sweep::new(host, valid, deadline);
    let journals = sweep.journals()?;
    // Each has its own time, so that the plugins' own GC comes about whatever hangs before it.
    sweep.begin_phase(3);
    let journals = sweep.dead_journals(journals);
    sweep.begin_phase(2);
    sweep.stale_results(&journals)?;
    sweep.begin_phase(1);
    sweep.plugins(primary, &journals);
    if sweep.errors.is_empty() { Ok(sweep.report) } else { Err(Error::Gc(sweep.errors)) }
}

type Journals = BTreeMap<String, Vec<Element>>;

struct Sweep<'a> {
    host: &'a Host,
    valid: &'a [GcAttachment],
    deadline: Instant,
    /// Until when work of this phase is taken up.
    phase: Instant,
    /// What turns that were used up have cost this phase.
    lost: Duration,
    /// The beginning and the end of the present turn.
    turn: Option<(Instant, Instant)>,
    /// How often GC came to no end; nothing else tells which plugins hung the last time, so each overrun makes the next begin elsewhere.
    overruns: usize,
    report: GcReport,
    errors: Vec<String>,
}

impl<'a> Sweep<'a> {
    fn new(host: &'a Host, valid: &'a [GcAttachment], deadline: Instant) -> Self {
        Sweep {
            host,
            valid,
            deadline,
            phase: deadline,
            lost: Duration::ZERO,
            turn: None,
            overruns: overruns(host),
            report: GcReport::default(),
            errors: Vec::new(),
        }
    }

    /// Begins the first of `left` phases.
    fn begin_phase(&mut self, left: u32) {
        let now = Instant::now();
        self.phase = now + self.deadline.saturating_duration_since(now) / left;
        self.lost = Duration::ZERO;
        self.turn = None;
    }

    /// Until when the first of `left` pieces of work may go on: its share, so that one that hangs leaves time for the others; none when
    /// it is too late to begin. What is left over is an error, so that the runtime knows.
    fn turn(&mut self, left: usize, what: &str) -> Option<Instant> {
        let now = Instant::now();
        if let Some((began, _)) = self.turn.filter(|(_, end)| now >= *end) {
            self.lost += now - began;
        }
        if now >= self.phase || self.lost >= LOST {
            self.errors.push(format!("{left} {what} are left to the next GC: plugins took too long"));
            // Not knowing it costs a turn at worst.
            let _ = fs::write(overruns_file(self.host), (self.overruns.wrapping_add(1)).to_string());
            return None;
        }
        let share = (LOST - self.lost) / u32::try_from(left).unwrap_or(u32::MAX).max(1);
        let end = self.deadline.min(now + share.max(SHORTEST_TURN));
        self.turn = Some((now, end));
        Some(end)
    }

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
        let mut dead: Vec<_> = dead.into_iter().collect();
        // What failed last comes last.
        dead.sort_by_key(|(_, elements)| {
            elements.iter().filter_map(|element| element.own.as_ref()?.next_try).max()
        });
        let mut dead = dead.into_iter();
        while let Some((id, elements)) = dead.next() {
            let Some(turn) = self.turn(dead.len() + 1, "sandboxes whose namespace is gone") else {
                left.insert(id, elements);
                left.extend(dead);
                break;
            };
            let sandbox = Sandbox { container_id: id.clone(), ..Sandbox::default() };
            let Ok(lock) = SandboxLock::try_acquire(&self.host.cni_dir, &id) else {
                left.insert(id, elements);
                continue;
            };
            match del::locked(self.host, &sandbox, &Object::default(), turn) {
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
        let mut stale: Vec<_> = listing
            .entries
            .into_iter()
            .filter(|entry| {
                !self.is_listed(&entry.container_id) && !journals.contains_key(&entry.container_id)
            })
            .filter_map(|entry| {
                let name = format!("{} of sandbox {}", entry.if_name, entry.container_id);
                let sandbox = Sandbox { container_id: entry.container_id.clone(), ..Sandbox::default() };
                let element = del::element_of(self.host, entry, &sandbox)?;
                (!element.network.disable_gc).then_some((name, sandbox, element))
            })
            .collect();
        rotate(&mut stale, self.overruns);
        let mut stale = stale.into_iter();
        while let Some((name, sandbox, element)) = stale.next() {
            let Some(turn) = self.turn(stale.len() + 1, "results without a sandbox") else { break };
            // Only a DEL that could not share the node's lock, on a read-only disk, can still be at work there.
            let Ok(lock) = SandboxLock::try_acquire(&self.host.cni_dir, &sandbox.container_id) else {
                continue;
            };
            let undone = Undo::new(self.host, &sandbox, turn).all(vec![element]);
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
        let mut networks: Vec<Network> = networks.into_values().collect();
        rotate(&mut networks, self.overruns);
        let mut networks = networks.into_iter();
        while let Some(network) = networks.next() {
            let Some(turn) = self.turn(networks.len() + 1, "networks") else { break };
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
            if let Err(errors) = self.host.runtime(turn).gc(&network, &valid) {
                self.errors.extend(errors.iter().map(ToString::to_string));
            }
        }
    }
}

fn overruns_file(host: &Host) -> PathBuf {
    host.cni_dir.join(".locks/.gc-overruns")
}

fn overruns(host: &Host) -> usize {
    fs::read_to_string(overruns_file(host)).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

fn rotate<T>(work: &mut [T], by: usize) {
    work.rotate_left(by.checked_rem(work.len()).unwrap_or(0));
}

#[cfg(test)]
mod tests;
