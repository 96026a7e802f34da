//! `daemon-config.json`: upstream's keys and our own, read as upstream reads them: in any case, unknown ones
//! ignored.
//!
//! One document is three things upstream: the daemon's settings, what the generated CNI configuration is made of, and what is
//! put over every request. Here the work is done in the shim, so the third is the same as the second: every key that is not the
//! daemon's own goes into the generated configuration.

mod paths;

use std::path::{Path, PathBuf};
use std::time::Duration;

use engine::Level;
use libcni::Object;
use libcni::json::{de_lenient_raw, field_ci, kind};
use plan::LogOptions;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::queue::EventMode;
use crate::{STALENESS_BOUND, log::Format};
use paths::HostPaths;

/// Keys that are the daemon's own and do not go into the CNI configuration.
const OWN: [&str; 25] = [
    "chrootDir",
    "socketDir",
    "perNodeCertificate",
    "connectionLimit",
    "metricsPort",
    "metricsAddress",
    "enablePprof",
    "readinessindicatorfile",
    "cniConfigDir",
    "multusConfigFile",
    "multusAutoconfigDir",
    "multusMasterCNI",
    "forceCNIVersion",
    "overrideNetworkName",
    "kubeconfig",
    "daemonSet",
    "owner",
    "takeOverFrom",
    "defaultNetwork",
    "requireDefaultNetwork",
    "events",
    "stalenessBoundSeconds",
    "logFormat",
    "shimDir",
    "configFileName",
];
/// Keys that the generated configuration decides itself, whatever the daemon's configuration says, as upstream does.
const GENERATED: [&str; 7] =
    ["type", "name", "cniVersion", "cniVersions", "clusterNetwork", "delegates", "plugins"];

/// Why a configuration cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(String);

impl ConfigError {
    fn key(key: &str, why: impl std::fmt::Display) -> Self {
        Self(format!("daemon configuration: key {key:?}: {why}"))
    }
}

/// Upstream's `perNodeCertificate`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PerNodeCertificate {
    /// The kubeconfig that may ask for the first certificate.
    pub bootstrap: PathBuf,
    /// Where certificates are kept.
    pub dir: PathBuf,
    /// How long one lasts, as Go writes durations.
    pub duration: String,
}

/// The daemon's own log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogConfig {
    /// What is shown.
    pub level: Level,
    /// Whether stderr shows it.
    pub to_stderr: bool,
    /// A file that shows it.
    pub file: Option<PathBuf>,
    /// When that file is rotated.
    pub options: LogOptions,
    /// As text or JSON.
    pub format: Format,
}

/// All that is configured.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where the socket is, as this process sees it.
    pub socket_dir: PathBuf,
    /// The log.
    pub log: LogConfig,
    /// How many calls are worked on at once.
    pub connection_limit: Option<usize>,
    /// Where metrics are served: address and port.
    pub metrics: Option<std::net::SocketAddr>,
    /// A client certificate of this node's own.
    pub certificate: Option<PerNodeCertificate>,
    /// A kubeconfig, where this process is in no pod.
    pub kubeconfig: Option<PathBuf>,
    /// The file that tells that the primary network is ready, as this process sees it.
    pub readiness_indicator_file: Option<PathBuf>,
    /// The directory of CNI configurations, as this process sees it.
    pub cni_config_dir: PathBuf,
    /// The directory in which the primary network is found.
    pub autoconfig_dir: PathBuf,
    /// A configuration to install; `None` to generate one.
    pub config_file: Option<PathBuf>,
    /// What the generated configuration is called in its directory; empty for what thin mode calls it.
    pub config_file_name: String,
    /// The primary network's file.
    pub master_cni: String,
    /// The primary network by CNI name, file, NAD or plugin type.
    pub default_network: String,
    /// Whether to wait for that one.
    pub require_default_network: bool,
    /// The CNI version of the generated configuration and of the primary network in it; empty for the primary's.
    pub forced_cni_version: String,
    /// Whether the network is called as the primary is.
    pub override_network_name: bool,
    /// `NAMESPACE/NAME` of the own DaemonSet.
    pub daemon_set: String,
    /// The install's name.
    pub owner: String,
    /// Installs that are gone, whose configuration may be replaced.
    pub take_over_from: Vec<String>,
    /// Which events are posted.
    pub events: EventMode,
    /// How old a cache may be.
    pub staleness_bound: Duration,
    /// Where this process may see the shim that the runtime calls.
    pub shim_dirs: Vec<PathBuf>,
    /// What goes into the generated configuration, with paths as the host has them.
    pub netconf: Object,
    /// The journals, as this process sees them.
    pub cni_dir: PathBuf,
    /// What was found odd, for the log.
    pub notes: Vec<String>,
}

impl Config {
    /// Reads the configuration.
    ///
    /// # Errors
    /// [`ConfigError`] with the key that is wrong. It repeats no value that may be secret.
    pub fn parse(bytes: &[u8]) -> Result<Self, ConfigError> {
        let object = Object::parse(bytes).map_err(|error| {
            ConfigError(format!("daemon configuration: {error}; it must be one JSON object"))
        })?;
        let keys = Keys(&object);
        let mut notes = Vec::new();
        let log_file = keys.path("logFile")?;
        let config_file = keys.text("multusConfigFile")?;
        let autoconfig_dir = keys.path("multusAutoconfigDir")?;
        let cni_config_dir = keys.path("cniConfigDir")?.unwrap_or_else(|| "/etc/cni/net.d".into());
        if keys.get::<bool>("enablePprof")?.unwrap_or_default() {
            notes.push("enablePprof is not served: this program has no Go runtime to profile".to_owned());
        }
        let force: bool = keys.get("forceCNIVersion")?.unwrap_or_default();
        let cni_version = keys.text("cniVersion")?;
        if !force && !cni_version.is_empty() {
            notes.push(format!(
                "cniVersion {cni_version:?} is not used: the configuration has the primary network's version, unless \
                 forceCNIVersion is set"
            ));
        }
        let host = HostPaths::new(&keys.text("chrootDir")?);
        let mut config = Self {
            socket_dir: keys.path("socketDir")?.unwrap_or_else(|| protocol::DEFAULT_DIR.into()),
            log: log(&keys, log_file)?,
            connection_limit: connection_limit(&keys)?,
            metrics: metrics(&keys)?,
            certificate: certificate(&keys)?,
            kubeconfig: keys.path("kubeconfig")?,
            readiness_indicator_file: keys.path("readinessindicatorfile")?,
            autoconfig_dir: autoconfig_dir.unwrap_or_else(|| cni_config_dir.clone()),
            cni_config_dir,
            config_file: Some(config_file)
                .filter(|file| !matches!(file.as_str(), "" | "auto"))
                .map(Into::into),
            config_file_name: config_file_name(&keys)?,
            master_cni: keys.text("multusMasterCNI")?,
            default_network: keys.text("defaultNetwork")?,
            require_default_network: keys.get("requireDefaultNetwork")?.unwrap_or_default(),
            forced_cni_version: if force { cni_version } else { String::new() },
            override_network_name: keys.get("overrideNetworkName")?.unwrap_or_default(),
            daemon_set: keys.text("daemonSet")?,
            owner: keys.text("owner")?,
            take_over_from: keys.get("takeOverFrom")?.unwrap_or_default(),
            events: events(&keys)?,
            staleness_bound: keys.get("stalenessBoundSeconds")?.map_or(STALENESS_BOUND, Duration::from_secs),
            shim_dirs: shim_dirs(&keys, &host)?,
            netconf: Object::default(),
            cni_dir: keys.path("cniDir")?.unwrap_or_else(|| "/var/lib/cni/multus".into()),
            notes,
        };
        config.netconf = netconf(&object, &host, &config.socket_dir)?;
        Ok(config)
    }
}

/// `00-multus.conf` is what upstream's thick mode calls it, whatever the CNI version. `auto` follows the version as thin mode does, of
/// upstream too: a file that is to take its place must not sort behind it.
fn config_file_name(keys: &Keys<'_>) -> Result<String, ConfigError> {
    let name = keys.text("configFileName")?;
    let extension = Path::new(&name).extension().and_then(|extension| extension.to_str());
    match extension {
        _ if name.is_empty() => Ok("00-multus.conf".to_owned()),
        _ if name == "auto" => Ok(String::new()),
        Some("conf" | "conflist") if !name.contains('/') => Ok(name),
        _ => Err(ConfigError::key(
            "configFileName",
            format!("{name:?} is no file name that ends in .conf or .conflist"),
        )),
    }
}

/// The binary directory as the host has it, below each place where the host's root may be mounted, and at its own path.
fn shim_dirs(keys: &Keys<'_>, host: &HostPaths) -> Result<Vec<PathBuf>, ConfigError> {
    if let Some(dir) = keys.path("shimDir")? {
        return Ok(vec![dir]);
    }
    let bin_dir = keys.text("binDir")?;
    let bin_dir = if bin_dir.is_empty() { "/opt/cni/bin" } else { &bin_dir };
    Ok(host.seen_here(&host.path("binDir", bin_dir)?))
}

/// Every key that is not the daemon's own, with paths as the host has them.
fn netconf(object: &Object, host: &HostPaths, socket_dir: &Path) -> Result<Object, ConfigError> {
    let is = |key: &str, list: &[&str]| list.iter().any(|known| known.eq_ignore_ascii_case(key));
    let mut netconf = Object::default();
    for (key, value) in object.0.iter().filter(|(key, _)| !is(key, &OWN) && !is(key, &GENERATED)) {
        netconf.set_raw(key, host.map(key, value)?);
    }
    if field_ci(&netconf, "daemonSocketDir").is_none() {
        let dir = host.path("socketDir", &socket_dir.to_string_lossy())?;
        if dir.trim_end_matches('/') != protocol::DEFAULT_DIR {
            netconf.set("daemonSocketDir", dir.trim_end_matches('/'));
        }
    }
    Ok(netconf)
}

fn log(keys: &Keys<'_>, file: Option<PathBuf>) -> Result<LogConfig, ConfigError> {
    let level = keys.text("logLevel")?;
    let level = match level.as_str() {
        // Upstream shows nothing but its own end then, which helps nobody.
        "" => Level::Verbose,
        text => Level::parse(text).ok_or_else(|| {
            ConfigError::key("logLevel", format!("{text:?} is none of panic, error, verbose, debug"))
        })?,
    };
    let format = match keys.text("logFormat")?.to_ascii_lowercase().as_str() {
        "" | "text" => Format::Text,
        "json" => Format::Json,
        other => return Err(ConfigError::key("logFormat", format!("{other:?} is neither text nor json"))),
    };
    let given: Rotation = keys.get("logOptions")?.unwrap_or_default();
    let default = LogOptions::default();
    Ok(LogConfig {
        level,
        to_stderr: keys.get("logToStderr")?.unwrap_or(file.is_none()),
        file,
        options: LogOptions {
            max_age: given.max_age.unwrap_or(default.max_age),
            max_size: given.max_size.unwrap_or(default.max_size),
            max_backups: given.max_backups.unwrap_or(default.max_backups),
            compress: given.compress.unwrap_or(default.compress),
        },
        format,
    })
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Rotation {
    max_age: Option<u64>,
    max_size: Option<u64>,
    max_backups: Option<u64>,
    compress: Option<bool>,
}

fn connection_limit(keys: &Keys<'_>) -> Result<Option<usize>, ConfigError> {
    let limit: Option<i64> = keys.get("connectionLimit")?;
    limit
        .map(|limit| {
            usize::try_from(limit).ok().filter(|limit| (1..=4096).contains(limit)).ok_or_else(|| {
                // Upstream's words.
                ConfigError(format!(
                    "connection limit must be greater than 0, got {limit}; at most 4096 are served"
                ))
            })
        })
        .transpose()
}

fn metrics(keys: &Keys<'_>) -> Result<Option<std::net::SocketAddr>, ConfigError> {
    let Some(port) = keys.get::<u16>("metricsPort")?.filter(|port| *port != 0) else { return Ok(None) };
    let address = keys.text("metricsAddress")?;
    // On all addresses, as upstream: whoever sets the port wants it to be scraped.
    let address = if address.is_empty() { "::" } else { &address };
    let address = address
        .parse()
        .map_err(|error| ConfigError::key("metricsAddress", format!("{address:?}: {error}")))?;
    Ok(Some(std::net::SocketAddr::new(address, port)))
}

fn certificate(keys: &Keys<'_>) -> Result<Option<PerNodeCertificate>, ConfigError> {
    #[derive(Default, Deserialize)]
    #[serde(default, rename_all = "camelCase")]
    struct Given {
        enabled: bool,
        bootstrap_kubeconfig: String,
        cert_dir: String,
        cert_duration: String,
    }
    let given: Given = keys.get("perNodeCertificate")?.unwrap_or_default();
    if !given.enabled {
        return Ok(None);
    }
    if given.bootstrap_kubeconfig.is_empty() || given.cert_dir.is_empty() {
        // Upstream's words.
        return Err(ConfigError(format!(
            "failed to configure PerNodeCertificate: enabled: true, BootstrapKubeconfig: {:?}, CertDir: {:?}; set both",
            given.bootstrap_kubeconfig, given.cert_dir
        )));
    }
    let duration = if given.cert_duration.is_empty() { "10m".to_owned() } else { given.cert_duration };
    Ok(Some(PerNodeCertificate {
        bootstrap: given.bootstrap_kubeconfig.into(),
        dir: given.cert_dir.into(),
        duration,
    }))
}

fn events(keys: &Keys<'_>) -> Result<EventMode, ConfigError> {
    let text = keys.text("events")?;
    if text.is_empty() {
        return Ok(EventMode::default());
    }
    EventMode::parse(&text)
        .ok_or_else(|| ConfigError::key("events", format!("{text:?} is none of each, batched, off")))
}

struct Keys<'a>(&'a Object);

impl Keys<'_> {
    /// The value of a key; none when it is absent or `null`.
    fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, ConfigError> {
        match field_ci(self.0, key).filter(|raw| raw.get() != "null") {
            None => Ok(None),
            Some(raw) => de_lenient_raw(raw)
                .map(Some)
                .map_err(|error| ConfigError::key(key, format!("{error}, found {}", kind(raw)))),
        }
    }

    fn text(&self, key: &str) -> Result<String, ConfigError> {
        Ok(self.get(key)?.unwrap_or_default())
    }

    fn path(&self, key: &str) -> Result<Option<PathBuf>, ConfigError> {
        let text = self.text(key)?;
        Ok(Some(text).filter(|text| !text.is_empty()).map(PathBuf::from))
    }
}

#[cfg(test)]
mod tests;
