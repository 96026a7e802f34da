//! Standalone under Go's libcni: `cnitool` calls the program as any container runtime does that knows no Kubernetes.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};
use testbed::Netns;

const NETWORKS: &str = "
apiVersion: k8s.cni.cncf.io/v1
kind: NetworkAttachmentDefinition
metadata: {name: storage}
spec:
  config: |
    {\"cniVersion\": \"1.0.0\", \"name\": \"storage\", \"type\": \"bridge\", \"bridge\": \"toolstorage\",
     \"ipam\": {\"type\": \"host-local\", \"subnet\": \"10.91.0.0/24\"}}
";

/// A machine without Kubernetes: what docs/standalone.md tells to put where.
struct Machine {
    dir: tempfile::TempDir,
    netns: Netns,
}

impl Machine {
    fn new(pod: &str) -> Self {
        let machine = Self { dir: tempfile::tempdir().unwrap(), netns: Netns::unique("tool").unwrap() };
        for folder in ["net.d", "bin", "manifests", "var-lib"] {
            fs::create_dir(machine.path(folder)).unwrap();
        }
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_multus"), machine.path("bin/multus")).unwrap();
        let conflist = json!({
            "cniVersion": "1.0.0", "name": "pods",
            "plugins": [{
                "type": "multus",
                "manifests": machine.path("manifests"),
                "delegates": [{
                    "cniVersion": "1.0.0", "name": "primary", "type": "bridge", "bridge": "toolprimary", "isGateway": true,
                    "ipam": {"type": "host-local", "subnet": "10.90.0.0/24", "routes": [{"dst": "0.0.0.0/0"}]},
                }],
            }],
        });
        fs::write(machine.path("net.d/00-multus.conflist"), conflist.to_string()).unwrap();
        fs::write(machine.path("manifests/networks.yaml"), NETWORKS).unwrap();
        let pod = format!(
            "apiVersion: v1\nkind: Pod\nmetadata:\n  name: {pod}\n  annotations: {{k8s.v1.cni.cncf.io/networks: storage}}\n"
        );
        fs::write(machine.path("manifests/pod.yaml"), pod).unwrap();
        machine
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// `cnitool VERB pods NETNS`, with a /var/lib of its own: libcni, multus and host-local keep their state there.
    fn cnitool(&self, verb: &str, arguments: &str) -> Output {
        let plugins = testbed::parts::reference_plugins().unwrap();
        let script = r#"mount --bind "$1" /var/lib && shift && exec "$@""#;
        Command::new("unshare")
            .args(["--mount", "--propagation", "private", "sh", "-c", script, "sh"])
            .arg(self.path("var-lib"))
            .arg(testbed::parts::cnitool().unwrap())
            .args([verb, "pods"])
            .arg(self.netns.path())
            .env("CNI_PATH", format!("{}:{}", self.path("bin").display(), plugins.display()))
            .env("NETCONFPATH", self.path("net.d"))
            .env("CNI_ARGS", arguments)
            .output()
            .unwrap()
    }

    fn succeeds(&self, verb: &str, arguments: &str) -> String {
        let output = self.cnitool(verb, arguments);
        let told = format!("{}{}", text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "cnitool {verb}: {told}");
        text(&output.stdout)
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Files below `dir` that tell of an attachment: not locks, nor where host-local goes on with its addresses.
fn attachments_below(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if entry.file_type().unwrap().is_dir() {
            found.extend(attachments_below(&entry.path()));
        } else if name != "lock" && !name.starts_with('.') && !name.starts_with("last_reserved") {
            found.push(entry.path().display().to_string());
        }
    }
    found
}

#[test]
fn cnitool_adds_checks_and_deletes_all_networks_of_a_pod() {
    let machine = Machine::new("web");
    let pod = "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web";
    machine.succeeds("status", pod);
    let result: Value = serde_json::from_str(&machine.succeeds("add", pod)).unwrap();
    assert_eq!(result["ips"][0]["address"], "10.90.0.2/24");
    assert_eq!(machine.netns.link_names().unwrap(), ["eth0", "net1"]);
    assert_eq!(machine.netns.addresses().unwrap()["net1"], ["10.91.0.2/24"]);
    let status = fs::read_to_string(machine.path("manifests/default.web.network-status.json")).unwrap();
    let status: Value = serde_json::from_str(&status).unwrap();
    let names: Vec<_> =
        status["networkStatus"].as_array().unwrap().iter().map(|entry| entry["interface"].clone()).collect();
    assert_eq!(names, ["eth0", "net1"]);
    machine.succeeds("check", pod);

    // CHECK is no formality: it fails when an address has gone.
    machine.netns.run("ip", &["address", "flush", "dev", "eth0"]).unwrap();
    assert!(!machine.cnitool("check", pod).status.success());

    machine.succeeds("del", pod);
    assert_eq!(machine.netns.link_names().unwrap(), Vec::<String>::new());
    assert_eq!(attachments_below(&machine.path("var-lib")), Vec::<String>::new());
    // C-26: once more does no harm.
    machine.succeeds("del", pod);
}

#[test]
fn a_container_of_a_runtime_without_pods_is_found_by_its_id() {
    // cnitool makes the ID from the namespace's path; here a first call tells it.
    let machine = Machine::new("somebody-else");
    machine.succeeds("add", "");
    assert_eq!(machine.netns.link_names().unwrap(), ["eth0"], "no manifest names the container");
    let journals = fs::read_dir(machine.path("var-lib/cni/multus")).unwrap().flatten();
    let mut ids = journals.map(|entry| entry.file_name().into_string().unwrap());
    let id = ids.find(|name| name.starts_with("cnitool-")).unwrap();
    machine.succeeds("del", "");

    let manifest = fs::read_to_string(machine.path("manifests/pod.yaml")).unwrap();
    fs::write(machine.path("manifests/pod.yaml"), manifest.replace("somebody-else", &id)).unwrap();
    machine.succeeds("add", "");
    assert_eq!(machine.netns.link_names().unwrap(), ["eth0", "net1"]);
    machine.succeeds("del", "");
    assert_eq!(machine.netns.link_names().unwrap(), Vec::<String>::new());
    assert_eq!(attachments_below(&machine.path("var-lib")), Vec::<String>::new());
}
