//! Calls a CNI plugin as a container runtime does: the call in the environment, the configuration on stdin.

use std::ffi::OsString;
use std::io::{Seek, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result};
use serde_json::Value;

/// A pod's sandbox as a runtime knows it.
#[derive(Debug, Clone)]
pub(crate) struct Sandbox {
    pub(crate) container_id: String,
    pub(crate) netns: PathBuf,
    pub(crate) namespace: String,
    pub(crate) pod: String,
    pub(crate) uid: String,
}

impl Sandbox {
    fn arguments(&self) -> String {
        let mut text = format!(
            "IgnoreUnknown=1;K8S_POD_NAMESPACE={};K8S_POD_NAME={};K8S_POD_INFRA_CONTAINER_ID={}",
            self.namespace, self.pod, self.container_id
        );
        if !self.uid.is_empty() {
            text.push_str(&format!(";K8S_POD_UID={}", self.uid));
        }
        text
    }
}

/// Where tools such as iptables are, also for a user whose own path leaves the system's folders out.
pub(crate) fn search_path() -> OsString {
    let mut path = std::env::var_os("PATH").unwrap_or_default();
    path.push(":/usr/sbin:/sbin");
    path
}

/// The environment of one call, nothing else in it but `PATH`, which plugins search for their own tools.
pub(crate) fn environment(
    verb: &str,
    sandbox: &Sandbox,
    interface: &str,
    plugins: &Path,
) -> Vec<(String, OsString)> {
    [
        ("CNI_COMMAND", verb.into()),
        ("CNI_CONTAINERID", sandbox.container_id.clone().into()),
        ("CNI_NETNS", sandbox.netns.clone().into()),
        ("CNI_IFNAME", interface.into()),
        ("CNI_PATH", plugins.into()),
        ("CNI_ARGS", sandbox.arguments().into()),
        ("PATH", search_path()),
    ]
    .map(|(key, value): (&str, OsString)| (key.to_owned(), value))
    .to_vec()
}

/// The command for one call. stdin is a file, so that nobody has to feed a pipe while the clock runs.
pub(crate) fn command(program: &Path, environment: &[(String, OsString)], stdin: &[u8]) -> Result<Command> {
    let mut file = tempfile::tempfile().context("make a file for stdin")?;
    file.write_all(stdin)?;
    file.rewind()?;
    let mut command = Command::new(program);
    command
        .env_clear()
        .envs(environment.iter().map(|(key, value)| (key, value)))
        .stdin(file)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    Ok(command)
}

/// What a plugin printed as an error, in one line.
pub(crate) fn error_text(output: &Output) -> String {
    let error: Value = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    let text = |key: &str| error[key].as_str().filter(|text| !text.is_empty());
    match (text("msg"), text("details")) {
        (Some(msg), Some(details)) => format!("{msg}; {details}"),
        (Some(msg), None) => msg.to_owned(),
        _ => format!(
            "{}: {}{}",
            output.status,
            String::from_utf8_lossy(&output.stdout).trim(),
            String::from_utf8_lossy(&output.stderr).trim()
        ),
    }
}
