//! A node in a folder, with a pod on it: real network namespaces, the reference plugins, and recording plugins for the faults.
#![allow(dead_code, reason = "each test program uses a part of it")]
#![allow(unreachable_pub, reason = "a module of test programs has no outside")]
#![allow(clippy::unwrap_used, reason = "tests may unwrap")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use attach::{Attached, Checked, DelRequest, Deleted, Error, Host};
use libcni::{Entry, Object, Search, Verb};
use plan::{Facts, NETWORKS_ANNOTATION, Nad, NadLookup, NadRef, NetConf, OnDisk, Plan, PodIdentity, Sandbox};
use serde_json::{Value, json};
use tempfile::TempDir;
use testbed::Netns;
use testbed::plugin::{Call, Recorder};

/// Types of the recording plugins that a node has.
pub const TYPES: [&str; 4] = ["main", "one", "two", "three"];

/// Folders, plugins and addresses of one node.
pub struct Node {
    pub dir: TempDir,
    pub host: Host,
    pub recorder: Recorder,
    number: u8,
}

impl Node {
    pub fn new() -> Node {
        static NEXT: AtomicU8 = AtomicU8::new(1);
        let dir = tempfile::tempdir().unwrap();
        let recorder = Recorder::new(&dir.path().join("bin"), &TYPES).unwrap();
        let plugins = testbed::parts::reference_plugins().unwrap();
        let mut host = Host::new(dir.path().join("cni"), Search(vec![recorder.dir.clone(), plugins]));
        host.environment = std::env::vars_os().collect();
        host.runtime_cache = dir.path().join("runtime");
        Node { dir, host, recorder, number: NEXT.fetch_add(1, Ordering::Relaxed) }
    }

    /// A bridge with addresses of both families from host-local, which hands out its gateways as default routes.
    pub fn bridge(&self, name: &str, place: u8) -> Value {
        json!({"cniVersion": "1.0.0", "name": name, "plugins": [{
            "type": "bridge", "bridge": format!("br{}x{place}", self.number), "isDefaultGateway": true,
            "ipam": {
                "type": "host-local", "dataDir": self.dir.path().join("leases"),
                "ranges": [
                    [{"subnet": format!("10.{}.{place}.0/24", self.number)}],
                    [{"subnet": format!("fd00:{}:{place}::/64", self.number)}],
                ],
            },
        }]})
    }

    /// An address in the IPv4 subnet of [`Node::bridge`].
    pub fn v4(&self, place: u8, host: u8) -> String {
        format!("10.{}.{place}.{host}", self.number)
    }

    /// An address in the IPv6 subnet of [`Node::bridge`].
    pub fn v6(&self, place: u8, host: u8) -> String {
        format!("fd00:{}:{place}::{host:x}", self.number)
    }

    pub fn pod(&self) -> Pod<'_> {
        let netns = Netns::unique("attach").unwrap();
        let sandbox = Sandbox {
            container_id: "pod1".to_owned(),
            netns: netns.path().display().to_string(),
            if_name: "eth0".to_owned(),
            args: Vec::new(),
        };
        Pod {
            node: self,
            netns,
            sandbox,
            default: single("main", json!({})),
            mode: "compat",
            nads: BTreeMap::new(),
            networks: Value::Null,
            devices: BTreeMap::new(),
            runtime_config: json!({}),
        }
    }

    pub fn journal(&self, container_id: &str) -> PathBuf {
        self.host.cni_dir.join(container_id)
    }

    /// The journal as JSON; null where there is none.
    pub fn journal_json(&self, container_id: &str) -> Value {
        fs::read(self.journal(container_id))
            .map_or(Value::Null, |bytes| serde_json::from_slice(&bytes).unwrap())
    }

    /// Changes what the journal says.
    pub fn edit_journal(&self, container_id: &str, change: impl FnOnce(&mut Vec<Value>)) {
        let mut journal = self.journal_json(container_id);
        change(journal.as_array_mut().unwrap());
        fs::write(self.journal(container_id), journal.to_string()).unwrap();
    }

    pub fn cached(&self, network: &str, if_name: &str) -> Option<Entry> {
        libcni::Cache::new(&self.host.cni_dir).read(network, "pod1", if_name).unwrap()
    }

    /// The routes in a cached result, as `destination via gateway`.
    pub fn cached_routes(&self, network: &str, if_name: &str) -> Vec<String> {
        let entry = self.cached(network, if_name).unwrap();
        let result = entry.cni_result().unwrap().unwrap();
        let shown = |gateway: Option<_>| gateway.map(|gateway: std::net::IpAddr| gateway.to_string());
        let routes = result.routes().iter();
        routes.map(|route| format!("{} via {}", route.dst, shown(route.gw).unwrap_or_default())).collect()
    }

    pub fn calls(&self, verb: &str) -> Vec<Call> {
        self.recorder.calls().unwrap().into_iter().filter(|call| call.verb == verb).collect()
    }

    /// `type ifname` of each call of a verb, in their order.
    pub fn called(&self, verb: &str) -> Vec<String> {
        let calls = self.calls(verb).into_iter();
        calls.map(|call| format!("{} {}", call.plugin_type, call.env("CNI_IFNAME"))).collect()
    }

    /// Files below the node's `cniDir`, but the locks that are not a sandbox's.
    pub fn files(&self) -> Vec<String> {
        files(&self.host.cni_dir)
    }

    pub fn leases(&self) -> Vec<String> {
        let all = files(&self.dir.path().join("leases"));
        all.into_iter().filter(|name| !name.starts_with("last_reserved") && name != "lock").collect()
    }

    /// Makes housekeeping due, which otherwise looks at the node every ten seconds.
    pub fn housekeeping(&self) -> Vec<String> {
        let _ = fs::remove_file(self.host.cni_dir.join(".locks/.housekeeping"));
        fs::create_dir_all(self.host.cni_dir.join(".locks")).unwrap();
        attach::housekeeping(&self.host, Duration::from_secs(20)).lines
    }

    /// The sandbox's lock, as another process would hold it.
    pub fn hold_lock(&self, name: &str) -> Held {
        let dir = self.host.cni_dir.join(".locks");
        fs::create_dir_all(&dir).unwrap();
        let file = fs::File::create(dir.join(name)).unwrap();
        rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive).unwrap();
        Held(file)
    }
}

/// A lock that is held until this is dropped.
pub struct Held(fs::File);

impl Drop for Held {
    fn drop(&mut self) {
        // Closing is not enough: a child of another test has the descriptor too until it runs its program.
        rustix::fs::flock(&self.0, rustix::fs::FlockOperation::Unlock).unwrap();
    }
}

/// One pod of [`Node`], as its annotation and its NADs describe it.
pub struct Pod<'n> {
    pub node: &'n Node,
    pub netns: Netns,
    pub sandbox: Sandbox,
    default: Value,
    mode: &'static str,
    nads: BTreeMap<NadRef, NadLookup>,
    networks: Value,
    devices: BTreeMap<String, Vec<String>>,
    runtime_config: Value,
}

impl Pod<'_> {
    pub fn default_network(mut self, config: Value) -> Self {
        self.default = config;
        self
    }

    pub fn strict(mut self) -> Self {
        self.mode = "strict";
        self
    }

    pub fn id(mut self, container_id: &str) -> Self {
        self.sandbox.container_id = container_id.to_owned();
        self
    }

    pub fn nad(self, name: &str, config: Value) -> Self {
        self.nad_with(name, config, &[])
    }

    pub fn nad_with(mut self, name: &str, config: Value, annotations: &[(&str, &str)]) -> Self {
        let annotations = annotations.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
        let nad = Nad::new(NadRef::new("test", name), config.to_string(), annotations);
        self.nads.insert(nad.reference.clone(), NadLookup::Found(nad));
        self
    }

    /// The networks annotation.
    pub fn selects(mut self, items: Value) -> Self {
        self.networks = items;
        self
    }

    pub fn device(mut self, resource: &str, id: &str) -> Self {
        self.devices.entry(resource.to_owned()).or_default().push(id.to_owned());
        self
    }

    pub fn runtime_config(mut self, config: Value) -> Self {
        self.runtime_config = config;
        self
    }

    pub fn plan(&self, verb: Verb) -> Plan {
        let netconf = json!({"cniVersion": "1.0.0", "name": "m", "type": "multus", "specMode": self.mode,
            "runtimeConfig": self.runtime_config, "delegates": [self.default]});
        let annotations = match &self.networks {
            Value::Null => BTreeMap::new(),
            items => [(NETWORKS_ANNOTATION.to_owned(), items.to_string())].into(),
        };
        let pod = plan::Pod::new("test", "p1", Some("u1".to_owned()), annotations);
        plan::plan(&Facts {
            netconf: &NetConf::parse(netconf.to_string().as_bytes()).unwrap(),
            verb,
            sandbox: &self.sandbox,
            identity: &identity(),
            pod: Some(&pod),
            nads: &self.nads,
            disk: &OnDisk::default(),
            devices: &self.devices,
        })
        .unwrap()
    }

    pub fn add(&self) -> Result<Attached, Error> {
        self.add_until(soon())
    }

    pub fn add_until(&self, deadline: Instant) -> Result<Attached, Error> {
        attach::add(&self.node.host, &self.plan(Verb::Add), &self.sandbox, &identity(), deadline)
    }

    pub fn del(&self) -> Result<Deleted, Error> {
        self.del_until(soon())
    }

    pub fn del_until(&self, deadline: Instant) -> Result<Deleted, Error> {
        let plan = self.plan(Verb::Del);
        let runtime_config = Object::parse(self.runtime_config.to_string().as_bytes()).unwrap();
        let request = DelRequest {
            sandbox: &self.sandbox,
            mode: plan.spec_mode,
            runtime_config: &runtime_config,
            // As the engine does it: the default network alone, since the pod is not looked up.
            without_records: &|| {
                let attachments = plan.attachments.iter().take(1).cloned().collect();
                Some(Plan { attachments, ..plan.clone() })
            },
            deadline,
        };
        attach::del(&self.node.host, &request)
    }

    pub fn check(&self) -> Result<Checked, Error> {
        attach::check(&self.node.host, &self.sandbox, self.plan(Verb::Check).spec_mode, soon())
    }

    /// The default routes in the pod of one family, as `gateway dev metric`, the preferred one first.
    pub fn default_routes(&self, family: &str) -> Vec<String> {
        let text = self.netns.run("ip", &["-j", family, "route", "show", "default"]).unwrap();
        let mut routes: Vec<Value> = serde_json::from_str(text.trim()).unwrap_or_default();
        routes.sort_by_key(|route| route["metric"].as_u64().unwrap_or(0));
        let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        routes.iter().map(|route| format!("{} {}", word(&route["gateway"]), word(&route["dev"]))).collect()
    }
}

pub fn identity() -> PodIdentity {
    PodIdentity {
        namespace: "test".to_owned(),
        name: "p1".to_owned(),
        uid: "u1".to_owned(),
        infra_container_id: String::new(),
    }
}

/// A network of one recording plugin, which makes the interface it is asked for.
pub fn single(plugin_type: &str, keys: Value) -> Value {
    let mut config = json!({
        "cniVersion": "1.0.0", "name": format!("{plugin_type}-net"), "type": plugin_type,
        "x-links": ["$IFNAME"],
        "x-result": {"cniVersion": "1.0.0", "interfaces": [{"name": "$IFNAME", "sandbox": "$NETNS"}]},
    });
    for (key, value) in keys.as_object().unwrap() {
        config[key] = value.clone();
    }
    config
}

/// The error that a recording plugin gives to these verbs.
pub fn fails(code: u32, msg: &str, on: &[&str]) -> Value {
    json!({"x-error": {"code": code, "msg": msg, "on": on}})
}

pub fn soon() -> Instant {
    Instant::now() + Duration::from_secs(30)
}

fn files(dir: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if entry.file_type().unwrap().is_dir() {
            found.extend(files(&entry.path()));
        } else if !name.starts_with('.') {
            found.push(name);
        }
    }
    found.sort();
    found
}
