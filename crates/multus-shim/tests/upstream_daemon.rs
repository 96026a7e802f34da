//! The shim with upstream's real daemon behind the socket.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[allow(dead_code, reason = "each test program uses a part of it")]
mod node;

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use node::{Node, second};
use serde_json::{Value, json};
use testbed::apiserver::FakeApi;
use testbed::wait::until;

const LONG: Duration = Duration::from_secs(60);
/// Where Go's in-cluster client finds its credentials; `/run` is this test program's own.
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

struct Upstream(Child);

impl Drop for Upstream {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(node: &Node, api: &FakeApi) -> Upstream {
    testbed::require_namespace().unwrap();
    fs::create_dir_all(SERVICE_ACCOUNT).unwrap();
    fs::write(Path::new(SERVICE_ACCOUNT).join("token"), "testbed-token").unwrap();
    fs::write(Path::new(SERVICE_ACCOUNT).join("ca.crt"), api.authority().unwrap()).unwrap();
    let net_d = node.path("net.d");
    fs::create_dir(&net_d).unwrap();
    let result: Value = serde_json::from_str(node::RESULT).unwrap();
    let primary = json!({"cniVersion": "1.0.0", "name": "default", "type": "primary", "x-result": result});
    fs::write(net_d.join("10-default.conf"), primary.to_string()).unwrap();
    let config = json!({
        "cniVersion": "1.0.0", "logLevel": "verbose", "logToStderr": true, "cniConfigDir": net_d,
        "multusAutoconfigDir": net_d, "multusConfigFile": "auto", "socketDir": node.path("run"),
        "daemonSocketDir": node.path("run"), "binDir": node.recorder.dir, "cniDir": node.path("cni"),
    });
    fs::write(node.path("daemon-config.json"), config.to_string()).unwrap();
    let log = fs::File::create(node.path("upstream.log")).unwrap();
    let child = Command::new(testbed::parts::upstream_multus().unwrap().join("multus-daemon"))
        .arg("-config")
        .arg(node.path("daemon-config.json"))
        .env("KUBERNETES_SERVICE_HOST", "127.0.0.1")
        .env("KUBERNETES_SERVICE_PORT", api.port().to_string())
        .env("MULTUS_NODE_NAME", "node1")
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap();
    Upstream(child)
}

#[test]
fn upstream_s_daemon_attaches_for_our_shim_which_detaches_without_it() {
    let node = Node::new();
    let api = FakeApi::tls().unwrap();
    api.add_nad_with("test", "lan", &second().to_string());
    api.add_pod(json!({
        "metadata": {"name": "pod", "namespace": "test", "uid": "uid1", "annotations": {plan::NETWORKS_ANNOTATION: "lan"}},
        "spec": {"nodeName": "node1", "containers": [{"name": "c", "image": "i"}]},
    }));
    let upstream = start(&node, &api);
    let conf = node.path("net.d/00-multus.conf");
    let read = || fs::read(&conf).ok().and_then(|text| serde_json::from_slice::<Value>(&text).ok());
    let log = || fs::read_to_string(node.path("upstream.log")).unwrap();
    let netconf =
        until("upstream's configuration", LONG, read).unwrap_or_else(|error| panic!("{error}\n{}", log()));
    assert_eq!(netconf["type"], "multus-shim");

    let added = node.call("ADD", &netconf);
    assert_eq!(added.code, Some(0), "{added:?}\n{}", log());
    assert_eq!(added.result()["ips"][0]["address"], "10.1.2.3/24");
    assert_eq!(node.calls(), ["ADD primary eth0", "ADD second net1"]);
    let status = || api.annotation("test", "pod", plan::STATUS_ANNOTATION);
    assert!(until("the status", LONG, status).unwrap().contains("test/lan"));

    // What upstream's daemon wrote down is all that our shim needs.
    drop(upstream);
    node.recorder.clear().unwrap();
    assert_eq!(node.call("DEL", &netconf).code, Some(0));
    assert_eq!(node.calls(), ["DEL second net1", "DEL primary eth0"]);
    assert!(!node.path("cni/sandbox1").exists());
}
