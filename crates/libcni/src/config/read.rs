//! From JSON to a [`Network`], with libcni's checks and texts.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::{ConfigError, Form, Network, Plugin};
use crate::json::{Object, field_ci, field_ci_as, kind};
use crate::version::Version;

/// A list of more plugins than this is a mistake or an attack.
const MOST_PLUGINS: usize = 1000;

pub(super) fn object(bytes: &[u8], form: Form) -> Result<Object, ConfigError> {
    Object::parse(bytes).map_err(|source| ConfigError::Json { form, source })
}

pub(super) fn any(bytes: &[u8]) -> Result<Network, ConfigError> {
    let object = object(bytes, Form::List)?;
    let plugin_type: String = string(&object, "type", Form::Single)?;
    if plugin_type.is_empty() { list(object, bytes) } else { single(object, bytes) }
}

pub(super) fn single(object: Object, bytes: &[u8]) -> Result<Network, ConfigError> {
    let plugin = plugin(object)?;
    Ok(Network {
        name: string(&plugin.object, "name", Form::Single)?,
        cni_version: chosen_version(&plugin.object, Form::Single)?,
        disable_check: flag(&plugin.object, "disableCheck")?,
        disable_gc: flag(&plugin.object, "disableGC")?,
        load_only_inlined_plugins: false,
        plugins: vec![plugin],
        form: Form::Single,
        top: Object::default(),
        source: bytes.to_vec(),
    })
}

pub(super) fn list(mut object: Object, bytes: &[u8]) -> Result<Network, ConfigError> {
    let load_only_inlined_plugins = flag(&object, "loadOnlyInlinedPlugins")?;
    let plugins = match field_ci(&object, "plugins") {
        Some(raw) => plugins(raw)?,
        None if load_only_inlined_plugins => {
            return Err(invalid(Form::List, "`loadOnlyInlinedPlugins` is true, and no 'plugins' key"));
        }
        None => Vec::new(),
    };
    object.remove_ci("plugins");
    Ok(Network {
        name: string(&object, "name", Form::List)?,
        cni_version: chosen_version(&object, Form::List)?,
        disable_check: flag(&object, "disableCheck")?,
        disable_gc: flag(&object, "disableGC")?,
        load_only_inlined_plugins,
        plugins,
        form: Form::List,
        top: object,
        source: bytes.to_vec(),
    })
}

fn plugins(raw: &RawValue) -> Result<Vec<Plugin>, ConfigError> {
    if kind(raw) != "array" {
        return Err(invalid(Form::List, format!("invalid 'plugins' type {}", kind(raw))));
    }
    let items: Vec<&RawValue> =
        serde_json::from_str(raw.get()).map_err(|source| ConfigError::Json { form: Form::List, source })?;
    if items.is_empty() {
        return Err(invalid(Form::List, "no plugins in list"));
    }
    if items.len() > MOST_PLUGINS {
        let reason = format!("{} plugins in list, {MOST_PLUGINS} at most are allowed", items.len());
        return Err(invalid(Form::List, reason));
    }
    let parse = |(index, raw): (usize, &RawValue)| {
        Plugin::from_raw(raw).map_err(|source| ConfigError::Plugin { index, source: Box::new(source) })
    };
    items.into_iter().enumerate().map(parse).collect()
}

pub(super) fn plugin(object: Object) -> Result<Plugin, ConfigError> {
    let plugin_type = string(&object, "type", Form::Single)?;
    if plugin_type.is_empty() {
        return Err(invalid(Form::Single, "missing 'type'"));
    }
    string(&object, "name", Form::Single)?;
    string(&object, "cniVersion", Form::Single)?;
    typed::<BTreeMap<String, Option<bool>>>(&object, "capabilities", Form::Single)?;
    Ok(Plugin { plugin_type, object })
}

/// The highest supported version out of `cniVersion` and `cniVersions` (C-1). Entries of `cniVersions` that
/// are newer than this crate are passed over (C-85); a lone `cniVersion` is taken as it is, for the plugin
/// to judge.
pub(super) fn chosen_version(object: &Object, form: Form) -> Result<String, ConfigError> {
    let stated = string(object, "cniVersion", form)?;
    let stated_number = version(&stated, "cniVersion", form)?;
    let Some(more) = typed::<Vec<String>>(object, "cniVersions", form)? else { return Ok(stated) };
    let mut best: Option<Version> = None;
    let parsed = more.iter().map(|text| version(text, "cniVersions entry", form));
    for candidate in parsed.chain((!stated.is_empty()).then_some(Ok(stated_number))) {
        let candidate = candidate?;
        let better = best.as_ref().is_none_or(|best| candidate > *best);
        if candidate <= Version::V1_1_0 && better {
            best = Some(candidate);
        }
    }
    Ok(best.map_or(stated, |best| best.as_str().to_owned()))
}

fn version(text: &str, key: &'static str, form: Form) -> Result<Version, ConfigError> {
    Version::parse(text).map_err(|source| ConfigError::Version { form, key, source })
}

/// A boolean, also written as a string (C-85).
pub(super) fn flag(object: &Object, key: &str) -> Result<bool, ConfigError> {
    let Some(raw) = field_ci(object, key) else { return Ok(false) };
    if let Ok(value) = serde_json::from_str(raw.get()) {
        return Ok(value);
    }
    match serde_json::from_str::<String>(raw.get()) {
        Ok(text) if text.eq_ignore_ascii_case("true") => Ok(true),
        Ok(text) if text.eq_ignore_ascii_case("false") => Ok(false),
        Ok(text) => {
            let shown: String = text.chars().take(64).collect();
            Err(invalid(Form::List, format!("invalid value {shown:?} for {key}: write true or false")))
        }
        Err(_) => Err(invalid(Form::List, format!("invalid type {} for {key}", kind(raw)))),
    }
}

fn string(object: &Object, key: &str, form: Form) -> Result<String, ConfigError> {
    typed::<String>(object, key, form).map(Option::unwrap_or_default)
}

fn typed<T: DeserializeOwned>(object: &Object, key: &str, form: Form) -> Result<Option<T>, ConfigError> {
    field_ci_as(object, key).map_err(|source| {
        let found = field_ci(object, key).map_or("null", kind);
        invalid(form, format!("invalid {key} type {found}: {source}"))
    })
}

fn invalid(form: Form, reason: impl Into<String>) -> ConfigError {
    ConfigError::Invalid { form, reason: reason.into() }
}
