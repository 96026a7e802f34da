//! The generated CNI configuration: the primary network in it as the only delegate (upstream §7.4, its white space included).

use std::collections::BTreeMap;
use std::path::Path;

use libcni::Version;
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};

use super::json::{Object, compact};
use super::options::Options;
use super::primary::{Error, Primary};

/// Asks the runtime for the pod's annotations, so that most pods need no lookup.
const ANNOTATIONS_CAPABILITY: &str = "io.kubernetes.cri.pod-annotations";

/// A configuration file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Generated {
    /// Its name in the CNI configuration directory.
    pub(crate) file_name: &'static str,
    /// Its content.
    pub(crate) text: String,
    /// Lines to tell what was found.
    pub(crate) notes: Vec<String>,
}

/// File names of both forms.
pub(crate) const FILE_NAMES: [&str; 2] = ["00-multus.conf", "00-multus.conflist"];

/// Makes the configuration for `primary`.
pub(crate) fn generate(options: &Options, primary: &Primary) -> Result<Generated, Error> {
    let mut notes = Vec::new();
    let version = version(options, primary, &mut notes)?;
    let capabilities = capabilities(primary, &mut notes)?;
    let name = name(options, primary, &mut notes)?;
    let mut delegate = primary.object.clone();
    if options.force_cni_version && !options.cni_version.is_empty() {
        delegate.insert("cniVersion".to_owned(), raw(&version)?);
    }
    let delegate = compact(&delegate).map_err(|error| unusable(primary, &error))?;
    let is_list = Version::parse(&version).is_ok_and(|parsed| parsed >= Version::V1_0_0);
    let keys = keys(options, &capabilities);
    let text = if is_list {
        list(&version, &name, &keys, &delegate)
    } else {
        single(&version, &name, &keys, &delegate)
    };
    Ok(Generated { file_name: FILE_NAMES[usize::from(is_list)], text, notes })
}

fn single(version: &str, name: &str, keys: &[String], delegate: &str) -> String {
    let indent = " ".repeat(8);
    let head = [member("cniVersion", version), member("name", name)];
    let lines: String = head.iter().chain(keys).map(|line| format!("{indent}{line},\n")).collect();
    format!("{{\n{lines}{indent}\"delegates\": [\n{indent}{indent}{delegate}\n{indent}]\n}}\n")
}

fn list(version: &str, name: &str, keys: &[String], delegate: &str) -> String {
    let (one, two, three) = (" ".repeat(4), " ".repeat(8), " ".repeat(12));
    let head = format!("{one}{},\n{one}{},\n", member("cniVersion", version), member("name", name));
    let lines: String = keys.iter().map(|line| format!("{two}{line},\n")).collect();
    format!(
        "{{\n{head}{one}\"plugins\": [ {{\n{lines}{two}\"delegates\": [\n{three}{delegate}\n{two}]\n{one}}}]\n}}\n"
    )
}

/// Members in upstream's order; those that are not set are left out.
fn keys(options: &Options, capabilities: &BTreeMap<String, bool>) -> Vec<String> {
    let capabilities = serde_json::json!(capabilities);
    let set = |key: &str, value: &str| (!value.is_empty()).then(|| member(key, value));
    let conf_dir = on_host(&options.multus_conf_dir);
    [
        Some(member("type", "multus")),
        Some(member("capabilities", capabilities)),
        options.namespace_isolation.then(|| member("namespaceIsolation", true)),
        set("globalNamespaces", &options.global_namespaces),
        (!options.log_to_stderr).then(|| member("logToStderr", false)),
        set("logLevel", &options.log_level),
        set("logFile", &options.log_file),
        set("binDir", &options.additional_bin_dir),
        // Upstream writes `cniConf`, which nobody reads (Q33).
        set("confDir", &conf_dir),
        set("readinessindicatorfile", &options.readiness_file),
        set("kubeconfig", &options.kubeconfig_on_host),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn member(key: &str, value: impl Into<Value>) -> String {
    format!("\"{key}\": {}", value.into())
}

/// A path as the plugin on the host sees it; containers have the host's directories below `/host`.
fn on_host(path: &Path) -> String {
    let path = path.display().to_string();
    path.strip_prefix("/host/").map_or(path.clone(), |rest| format!("/{rest}"))
}

fn version(options: &Options, primary: &Primary, notes: &mut Vec<String>) -> Result<String, Error> {
    if options.force_cni_version && !options.cni_version.is_empty() {
        notes.push(format!("force CNI version to {:?}", options.cni_version));
        return Ok(options.cni_version.clone());
    }
    let found = primary.text("cniVersion")?.ok_or_else(|| {
        Error::Unusable(format!("cannot get cniVersion in master CNI config file {}", primary.path.display()))
    })?;
    if !options.cni_version.is_empty() && options.cni_version != found {
        return Err(Error::Unusable(format!(
            "Multus cni version is {:?} while master plugin cni version is {found:?}",
            options.cni_version
        )));
    }
    Ok(found)
}

fn name(options: &Options, primary: &Primary, notes: &mut Vec<String>) -> Result<String, Error> {
    if !options.override_network_name {
        return Ok("multus-cni-network".to_owned());
    }
    let name = primary.text("name")?.filter(|name| !name.is_empty()).ok_or_else(|| {
        Error::Unusable(format!("cannot get name in master CNI config file {}", primary.path.display()))
    })?;
    notes.push(format!("master plugin name is overrided to {name:?}"));
    Ok(name)
}

/// What the primary declares, with ours. False ones are kept, as upstream does.
fn capabilities(primary: &Primary, notes: &mut Vec<String>) -> Result<BTreeMap<String, bool>, Error> {
    let plugins: Option<Vec<Object>> = match primary.object.get("plugins") {
        None => None,
        Some(list) => Some(serde_json::from_str(list.get()).map_err(|error| unusable(primary, &error))?),
    };
    let form = if plugins.is_some() { "conflist" } else { "conffile" };
    notes.push(format!("master capabilities is get from {form}"));
    let mut capabilities = BTreeMap::new();
    for object in plugins.iter().flatten().chain(plugins.is_none().then_some(&primary.object)) {
        let Some(declared) = object.get("capabilities") else { continue };
        let declared: Option<BTreeMap<String, bool>> =
            serde_json::from_str(declared.get()).map_err(|error| {
                Error::Unusable(format!("capabilities in {}: {error}", primary.path.display()))
            })?;
        for (capability, on) in declared.unwrap_or_default() {
            *capabilities.entry(capability).or_insert(false) |= on;
        }
    }
    capabilities.insert(ANNOTATIONS_CAPABILITY.to_owned(), true);
    Ok(capabilities)
}

fn raw(text: &str) -> Result<Box<RawValue>, Error> {
    to_raw_value(text).map_err(|error| Error::Unusable(error.to_string()))
}

fn unusable(primary: &Primary, error: &serde_json::Error) -> Error {
    Error::Unusable(format!("cannot use master CNI config file {}: {error}", primary.path.display()))
}
