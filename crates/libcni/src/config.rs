//! Network configurations, single and list, with the exact bytes that reproduce them.

mod read;

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;

use serde::Serialize;
use serde_json::value::RawValue;

use crate::json::{Object, field_ci, field_ci_as};
use crate::version::{Version, VersionError};

/// Why a network configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It is no JSON object, or a key has a wrong type.
    #[error("error parsing configuration{}: {source}", kind(*.form))]
    Json {
        /// What it was read as.
        form: Form,
        /// What is wrong.
        #[source]
        source: serde_json::Error,
    },
    /// It is JSON, but not a configuration.
    #[error("error parsing configuration{}: {reason}", kind(*.form))]
    Invalid {
        /// What it was read as.
        form: Form,
        /// What is wrong.
        reason: String,
    },
    /// One plugin of a list is wrong.
    #[error("failed to parse plugin config {index}: {source}")]
    Plugin {
        /// Its place in the list, from 0.
        index: usize,
        /// What is wrong.
        #[source]
        source: Box<ConfigError>,
    },
    /// A version that is none.
    #[error("error parsing configuration{}: invalid {key}: {source}", kind(*.form))]
    Version {
        /// What it was read as.
        form: Form,
        /// Which key.
        key: &'static str,
        /// What is wrong.
        #[source]
        source: VersionError,
    },
    /// A file or folder could not be read.
    #[error("error reading {}: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file holds something that is no configuration.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: Box<ConfigError>,
    },
    /// A list has no plugins, neither of its own nor in its folder.
    #[error("no plugin configs found")]
    NoPlugins,
    /// The directory holds no configuration at all.
    #[error("no net configurations found in {}", .0.display())]
    NoConfigs(PathBuf),
    /// The directory holds no configuration of this name.
    #[error("no net configuration with name {name:?} in {}", dir.display())]
    NotFound {
        /// The directory.
        dir: PathBuf,
        /// The network's name.
        name: String,
    },
}

fn kind(form: Form) -> &'static str {
    match form {
        Form::Single => "",
        Form::List => " list",
    }
}

/// Which of CNI's two forms a configuration has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Form {
    /// One plugin, its object at the top level (`.conf`).
    Single,
    /// A list of plugins (`.conflist`).
    List,
}

/// One plugin of a network: its `type`, and its whole object, unknown keys and all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plugin {
    /// The name of the executable.
    pub plugin_type: String,
    /// The object as it was written; nothing is injected here.
    pub object: Object,
}

impl Plugin {
    /// The capabilities that the plugin declares as true (C-64).
    pub fn capabilities(&self) -> BTreeSet<String> {
        // Reading has checked the type already; an object built by hand may hold anything.
        let declared = field_ci_as::<BTreeMap<String, Option<bool>>>(&self.object, "capabilities");
        let declared = declared.ok().flatten().unwrap_or_default();
        declared.into_iter().filter(|(_, on)| *on == Some(true)).map(|(name, _)| name).collect()
    }

    /// The `name` in the plugin's own object.
    pub fn name(&self) -> Option<String> {
        field_ci_as(&self.object, "name").ok().flatten()
    }
}

/// A network configuration, single or list, with the exact bytes that reproduce it.
#[derive(Debug, Clone)]
pub struct Network {
    /// The network's name; empty when the configuration states none.
    pub name: String,
    /// The highest version, out of `cniVersion` and `cniVersions`, that is supported (C-1); empty when absent.
    pub cni_version: String,
    /// Do not run CHECK (C-3).
    pub disable_check: bool,
    /// Do not run GC (C-4).
    pub disable_gc: bool,
    /// Ignore plugins from the network's folder (C-5).
    pub load_only_inlined_plugins: bool,
    /// The plugins in the order of the chain.
    pub plugins: Vec<Plugin>,
    /// Single or list.
    pub form: Form,
    /// Top-level keys of a list, without `plugins`; unused for a single one.
    top: Object,
    /// The bytes this was read from.
    source: Vec<u8>,
}

impl Network {
    /// Reads a configuration. A non-empty top-level `type` makes it a single one, even when `plugins` is there;
    /// else it has to be a list whose plugins have a `type`. Keys are matched as Go does, in any case.
    pub fn parse(bytes: &[u8]) -> Result<Network, ConfigError> {
        let network = read::any(bytes)?;
        if network.plugins.is_empty() {
            let reason = "no top-level 'type' and no 'plugins'".to_owned();
            return Err(ConfigError::Invalid { form: Form::List, reason });
        }
        Ok(network)
    }

    /// Reads a list; none of its plugins need be inlined, its folder may hold them all.
    pub(crate) fn parse_list(bytes: &[u8]) -> Result<Network, ConfigError> {
        read::list(read::object(bytes, Form::List)?, bytes)
    }

    /// Reads a single configuration.
    pub(crate) fn parse_single(bytes: &[u8]) -> Result<Network, ConfigError> {
        read::single(read::object(bytes, Form::Single)?, bytes)
    }

    /// Gives the network a name where it has none.
    pub fn set_name_if_missing(&mut self, name: &str) {
        if self.name.is_empty() {
            name.clone_into(&mut self.name);
        }
    }

    /// Gives the network a version where it has none.
    pub fn set_version_if_missing(&mut self, version: &str) {
        if self.cni_version.is_empty() {
            version.clone_into(&mut self.cni_version);
        }
    }

    /// Appends plugins to the chain; a single configuration becomes a list.
    pub fn append_plugins(&mut self, plugins: Vec<Plugin>) {
        if plugins.is_empty() {
            return;
        }
        self.form = Form::List;
        self.plugins.extend(plugins);
    }

    /// Sets a key in the object of every plugin.
    pub fn set_in_every_plugin(&mut self, key: &str, value: &(impl Serialize + ?Sized)) {
        for plugin in &mut self.plugins {
            plugin.object.set(key, value);
        }
    }

    /// Whether any plugin declares this capability as true.
    pub fn declares(&self, capability: &str) -> bool {
        self.plugins.iter().any(|plugin| plugin.capabilities().contains(capability))
    }

    /// The version as a number; 0.1.0 when none is stated.
    pub fn version(&self) -> Version {
        Version::parse(&self.cni_version).unwrap_or(Version::V0_1_0)
    }

    /// The top-level object that describes this network as it is now.
    pub fn object(&self) -> Object {
        match (self.form, self.plugins.as_slice()) {
            (Form::Single, [plugin]) => self.with_identity(plugin.object.clone()),
            _ => self.list_object(),
        }
    }

    fn list_object(&self) -> Object {
        let mut object = self.with_identity(self.top.clone());
        let flags = [
            ("disableCheck", self.disable_check),
            ("disableGC", self.disable_gc),
            ("loadOnlyInlinedPlugins", self.load_only_inlined_plugins),
        ];
        for (key, value) in flags {
            if read::flag(&object, key).ok() != Some(value) {
                set_only(&mut object, key, &value);
            }
        }
        if !self.plugins.is_empty() {
            let plugins: Vec<&Object> = self.plugins.iter().map(|plugin| &plugin.object).collect();
            set_only(&mut object, "plugins", &plugins);
        }
        object
    }

    /// Writes name and version where the object does not already say the same.
    fn with_identity(&self, mut object: Object) -> Object {
        let name = field_ci_as::<String>(&object, "name").ok().flatten().unwrap_or_default();
        if name != self.name {
            set_only(&mut object, "name", &self.name);
        }
        if read::chosen_version(&object, self.form).ok().as_ref() != Some(&self.cni_version) {
            object.remove_ci("cniVersions");
            set_only(&mut object, "cniVersion", &self.cni_version);
        }
        object
    }

    /// The bytes that reproduce this network: those it was read from when nothing has changed since, else its
    /// object with every unknown key and every number as it was written.
    pub fn to_bytes(&self) -> Vec<u8> {
        let before = match self.form {
            Form::Single => Network::parse_single(&self.source),
            Form::List => Network::parse_list(&self.source),
        };
        match before {
            Ok(before) if before.is_same(self) => self.source.clone(),
            _ => self.object().to_bytes(),
        }
    }

    fn is_same(&self, other: &Network) -> bool {
        self.name == other.name
            && self.cni_version == other.cni_version
            && self.disable_check == other.disable_check
            && self.disable_gc == other.disable_gc
            && self.load_only_inlined_plugins == other.load_only_inlined_plugins
            && self.plugins == other.plugins
    }
}

fn set_only(object: &mut Object, key: &str, value: &(impl Serialize + ?Sized)) {
    object.remove_ci(key);
    object.set(key, value);
}

impl Plugin {
    /// Reads the object of one plugin; it needs a `type`.
    pub fn parse(bytes: &[u8]) -> Result<Plugin, ConfigError> {
        Plugin::from_object(read::object(bytes, Form::Single)?)
    }

    /// The plugin that an object describes; it needs a `type`.
    pub fn from_object(object: Object) -> Result<Plugin, ConfigError> {
        read::plugin(object)
    }

    pub(crate) fn from_raw(raw: &RawValue) -> Result<Plugin, ConfigError> {
        Plugin::parse(raw.get().as_bytes())
    }

    /// The raw value of a key, matched as Go does.
    pub fn field(&self, key: &str) -> Option<&RawValue> {
        field_ci(&self.object, key)
    }
}

#[cfg(test)]
mod tests;
