//! The journal of a sandbox: `<cniDir>/<containerID>`, which holds all that DEL needs.
//!
//! It is upstream's scratch file (an array of delegates) with one key of ours, [`OWN_KEY`], inside each element. Upstream reads
//! the elements by known keys and ignores ours, so each side can DEL what the other has added. It is written before the first
//! delegate runs; afterwards only the state of an element changes, in place.

mod read;
mod write;

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use libcni::{Network, Object};
use plan::{Planned, Sandbox};
use serde::{Deserialize, Serialize};

use crate::{netns, step};

/// The key that is ours inside each element.
pub(crate) const OWN_KEY: &str = "multus-rs";

/// Larger files are not read: far above what a pod's networks can be, and bounded.
const LIMIT: u64 = 64 << 20;

/// Where an attachment stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    /// Its ADD has not ended, or was killed.
    #[default]
    Adding,
    /// It is there.
    Added,
    /// It could not be undone yet.
    Deleting,
}

impl State {
    /// As JSON, all of the same length, so that one can be written over another.
    fn padded(self) -> &'static str {
        match self {
            State::Adding => "\"adding\"  ",
            State::Added => "\"added\"   ",
            State::Deleting => "\"deleting\"",
        }
    }
}

/// What upstream's file does not hold and DEL, GC and housekeeping want to know.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Own {
    /// Written by hand, padded.
    #[serde(skip_serializing)]
    pub(crate) state: State,
    /// The boot in which it was added.
    pub(crate) boot_id: String,
    /// `CNI_NETNS` of the ADD.
    pub(crate) netns: String,
    /// Which namespace that was ([`crate::netns::identity`]); a path is used again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) netns_id: Option<String>,
    /// `CNI_IFNAME` of the attachment.
    pub(crate) if_name: String,
    /// `CNI_ARGS` of the attachment; upstream's file has no MAC and IP (Q18).
    pub(crate) args: Vec<(String, String)>,
    /// Its capability arguments; upstream's file has no port mappings and bandwidth (Q18).
    pub(crate) capability_args: Object,
    /// Its device-info file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) device_info: Option<PathBuf>,
    /// The cluster's own network.
    pub(crate) primary: bool,
    /// How often undoing it has failed.
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) tries: u32,
    /// When that happened first, in seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) first_failure: Option<u64>,
    /// Not before this time housekeeping tries again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next_try: Option<u64>,
    /// DEL no longer fails because of it; housekeeping goes on.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) parked: bool,
    /// Why it failed the last time.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) last_error: String,
}

// serde hands over a reference.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// One attachment, as upstream's file describes it and as we do.
#[derive(Debug, Clone)]
pub(crate) struct Element {
    /// The delegate's name: `namespace/name` of its NAD, or the configuration's.
    pub(crate) name: String,
    /// The exact configuration.
    pub(crate) network: Network,
    /// What the pod asked for, in upstream's keys.
    pub(crate) requests: Requests,
    /// `None` in files that upstream wrote.
    pub(crate) own: Option<Own>,
}

/// Upstream's keys of an element besides its configuration; empty ones are left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Requests {
    #[serde(rename = "ifnameRequest", skip_serializing_if = "String::is_empty")]
    pub(crate) if_name: String,
    #[serde(rename = "macRequest", skip_serializing_if = "String::is_empty")]
    pub(crate) mac: String,
    #[serde(rename = "infinibandGUIDRequest", skip_serializing_if = "String::is_empty")]
    pub(crate) infiniband_guid: String,
    #[serde(rename = "ipRequest", skip_serializing_if = "Vec::is_empty")]
    pub(crate) ips: Vec<String>,
    #[serde(rename = "default-route", skip_serializing_if = "Vec::is_empty")]
    pub(crate) default_route: Vec<String>,
    #[serde(rename = "IsFilterV4Gateway")]
    pub(crate) filter_v4: bool,
    #[serde(rename = "IsFilterV6Gateway")]
    pub(crate) filter_v6: bool,
    #[serde(rename = "deviceID", skip_serializing_if = "String::is_empty")]
    pub(crate) device_id: String,
    #[serde(rename = "resourceName", skip_serializing_if = "String::is_empty")]
    pub(crate) resource_name: String,
}

impl Element {
    /// An attachment that is about to be made.
    pub(crate) fn of(planned: &Planned, sandbox: &Sandbox, boot_id: &str) -> Element {
        let request = planned.request.clone();
        let device = planned.device.as_ref();
        Element {
            name: planned.name.clone(),
            network: planned.network.clone(),
            requests: Requests {
                if_name: request.interface.unwrap_or_default(),
                mac: request.mac.unwrap_or_default(),
                infiniband_guid: request.infiniband_guid.unwrap_or_default(),
                ips: request.ips,
                default_route: planned.default_route.iter().flatten().map(ToString::to_string).collect(),
                filter_v4: planned.filter_v4,
                filter_v6: planned.filter_v6,
                device_id: device.map(|device| device.id.clone()).unwrap_or_default(),
                resource_name: device.and_then(|device| device.resource.clone()).unwrap_or_default(),
            },
            own: Some(Own {
                state: State::Adding,
                boot_id: boot_id.to_owned(),
                netns: sandbox.netns.clone(),
                netns_id: netns::identity(&sandbox.netns),
                if_name: planned.if_name.clone(),
                args: planned.args.clone(),
                capability_args: planned.capability_args.clone(),
                device_info: planned.device_info.clone(),
                primary: planned.primary,
                ..Own::default()
            }),
        }
    }
}

/// What lies at a sandbox's place.
#[derive(Debug)]
pub(crate) enum Loaded {
    /// Nothing.
    Missing,
    /// A journal of at least one attachment.
    Found(Vec<Element>),
    /// A file that tells nothing: empty, truncated, `[]`, `null`, no JSON, unreadable. The reason is for people.
    Broken(String),
}

/// The journals of a node.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Store<'a> {
    dir: &'a Path,
}

impl<'a> Store<'a> {
    pub(crate) fn new(cni_dir: &'a Path) -> Store<'a> {
        Store { dir: cni_dir }
    }

    pub(crate) fn path(&self, container_id: &str) -> PathBuf {
        self.dir.join(container_id)
    }

    pub(crate) fn load(&self, container_id: &str) -> Loaded {
        let path = self.path(container_id);
        match read_bounded(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Loaded::Missing,
            Err(error) => Loaded::Broken(format!("cannot read the journal {}: {error}", path.display())),
            Ok(bytes) => match read::journal(&bytes) {
                Ok(elements) => Loaded::Found(elements),
                Err(reason) => {
                    Loaded::Broken(format!("the journal {} is unusable: {reason}", path.display()))
                }
            },
        }
    }

    /// Writes a journal in place of the old one, if any. It is on stable storage only after [`Saved::sync`].
    pub(crate) fn write(&self, container_id: &str, elements: &[Element]) -> io::Result<Saved> {
        let text = write::journal(elements);
        DirBuilder::new().recursive(true).mode(0o700).create(self.dir)?;
        let temporary = self.temporary(container_id);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(&temporary)?;
        let written = file.write_all(&text.bytes).and_then(|()| {
            step::reached("before the journal is in its place");
            fs::rename(&temporary, self.path(container_id))
        });
        if let Err(error) = written {
            let _ = fs::remove_file(&temporary);
            return Err(error);
        }
        Ok(Saved { file, dir: self.dir.to_owned(), states: text.states })
    }

    /// The sandbox's lock is held, so that one fixed name will do; a leading dot is no container ID.
    fn temporary(&self, container_id: &str) -> PathBuf {
        self.dir.join(format!(".{container_id}.tmp"))
    }

    /// Removes the journal, and what a write that was killed left of one.
    pub(crate) fn remove(&self, container_id: &str) -> io::Result<()> {
        let _ = fs::remove_file(self.temporary(container_id));
        match fs::remove_file(self.path(container_id)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    /// Container IDs that have a journal, sorted.
    pub(crate) fn container_ids(&self) -> io::Result<Vec<String>> {
        let files = match fs::read_dir(self.dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other?,
        };
        let mut ids = Vec::new();
        for file in files {
            let file = file?;
            if let Ok(name) = file.file_name().into_string()
                && !name.starts_with('.')
                && file.file_type()?.is_file()
            {
                ids.push(name);
            }
        }
        ids.sort();
        Ok(ids)
    }
}

/// A journal that was just written.
#[derive(Debug)]
pub(crate) struct Saved {
    file: File,
    dir: PathBuf,
    /// Where the state of each element stands in the file.
    states: Vec<u64>,
}

impl Saved {
    /// Puts the file and its name on stable storage.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.file.sync_all()?;
        File::open(&self.dir)?.sync_all()
    }

    /// Changes the state of one element: ten bytes over ten bytes, so that a kill leaves the old or the new one, and a second
    /// sync is not needed (the state decides nothing that DEL does).
    pub(crate) fn mark(&self, index: usize, state: State) -> io::Result<()> {
        let Some(offset) = self.states.get(index) else { return Err(io::ErrorKind::InvalidInput.into()) };
        self.file.write_all_at(state.padded().as_bytes(), *offset)
    }
}

fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(LIMIT + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LIMIT {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("it is larger than {LIMIT} bytes")));
    }
    Ok(bytes)
}

/// Reads the text of a journal: how many attachments it names, or why it is none. For fuzzing; everything else goes by [`Store`].
#[doc(hidden)]
pub fn parse_journal(bytes: &[u8]) -> Result<usize, String> {
    read::journal(bytes).map(|elements| elements.len())
}

#[cfg(test)]
mod tests;
