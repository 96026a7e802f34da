//! The node's folders, and the runtime that plugins are run with.

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use libcni::{Cache, Observer, Runtime, Search};

/// What a node's attachments stand on.
#[derive(Debug, Clone)]
pub struct Host {
    /// `cniDir`: journals, locks and the result cache.
    pub cni_dir: PathBuf,
    /// Where plugins are searched.
    pub search: Search,
    /// What plugins inherit; `CNI_*` is replaced.
    pub environment: Vec<(OsString, OsString)>,
    /// Where device-info files are.
    pub devinfo_root: PathBuf,
    /// The result cache of the container runtime's own libcni, which knows sandboxes that are older than we are.
    pub runtime_cache: PathBuf,
    /// Names this boot of the machine; another one means that no namespace of before is left.
    pub boot_id: String,
    /// How many calls may run plugins at once on the node.
    pub slots: u32,
    /// Hears of every plugin that was run.
    pub observer: Observer,
}

impl Host {
    /// The node with its usual folders.
    pub fn new(cni_dir: impl Into<PathBuf>, search: Search) -> Host {
        let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        Host {
            cni_dir: cni_dir.into(),
            search,
            environment: Vec::new(),
            devinfo_root: PathBuf::from("/var/run/k8s.cni.cncf.io/devinfo"),
            runtime_cache: PathBuf::from("/var/lib/cni"),
            boot_id: boot_id.trim().to_owned(),
            slots: 64,
            observer: Observer::default(),
        }
    }

    pub(crate) fn runtime(&self, deadline: Instant) -> Runtime {
        Runtime {
            search: self.search.clone(),
            cache: self.cache(),
            deadline: Some(deadline),
            environment: self.environment.clone(),
            observer: self.observer.clone(),
        }
    }

    pub(crate) fn cache(&self) -> Cache {
        Cache::new(&self.cni_dir)
    }
}
