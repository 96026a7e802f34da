//! The verbs, as a runtime calls them: chains, `prevResult`, capability arguments, the result cache.

mod call;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::cache::{Cache, Entry};
use crate::config::{Form, Network, Plugin};
use crate::error::{Error, Step, Verb};
use crate::json::Object;
use crate::result::CniResult;
use crate::search::Search;
use crate::validate;
use crate::version::Version;

/// Identity and arguments of one attachment.
#[derive(Debug, Clone, Default)]
pub struct Attachment {
    /// `CNI_CONTAINERID`.
    pub container_id: String,
    /// `CNI_NETNS`, the path of the network namespace.
    pub netns: String,
    /// `CNI_IFNAME`.
    pub if_name: String,
    /// `CNI_ARGS`.
    pub args: Vec<(String, String)>,
    /// What the runtime has to offer; each plugin gets those that it declares.
    pub capability_args: Object,
}

impl Attachment {
    fn check(&self, network: &Network) -> Result<(), Error> {
        validate::container_id(&self.container_id).map_err(Error::Identity)?;
        validate::network_name(&network.name).map_err(Error::Identity)?;
        validate::interface_name(&self.if_name).map_err(Error::Identity)
    }
}

/// An attachment that GC has to spare.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GcAttachment {
    /// The container.
    #[serde(rename = "containerID")]
    pub container_id: String,
    /// The interface.
    #[serde(rename = "ifname")]
    pub if_name: String,
}

/// Runs the plugins of networks.
#[derive(Debug, Clone)]
pub struct Runtime {
    /// Where plugins are.
    pub search: Search,
    /// Where results are kept between ADD and DEL.
    pub cache: Cache,
    /// When each call has to be over, if ever.
    pub deadline: Option<Instant>,
    /// The environment of plugins; `CNI_*` is replaced.
    pub environment: Vec<(OsString, OsString)>,
    /// Hears of every plugin that was run.
    pub observer: Observer,
}

/// A plugin that was run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ran<'a> {
    /// The command.
    pub verb: Verb,
    /// The network.
    pub network: &'a str,
    /// The plugin's type.
    pub plugin_type: &'a str,
    /// How long it ran.
    pub took: Duration,
    /// The error's code, if it failed.
    pub code: Option<u32>,
}

/// What is done with a plugin that was run.
type Hears = dyn Fn(&Ran<'_>) + Send + Sync;

/// Hears of plugins that were run; by default nobody does.
#[derive(Clone, Default)]
pub struct Observer(pub Option<Arc<Hears>>);

impl std::fmt::Debug for Observer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() { "somebody" } else { "nobody" })
    }
}

impl Runtime {
    /// Attaches: every plugin in order, each with the result of the one before (C-21), up to the first error
    /// (C-22). The last result is returned in the version in which the plugin wrote it, and cached with all
    /// that a DEL needs (C-24).
    pub fn add(&self, network: &Network, attachment: &Attachment) -> Result<CniResult, Error> {
        let mut result: Option<CniResult> = None;
        for plugin in &network.plugins {
            let path = self.find(network, plugin, Verb::Add)?;
            attachment.check(network)?;
            let prev = result.as_ref().map(|result| prev_result(result, network));
            let stdin = self.stdin(network, plugin, prev.as_deref(), Some(attachment));
            let output = self.call(network, plugin, Verb::Add, &path, &stdin, Some(attachment))?;
            result = Some(self.result(network, plugin, &output)?);
        }
        let result = result.unwrap_or_else(CniResult::empty);
        self.cache.write(&entry(network, attachment, &result))?;
        Ok(result)
    }

    /// Detaches, with the cached result as `prevResult`. A cache file that cannot be read is as good as none (C-87), and so is
    /// one of a configuration before 0.4.0, whose plugins know no `prevResult` on DEL.
    pub fn del(&self, network: &Network, attachment: &Attachment) -> Result<(), Error> {
        let prev = match network.version() < Version::V0_4_0 {
            true => None,
            false => self.cached_result(network, attachment).unwrap_or_default(),
        };
        self.del_with(network, attachment, prev.as_ref())
    }

    /// Detaches with this `prevResult`: every plugin in reverse order (C-25), up to the first error (C-27).
    /// The cache entry goes away in the end.
    pub fn del_with(
        &self,
        network: &Network,
        attachment: &Attachment,
        prev: Option<&CniResult>,
    ) -> Result<(), Error> {
        let prev = prev.and_then(|prev| prev.as_version(&network.cni_version).ok());
        for plugin in network.plugins.iter().rev() {
            self.verb(network, plugin, Verb::Del, prev.as_deref(), attachment)?;
        }
        // The attachment is undone. A file that a full or read-only disk keeps here does no harm to it.
        let _ = self.cache.remove(&network.name, &attachment.container_id, &attachment.if_name);
        Ok(())
    }

    /// Verifies an attachment against the cached result (C-39), up to the first error (C-40). Success without
    /// a call where the configuration disables CHECK (C-3); an error before 0.4.0 (C-88).
    pub fn check(&self, network: &Network, attachment: &Attachment) -> Result<(), Error> {
        if !checks(network)? {
            return Ok(());
        }
        let prev = self.cached_result(network, attachment)?;
        self.check_with(network, attachment, prev.as_ref())
    }

    /// Verifies an attachment against this result.
    pub fn check_with(
        &self,
        network: &Network,
        attachment: &Attachment,
        prev: Option<&CniResult>,
    ) -> Result<(), Error> {
        if !checks(network)? {
            return Ok(());
        }
        let prev = prev.map(|prev| prev_result(prev, network));
        for plugin in &network.plugins {
            self.verb(network, plugin, Verb::Check, prev.as_deref(), attachment)?;
        }
        Ok(())
    }

    /// Asks every plugin whether it can serve ADD; the first error as it is (C-47). Success without a call
    /// before 1.1.0.
    pub fn status(&self, network: &Network) -> Result<(), Error> {
        if network.version() < Version::V1_1_0 {
            return Ok(());
        }
        for plugin in &network.plugins {
            let path = self.find(network, plugin, Verb::Status)?;
            let stdin = self.stdin(network, plugin, None, None);
            self.call(network, plugin, Verb::Status, &path, &stdin, None)?;
        }
        Ok(())
    }

    /// Has every plugin remove what belongs to none of these attachments. All plugins are called, all errors
    /// returned (C-51). Success without a call before 1.1.0 and where the configuration disables GC (C-4).
    /// Unlike libcni's this does not DEL cached attachments that are not listed (C-54): what is stale is for
    /// the caller to know.
    pub fn gc(&self, network: &Network, valid: &[GcAttachment]) -> Result<(), Vec<Error>> {
        if network.disable_gc || network.version() < Version::V1_1_0 {
            return Ok(());
        }
        let mut errors = Vec::new();
        for plugin in &network.plugins {
            let called = self.find(network, plugin, Verb::Gc).and_then(|path| {
                let mut config = self.config(network, plugin, None, None);
                // The second key is what an early text of the specification said.
                config.set("cni.dev/valid-attachments", valid);
                config.set("cni.dev/attachments", valid);
                self.call(network, plugin, Verb::Gc, &path, &config.to_bytes(), None)
            });
            errors.extend(called.err());
        }
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    /// Checks that every plugin exists and lists the network's version (C-91); the union of the declared
    /// capabilities.
    pub fn validate(&self, network: &Network) -> Result<BTreeSet<String>, Error> {
        let checked = network.plugins.iter().map(|plugin| self.validate_plugin(network, plugin));
        let errors: Vec<Error> = checked.filter_map(Result::err).collect();
        if !errors.is_empty() {
            return Err(Error::Validation(errors));
        }
        Ok(network.plugins.iter().flat_map(Plugin::capabilities).collect())
    }

    fn verb(
        &self,
        network: &Network,
        plugin: &Plugin,
        verb: Verb,
        prev: Option<&[u8]>,
        attachment: &Attachment,
    ) -> Result<(), Error> {
        let path = self.find(network, plugin, verb)?;
        let stdin = self.stdin(network, plugin, prev, Some(attachment));
        self.call(network, plugin, verb, &path, &stdin, Some(attachment)).map(drop)
    }

    /// The cached result in the network's version, if there is one.
    fn cached_result(&self, network: &Network, attachment: &Attachment) -> Result<Option<CniResult>, Error> {
        let unusable = |source: Box<dyn std::error::Error + Send + Sync>| Error::CachedResult {
            network: network.name.clone(),
            source,
        };
        let entry = self
            .cache
            .read(&network.name, &attachment.container_id, &attachment.if_name)
            .map_err(|error| unusable(error.into()))?;
        let Some(entry) = entry else { return Ok(None) };
        let result = entry.cni_result().map_err(|error| unusable(error.into()))?;
        let converted = result.map(|result| result.converted(&network.cni_version)).transpose();
        converted.map_err(|error| unusable(error.into()))
    }
}

/// The versions that the program at `path` lists when it is asked by VERSION, as every plugin that works does, whatever its
/// configuration.
///
/// # Errors
/// When it cannot be started, fails, answers something else, or has not come to its end by `deadline`.
pub fn plugin_versions(path: &Path, deadline: Instant) -> Result<Vec<String>, Error> {
    let runtime = Runtime {
        search: Search::default(),
        cache: Cache::new(""),
        deadline: Some(deadline),
        environment: Vec::new(),
        observer: Observer::default(),
    };
    let plugin_type = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let step = Step { name: None, plugin_type, verb: Verb::Version, form: Form::Single };
    runtime.versions(step, path)
}

/// Whether CHECK is to be run at all.
fn checks(network: &Network) -> Result<bool, Error> {
    if network.version() < Version::V0_4_0 {
        return Err(Error::CheckUnsupported(network.cni_version.clone()));
    }
    Ok(!network.disable_check)
}

/// A result as `prevResult`: in the network's version, as plugins expect it; one that cannot be converted is
/// handed on as it is.
fn prev_result(result: &CniResult, network: &Network) -> Vec<u8> {
    result.as_version(&network.cni_version).unwrap_or_else(|_| result.bytes().to_vec())
}

fn entry(network: &Network, attachment: &Attachment, result: &CniResult) -> Entry {
    Entry {
        container_id: attachment.container_id.clone(),
        network_name: network.name.clone(),
        if_name: attachment.if_name.clone(),
        netns: attachment.netns.clone(),
        config: network.to_bytes(),
        cni_args: attachment.args.clone(),
        capability_args: attachment.capability_args.clone(),
        result: serde_json::from_slice(result.bytes()).ok(),
    }
}

#[cfg(test)]
mod tests;
