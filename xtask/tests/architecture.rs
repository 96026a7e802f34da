//! The directions of dependencies that ARCHITECTURE.md promises, read from cargo's own metadata.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

/// Crates that speak to Kubernetes, or are asynchronous, or bring TLS.
const HEAVY: [&str; 11] = [
    "kube",
    "kube-client",
    "k8s-openapi",
    "tokio",
    "hyper",
    "tonic",
    "rustls",
    "ring",
    "futures",
    "async-trait",
    "reqwest",
];

struct Graph {
    names: BTreeMap<String, String>,
    edges: BTreeMap<String, Vec<String>>,
}

impl Graph {
    fn of_workspace() -> Self {
        let output = Command::new(env!("CARGO"))
            .args(["metadata", "--format-version", "1", "--locked", "--offline"])
            .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let names = metadata["packages"]
            .as_array()
            .unwrap()
            .iter()
            .map(|package| (text(&package["id"]), text(&package["name"])))
            .collect();
        let edges = metadata["resolve"]["nodes"]
            .as_array()
            .unwrap()
            .iter()
            .map(|node| {
                let normal = node["deps"].as_array().unwrap().iter().filter(|dep| {
                    dep["dep_kinds"].as_array().unwrap().iter().any(|kind| kind["kind"].is_null())
                });
                (text(&node["id"]), normal.map(|dep| text(&dep["pkg"])).collect())
            })
            .collect();
        Self { names, edges }
    }

    /// Names of all crates that `root` is built from, itself left out.
    fn below(&self, root: &str) -> BTreeSet<&str> {
        let id = self.names.iter().find(|(id, name)| *name == root && id.starts_with("path+")).unwrap().0;
        let mut seen = BTreeSet::new();
        let mut open = vec![id];
        while let Some(id) = open.pop() {
            for next in &self.edges[id] {
                if seen.insert(self.names[next].as_str()) {
                    open.push(next);
                }
            }
        }
        seen
    }
}

#[test]
fn each_crate_depends_only_on_those_before_it() {
    let graph = Graph::of_workspace();
    let ours = [
        "libcni",
        "plan",
        "attach",
        "engine",
        "manifest-cluster",
        "kube-cluster",
        "node-config",
        "plugin-process",
        "protocol",
        "daemon",
        "multus-shim",
        "multus",
        "oci-archive",
        "testbed",
        "chart",
        "e2e",
        "xtask",
    ];
    let allowed: [(&str, &[&str]); 16] = [
        ("libcni", &[]),
        ("plan", &["libcni"]),
        ("attach", &["libcni", "plan"]),
        ("engine", &["libcni", "plan", "attach"]),
        ("manifest-cluster", &["libcni", "plan", "attach", "engine"]),
        ("kube-cluster", &["libcni", "plan", "attach", "engine"]),
        ("node-config", &["libcni", "plan"]),
        ("plugin-process", &["libcni", "plan", "attach", "engine"]),
        ("protocol", &["libcni", "plan", "attach", "engine"]),
        (
            "daemon",
            &[
                "libcni",
                "plan",
                "attach",
                "engine",
                "plugin-process",
                "protocol",
                "kube-cluster",
                "node-config",
            ],
        ),
        ("multus-shim", &["libcni", "plan", "attach", "engine", "plugin-process", "protocol"]),
        (
            "multus",
            &[
                "libcni",
                "plan",
                "attach",
                "engine",
                "node-config",
                "plugin-process",
                "protocol",
                "daemon",
                "manifest-cluster",
                "kube-cluster",
            ],
        ),
        ("oci-archive", &[]),
        ("testbed", &["oci-archive"]),
        ("chart", &["oci-archive", "testbed"]),
        ("e2e", &["oci-archive", "testbed"]),
    ];
    for (name, allowed) in allowed {
        let used: Vec<_> = graph.below(name).into_iter().filter(|dep| ours.contains(dep)).collect();
        let forbidden: Vec<_> = used.iter().filter(|dep| !allowed.contains(dep)).collect();
        assert!(forbidden.is_empty(), "{name} must not depend on {forbidden:?}");
    }
}

#[test]
fn the_host_side_knows_neither_kubernetes_nor_async() {
    let graph = Graph::of_workspace();
    for name in ["libcni", "plan", "attach", "engine", "node-config", "manifest-cluster", "multus-shim"] {
        let below = graph.below(name);
        let heavy: Vec<_> = HEAVY.iter().filter(|heavy| below.contains(*heavy)).collect();
        assert!(heavy.is_empty(), "{name} must not be built with {heavy:?}");
    }
}

/// `plan` is a pure function: nothing in its sources may reach files, processes, sockets, the clock or the environment.
#[test]
fn plan_does_no_io() {
    let forbidden = [
        "std::fs",
        "std::process",
        "std::net::Tcp",
        "std::net::Udp",
        "std::os::unix::net",
        "std::time::Instant",
        "SystemTime",
        "std::env",
        "std::thread",
        "File::open",
        "rustix",
    ];
    for path in sources(concat!(env!("CARGO_MANIFEST_DIR"), "/../crates/plan/src").as_ref()) {
        let text = std::fs::read_to_string(&path).unwrap();
        for word in forbidden {
            assert!(!text.contains(word), "{} names {word}", path.display());
        }
    }
}

/// Upstream and Go write maps with sorted keys; `preserve_order`, switched on by any crate, would change that for all.
#[test]
fn serde_json_sorts_keys() {
    let output = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--workspace",
            "--edges",
            "features",
            "--invert",
            "serde_json",
            "--offline",
            "--locked",
        ])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(!String::from_utf8_lossy(&output.stdout).contains("preserve_order"));
}

fn sources(dir: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    assert!(!found.is_empty(), "{} has no sources", dir.display());
    found
}
