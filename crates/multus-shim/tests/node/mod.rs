//! A node: the shim as a program, recording plugins, a sandbox, and room for a daemon.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use protocol::message::{
    Found, Lookup, Metadata, NetworkAttachmentDefinition, NetworkSpec, Outcome, Pod, Record, Status,
};
use protocol::{LOOKUP, RECORD, socket_path};
use serde_json::{Value, json};
use testbed::Netns;
use testbed::peer::{Asked, Peer, Reply};
use testbed::plugin::Recorder;

pub(crate) const RESULT: &str = r#"{"cniVersion":"1.0.0","interfaces":[{"name":"$IFNAME","sandbox":"$NETNS","mac":"02:00:00:00:00:01"}],"ips":[{"address":"10.1.2.3/24","interface":0}]}"#;

/// How a call of the shim ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The result of an ADD that succeeded.
    pub(crate) fn result(&self) -> Value {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.json()
    }

    /// Code and text of a failure.
    pub(crate) fn error(&self) -> (u64, String) {
        assert_eq!(self.code, Some(1), "{self:?}");
        let error = self.json();
        (error["code"].as_u64().unwrap(), error["msg"].as_str().unwrap().to_owned())
    }
}

pub(crate) struct Node {
    dir: tempfile::TempDir,
    pub(crate) recorder: Recorder,
    pub(crate) netns: Netns,
}

impl Node {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let recorder = Recorder::new(&dir.path().join("bin"), &["primary", "second"]).unwrap();
        std::fs::create_dir(dir.path().join("run")).unwrap();
        Self { dir, recorder, netns: Netns::unique("shim").unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn socket(&self) -> PathBuf {
        socket_path(&self.path("run"))
    }

    pub(crate) fn spooled(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.path("run/spool")).into_iter().flatten();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    /// The netconf, with `more` put over it.
    pub(crate) fn netconf(&self, more: Value) -> Value {
        let result: Value = serde_json::from_str(RESULT).unwrap();
        let mut netconf = json!({
            "cniVersion": "1.1.0", "name": "multus-cni-network", "type": "multus-shim",
            "daemonSocketDir": self.path("run"), "cniDir": self.path("cni"), "binDir": self.recorder.dir,
            "confDir": self.path("conf"),
            "delegates": [{"cniVersion": "1.1.0", "name": "default", "type": "primary", "x-result": result}],
        });
        for (key, value) in more.as_object().unwrap() {
            match value {
                Value::Null => drop(netconf.as_object_mut().unwrap().remove(key)),
                value => netconf[key] = value.clone(),
            }
        }
        netconf
    }

    pub(crate) fn command(&self, program: &Path, verb: &str) -> Command {
        let mut command = Command::new(program);
        command
            .env("CNI_COMMAND", verb)
            .env("CNI_CONTAINERID", "sandbox1")
            .env("CNI_NETNS", self.netns.path())
            .env("CNI_IFNAME", "eth0")
            .env("CNI_PATH", &self.recorder.dir)
            .env("CNI_ARGS", "IgnoreUnknown=1;K8S_POD_NAMESPACE=test;K8S_POD_NAME=pod;K8S_POD_UID=uid1");
        command
    }

    pub(crate) fn call(&self, verb: &str, netconf: &Value) -> Ended {
        run(self.command(&shim(), verb), netconf.to_string().as_bytes())
    }

    pub(crate) fn calls(&self) -> Vec<String> {
        let calls = self.recorder.calls().unwrap();
        calls
            .iter()
            .map(|call| format!("{} {} {}", call.verb, call.plugin_type, call.env("CNI_IFNAME")))
            .collect()
    }

    pub(crate) fn peer(&self, answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Peer {
        Peer::start(&self.socket(), answer).unwrap()
    }
}

pub(crate) fn shim() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_multus-shim"))
}

/// Runs a program to its end.
pub(crate) fn run(mut command: Command, stdin: &[u8]) -> Ended {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // VERSION does not read it.
    let _ = child.stdin.take().unwrap().write_all(stdin);
    let output = child.wait_with_output().unwrap();
    Ended {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// The annotations of the pod, as a runtime hands them over.
pub(crate) fn annotated(networks: &str) -> Value {
    json!({"runtimeConfig": {"io.kubernetes.cri.pod-annotations": {plan::NETWORKS_ANNOTATION: networks}}})
}

pub(crate) fn second() -> Value {
    let result: Value = serde_json::from_str(RESULT).unwrap();
    json!({"cniVersion": "1.0.0", "type": "second", "capabilities": {"deviceID": true}, "x-result": result})
}

/// What a daemon knows and what it was told.
#[derive(Clone, Default)]
pub(crate) struct Knowing {
    pods: BTreeMap<String, BTreeMap<String, String>>,
    nads: BTreeMap<String, (Value, BTreeMap<String, String>)>,
    devices: BTreeMap<String, Vec<String>>,
    told: Arc<Mutex<(Vec<Lookup>, Vec<Record>)>>,
}

impl Knowing {
    pub(crate) fn nad(mut self, name: &str, config: Value) -> Self {
        self.nads.insert(name.to_owned(), (config, BTreeMap::new()));
        self
    }

    pub(crate) fn device(mut self, nad: &str, resource: &str, ids: &[&str]) -> Self {
        let annotations = &mut self.nads.get_mut(nad).unwrap().1;
        annotations.insert(plan::RESOURCE_NAME_ANNOTATION.to_owned(), resource.to_owned());
        self.devices.insert(resource.to_owned(), ids.iter().map(|id| (*id).to_owned()).collect());
        self
    }

    pub(crate) fn pod(mut self, name: &str, networks: &str) -> Self {
        let annotations = BTreeMap::from([(plan::NETWORKS_ANNOTATION.to_owned(), networks.to_owned())]);
        self.pods.insert(name.to_owned(), annotations);
        self
    }

    pub(crate) fn lookups(&self) -> Vec<Lookup> {
        self.told.lock().unwrap().0.clone()
    }

    pub(crate) fn records(&self) -> Vec<Record> {
        self.told.lock().unwrap().1.clone()
    }

    /// Answers as a daemon does.
    pub(crate) fn answer(&self) -> impl Fn(&Asked) -> Reply + Send + Sync + 'static {
        let daemon = self.clone();
        move |asked| match asked.path.as_str() {
            LOOKUP => {
                let lookup: Lookup = serde_json::from_slice(&asked.body).unwrap();
                daemon.told.lock().unwrap().0.push(lookup.clone());
                Reply::Answer(200, serde_json::to_vec(&daemon.found(&lookup)).unwrap())
            }
            RECORD => {
                let record: Record = serde_json::from_slice(&asked.body).unwrap();
                daemon.told.lock().unwrap().1.push(record);
                Reply::Answer(200, br#"{"version":1,"recorded":"written"}"#.to_vec())
            }
            _ => Reply::Answer(404, Vec::new()),
        }
    }

    fn found(&self, lookup: &Lookup) -> Found {
        let status = |name: &str| Status {
            reason: Status::NOT_FOUND.to_owned(),
            message: format!("no {name}"),
            details: None,
        };
        let metadata = |name: &str, annotations: &BTreeMap<String, String>| Metadata {
            namespace: "test".to_owned(),
            name: name.to_owned(),
            uid: Some("uid1".to_owned()),
            annotations: annotations.clone(),
        };
        let pod = lookup.pod.as_ref().map(|pod| match self.pods.get(&pod.name) {
            Some(annotations) => Outcome::Object(Pod { metadata: metadata(&pod.name, annotations) }),
            None => Outcome::Status(status(&pod.name)),
        });
        let networks = lookup.networks.iter().map(|nad| match self.nads.get(&nad.name) {
            Some((config, annotations)) => Outcome::Object(NetworkAttachmentDefinition {
                metadata: metadata(&nad.name, annotations),
                spec: NetworkSpec { config: config.to_string() },
            }),
            None => Outcome::Status(status(&nad.name)),
        });
        let devices = if lookup.devices_of.is_some() { self.devices.clone() } else { BTreeMap::new() };
        Found { version: lookup.version, pod, networks: networks.collect(), devices }
    }
}
