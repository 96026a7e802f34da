//! The verbs, with a recording plugin as every network and a cluster that remembers what it was asked.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Instant;

use engine::{
    Answer, Cluster, ClusterError, Engine, PodLookup, PodRef, Query, Record, Recorded, Silent, spool,
};
use libcni::skel::{self, Call};
use libcni::{CniError, Verb};
use plan::{Nad, NadLookup, NadRef, NetConf, Pod};
use serde_json::{Value, json};
use testbed::Netns;
use testbed::plugin::Recorder;

/// What the cluster holds and what it was asked, shared between the test and the boxes that it hands out.
#[derive(Default)]
struct World {
    pods: BTreeMap<(String, String), Pod>,
    nads: BTreeMap<NadRef, Nad>,
    down: bool,
    queries: Vec<Query>,
    records: Vec<Record>,
}

struct Remembering(Rc<RefCell<World>>);

impl Remembering {
    fn down() -> ClusterError {
        ClusterError::Unavailable { attempt: "GET".to_owned(), reason: "connection refused".to_owned() }
    }
}

impl Cluster for Remembering {
    fn lookup(&self, query: &Query) -> Result<Answer, ClusterError> {
        let mut world = self.0.borrow_mut();
        world.queries.push(query.clone());
        if world.down {
            return Err(Self::down());
        }
        let pod = match &query.pod {
            None => PodLookup::NotAsked,
            Some(asked) => match world.pods.get(&(asked.namespace.clone(), asked.name.clone())) {
                None => PodLookup::Missing,
                Some(pod) => PodLookup::Found(pod.clone()),
            },
        };
        let nads = query.nads.iter().map(|nad| {
            let found = match world.nads.get(nad) {
                Some(found) => NadLookup::Found(found.clone()),
                None => NadLookup::Missing(format!(
                    "network-attachment-definitions.k8s.cni.cncf.io {:?} not found",
                    nad.name
                )),
            };
            (nad.clone(), found)
        });
        Ok(Answer { pod, nads: nads.collect() })
    }

    fn devices(&self, _: &PodRef, _: Instant) -> Result<BTreeMap<String, Vec<String>>, ClusterError> {
        Ok(BTreeMap::new())
    }

    fn record(&self, record: &Record, _: Instant) -> Result<Recorded, ClusterError> {
        let mut world = self.0.borrow_mut();
        if world.down {
            return Err(Self::down());
        }
        world.records.push(record.clone());
        Ok(Recorded::Written)
    }
}

/// A node with one sandbox.
struct Node {
    dir: tempfile::TempDir,
    recorder: Recorder,
    netns: Netns,
    world: Rc<RefCell<World>>,
    unreachable: bool,
    drained_by: spool::DrainedBy,
}

const RESULT: &str = r#"{"cniVersion":"1.0.0","interfaces":[{"name":"$IFNAME","sandbox":"$NETNS","mac":"02:00:00:00:00:01"}],"ips":[{"address":"10.1.2.3/24","interface":0}]}"#;

impl Node {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let recorder = Recorder::new(&dir.path().join("bin"), &["primary", "second"]).unwrap();
        Self {
            dir,
            recorder,
            netns: Netns::unique("verbs").unwrap(),
            world: Rc::default(),
            unreachable: false,
            drained_by: spool::DrainedBy::Calls,
        }
    }

    fn nad(&self, name: &str, config: Value) {
        let reference = NadRef::new("test", name);
        let nad = Nad::new(reference.clone(), config.to_string(), BTreeMap::new());
        self.world.borrow_mut().nads.insert(reference, nad);
    }

    fn spool(&self) -> PathBuf {
        self.dir.path().join("spool")
    }

    fn cni_dir(&self) -> PathBuf {
        self.dir.path().join("cni")
    }

    fn netconf(&self, more: Value) -> Value {
        let result: Value = serde_json::from_str(RESULT).unwrap();
        let mut netconf = json!({
            "cniVersion": "1.0.0", "name": "multus", "type": "multus", "logToStderr": false,
            "cniDir": self.cni_dir(), "binDir": self.recorder.dir, "confDir": self.dir.path().join("conf"),
            "delegates": [{"cniVersion": "1.0.0", "name": "default", "type": "primary", "x-result": result}],
        });
        for (key, value) in more.as_object().unwrap() {
            netconf[key] = value.clone();
        }
        netconf
    }

    fn call(&self, verb: Verb, netconf: &Value) -> Result<Value, CniError> {
        let stdin = netconf.to_string().into_bytes();
        let netns = self.netns.path().display().to_string();
        let environment = |name: &str| {
            Some(match name {
                "CNI_COMMAND" => verb.to_string(),
                "CNI_CONTAINERID" => "sandbox1".to_owned(),
                "CNI_NETNS" => netns.clone(),
                "CNI_IFNAME" => "eth0".to_owned(),
                "CNI_PATH" => self.recorder.dir.display().to_string(),
                "CNI_ARGS" => {
                    "IgnoreUnknown=1;K8S_POD_NAMESPACE=test;K8S_POD_NAME=pod;K8S_POD_UID=uid1".to_owned()
                }
                _ => return None,
            })
        };
        let call: Call = skel::parse_call(&environment, stdin)?;
        let netconf = NetConf::parse(&call.stdin).map_err(|error| error.to_cni())?;
        let connect = |_: &NetConf| -> Result<Option<Box<dyn Cluster>>, ClusterError> {
            assert_ne!(verb, Verb::Del, "DEL must not connect");
            if self.unreachable {
                return Err(ClusterError::Config {
                    attempt: "read kubeconfig /nowhere".to_owned(),
                    reason: "no such file".to_owned(),
                });
            }
            Ok(Some(Box::new(Remembering(Rc::clone(&self.world)))))
        };
        let engine = Engine {
            connect: &connect,
            log: &Silent,
            spool: self.spool(),
            drained_by: self.drained_by,
            environment: std::env::vars_os().collect(),
            observer: libcni::Observer::default(),
        };
        let output = engine.run(&call, &netconf)?;
        Ok(serde_json::from_slice(&output).unwrap_or(Value::Null))
    }

    fn calls(&self) -> Vec<String> {
        let calls = self.recorder.calls().unwrap();
        calls
            .iter()
            .map(|call| format!("{} {} {}", call.verb, call.plugin_type, call.env("CNI_IFNAME")))
            .collect()
    }

    fn spooled(&self) -> usize {
        std::fs::read_dir(self.spool()).map_or(0, Iterator::count)
    }
}

fn annotations(networks: &str) -> Value {
    json!({"runtimeConfig": {"io.kubernetes.cri.pod-annotations": {"k8s.v1.cni.cncf.io/networks": networks}}})
}

fn second() -> Value {
    let result: Value = serde_json::from_str(RESULT).unwrap();
    json!({"cniVersion": "1.0.0", "type": "second", "x-result": result})
}

#[test]
fn a_plain_pod_needs_no_lookup_and_is_recorded() {
    let node = Node::new();
    let result = node.call(Verb::Add, &node.netconf(annotations(""))).unwrap();
    assert_eq!(result["ips"][0]["address"], "10.1.2.3/24");
    assert_eq!(node.calls(), ["ADD primary eth0"]);
    let world = node.world.borrow();
    assert!(world.queries.is_empty());
    assert_eq!(world.records.len(), 1);
    assert_eq!(world.records[0].pod.uid.as_deref(), Some("uid1"));
    let status: Value = serde_json::from_str(world.records[0].status.as_ref().unwrap()).unwrap();
    assert_eq!(status[0]["default"], true);
}

#[test]
fn only_the_nads_are_looked_up_when_the_runtime_hands_the_annotations_over() {
    let node = Node::new();
    node.nad("net1", second());
    node.call(Verb::Add, &node.netconf(annotations("net1"))).unwrap();
    assert_eq!(node.calls(), ["ADD primary eth0", "ADD second net1"]);
    let world = node.world.borrow();
    assert_eq!(world.queries.len(), 1);
    assert!(world.queries[0].pod.is_none());
    assert_eq!(world.queries[0].nads, [NadRef::new("test", "net1")]);
    let messages: Vec<_> = world.records[0].events.iter().map(|event| event.message.clone()).collect();
    assert_eq!(messages, ["Add eth0 [10.1.2.3/24] from default", "Add net1 [10.1.2.3/24] from test/net1"]);
}

#[test]
fn an_older_runtime_has_the_pod_looked_up() {
    let node = Node::new();
    node.nad("net1", second());
    let selects = BTreeMap::from([(plan::NETWORKS_ANNOTATION.to_owned(), "net1".to_owned())]);
    let pod = Pod::new("test", "pod", Some("uid1".to_owned()), selects);
    node.world.borrow_mut().pods.insert(("test".to_owned(), "pod".to_owned()), pod);
    node.call(Verb::Add, &node.netconf(json!({}))).unwrap();
    assert_eq!(node.calls(), ["ADD primary eth0", "ADD second net1"]);
}

#[test]
fn q6_a_missing_pod_fails_with_code_11_and_nothing_runs() {
    let node = Node::new();
    let error = node.call(Verb::Add, &node.netconf(json!({}))).unwrap_err();
    assert_eq!(error.code, CniError::TRY_AGAIN, "{error}");
    assert!(error.msg.contains("test/pod"), "{error}");
    assert!(node.calls().is_empty());
    assert!(!node.cni_dir().join("sandbox1").exists());
}

#[test]
fn a_missing_nad_is_told_to_the_pod_and_nothing_runs() {
    let node = Node::new();
    let error = node.call(Verb::Add, &node.netconf(annotations("nowhere"))).unwrap_err();
    assert!(
        error.msg.contains("cannot find a network-attachment-definition (nowhere) in namespace (test)"),
        "{error}"
    );
    assert!(node.calls().is_empty());
    assert_eq!(node.world.borrow().records[0].events[0].reason, "NoNetworkFound");
}

#[test]
fn q11_q12_del_needs_nothing_but_the_journal() {
    let node = Node::new();
    node.nad("net1", second());
    node.call(Verb::Add, &node.netconf(annotations("net1"))).unwrap();
    node.recorder.clear().unwrap();
    node.call(Verb::Del, &node.netconf(json!({}))).unwrap();
    assert_eq!(node.calls(), ["DEL second net1", "DEL primary eth0"]);
    assert!(!node.cni_dir().join("sandbox1").exists());
    // C-30: a second DEL succeeds too.
    node.call(Verb::Del, &node.netconf(json!({}))).unwrap();
}

#[test]
fn a_record_that_cannot_be_made_waits_and_the_pod_starts() {
    let node = Node::new();
    node.world.borrow_mut().down = true;
    node.call(Verb::Add, &node.netconf(annotations(""))).unwrap();
    assert_eq!(node.spooled(), 1);
    node.world.borrow_mut().down = false;
    let cluster = Remembering(Rc::clone(&node.world));
    let soon = Instant::now() + std::time::Duration::from_secs(10);
    assert_eq!(spool::drain(&node.spool(), &cluster, soon).unwrap().done, 1);
    assert_eq!(node.world.borrow().records.len(), 1);
}

#[test]
fn where_a_daemon_drains_the_spool_a_plain_pod_does_not_wait_for_it() {
    let node = Node { drained_by: spool::DrainedBy::Daemon, ..Node::new() };
    node.nad("net1", second());
    node.call(Verb::Add, &node.netconf(annotations(""))).unwrap();
    assert_eq!(node.spooled(), 1);
    assert!(node.world.borrow().queries.is_empty() && node.world.borrow().records.is_empty());
    node.call(Verb::Del, &node.netconf(json!({}))).unwrap();
    assert_eq!(node.spooled(), 0);

    // One that needed the cluster is recorded before it starts, and leaves the work of others to the daemon.
    let pod = PodRef { namespace: "test".to_owned(), name: "other".to_owned(), uid: None };
    let record = Record { pod, status: Some("[]".to_owned()), events: Vec::new() };
    spool::leave(&node.spool(), "sandbox2", &record).unwrap();
    node.call(Verb::Add, &node.netconf(annotations("net1"))).unwrap();
    assert_eq!((node.spooled(), node.world.borrow().records.len()), (1, 1));
}

#[test]
fn where_the_spool_cannot_be_written_the_daemon_is_asked_after_all() {
    let node = Node { drained_by: spool::DrainedBy::Daemon, ..Node::new() };
    std::fs::write(node.spool(), "no directory").unwrap();
    node.call(Verb::Add, &node.netconf(annotations(""))).unwrap();
    assert_eq!(node.world.borrow().records.len(), 1);
}

#[test]
fn c42_a_cluster_that_does_not_answer_does_not_make_the_node_not_ready() {
    let node = Node::new();
    let mut netconf = node.netconf(json!({"cniVersion": "1.1.0", "clusterNetwork": "lan"}));
    node.world.borrow_mut().down = true;
    node.call(Verb::Status, &netconf).unwrap();
    let node = Node { unreachable: true, ..node };
    node.call(Verb::Status, &netconf).unwrap();
    // What can be asked without it is asked.
    netconf["readinessindicatorfile"] = "/nowhere".into();
    assert_eq!(node.call(Verb::Status, &netconf).unwrap_err().code, CniError::PLUGIN_NOT_AVAILABLE);
}

#[test]
fn the_next_add_makes_the_records_that_wait() {
    let node = Node::new();
    node.world.borrow_mut().down = true;
    node.call(Verb::Add, &node.netconf(annotations(""))).unwrap();
    // Another sandbox of the node left one too.
    let pod = PodRef { namespace: "test".to_owned(), name: "other".to_owned(), uid: None };
    let record = Record { pod, status: Some("[]".to_owned()), events: Vec::new() };
    spool::leave(&node.spool(), "sandbox2", &record).unwrap();
    node.world.borrow_mut().down = false;
    node.call(Verb::Del, &node.netconf(json!({}))).unwrap();
    node.call(Verb::Add, &node.netconf(annotations(""))).unwrap();
    assert_eq!(node.spooled(), 0);
    assert_eq!(node.world.borrow().records.len(), 2);
}

#[test]
fn del_forgets_a_record_that_waits() {
    let node = Node::new();
    node.world.borrow_mut().down = true;
    node.call(Verb::Add, &node.netconf(annotations(""))).unwrap();
    node.call(Verb::Del, &node.netconf(json!({}))).unwrap();
    assert_eq!(node.spooled(), 0);
}

#[test]
fn without_a_way_to_the_cluster_a_plain_pod_starts_and_others_are_told() {
    let node = Node { unreachable: true, ..Node::new() };
    node.call(Verb::Add, &node.netconf(annotations(""))).unwrap();
    assert_eq!(node.spooled(), 1);
    node.call(Verb::Del, &node.netconf(json!({}))).unwrap();
    let error = node.call(Verb::Add, &node.netconf(annotations("net1"))).unwrap_err();
    assert!(error.msg.contains("read kubeconfig /nowhere"), "{error}");
}

#[test]
fn an_api_that_is_down_gives_code_11_for_a_pod_that_needs_it() {
    let node = Node::new();
    node.world.borrow_mut().down = true;
    let error = node.call(Verb::Add, &node.netconf(annotations("net1"))).unwrap_err();
    assert_eq!(error.code, CniError::TRY_AGAIN, "{error}");
    assert!(node.calls().is_empty());
}

#[test]
fn q24_the_result_has_the_version_of_the_netconf() {
    let node = Node::new();
    let mut netconf = node.netconf(annotations(""));
    netconf["cniVersion"] = "0.3.1".into();
    let result = node.call(Verb::Add, &netconf).unwrap();
    assert_eq!(result["cniVersion"], "0.3.1");
    assert_eq!(result["ips"][0]["version"], "4");
}

#[test]
fn c23_a_failing_network_keeps_its_code_and_everything_is_undone() {
    let node = Node::new();
    node.nad(
        "net1",
        json!({"cniVersion": "1.0.0", "type": "second", "x-error": {"code": 117, "msg": "no", "details": "really", "on": ["ADD"]}}),
    );
    let error = node.call(Verb::Add, &node.netconf(annotations("net1"))).unwrap_err();
    assert_eq!((error.code, error.details.as_str()), (117, "really"), "{error}");
    assert!(
        error.msg.starts_with("[test/pod/uid1:net1]: error adding container to network \"net1\": "),
        "{error}"
    );
    assert_eq!(node.calls(), ["ADD primary eth0", "ADD second net1", "DEL second net1", "DEL primary eth0"]);
    assert!(!node.cni_dir().join("sandbox1").exists());
}

#[test]
fn n95_add_waits_for_the_readiness_indicator_no_longer_than_it_may() {
    let node = Node::new();
    let mut netconf = node.netconf(annotations(""));
    netconf["readinessindicatorfile"] = "/nowhere/ready".into();
    netconf["addTimeoutSeconds"] = 1.into();
    let error = node.call(Verb::Add, &netconf).unwrap_err();
    assert!(error.msg.contains("still waiting for readinessindicatorfile @ /nowhere/ready"), "{error}");
    assert!(node.calls().is_empty());
}

#[test]
fn c42_status_asks_the_default_network_and_keeps_its_code() {
    let node = Node::new();
    let mut netconf = node.netconf(json!({"cniVersion": "1.1.0"}));
    netconf["delegates"][0]["cniVersion"] = "1.1.0".into();
    node.call(Verb::Status, &netconf).unwrap();
    assert_eq!(node.calls(), ["STATUS primary "]);
    netconf["delegates"][0]["x-error"] = json!({"code": 50, "msg": "not now", "on": ["STATUS"]});
    let error = node.call(Verb::Status, &netconf).unwrap_err();
    assert_eq!((error.code, error.msg.as_str()), (50, "not now"));
}

#[test]
fn c37_check_reaches_the_default_network_with_its_result() {
    let node = Node::new();
    node.call(Verb::Add, &node.netconf(annotations(""))).unwrap();
    node.recorder.clear().unwrap();
    node.call(Verb::Check, &node.netconf(json!({}))).unwrap();
    let calls = node.recorder.calls().unwrap();
    assert_eq!(calls.len(), 1);
    assert_eq!(calls[0].config()["prevResult"]["ips"][0]["address"], "10.1.2.3/24");
}
