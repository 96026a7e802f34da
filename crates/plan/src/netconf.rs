//! The meta-plugin's own configuration, as the runtime hands it over.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use libcni::json::{de_lenient_raw, field_ci, kind};
use libcni::{CniResult, GcAttachment, Network, Object};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::error::{PlanError, excerpt};
use crate::network;

/// The capability by which the runtime hands over the pod's annotations.
pub(crate) const POD_ANNOTATIONS: &str = "io.kubernetes.cri.pod-annotations";

/// What this program is called on a node.
const OWN_TYPES: [&str; 2] = ["multus", "multus-shim"];

const LONGEST_TIMEOUT: u64 = 24 * 60 * 60;

/// Which of two texts holds where upstream and the specification disagree.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SpecMode {
    /// What users of Multus rely on.
    #[default]
    Compat,
    /// The NPWG specification to the letter.
    Strict,
}

/// `logOptions`: when the log file is rotated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogOptions {
    /// Days to keep old files.
    pub max_age: u64,
    /// Megabytes at which the file is rotated.
    pub max_size: u64,
    /// Old files to keep.
    pub max_backups: u64,
    /// Whether old files are compressed.
    pub compress: bool,
}

impl Default for LogOptions {
    fn default() -> LogOptions {
        LogOptions { max_age: 5, max_size: 100, max_backups: 5, compress: true }
    }
}

/// The meta-plugin's own configuration. Keys are matched without regard to case, unknown ones are ignored, the
/// last of duplicates wins and `null` is the same as no key, except that it empties a list.
#[derive(Debug, Clone)]
pub struct NetConf {
    /// `cniVersion`; empty when absent.
    pub cni_version: String,
    /// `name`.
    pub name: String,
    /// `type`: the file name of the binary.
    pub plugin_type: String,
    /// `capabilities`; for the runtime, not for us.
    pub capabilities: BTreeMap<String, bool>,
    /// `confDir`: where networks without their own configuration are looked up.
    pub conf_dir: PathBuf,
    /// `cniDir`: the journals and the result cache.
    pub cni_dir: PathBuf,
    /// `binDir`: searched for plugins before `CNI_PATH`.
    pub bin_dir: PathBuf,
    /// `delegates`; empty when `clusterNetwork` is set.
    pub delegates: Vec<Network>,
    /// `clusterNetwork`; empty when absent.
    pub cluster_network: String,
    /// `defaultNetworks`.
    pub default_networks: Vec<String>,
    /// `kubeconfig`; empty when absent.
    pub kubeconfig: String,
    /// `logFile`; empty when absent.
    pub log_file: String,
    /// `logLevel` as it is written; empty when absent.
    pub log_level: String,
    /// `logToStderr`, where it is given; what holds else depends on the program.
    pub log_to_stderr: Option<bool>,
    /// `logOptions`.
    pub log_options: LogOptions,
    /// `runtimeConfig`, every key of it.
    pub runtime_config: Object,
    /// `readinessindicatorfile`; empty when absent.
    pub readiness_indicator_file: String,
    /// `namespaceIsolation`.
    pub namespace_isolation: bool,
    /// `globalNamespaces`: the namespaces whose NADs every pod may use.
    pub global_namespaces: Vec<String>,
    /// `systemNamespaces`: the namespaces whose pods do not get `defaultNetworks`.
    pub system_namespaces: Vec<String>,
    /// `multusNamespace`: where the NADs of `clusterNetwork` and `defaultNetworks` are.
    pub multus_namespace: String,
    /// `retryDeleteOnError`.
    pub retry_delete_on_error: bool,
    /// `auxiliaryCNIChainName`; empty when absent.
    pub auxiliary_chain_name: String,
    /// `specMode`.
    pub spec_mode: SpecMode,
    /// `daemonSocketDir`: where the daemon's socket is.
    pub daemon_socket_dir: PathBuf,
    /// `manifests`: the directory of manifests that stands in for an API server.
    pub manifests: Option<PathBuf>,
    /// `addTimeoutSeconds`: what ADD may take, its own rollback not counted.
    pub add_timeout: Duration,
    /// `deleteTimeoutSeconds`: what DEL may take.
    pub delete_timeout: Duration,
    /// What the runtime considers valid at GC.
    pub valid_attachments: Option<Vec<GcAttachment>>,
}

impl NetConf {
    /// Reads the configuration. Errors begin with upstream's texts, say which key is wrong and do not repeat
    /// the configuration, which may hold secrets (Q43).
    pub fn parse(bytes: &[u8]) -> Result<NetConf, PlanError> {
        let keys = Keys(
            Object::parse(bytes)
                .map_err(|e| failed(&format!("{e}; the configuration must be one JSON object")))?,
        );
        let cluster_network: String = keys.text("clusterNetwork")?;
        let mut netconf = NetConf {
            cni_version: keys.text("cniVersion")?,
            name: keys.text("name")?,
            plugin_type: keys.text("type")?,
            capabilities: keys.get("capabilities")?.unwrap_or_default(),
            conf_dir: keys.path("confDir", "/etc/cni/multus/net.d")?,
            cni_dir: keys.path("cniDir", "/var/lib/cni/multus")?,
            bin_dir: keys.path("binDir", "/opt/cni/bin")?,
            delegates: Vec::new(),
            default_networks: keys.list("defaultNetworks", &[])?,
            kubeconfig: keys.text("kubeconfig")?,
            log_file: keys.text("logFile")?,
            log_level: keys.text("logLevel")?,
            log_to_stderr: keys.get("logToStderr")?,
            log_options: log_options(&keys)?,
            runtime_config: keys.object("runtimeConfig")?,
            readiness_indicator_file: keys.text("readinessindicatorfile")?,
            namespace_isolation: keys.get("namespaceIsolation")?.unwrap_or_default(),
            global_namespaces: global_namespaces(&keys.text("globalNamespaces")?),
            system_namespaces: keys.list("systemNamespaces", &["kube-system"])?,
            multus_namespace: keys.text_or("multusNamespace", "kube-system")?,
            retry_delete_on_error: keys.get("retryDeleteOnError")?.unwrap_or_default(),
            auxiliary_chain_name: keys.text("auxiliaryCNIChainName")?,
            spec_mode: spec_mode(&keys.text("specMode")?)?,
            daemon_socket_dir: keys.path("daemonSocketDir", "/run/multus")?,
            manifests: Some(keys.text("manifests")?).filter(|dir| !dir.is_empty()).map(PathBuf::from),
            add_timeout: keys.seconds("addTimeoutSeconds", 90)?,
            delete_timeout: keys.seconds("deleteTimeoutSeconds", 50)?,
            valid_attachments: valid_attachments(&keys)?,
            cluster_network,
        };
        check_previous_result(&keys, &netconf.cni_version)?;
        netconf.delegates = delegates(&keys, &netconf.cluster_network)?;
        Ok(netconf)
    }

    /// The pod's annotations, where the runtime handed them over. What is no map of strings counts as not
    /// given: then they are looked up.
    pub fn pod_annotations(&self) -> Option<BTreeMap<String, String>> {
        self.runtime_config.get_as(POD_ANNOTATIONS).ok().flatten()
    }

    /// Whether pods of this namespace do without `defaultNetworks` (Q9: the namespace decides, not the name).
    pub fn is_system_namespace(&self, namespace: &str) -> bool {
        self.system_namespaces.iter().any(|system| system == namespace)
    }

    /// Whether `clusterNetwork` or an element of `defaultNetworks` names a path and not a network.
    pub fn is_path(value: &str) -> bool {
        value.contains('/')
    }

    /// The plugin of a network that is this very program under one of its names, where there is one: it would call itself without end.
    pub fn own_plugin<'a>(&self, network: &'a Network) -> Option<&'a str> {
        let own = |of: &&str| !of.is_empty() && (OWN_TYPES.contains(of) || *of == self.plugin_type);
        network.plugins.iter().map(|plugin| plugin.plugin_type.as_str()).find(own)
    }

    /// The folder that holds the auxiliary chain's folder, where there is such a chain.
    pub fn auxiliary_chain_dir(&self) -> Option<&Path> {
        if self.auxiliary_chain_name.is_empty() || !NetConf::is_path(&self.cluster_network) {
            return None;
        }
        Path::new(&self.cluster_network).parent()
    }
}

struct Keys(Object);

impl Keys {
    /// The value of a key; none when it is absent or `null`.
    fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, PlanError> {
        match field_ci(&self.0, key).filter(|raw| raw.get() != "null") {
            None => Ok(None),
            Some(raw) => de_lenient_raw(raw).map(Some).map_err(|e| {
                failed(&format!("key {key:?}: {}, found {} {}", e, article(kind(raw)), kind(raw)))
            }),
        }
    }

    fn text(&self, key: &str) -> Result<String, PlanError> {
        Ok(self.get(key)?.unwrap_or_default())
    }

    /// The default holds for an empty text too: no key of ours means anything when it is empty.
    fn text_or(&self, key: &str, default: &str) -> Result<String, PlanError> {
        let text = self.text(key)?;
        Ok(if text.is_empty() { default.to_owned() } else { text })
    }

    fn path(&self, key: &str, default: &str) -> Result<PathBuf, PlanError> {
        self.text_or(key, default).map(PathBuf::from)
    }

    /// `null` empties a list where an absent key leaves the default.
    fn list(&self, key: &str, default: &[&str]) -> Result<Vec<String>, PlanError> {
        if field_ci(&self.0, key).is_none() {
            return Ok(default.iter().map(|text| (*text).to_owned()).collect());
        }
        Ok(self.get(key)?.unwrap_or_default())
    }

    fn object(&self, key: &str) -> Result<Object, PlanError> {
        match field_ci(&self.0, key).filter(|raw| raw.get() != "null") {
            None => Ok(Object::default()),
            Some(raw) => Object::parse(raw.get().as_bytes()).map_err(|_| {
                failed(&format!("key {key:?} must be an object, found {} {}", article(kind(raw)), kind(raw)))
            }),
        }
    }

    fn seconds(&self, key: &str, default: u64) -> Result<Duration, PlanError> {
        let seconds = self.get(key)?.unwrap_or(default);
        if !(1..=LONGEST_TIMEOUT).contains(&seconds) {
            return Err(failed(&format!(
                "key {key:?} must be a whole number of seconds from 1 to {LONGEST_TIMEOUT}, found {seconds}"
            )));
        }
        Ok(Duration::from_secs(seconds))
    }
}

fn article(noun: &str) -> &'static str {
    if noun.starts_with(['a', 'o']) { "an" } else { "a" }
}

fn failed(why: &str) -> PlanError {
    PlanError::NetConf { text: format!("LoadNetConf: failed to load netconf: {why}") }
}

fn log_options(keys: &Keys) -> Result<LogOptions, PlanError> {
    #[derive(Default, Deserialize)]
    #[serde(default, rename_all = "camelCase")]
    struct Given {
        max_age: Option<u64>,
        max_size: Option<u64>,
        max_backups: Option<u64>,
        compress: Option<bool>,
    }
    let given: Given = keys.get("logOptions")?.unwrap_or_default();
    let default = LogOptions::default();
    Ok(LogOptions {
        max_age: given.max_age.unwrap_or(default.max_age),
        max_size: given.max_size.unwrap_or(default.max_size),
        max_backups: given.max_backups.unwrap_or(default.max_backups),
        compress: given.compress.unwrap_or(default.compress),
    })
}

fn global_namespaces(text: &str) -> Vec<String> {
    if text.is_empty() {
        return vec!["default".to_owned()];
    }
    text.split(',').map(|namespace| namespace.trim().to_owned()).collect()
}

fn spec_mode(text: &str) -> Result<SpecMode, PlanError> {
    match text.to_ascii_lowercase().as_str() {
        "" | "compat" => Ok(SpecMode::Compat),
        "strict" => Ok(SpecMode::Strict),
        _ => Err(failed(&format!(
            "key \"specMode\" must be \"compat\" or \"strict\", found {:?}",
            excerpt(text)
        ))),
    }
}

/// Both keys exist: the specification's text of 1.1 and libcni's first release of it name it differently.
fn valid_attachments(keys: &Keys) -> Result<Option<Vec<GcAttachment>>, PlanError> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Given {
        #[serde(rename = "containerID")]
        container_id: String,
        ifname: String,
    }
    const KEYS: [&str; 2] = ["cni.dev/valid-attachments", "cni.dev/attachments"];
    let mut found: Option<Vec<Given>> = None;
    for key in KEYS {
        found = found.or(keys.get(key)?);
    }
    // A list that holds nothing is `null` where Go wrote it (CRI-O on a node without pods).
    if found.is_none() && KEYS.iter().any(|key| field_ci(&keys.0, key).is_some()) {
        found = Some(Vec::new());
    }
    Ok(found.map(|list| {
        list.into_iter()
            .map(|given| GcAttachment { container_id: given.container_id, if_name: given.ifname })
            .collect()
    }))
}

/// A `prevResult` is of no use to us, but a malformed one shows that the caller is confused.
fn check_previous_result(keys: &Keys, version: &str) -> Result<(), PlanError> {
    let Some(raw) = field_ci(&keys.0, "prevResult").filter(|raw| raw.get() != "null") else { return Ok(()) };
    CniResult::parse(raw.get().as_bytes(), version)
        .map(drop)
        .map_err(|e| PlanError::NetConf { text: format!("LoadNetConf: could not parse prevResult: {e}") })
}

fn delegates(keys: &Keys, cluster_network: &str) -> Result<Vec<Network>, PlanError> {
    let raw: Vec<Box<RawValue>> = keys.get("delegates")?.unwrap_or_default();
    if let Some(at) = raw.iter().position(|raw| !matches!(kind(raw), "object" | "null")) {
        return Err(failed(&format!(
            "key \"delegates\" must be a list of objects, element {at} is a {}",
            kind(&raw[at])
        )));
    }
    if !cluster_network.is_empty() {
        return Ok(Vec::new());
    }
    if raw.is_empty() {
        return Err(PlanError::NetConf {
            text: "LoadNetConf: at least one delegate/clusterNetwork must be specified; set \"clusterNetwork\" to \
                   the default network's name or file, or \"delegates\" to its configuration"
                .to_owned(),
        });
    }
    let load = |(at, raw): (usize, &RawValue)| {
        let bytes = if raw.get() == "null" { b"{}" } else { raw.get().as_bytes() };
        network::load(bytes).map_err(|why| PlanError::NetConf {
            text: format!("LoadNetConf: failed to load delegate {at} config: {why}"),
        })
    };
    raw.iter().map(AsRef::as_ref).enumerate().map(load).collect()
}

#[cfg(test)]
mod tests;
