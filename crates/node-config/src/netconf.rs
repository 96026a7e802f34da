//! The generated CNI configuration: the primary network in it as the only delegate, with upstream's white space.

use std::collections::BTreeMap;

use libcni::{Object, Version};
use plan::NetConf;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use crate::json::{compact, compact_value, merge};
use crate::{Error, Mark, Primary};

/// Asks the runtime for the pod's annotations, so that most pods need no lookup.
const ANNOTATIONS_CAPABILITY: &str = "io.kubernetes.cri.pod-annotations";
/// What cannot be merged into a configuration: it would not be the one of this primary network any more. With how it is said.
const FIXED: [(&str, &str); 9] = [
    ("type", "it is what makes the runtime call multus"),
    ("name", "--override-network-name takes the primary network's"),
    ("cniVersion", "--cni-version sets it"),
    ("cniVersions", "--cni-version sets it"),
    ("delegates", "--default-network chooses the primary network"),
    ("clusterNetwork", "--default-network chooses the primary network"),
    ("plugins", "what is merged is multus's own object in that list"),
    ("prevResult", "it is the runtime's"),
    ("multus-rs", "--owner sets it"),
];

/// File names of both forms, as upstream calls them.
pub const FILE_NAMES: [&str; 2] = ["00-multus.conf", "00-multus.conflist"];

/// A member of the netconf.
#[derive(Debug, Clone)]
pub struct Member {
    key: String,
    value: Box<RawValue>,
}

impl Member {
    /// A member; what JSON cannot express becomes `null`.
    #[must_use]
    pub fn new(key: &str, value: &(impl Serialize + ?Sized)) -> Self {
        let value = to_raw_value(value).unwrap_or_else(|_| RawValue::NULL.to_owned());
        Self { key: key.to_owned(), value }
    }
}

/// What a configuration is like apart from the primary network in it.
#[derive(Debug, Clone, Default)]
pub struct Template {
    /// The plugin that the runtime calls: `multus`, `multus-shim`.
    pub plugin_type: String,
    /// The file's name, whose extension says which form it has; empty for the one of [`FILE_NAMES`] that is the form of the version.
    pub file_name: String,
    /// The CNI version; empty for the primary's.
    pub cni_version: String,
    /// Whether `cni_version` holds in spite of the primary's.
    pub force_cni_version: bool,
    /// Whether the network is called as the primary is.
    pub override_name: bool,
    /// After type and capabilities, in this order.
    pub members: Vec<Member>,
    /// Merged in last, from [`merge_from`].
    pub merge: Object,
    /// The install; `None` for a configuration without a mark, as upstream writes it.
    pub owner: Option<String>,
}

/// A configuration file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generated {
    /// Its name in the CNI configuration directory.
    pub file_name: String,
    /// Its content.
    pub text: String,
    /// Lines to tell what was found.
    pub notes: Vec<String>,
}

/// Reads what is to be merged into the netconf.
///
/// # Errors
/// [`Error::Setting`] when it is no JSON object, or holds a key that is not for it to set.
pub fn merge_from(text: &str) -> Result<Object, Error> {
    let object = Object::parse(text.as_bytes()).map_err(|error| {
        Error::Setting(format!("what is to be merged into the netconf is no JSON object: {error}"))
    })?;
    for (key, reason) in FIXED {
        if let Some(found) = object.0.keys().find(|found| found.eq_ignore_ascii_case(key)) {
            return Err(Error::Setting(format!("{found:?} cannot be merged into the netconf: {reason}")));
        }
    }
    Ok(object)
}

impl Template {
    /// Makes the configuration for `primary`.
    ///
    /// # Errors
    /// [`Error::Unusable`] when the primary's is not fit for it, [`Error::Setting`] when the plugin would refuse the result.
    pub fn generate(&self, primary: &Primary) -> Result<Generated, Error> {
        let mut notes = Vec::new();
        let version = self.version(primary, &mut notes)?;
        let capabilities = capabilities(primary, &mut notes)?;
        let name = self.name(primary, &mut notes)?;
        let mut delegate = primary.object.clone();
        if self.force_cni_version && !self.cni_version.is_empty() {
            delegate.set("cniVersion", &version);
        }
        let delegate = compact(&delegate).map_err(|error| unusable(primary, &error))?;
        let members = self.merged(&capabilities)?;
        self.check(&members, &delegate)?;
        let file_name = match self.file_name.as_str() {
            "" => {
                FILE_NAMES
                    [usize::from(Version::parse(&version).is_ok_and(|parsed| parsed >= Version::V1_0_0))]
            }
            given => given,
        };
        let is_list = file_name.ends_with(".conflist");
        let mut keys: Vec<String> =
            members.iter().map(|(key, value)| format!("\"{key}\": {value}")).collect();
        let mark = self.owner.as_ref().map(|owner| Mark::new(owner, &primary.origin.name()));
        keys.extend(mark.as_ref().map(Mark::member));
        let text = if is_list {
            list(&version, &name, &keys, &delegate)
        } else {
            single(&version, &name, &keys, &delegate)
        };
        let text = mark.map_or(text.clone(), |mark| mark.seal(&text));
        Ok(Generated { file_name: file_name.to_owned(), text, notes })
    }

    /// Keys and compact values: those of upstream in its order, then what was merged in.
    fn merged(&self, capabilities: &BTreeMap<String, bool>) -> Result<Vec<(String, String)>, Error> {
        let failed = |error| Error::Setting(format!("cannot merge into the netconf: {error}"));
        let first = [Member::new("type", &self.plugin_type), Member::new("capabilities", capabilities)];
        let mut members: Vec<Member> = first.into_iter().chain(self.members.iter().cloned()).collect();
        for (key, patch) in &self.merge.0 {
            let at = members.iter().position(|member| member.key.eq_ignore_ascii_case(key));
            let before = at.map_or(RawValue::NULL, |at| members[at].value.as_ref());
            let value = merge(before, patch).map_err(failed)?;
            match at {
                Some(at) if patch.get() == "null" => drop(members.remove(at)),
                Some(at) => members[at].value = value,
                None if patch.get() == "null" => {}
                None => members.push(Member { key: key.clone(), value }),
            }
        }
        let written = |member: Member| {
            let key = serde_json::to_string(&member.key)?;
            Ok((key.trim_matches('"').to_owned(), compact_value(&member.value)?))
        };
        members.into_iter().map(written).collect::<Result<_, serde_json::Error>>().map_err(failed)
    }

    /// The plugin itself has to be able to read it: a pod's ADD is no place to find that out.
    fn check(&self, members: &[(String, String)], delegate: &str) -> Result<(), Error> {
        let keys: String = members.iter().map(|(key, value)| format!("\"{key}\": {value}, ")).collect();
        let text = format!("{{\"name\": \"x\", {keys}\"delegates\": [{delegate}]}}");
        NetConf::parse(text.as_bytes())
            .map(drop)
            .map_err(|error| Error::Setting(format!("multus could not read the configuration made: {error}")))
    }

    fn version(&self, primary: &Primary, notes: &mut Vec<String>) -> Result<String, Error> {
        if self.force_cni_version && !self.cni_version.is_empty() {
            notes.push(format!("force CNI version to {:?}", self.cni_version));
            return Ok(self.cni_version.clone());
        }
        let found = primary.text("cniVersion")?.ok_or_else(|| {
            Error::Unusable(format!("cannot get cniVersion in master CNI config file {}", primary.origin))
        })?;
        if !self.cni_version.is_empty() && self.cni_version != found {
            return Err(Error::Unusable(format!(
                "Multus cni version is {:?} while master plugin cni version is {found:?}",
                self.cni_version
            )));
        }
        Ok(found)
    }

    fn name(&self, primary: &Primary, notes: &mut Vec<String>) -> Result<String, Error> {
        if !self.override_name {
            return Ok("multus-cni-network".to_owned());
        }
        let name = primary.text("name")?.filter(|name| !name.is_empty()).ok_or_else(|| {
            Error::Unusable(format!("cannot get name in master CNI config file {}", primary.origin))
        })?;
        notes.push(format!("master plugin name is overrided to {name:?}"));
        Ok(name)
    }
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

fn member(key: &str, value: &str) -> String {
    format!("\"{key}\": {}", serde_json::Value::from(value))
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
        let declared: Option<BTreeMap<String, bool>> = serde_json::from_str(declared.get())
            .map_err(|error| Error::Unusable(format!("capabilities in {}: {error}", primary.origin)))?;
        for (capability, on) in declared.unwrap_or_default() {
            *capabilities.entry(capability).or_insert(false) |= on;
        }
    }
    capabilities.insert(ANNOTATIONS_CAPABILITY.to_owned(), true);
    Ok(capabilities)
}

fn unusable(primary: &Primary, error: &serde_json::Error) -> Error {
    Error::Unusable(format!("cannot use master CNI config file {}: {error}", primary.origin))
}

#[cfg(test)]
mod tests;
