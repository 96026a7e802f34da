//! The recording CNI plugin: installs it under type names and reads back how it was called.
//!
//! What steers it is told in `src/bin/recording-plugin.rs`. It is built by `rustc` alone, once per change of its source.

use std::collections::BTreeMap;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::Value;

const SOURCE: &str = include_str!("bin/recording-plugin.rs");

/// One call of a recording plugin.
#[derive(Debug, Clone, Deserialize)]
pub struct Call {
    /// Name that the plugin was called by.
    #[serde(rename = "type")]
    pub plugin_type: String,
    /// `CNI_COMMAND`.
    pub verb: String,
    /// Process id of the call.
    pub pid: u32,
    /// The whole environment.
    pub env: BTreeMap<String, String>,
    /// The exact text on stdin.
    pub stdin: String,
}

impl Call {
    /// stdin as JSON; null when it is none.
    #[must_use]
    pub fn config(&self) -> Value {
        serde_json::from_str(&self.stdin).unwrap_or(Value::Null)
    }

    /// Value of an environment variable, empty when unset.
    #[must_use]
    pub fn env(&self, key: &str) -> &str {
        self.env.get(key).map_or("", String::as_str)
    }
}

/// A folder of recording plugins with their log.
#[derive(Debug)]
pub struct Recorder {
    /// The folder, for `CNI_PATH` or `binDir`.
    pub dir: PathBuf,
}

impl Recorder {
    /// Makes `dir` such a folder, with a plugin for each of `types`.
    ///
    /// # Errors
    /// When the plugin cannot be built or the folder not be written.
    pub fn new(dir: &Path, types: &[&str]) -> Result<Self> {
        fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
        let recorder = Self { dir: dir.to_owned() };
        for plugin_type in types {
            recorder.install(plugin_type)?;
        }
        Ok(recorder)
    }

    /// Adds a plugin called `plugin_type`.
    ///
    /// # Errors
    /// As [`Recorder::new`].
    pub fn install(&self, plugin_type: &str) -> Result<PathBuf> {
        let target = self.dir.join(plugin_type);
        let program = program()?;
        // Across file systems a copy has to do.
        if fs::hard_link(&program, &target).is_err() {
            crate::programs::copy(&program, &target)?;
        }
        Ok(target)
    }

    /// All calls so far, oldest first.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn calls(&self) -> Result<Vec<Call>> {
        let log = self.dir.join("calls.jsonl");
        if !log.exists() {
            return Ok(Vec::new());
        }
        let text = fs::read_to_string(&log).with_context(|| format!("read {}", log.display()))?;
        text.lines()
            .map(|line| serde_json::from_str(line).with_context(|| format!("read the call {line}")))
            .collect()
    }

    /// Forgets all calls.
    ///
    /// # Errors
    /// When the log cannot be removed.
    pub fn clear(&self) -> Result<()> {
        match fs::remove_file(self.dir.join("calls.jsonl")) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).context("forget the calls")
            }
            _ => Ok(()),
        }
    }
}

/// The built program.
///
/// # Errors
/// When `rustc` cannot build it.
pub fn program() -> Result<PathBuf> {
    let mut hasher = DefaultHasher::new();
    SOURCE.hash(&mut hasher);
    let name = format!("recording-plugin-{:016x}", hasher.finish());
    let dir = crate::parts::once(&name, |dir| {
        let source = dir.join("recording-plugin.rs");
        fs::write(&source, SOURCE)?;
        // Cargo tells the programs that it starts which rustc it would use only by the toolchain's name.
        let output = Command::new("rustc")
            .args(["--edition", "2024", "-O", "--out-dir"])
            .arg(dir)
            .arg(&source)
            .output()
            .context("start rustc to build the recording plugin")?;
        if !output.status.success() {
            bail!("rustc could not build the recording plugin: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(())
    })?;
    Ok(dir.join("recording-plugin"))
}

#[cfg(test)]
mod tests {
    use std::process::Stdio;

    use super::*;
    use std::io::Write;

    fn call(recorder: &Recorder, verb: &str, config: &str) -> std::process::Output {
        let mut child = Command::new(recorder.dir.join("demo"))
            .env("CNI_COMMAND", verb)
            .env("CNI_IFNAME", "eth0")
            .env("CNI_NETNS", "")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(config.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    }

    #[test]
    fn it_records_and_obeys() {
        let dir = tempfile::tempdir().unwrap();
        let recorder = Recorder::new(dir.path(), &["demo"]).unwrap();
        let config = r#"{"cniVersion":"1.0.0","name":"a","note":"x\"},{\u00e9","x-result":{"cniVersion":"1.0.0","interfaces":[{"name":"$IFNAME"}]},
            "x-error":{"code":11,"msg":"later","on":["DEL"],"times":1}}"#;
        let added = call(&recorder, "ADD", config);
        assert!(added.status.success());
        let result: Value = serde_json::from_slice(&added.stdout).unwrap();
        assert_eq!(result["interfaces"][0]["name"], "eth0");
        let failed = call(&recorder, "DEL", config);
        assert_eq!(failed.status.code(), Some(1));
        let error: Value = serde_json::from_slice(&failed.stdout).unwrap();
        assert_eq!((error["code"].as_u64(), error["msg"].as_str()), (Some(11), Some("later")));
        assert!(call(&recorder, "DEL", config).status.success());
        let calls = recorder.calls().unwrap();
        assert_eq!(calls.iter().map(|call| call.verb.as_str()).collect::<Vec<_>>(), ["ADD", "DEL", "DEL"]);
        assert_eq!(calls[0].stdin, config);
        assert_eq!(calls[0].config()["note"], "x\"},{é");
        assert_eq!(calls[0].env("CNI_IFNAME"), "eth0");
        recorder.clear().unwrap();
        assert!(recorder.calls().unwrap().is_empty());
    }

    #[test]
    fn it_passes_the_previous_result_and_dies_as_told() {
        let dir = tempfile::tempdir().unwrap();
        let recorder = Recorder::new(dir.path(), &["demo"]).unwrap();
        let passed = call(&recorder, "ADD", r#"{"prevResult":{"cniVersion":"0.4.0","ips":[]}}"#);
        assert_eq!(passed.stdout, br#"{"cniVersion":"0.4.0","ips":[]}"#);
        let killed = call(&recorder, "ADD", r#"{"x-kill-self":true}"#);
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&killed.status), Some(9));
        let garbage = call(&recorder, "ADD", r#"{"x-stdout":"{not","x-exit":3,"x-stderr":"oh"}"#);
        assert_eq!(
            (garbage.status.code(), &garbage.stdout[..], &garbage.stderr[..]),
            (Some(3), &b"{not"[..], &b"oh"[..])
        );
    }
}
