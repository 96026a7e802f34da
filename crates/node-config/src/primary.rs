//! A primary network's configuration, and what is never one.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use libcni::Object;

use crate::Error;

/// More is no CNI configuration.
const LARGEST: u64 = 4 << 20;
/// Types of ours: a configuration that calls one is never a primary, whatever its file is called. Ours as its own primary would be
/// called in a circle.
const OWN_TYPES: [&str; 2] = ["multus", "multus-shim"];
/// Members under which meta-plugins keep the configurations that they call.
const NESTED: [&str; 3] = ["plugins", "delegates", "delegate"];
/// How deep those are looked for.
const DEEPEST: usize = 8;

/// Where a configuration comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A file of the directory in which the runtime looks.
    File(PathBuf),
    /// A NetworkAttachmentDefinition: namespace and name.
    Definition(String, String),
}

impl Origin {
    /// The file's name, or `namespace/name`.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::File(path) => path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            Self::Definition(namespace, name) => format!("{namespace}/{name}"),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Definition(namespace, name) => {
                write!(f, "NetworkAttachmentDefinition {namespace}/{name}")
            }
        }
    }
}

/// A primary network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Primary {
    /// Where it comes from.
    pub origin: Origin,
    /// Its exact bytes.
    pub bytes: Vec<u8>,
    pub(crate) object: Object,
}

impl Primary {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// [`Error::Missing`] when there is none, [`Error::Unusable`] when it is no configuration, [`Error::Circular`] when it calls
    /// multus itself.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let shown = path.display();
        let bytes = match fs::metadata(path) {
            Err(error) => {
                return Err(Error::Missing(format!(
                    "cannot find the primary network's file {shown}: {error}"
                )));
            }
            Ok(found) if found.len() > LARGEST => {
                return Err(Error::Unusable(format!(
                    "{shown}: {} bytes are too many for a CNI configuration",
                    found.len()
                )));
            }
            Ok(_) => {
                fs::read(path).map_err(|error| Error::Unusable(format!("cannot read {shown}: {error}")))?
            }
        };
        Self::parse(Origin::File(path.to_owned()), bytes)
    }

    /// Reads a configuration.
    ///
    /// # Errors
    /// [`Error::Unusable`] and [`Error::Circular`] as for [`Primary::read`].
    pub fn parse(origin: Origin, bytes: Vec<u8>) -> Result<Self, Error> {
        let object = Object::parse(&bytes)
            .map_err(|error| Error::Unusable(format!("failed to unmarshal {origin}: {error}")))?;
        if object.get("type").is_none() && object.get("plugins").is_none() {
            return Err(Error::Unusable(format!(
                "{origin} is no CNI configuration: it has neither type nor plugins"
            )));
        }
        if calls(&object, &OWN_TYPES, 0) {
            return Err(Error::Circular(origin.to_string()));
        }
        Ok(Self { origin, bytes, object })
    }

    /// A string member of the configuration.
    pub(crate) fn text(&self, key: &str) -> Result<Option<String>, Error> {
        let Some(value) = self.object.get(key) else { return Ok(None) };
        serde_json::from_str(value.get()).map(Some).map_err(|_| {
            Error::Unusable(format!("{key} is not a string in master CNI config file {}", self.origin))
        })
    }

    /// The network's name; empty where it has none.
    #[must_use]
    pub fn network(&self) -> String {
        self.text("name").ok().flatten().unwrap_or_default()
    }

    /// The type of the plugin that makes the interface: the first of a list.
    #[must_use]
    pub fn plugin_type(&self) -> String {
        types(&self.object).into_iter().next().unwrap_or_default()
    }

    /// Whether its interface is made by a plugin of this type. Flannel's plugin makes none itself: it calls another one, `bridge`
    /// unless its configuration says otherwise.
    #[must_use]
    pub fn is_made_by(&self, plugin_type: &str) -> bool {
        let own = self.plugin_type();
        own == plugin_type || (own == "flannel" && self.flannels_delegate() == plugin_type)
    }

    fn flannels_delegate(&self) -> String {
        let first = plugins(&self.object).into_iter().next();
        let delegate = first.as_ref().unwrap_or(&self.object).get_as::<Object>("delegate").ok().flatten();
        let named = delegate.and_then(|delegate| delegate.get_as::<String>("type").ok().flatten());
        named.unwrap_or_else(|| "bridge".to_owned())
    }

    /// The program whose own containers it is for, where that is not Kubernetes. Such files lie in the directory of every node on
    /// which the program was ever installed.
    #[must_use]
    pub fn belongs_to(&self) -> Option<&'static str> {
        let types = types(&self.object);
        if !types.is_empty() && types.iter().all(|plugin_type| plugin_type == "loopback") {
            return Some("the loopback interface");
        }
        let file = self.origin.name();
        let network = self.network();
        let is = |name: &str| network == name || file.contains(name);
        if is("podman") {
            return Some("Podman");
        }
        if network == "crio" || is("crio-bridge") {
            return Some("CRI-O's default bridge");
        }
        if network == "nerdctl" || file.starts_with("nerdctl-") || self.object.get("nerdctlID").is_some() {
            return Some("nerdctl");
        }
        None
    }
}

/// Whether `object` makes the runtime call a plugin of one of these types, also where another meta-plugin calls it.
pub(crate) fn calls(object: &Object, plugin_types: &[&str], depth: usize) -> bool {
    if depth > DEEPEST {
        return false;
    }
    let own = object.get_as::<String>("type").ok().flatten();
    if own.is_some_and(|own| plugin_types.contains(&own.as_str())) {
        return true;
    }
    NESTED.iter().flat_map(|key| nested(object, key)).any(|inner| calls(&inner, plugin_types, depth + 1))
}

/// The objects below a member: one, or a list of them.
fn nested(object: &Object, key: &str) -> Vec<Object> {
    let Some(value) = object.get(key) else { return Vec::new() };
    if let Ok(one) = Object::parse(value.get().as_bytes()) {
        return vec![one];
    }
    serde_json::from_str(value.get()).unwrap_or_default()
}

fn plugins(object: &Object) -> Vec<Object> {
    nested(object, "plugins")
}

/// The plugin types that a configuration calls.
fn types(object: &Object) -> Vec<String> {
    let read = |object: &Object| object.get_as("type").ok().flatten();
    read(object).into_iter().chain(plugins(object).iter().filter_map(read)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn primary(file: &str, text: &str) -> Result<Primary, Error> {
        Primary::parse(Origin::File(Path::new("/net.d").join(file)), text.as_bytes().to_vec())
    }

    #[test]
    fn a_configuration_that_leads_back_to_multus_is_never_a_primary() {
        for text in [
            r#"{"type":"multus"}"#,
            r#"{"name":"x","plugins":[{"type":"multus-shim"}]}"#,
            r#"{"type":"genie","delegates":[{"type":"bridge"},{"type":"multus"}]}"#,
            r#"{"name":"x","plugins":[{"type":"danm","delegate":{"type":"multus"}}]}"#,
        ] {
            let error = primary("10-x.conf", text).unwrap_err().to_string();
            assert!(error.contains("/net.d/10-x.conf calls multus itself"), "{error}");
        }
        primary("10-x.conf", r#"{"type":"genie","delegates":[{"type":"bridge"}]}"#).unwrap();
    }

    #[test]
    fn files_of_other_programs_are_known_by_network_or_file_name() {
        for (file, text, whose) in [
            ("87-podman-bridge.conflist", r#"{"name":"podman","plugins":[{"type":"bridge"}]}"#, "Podman"),
            ("87-podman.conflist", r#"{"name":"mine","plugins":[{"type":"bridge"}]}"#, "Podman"),
            ("100-crio-bridge.conflist", r#"{"name":"crio","plugins":[{"type":"bridge"}]}"#, "CRI-O"),
            ("11-crio.conflist", r#"{"name":"crio","plugins":[{"type":"bridge"}]}"#, "CRI-O"),
            ("nerdctl-bridge.conflist", r#"{"name":"bridge","plugins":[{"type":"bridge"}]}"#, "nerdctl"),
            ("10-a.conflist", r#"{"name":"a","nerdctlID":"1","plugins":[{"type":"bridge"}]}"#, "nerdctl"),
            ("200-loopback.conf", r#"{"name":"lo","type":"loopback"}"#, "loopback"),
        ] {
            let found = primary(file, text).unwrap().belongs_to();
            assert!(found.is_some_and(|found| found.contains(whose)), "{file}: {found:?}");
        }
        for (file, text) in [
            ("10-flannel.conflist", r#"{"name":"cbr0","plugins":[{"type":"flannel"},{"type":"portmap"}]}"#),
            ("1-k8s.conflist", r#"{"name":"bridge","plugins":[{"type":"bridge"}]}"#),
            ("10-containerd-net.conflist", r#"{"name":"containerd-net","plugins":[{"type":"bridge"}]}"#),
        ] {
            assert_eq!(primary(file, text).unwrap().belongs_to(), None, "{file}");
        }
    }

    #[test]
    fn flannel_counts_as_what_it_calls() {
        let made_by = |text: &str, plugin_type| primary("x.conflist", text).unwrap().is_made_by(plugin_type);
        let list = r#"{"name":"cbr0","plugins":[{"type":"flannel","delegate":{"hairpinMode":true}},{"type":"portmap"}]}"#;
        assert!(made_by(list, "flannel") && made_by(list, "bridge"));
        assert!(!made_by(list, "portmap"), "a plugin that is chained makes no interface");
        let single = r#"{"name":"cbr0","type":"flannel"}"#;
        assert!(made_by(single, "bridge"));
        let other = r#"{"type":"flannel","delegate":{"type":"ipvlan"}}"#;
        assert!(made_by(other, "ipvlan") && !made_by(other, "bridge"));
        assert!(!made_by(r#"{"type":"calico"}"#, "bridge"));
    }
}
