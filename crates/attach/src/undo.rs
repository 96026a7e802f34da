//! Detaching one attachment with exactly what its ADD was given, and keeping what could not be detached.

use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use libcni::{Attachment, Cache, CniError, Entry, Object, Runtime};
use plan::Sandbox;

use crate::error::Failure;
use crate::host::Host;
use crate::journal::{Element, Own, State};
use crate::{devinfo, netns, step};

/// What runtimes call the default network's interface.
const USUAL_IF_NAME: &str = "eth0";
/// After so many tries of a DEL a failing secondary network no longer keeps the pod from going.
const TRIES: u32 = 5;
/// Or after this time.
const PATIENCE: u64 = 120;
/// The longest pause between two tries of housekeeping.
const LONGEST_PAUSE: u64 = 300;

/// What is known of a call about attachments of one sandbox.
#[derive(Debug, Clone)]
pub(crate) struct Undo<'a> {
    pub(crate) host: &'a Host,
    /// The sandbox as the runtime names it now; empty fields where it does not (housekeeping).
    pub(crate) sandbox: &'a Sandbox,
    /// What the runtime hands over for the default network, for journals that do not hold it.
    pub(crate) runtime_config: Option<&'a Object>,
    /// Where the results of the ADDs are.
    pub(crate) cache: Cache,
    pub(crate) deadline: Instant,
}

/// Detached, or what is left.
pub(crate) struct Undone {
    pub(crate) freed: Vec<Element>,
    pub(crate) failed: Vec<(Element, Failure)>,
}

impl<'a> Undo<'a> {
    /// Of a sandbox of ours.
    pub(crate) fn new(host: &'a Host, sandbox: &'a Sandbox, deadline: Instant) -> Undo<'a> {
        Undo { host, sandbox, runtime_config: None, cache: host.cache(), deadline }
    }

    /// The runtime that reads and removes the results of this sandbox.
    pub(crate) fn runtime(&self, deadline: Instant) -> Runtime {
        Runtime { cache: self.cache.clone(), ..self.host.runtime(deadline) }
    }

    /// Detaches all of them in reverse order. Every one is tried whatever happens to the others (N-98).
    pub(crate) fn all(&self, elements: Vec<Element>) -> Undone {
        let mut undone = Undone { freed: Vec::new(), failed: Vec::new() };
        let mut left = u32::try_from(elements.len()).unwrap_or(u32::MAX);
        for (index, element) in elements.into_iter().enumerate().rev() {
            // Each gets its share of what time is left, so that a hanging plugin does not use up that of the others.
            let now = Instant::now();
            let share = now + self.deadline.saturating_duration_since(now) / left;
            left -= 1;
            let attachment = self.attachment(&element, index);
            match self.one(&element, &attachment, share) {
                Ok(()) => undone.freed.push(element),
                Err(error) => {
                    let failure = Failure {
                        network: element.network.name.clone(),
                        if_name: attachment.if_name.clone(),
                        error,
                    };
                    undone.failed.push((self.noted(element, attachment, index, &failure), failure));
                }
            }
        }
        // Back into the order in which they were attached.
        undone.failed.reverse();
        undone
    }

    fn one(&self, element: &Element, attachment: &Attachment, deadline: Instant) -> Result<(), CniError> {
        step::reached("before a delegate's DEL");
        self.runtime(deadline).del(&element.network, attachment).map_err(|error| error.to_cni())?;
        step::reached("after a delegate's DEL");
        let path = self.device_info(element, attachment);
        // The attachment is gone. A file that a read-only disk keeps does no harm to it.
        let _ = path.map(|path| devinfo::remove(&self.host.devinfo_root, &path));
        Ok(())
    }

    /// The file about its device: of the journal, else as its plugins were told, else as upstream calls it.
    fn device_info(&self, element: &Element, attachment: &Attachment) -> Option<PathBuf> {
        let own = element.own.as_ref();
        let named = own.and_then(|own| own.device_info.clone());
        let told = || attachment.capability_args.get_as("CNIDeviceInfoFile").ok().flatten();
        named.or_else(told).or_else(|| {
            let root = &self.host.devinfo_root;
            own.is_none().then(|| {
                devinfo::path_for(root, &element.name, &attachment.container_id, &attachment.if_name)
            })
        })
    }

    /// The identity and arguments that its ADD had; for an element that upstream wrote, what its DEL would use.
    pub(crate) fn attachment(&self, element: &Element, index: usize) -> Attachment {
        let container_id = self.sandbox.container_id.clone();
        let netns = self.netns(element.own.as_ref());
        if let Some(own) = &element.own {
            return Attachment {
                container_id,
                netns,
                if_name: own.if_name.clone(),
                args: own.args.clone(),
                capability_args: own.capability_args.clone(),
            };
        }
        let requests = &element.requests;
        let if_name = match (requests.if_name.as_str(), index) {
            ("", 0) => self.primary_if_name(&element.network.name),
            ("", index) => format!("net{index}"),
            (requested, _) => requested.to_owned(),
        };
        // libcni's own record of the ADD is complete, where upstream's has neither MAC, IP, port mappings nor bandwidth (Q18).
        if let Ok(Some(entry)) = self.cache.read(&element.network.name, &container_id, &if_name)
            && !entry.config.is_empty()
        {
            let (args, capability_args) = (entry.cni_args, entry.capability_args);
            return Attachment { container_id, netns, if_name, args, capability_args };
        }
        let mut args = self.sandbox.args.clone();
        if !requests.mac.is_empty() {
            args.push(("MAC".to_owned(), requests.mac.clone()));
        }
        if !requests.ips.is_empty() {
            args.push(("IP".to_owned(), requests.ips.join(",")));
        }
        // Only the default network was given what the runtime hands over (N-103).
        let handed_over = self.runtime_config.filter(|_| index == 0);
        let mut capability_args = handed_over.cloned().unwrap_or_default();
        for (key, value) in [
            ("mac", &requests.mac),
            ("infinibandGUID", &requests.infiniband_guid),
            ("deviceID", &requests.device_id),
        ] {
            if !value.is_empty() {
                capability_args.set(key, value);
            }
        }
        if !requests.ips.is_empty() {
            capability_args.set("ips", &requests.ips);
        }
        if !requests.device_id.is_empty() {
            let root = &self.host.devinfo_root;
            let file = devinfo::path_for(root, &element.name, &container_id, &if_name);
            capability_args.set("CNIDeviceInfoFile", &file);
        }
        Attachment { container_id, netns, if_name, args, capability_args }
    }

    /// The default network's interface, of which upstream's file says nothing: the runtime says it, but not when GC or
    /// housekeeping ask; then libcni's record does, or else it is the one that every runtime uses.
    fn primary_if_name(&self, network: &str) -> String {
        if !self.sandbox.if_name.is_empty() {
            return self.sandbox.if_name.clone();
        }
        let entries = self.cache.list().map(|listing| listing.entries).unwrap_or_default();
        let is_it =
            |entry: &&Entry| entry.container_id == self.sandbox.container_id && entry.network_name == network;
        let mut names: Vec<String> =
            entries.iter().filter(is_it).map(|entry| entry.if_name.clone()).collect();
        // The same network may be there again as a secondary one.
        match names.iter().any(|name| name == USUAL_IF_NAME) || names.is_empty() {
            true => USUAL_IF_NAME.to_owned(),
            false => names.swap_remove(0),
        }
    }

    /// The namespace for the plugin: empty when it is gone, or when another one is at its path now, which is another pod's.
    fn netns(&self, own: Option<&Own>) -> String {
        let path = match own.map(|own| own.netns.as_str()) {
            Some(path) if !path.is_empty() => path,
            _ => self.sandbox.netns.as_str(),
        };
        let now = netns::identity(path);
        let then = own.and_then(|own| own.netns_id.as_ref());
        let same_boot = own.is_none_or(|own| own.boot_id == self.host.boot_id);
        match now {
            Some(now) if same_boot && then.is_none_or(|then| *then == now) => path.to_owned(),
            _ => String::new(),
        }
    }

    /// The element as it stays in the journal.
    fn noted(
        &self,
        mut element: Element,
        attachment: Attachment,
        index: usize,
        failure: &Failure,
    ) -> Element {
        let device_info = self.device_info(&element, &attachment);
        // In a journal of what is left, its place no longer tells upstream which interface it is.
        element.requests.if_name.clone_from(&attachment.if_name);
        let known = element.own.take();
        let own = known.unwrap_or_else(|| Own {
            boot_id: self.host.boot_id.clone(),
            netns_id: netns::identity(&attachment.netns),
            netns: attachment.netns,
            if_name: attachment.if_name,
            args: attachment.args,
            capability_args: attachment.capability_args,
            device_info,
            primary: index == 0,
            ..Own::default()
        });
        let now = now();
        let first_failure = own.first_failure.unwrap_or(now);
        let tries = own.tries.saturating_add(1);
        let pause = 1u64.checked_shl(tries.saturating_sub(1)).unwrap_or(LONGEST_PAUSE).min(LONGEST_PAUSE);
        let own = Own {
            state: State::Deleting,
            tries,
            first_failure: Some(first_failure),
            next_try: Some(now.saturating_add(pause)),
            last_error: failure.error.to_string(),
            ..own
        };
        Element { own: Some(own), ..element }
    }
}

/// Whether a failing network may be set aside now. The default network never is.
pub(crate) fn may_be_parked(own: &Own) -> bool {
    let since = own.first_failure.map_or(0, |first| now().saturating_sub(first));
    !own.primary && (own.parked || own.tries >= TRIES || since >= PATIENCE)
}

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs()
}
