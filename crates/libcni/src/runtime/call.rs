//! One plugin call: what goes in, and what its end means.

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde_json::value::RawValue;

use super::{Attachment, Ran, Runtime};
use crate::args;
use crate::config::{Form, Network, Plugin};
use crate::error::{CniError, Error, Step, Verb};
use crate::exec::{self, End, Failure, Invocation, MOST_STDOUT, Output};
use crate::json::{Object, de_lenient};
use crate::result::{CniResult, ResultError};
use crate::version::{OLDEST, Version};

/// The text that a plugin older than the VERSION command prints.
const UNKNOWN_VERSION_COMMAND: &str = "unknown CNI_COMMAND: VERSION";

impl Runtime {
    pub(super) fn find(&self, network: &Network, plugin: &Plugin, verb: Verb) -> Result<PathBuf, Error> {
        self.search
            .find(&plugin.plugin_type)
            .map_err(|reason| Error::NotFound { step: step(network, plugin, verb), reason })
    }

    /// A plugin's configuration as it gets it: its own object, unknown keys and all (C-7), with name and
    /// version of the network (C-63), `prevResult` (C-65), and those arguments of the runtime whose capability
    /// it declares as true (C-64).
    pub(super) fn config(
        &self,
        network: &Network,
        plugin: &Plugin,
        prev: Option<&[u8]>,
        attachment: Option<&Attachment>,
    ) -> Object {
        let mut config = plugin.object.clone();
        config.set("name", &network.name);
        config.set("cniVersion", &network.cni_version);
        if let Some(raw) = prev.and_then(|prev| serde_json::from_slice::<Box<RawValue>>(prev).ok()) {
            config.set_raw("prevResult", raw);
        }
        if let Some(attachment) = attachment {
            let mut offered = attachment.capability_args.clone();
            let declared = plugin.capabilities();
            offered.0.retain(|capability, _| declared.contains(capability));
            if !offered.is_empty() {
                config.set("runtimeConfig", &offered);
            }
        }
        config
    }

    pub(super) fn stdin(
        &self,
        network: &Network,
        plugin: &Plugin,
        prev: Option<&[u8]>,
        attachment: Option<&Attachment>,
    ) -> Vec<u8> {
        self.config(network, plugin, prev, attachment).to_bytes()
    }

    /// Runs one plugin; its stdout when it succeeded.
    pub(super) fn call(
        &self,
        network: &Network,
        plugin: &Plugin,
        verb: Verb,
        path: &Path,
        stdin: &[u8],
        attachment: Option<&Attachment>,
    ) -> Result<Vec<u8>, Error> {
        let nobody = Attachment::default();
        let step = step(network, plugin, verb);
        let began = Instant::now();
        let done = self.run(step, path, stdin, attachment.unwrap_or(&nobody), self.search.path_list());
        if let Some(observer) = &self.observer.0 {
            observer(&Ran {
                verb,
                network: &network.name,
                plugin_type: &plugin.plugin_type,
                took: began.elapsed(),
                code: done.as_ref().err().map(|error| error.to_cni().code),
            });
        }
        done
    }

    fn run(
        &self,
        step: Step,
        path: &Path,
        stdin: &[u8],
        attachment: &Attachment,
        cni_path: OsString,
    ) -> Result<Vec<u8>, Error> {
        let environment = self.environment_of(step.verb, attachment, cni_path);
        let invocation = Invocation { path, environment: &environment, stdin, deadline: self.deadline };
        let output = match exec::run(&invocation) {
            Ok(output) => output,
            Err(Failure::Spawn(source)) => return Err(Error::Spawn { step, path: path.to_owned(), source }),
            Err(Failure::TimedOut { after, stderr }) => {
                return Err(Error::TimedOut { step, after, stderr: text(&stderr) });
            }
        };
        match output.end {
            End::Exit(0) if output.too_long => {
                Err(Error::Result { step, source: ResultError::TooLong(MOST_STDOUT) })
            }
            End::Exit(0) => {
                // As libcni does: what a successful plugin says on stderr is for whoever reads ours.
                let _ = std::io::stderr().write_all(&output.stderr);
                Ok(output.stdout)
            }
            End::Exit(code) => {
                Err(Error::Plugin { step, source: plugin_error(&output, &format!("exit status {code}")) })
            }
            End::Signal(signal) => match CniError::parse(&output.stdout) {
                Ok(source) if !source.msg.is_empty() => Err(Error::Plugin { step, source }),
                _ => Err(Error::Signalled { step, signal, stderr: text(&output.stderr) }),
            },
        }
    }

    /// The base environment with every variable of CNI replaced; of repeated ones the last stays (C-90).
    fn environment_of(
        &self,
        verb: Verb,
        attachment: &Attachment,
        cni_path: OsString,
    ) -> Vec<(OsString, OsString)> {
        let own: [(&str, OsString); 6] = [
            ("CNI_COMMAND", verb.as_str().into()),
            ("CNI_CONTAINERID", attachment.container_id.clone().into()),
            ("CNI_NETNS", attachment.netns.clone().into()),
            ("CNI_ARGS", args::join(&attachment.args).into()),
            ("CNI_IFNAME", attachment.if_name.clone().into()),
            ("CNI_PATH", cni_path),
        ];
        let kept = self.environment.iter().filter(|(key, _)| own.iter().all(|(name, _)| key != *name));
        kept.cloned().chain(own.iter().map(|(key, value)| ((*key).into(), value.clone()))).collect()
    }

    /// What a plugin printed on ADD.
    pub(super) fn result(
        &self,
        network: &Network,
        plugin: &Plugin,
        stdout: &[u8],
    ) -> Result<CniResult, Error> {
        CniResult::parse(stdout, &network.cni_version)
            .map_err(|source| Error::Result { step: step(network, plugin, Verb::Add), source })
    }

    pub(super) fn validate_plugin(&self, network: &Network, plugin: &Plugin) -> Result<(), Error> {
        let path = self.find(network, plugin, Verb::Version)?;
        let wanted = if network.cni_version.is_empty() { OLDEST } else { &network.cni_version };
        if self.versions(step(network, plugin, Verb::Version), &path)?.iter().any(|version| version == wanted)
        {
            return Ok(());
        }
        let plugin_type = plugin.plugin_type.clone();
        Err(Error::UnsupportedVersion { plugin_type, version: wanted.to_owned() })
    }

    /// The versions that a plugin lists; one that does not know VERSION speaks 0.1.0 (C-57).
    pub(super) fn versions(&self, step: Step, path: &Path) -> Result<Vec<String>, Error> {
        #[derive(serde::Deserialize, Default)]
        #[serde(default, rename_all = "camelCase")]
        struct Answer {
            cni_version: String,
            supported_versions: Vec<String>,
        }
        // Plugins built on an old skel want these variables even here.
        let dummy = || "dummy".to_owned();
        let asking = Attachment { netns: dummy(), if_name: dummy(), ..Attachment::default() };
        let stdin = format!("{{\"cniVersion\":\"{}\"}}", Version::V1_1_0);
        let stdout = match self.run(step.clone(), path, stdin.as_bytes(), &asking, dummy().into()) {
            Ok(stdout) => stdout,
            Err(Error::Plugin { source, .. }) if source.to_string() == UNKNOWN_VERSION_COMMAND => {
                return Ok(vec![OLDEST.to_owned()]);
            }
            Err(error) => return Err(error),
        };
        let undecodable = |reason: String| Error::Plugin {
            step: step.clone(),
            source: CniError::new(CniError::DECODE, format!("decoding version info: {reason}"), ""),
        };
        let answer: Answer = de_lenient(&stdout).map_err(|error| undecodable(error.to_string()))?;
        match (answer.cni_version.as_str(), answer.supported_versions.is_empty()) {
            ("", _) => Err(undecodable("missing field cniVersion".to_owned())),
            ("0.2.0", true) => Ok(vec!["0.1.0".to_owned(), "0.2.0".to_owned()]),
            (_, true) => Err(undecodable("missing field supportedVersions".to_owned())),
            _ => Ok(answer.supported_versions),
        }
    }
}

fn step(network: &Network, plugin: &Plugin, verb: Verb) -> Step {
    let form = if network.plugins.len() > 1 { Form::List } else { network.form };
    Step { plugin_type: plugin.plugin_type.clone(), name: plugin.name(), verb, form }
}

/// The error of a plugin that failed: its own object, or libcni's words for the lack of one.
fn plugin_error(output: &Output, how: &str) -> CniError {
    let stderr = text(&output.stderr);
    let own = |msg: String| CniError::new(CniError::INTERNAL, msg, "");
    let silent = || match stderr.as_str() {
        "" => own(format!("netplugin failed with no error message: {how}")),
        text => own(format!("netplugin failed: {text:?}")),
    };
    if output.stdout.is_empty() {
        return silent();
    }
    match CniError::parse(&output.stdout) {
        // An object that says nothing is no message either.
        Ok(error) if error == CniError::default() => silent(),
        Ok(error) => error,
        Err(error) => {
            const MOST: usize = 4096;
            let stdout = &output.stdout[..output.stdout.len().min(MOST)];
            let stdout = text(stdout);
            own(format!("netplugin failed but error parsing its diagnostic message {stdout:?}: {error}"))
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
