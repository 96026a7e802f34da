//! The plugin side: what a plugin checks before it does anything, and how it answers.
//!
//! Codes, texts and order are those of Go's skel, on which every other plugin stands.

use crate::error::{CniError, Verb};
use crate::json::{self, Object, field_ci_as};
use crate::validate;
use crate::version::{OLDEST, SUPPORTED, Version};

/// A CNI command; the same as [`Verb`].
pub type Command = Verb;

/// One call of a plugin, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// `CNI_COMMAND`.
    pub command: Command,
    /// `CNI_CONTAINERID`.
    pub container_id: String,
    /// `CNI_NETNS`; may be empty on DEL.
    pub netns: String,
    /// `CNI_IFNAME`.
    pub if_name: String,
    /// `CNI_ARGS`, as it came.
    pub args: String,
    /// `CNI_PATH`.
    pub path: String,
    /// `CNI_NETNS_OVERRIDE`: the namespace may be the plugin's own.
    pub netns_override: bool,
    /// The configuration, as it came; empty for VERSION.
    pub stdin: Vec<u8>,
    /// The configuration's version; 0.1.0 when it states none.
    pub cni_version: String,
}

/// A variable, the commands that need it, and how its value is checked then.
struct Variable {
    name: &'static str,
    needed_by: &'static [Verb],
    check: fn(&str) -> Result<(), CniError>,
}

const ALL: &[Verb] = &[Verb::Add, Verb::Check, Verb::Del, Verb::Gc, Verb::Status];
const ATTACHMENT: &[Verb] = &[Verb::Add, Verb::Check, Verb::Del];
const ANYTHING: fn(&str) -> Result<(), CniError> = |_| Ok(());

const VARIABLES: &[Variable] = &[
    Variable { name: "CNI_CONTAINERID", needed_by: ATTACHMENT, check: validate::container_id },
    Variable { name: "CNI_NETNS", needed_by: &[Verb::Add, Verb::Check], check: ANYTHING },
    Variable { name: "CNI_IFNAME", needed_by: ATTACHMENT, check: validate::interface_name },
    Variable { name: "CNI_PATH", needed_by: ALL, check: ANYTHING },
];

/// Checks environment and configuration of a call, in skel's order: variables (C-12, C-92), network name,
/// command, version (C-81). The caller reads stdin, and answers an absent `CNI_COMMAND` itself if it wants
/// to say what it is.
pub fn parse_call(env: &dyn Fn(&str) -> Option<String>, stdin: Vec<u8>) -> Result<Call, CniError> {
    let value = |name: &str| env(name).unwrap_or_default();
    let command_text = value("CNI_COMMAND");
    let command = Verb::parse(&command_text);
    check_variables(&command_text, command, &value)?;
    let stdin = if command == Some(Verb::Version) { Vec::new() } else { stdin };
    let config = if command == Some(Verb::Version) { Object::default() } else { check_name(&stdin)? };
    let Some(command) = command else {
        let shown: String = command_text.chars().take(64).collect();
        return Err(CniError::new(CniError::BAD_ENVIRONMENT, format!("unknown CNI_COMMAND: {shown}"), ""));
    };
    let netns_override = value("CNI_NETNS_OVERRIDE");
    Ok(Call {
        command,
        container_id: value("CNI_CONTAINERID"),
        netns: value("CNI_NETNS"),
        if_name: value("CNI_IFNAME"),
        args: value("CNI_ARGS"),
        path: value("CNI_PATH"),
        netns_override: netns_override == "1" || netns_override.eq_ignore_ascii_case("true"),
        stdin,
        cni_version: check_version(command, &config)?,
    })
}

fn check_variables(
    command_text: &str,
    command: Option<Verb>,
    value: &dyn Fn(&str) -> String,
) -> Result<(), CniError> {
    let mut missing = Vec::new();
    if command_text.is_empty() {
        missing.push("CNI_COMMAND");
    }
    for variable in VARIABLES {
        if !command.is_some_and(|command| variable.needed_by.contains(&command)) {
            continue;
        }
        match value(variable.name).as_str() {
            "" => missing.push(variable.name),
            text => (variable.check)(text)?,
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    let msg = format!("required env variables [{}] missing", missing.join(","));
    Err(CniError::new(CniError::BAD_ENVIRONMENT, msg, ""))
}

fn check_name(stdin: &[u8]) -> Result<Object, CniError> {
    let undecodable = |error: serde_json::Error| {
        CniError::new(CniError::DECODE, format!("error unmarshall network config: {error}"), "")
    };
    let config = match stdin.trim_ascii() {
        b"null" => Object::default(),
        _ => Object::parse(stdin).map_err(undecodable)?,
    };
    let name: String = field_ci_as(&config, "name").map_err(undecodable)?.unwrap_or_default();
    if name.is_empty() {
        return Err(CniError::new(CniError::BAD_CONFIG, "missing network name", ""));
    }
    validate::network_name(&name)?;
    Ok(config)
}

fn check_version(command: Verb, config: &Object) -> Result<String, CniError> {
    let undecodable = |error: &dyn std::fmt::Display| {
        CniError::new(CniError::DECODE, format!("decoding version from network config: {error}"), "")
    };
    let text: String = field_ci_as(config, "cniVersion").map_err(|e| undecodable(&e))?.unwrap_or_default();
    let text = if text.is_empty() { OLDEST.to_owned() } else { text };
    let least = match command {
        Verb::Check => Version::V0_4_0,
        Verb::Gc | Verb::Status => Version::V1_1_0,
        _ => Version::V0_1_0,
    };
    if least != Version::V0_1_0 {
        let version =
            Version::parse(&text).map_err(|e| CniError::new(CniError::DECODE, e.to_string(), ""))?;
        if version < least {
            let msg = format!("config version does not allow {command}");
            return Err(CniError::new(CniError::INCOMPATIBLE_VERSION, msg, ""));
        }
        if version > Version::V1_1_0 {
            let msg = format!("plugin version does not allow {command}");
            return Err(CniError::new(CniError::INCOMPATIBLE_VERSION, msg, ""));
        }
    }
    if !SUPPORTED.contains(&text.as_str()) {
        let shown: String = text.chars().take(64).collect();
        let supported: Vec<String> = SUPPORTED.iter().map(|version| format!("{version:?}")).collect();
        let details = format!("config is {shown:?}, plugin supports [{}]", supported.join(" "));
        return Err(CniError::new(CniError::INCOMPATIBLE_VERSION, "incompatible CNI versions", details));
    }
    Ok(text)
}

/// The error object as skel prints it: indented by four spaces, no newline at the end.
pub fn print_error(error: &CniError) -> Vec<u8> {
    json::indent(&serde_json::to_vec(error).unwrap_or_default())
}

/// The answer to VERSION: every supported version, on one line.
pub fn version_answer() -> Vec<u8> {
    let mut object = Object::default();
    object.set("cniVersion", Version::V1_1_0.as_str());
    object.set("supportedVersions", SUPPORTED);
    let mut answer = object.to_bytes();
    answer.push(b'\n');
    answer
}

/// A result as skel prints it: indented by four spaces, no newline at the end.
pub fn pretty_result(result: &[u8]) -> Vec<u8> {
    json::indent(result)
}

#[cfg(test)]
mod tests;
