//! A node in a folder, for tests: recording plugins beside the real ones, and a pod's namespace.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use libcni::{Network, Object, Search, Verb};
use plan::{Facts, NetConf, OnDisk, Plan, PodIdentity, Sandbox, SpecMode};
use serde_json::{Value, json};
use testbed::Netns;
use testbed::plugin::{Call, Recorder};

use crate::journal::{Element, Loaded, Store};
use crate::{Attached, DelRequest, Deleted, Error, Host};

pub(crate) struct Node {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) recorder: Recorder,
    pub(crate) netns: Netns,
    pub(crate) sandbox: Sandbox,
    pub(crate) host: Host,
}

impl Node {
    /// A node whose recording plugins have these types.
    pub(crate) fn new(types: &[&str]) -> Node {
        let dir = tempfile::tempdir().unwrap();
        let recorder = Recorder::new(&dir.path().join("bin"), types).unwrap();
        let netns = Netns::unique("at").unwrap();
        let mut host = Host::new(
            dir.path().join("cni"),
            Search(vec![recorder.dir.clone(), testbed::parts::reference_plugins().unwrap()]),
        );
        host.environment = std::env::vars_os().collect();
        host.devinfo_root = dir.path().join("devinfo");
        host.runtime_cache = dir.path().join("runtime");
        let sandbox = Sandbox {
            container_id: "pod1".to_owned(),
            netns: netns.path().display().to_string(),
            if_name: "eth0".to_owned(),
            args: vec![("K8S_POD_NAMESPACE".to_owned(), "ns".to_owned())],
        };
        Node { dir, recorder, netns, sandbox, host }
    }

    /// A plan of these networks: eth0, net1, net2, …
    pub(crate) fn plan(&self, networks: &[Value]) -> Plan {
        self.plan_in(networks, SpecMode::Compat)
    }

    pub(crate) fn plan_in(&self, networks: &[Value], mode: SpecMode) -> Plan {
        let mode = if mode == SpecMode::Strict { "strict" } else { "compat" };
        let netconf = json!({"cniVersion": "1.1.0", "name": "m", "type": "multus", "specMode": mode, "delegates": networks});
        let netconf = NetConf::parse(netconf.to_string().as_bytes()).unwrap();
        plan::plan(&Facts {
            netconf: &netconf,
            verb: Verb::Add,
            sandbox: &self.sandbox,
            identity: &identity(),
            pod: None,
            nads: &Default::default(),
            disk: &OnDisk::default(),
            devices: &Default::default(),
        })
        .unwrap()
    }

    pub(crate) fn add(&self, plan: &Plan) -> Result<Attached, Error> {
        crate::add(&self.host, plan, &self.sandbox, &identity(), soon())
    }

    pub(crate) fn del(&self) -> Result<Deleted, Error> {
        self.del_as(&self.sandbox, SpecMode::Compat, &|| None)
    }

    pub(crate) fn del_as(
        &self,
        sandbox: &Sandbox,
        mode: SpecMode,
        without_records: &dyn Fn() -> Option<Plan>,
    ) -> Result<Deleted, Error> {
        let runtime_config = Object::default();
        let request =
            DelRequest { sandbox, mode, runtime_config: &runtime_config, without_records, deadline: soon() };
        crate::del(&self.host, &request)
    }

    pub(crate) fn calls(&self) -> Vec<Call> {
        self.recorder.calls().unwrap()
    }

    /// `VERB type/ifname` of each call so far.
    pub(crate) fn sequence(&self) -> Vec<String> {
        let name = |call: &Call| format!("{} {}/{}", call.verb, call.plugin_type, call.env("CNI_IFNAME"));
        self.calls().iter().map(name).collect()
    }

    pub(crate) fn journal(&self) -> Option<Vec<Element>> {
        match Store::new(&self.host.cni_dir).load(&self.sandbox.container_id) {
            Loaded::Found(elements) => Some(elements),
            Loaded::Missing => None,
            Loaded::Broken(reason) => panic!("{reason}"),
        }
    }

    pub(crate) fn journal_path(&self) -> PathBuf {
        self.host.cni_dir.join(&self.sandbox.container_id)
    }

    pub(crate) fn write_journal(&self, text: &str) {
        fs::create_dir_all(&self.host.cni_dir).unwrap();
        fs::write(self.journal_path(), text).unwrap();
    }

    /// Journals, locks of sandboxes and results; all that a call may leave.
    pub(crate) fn files(&self) -> Vec<String> {
        let mut found = Vec::new();
        for folder in ["", ".locks", "results"] {
            let Ok(entries) = fs::read_dir(self.host.cni_dir.join(folder)) else { continue };
            let entries = entries.map(Result::unwrap).filter(|entry| entry.file_type().unwrap().is_file());
            let names = entries.map(|entry| entry.file_name().into_string().unwrap());
            let standing = [".gate", ".node", ".housekeeping"];
            found.extend(
                names
                    .filter(|name| !standing.contains(&name.as_str()) && !name.starts_with(".slot-"))
                    .map(|name| Path::new(folder).join(name).display().to_string()),
            );
        }
        found.sort();
        found
    }
}

/// A network of one recording plugin. `more` goes into the plugin.
pub(crate) fn network(plugin_type: &str, more: Value) -> Value {
    let mut plugin = json!({
        "type": plugin_type,
        "x-result": {"cniVersion": "1.0.0", "interfaces": [{"name": "$IFNAME", "sandbox": "$NETNS"}]},
    });
    plugin.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({"cniVersion": "1.0.0", "name": format!("conf-{plugin_type}"), "plugins": [plugin]})
}

pub(crate) fn parsed(network: &Value) -> Network {
    Network::parse(network.to_string().as_bytes()).unwrap()
}

pub(crate) fn identity() -> PodIdentity {
    PodIdentity {
        namespace: "ns".to_owned(),
        name: "pod".to_owned(),
        uid: "u1".to_owned(),
        ..PodIdentity::default()
    }
}

pub(crate) fn soon() -> Instant {
    Instant::now() + Duration::from_secs(30)
}

/// Runs a command of the machine.
pub(crate) fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}
