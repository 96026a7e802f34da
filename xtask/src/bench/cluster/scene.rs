//! What is measured on: one cluster with three nodes that are alike but for what is installed, and pods that are bound to a node
//! and never get a sandbox of their own, because a volume of theirs does not come: calls are made for them.

use std::collections::BTreeMap;
use std::io::{Seek, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use testbed::cluster::{Cluster, Containerd, Node, NodeSpec, Spec};
use testbed::{images, wait};

use super::agent::{Agent, Call};
use crate::cni;

/// The cluster's name.
pub(super) const NAME: &str = "bench";
/// How many networks pods select.
pub(super) const COUNTS: [usize; 4] = [0, 1, 2, 4];
const NETWORKS: &str = "k8s.v1.cni.cncf.io/networks";
/// The capability by which a runtime hands a pod's annotations over.
const ANNOTATIONS: &str = "io.kubernetes.cri.pod-annotations";
/// Accounts under which the daemons speak to the API server.
const ACCOUNTS: [&str; 2] =
    ["system:serviceaccount:kube-system:multus", "system:serviceaccount:multus-upstream:multus"];
/// How long anything may take that comes by itself.
const PATIENCE: Duration = Duration::from_secs(120);
/// Where the primary's plugin keeps its leases.
const LEASES: &str = "/var/lib/cni/networks/cbr0";

/// A node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Side {
    /// Without Multus.
    Plain,
    Ours,
    Upstream,
}

impl Side {
    pub(super) const ALL: [Self; 3] = [Self::Plain, Self::Ours, Self::Upstream];
    pub(super) const MULTUS: [Self; 2] = [Self::Ours, Self::Upstream];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Ours => "ours",
            Self::Upstream => "upstream",
        }
    }
}

/// A sandbox that calls are made for.
#[derive(Debug, Clone)]
pub(super) struct Held {
    sandbox: cni::Sandbox,
    count: usize,
}

pub(super) struct Scene {
    // They end before what they stand on goes.
    agents: BTreeMap<Side, Agent>,
    held: BTreeMap<(Side, usize), Held>,
    cluster: Option<Cluster>,
}

impl Scene {
    /// Brings the cluster up, with the images in `archives` on it.
    pub(super) fn set(archives: &[PathBuf]) -> Result<Self> {
        let mut spec = Spec::new(NAME).audit(&ACCOUNTS);
        for side in Side::ALL {
            spec = spec.node(NodeSpec::new(side.name()).containerd(Containerd::V2));
        }
        let mut scene =
            Self { agents: BTreeMap::new(), held: BTreeMap::new(), cluster: Some(Cluster::up(&spec)?) };
        for archive in archives {
            scene.cluster().load(archive)?;
        }
        for side in Side::ALL {
            let agent = Agent::start(scene.node(side)?)?;
            scene.agents.insert(side, agent);
        }
        Ok(scene)
    }

    /// Takes it down.
    pub(super) fn strike(mut self) -> Result<()> {
        self.agents.clear();
        self.cluster.take().map_or(Ok(()), Cluster::down)
    }

    pub(super) fn cluster(&self) -> &Cluster {
        match &self.cluster {
            Some(cluster) => cluster,
            None => unreachable!("the cluster is there until the scene is struck"),
        }
    }

    pub(super) fn node(&self, side: Side) -> Result<&Node> {
        self.cluster().node(side.name())
    }

    pub(super) fn agent(&mut self, side: Side) -> Result<&mut Agent> {
        self.agents.get_mut(&side).with_context(|| format!("no agent runs on the node {}", side.name()))
    }

    /// Runs kubectl with that standard input, and returns what it printed.
    pub(super) fn kubectl(&self, arguments: &[&str], input: &str) -> Result<String> {
        super::interrupt::check()?;
        run(self.cluster().kubectl().args(arguments), input)
    }

    /// Creates objects.
    pub(super) fn create(&self, objects: &[Value]) -> Result<()> {
        let list = json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string();
        self.kubectl(&["create", "-f", "-"], &list).map(drop)
    }

    /// Creates the networks, and a pod on each node for each number of them.
    pub(super) fn hold_pods(&mut self) -> Result<()> {
        let networks: Vec<_> = (1..=COUNTS[COUNTS.len() - 1]).map(network_object).collect();
        self.create(&networks)?;
        for side in Side::ALL {
            let pods = COUNTS.map(|count| (format!("held-{}-{count}", side.name()), count));
            let held = self.hold(side, &pods)?;
            self.held.extend(held.into_iter().map(|held| ((side, held.count), held)));
        }
        Ok(())
    }

    /// Creates pods of these names with that many networks, and network namespaces of the same names.
    pub(super) fn hold(&self, side: Side, pods: &[(String, usize)]) -> Result<Vec<Held>> {
        let objects: Vec<_> = pods.iter().map(|(name, count)| held_pod(name, side, *count)).collect();
        let list = json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string();
        let created = self.kubectl(
            &["create", "-f", "-", "--output=jsonpath={.metadata.name} {.metadata.uid}{\"\\n\"}"],
            &list,
        )?;
        let uids: BTreeMap<_, _> = created.lines().filter_map(|line| line.split_once(' ')).collect();
        // As a container runtime makes them.
        let script = "mkdir -p /run/netns && for name; do : >\"/run/netns/$name\" && unshare --net=\"/run/netns/$name\" \
                      ip link set lo up || exit; done";
        let mut arguments = vec!["-c", script, "sh"];
        arguments.extend(pods.iter().map(|(name, _)| name.as_str()));
        self.node(side)?.machine().run("sh", &arguments)?;
        let held = pods.iter().map(|(name, count)| {
            let uid = uids.get(name.as_str()).with_context(|| format!("no uid of the pod {name}"))?;
            let sandbox = cni::Sandbox {
                container_id: name.clone(),
                netns: Path::new("/run/netns").join(name),
                namespace: "default".to_owned(),
                pod: name.clone(),
                uid: (*uid).to_owned(),
            };
            Ok(Held { sandbox, count: *count })
        });
        held.collect()
    }

    /// The pod with that many networks.
    pub(super) fn held(&self, side: Side, count: usize) -> Result<Held> {
        let held = self.held.get(&(side, count)).cloned();
        held.with_context(|| format!("there is no pod with {count} networks on {}", side.name()))
    }

    /// The call that the runtime of that node makes.
    pub(super) fn call(&self, side: Side, verb: &str, held: &Held) -> Result<Call> {
        let node = self.node(side)?;
        let mut netconf = crate::bench::thick::written(&node.machine().path(node.conf_dir()))
            .with_context(|| format!("{} has no Multus configuration in {}", side.name(), node.conf_dir()))?;
        if netconf["capabilities"][ANNOTATIONS] == json!(true) {
            netconf["runtimeConfig"] = json!({ ANNOTATIONS: annotations(held.count) });
        }
        let kind = netconf["type"].as_str().context("the configuration has no type")?;
        let program = Path::new(node.bin_dir()).join(kind);
        Ok(self.plugin(node, verb, held, "eth0", program, &netconf))
    }

    /// The calls that all delegates of that pod come to, in order; the second member is true where the one before was of the same
    /// list, whose result it gets.
    pub(super) fn delegates(&self, side: Side, held: &Held) -> Result<Vec<(Call, Value, bool)>> {
        let node = self.node(side)?;
        let file = node.machine().path(node.conf_dir()).join(node.spec().primary.file());
        let text = std::fs::read(&file).with_context(|| format!("read {}", file.display()))?;
        let list: Value =
            serde_json::from_slice(&text).with_context(|| format!("read {}", file.display()))?;
        let mut calls = Vec::new();
        let mut add = |interface: &str, mut config: Value, follows: bool| {
            config["name"] = config.get("name").unwrap_or(&list["name"]).clone();
            config["cniVersion"] = json!("1.0.0");
            let program = Path::new(node.bin_dir()).join(config["type"].as_str().unwrap_or_default());
            calls.push((self.plugin(node, "ADD", held, interface, program, &config), config, follows));
        };
        for (index, plugin) in list["plugins"].as_array().into_iter().flatten().enumerate() {
            add("eth0", plugin.clone(), index > 0);
        }
        for number in 1..=held.count {
            add(&format!("net{number}"), network(number), false);
        }
        Ok(calls)
    }

    fn plugin(
        &self,
        node: &Node,
        verb: &str,
        held: &Held,
        interface: &str,
        program: PathBuf,
        config: &Value,
    ) -> Call {
        let environment = cni::environment(verb, &held.sandbox, interface, Path::new(node.bin_dir()));
        let text = |value: std::ffi::OsString| value.to_string_lossy().into_owned();
        let environment = environment.into_iter().map(|(key, value)| (key, text(value))).collect();
        Call { program, environment, stdin: config.to_string() }
    }

    /// Removes the primary's leases that are left on that node, and says how many there were.
    pub(super) fn drop_leases(&self, side: Side) -> Result<usize> {
        let folder = self.node(side)?.machine().path(LEASES);
        let mut dropped = 0;
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().parse::<std::net::IpAddr>().is_ok() {
                std::fs::remove_file(entry.path()).context("remove a lease")?;
                dropped += 1;
            }
        }
        Ok(dropped)
    }
}

/// Runs a command with that standard input to its end, and returns what it printed.
fn run(command: &mut Command, input: &str) -> Result<String> {
    let mut stdin = tempfile::tempfile().context("make a file for standard input")?;
    stdin.write_all(input.as_bytes())?;
    stdin.rewind()?;
    let output = command.stdin(Stdio::from(stdin)).output().context("start nsenter")?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
    if !output.status.success() {
        // Without nsenter's own arguments.
        let words = command.get_args().map(|word| word.to_string_lossy().into_owned());
        let words: Vec<_> = words.skip_while(|word| word != "--").skip(1).collect();
        bail!("{} ended with {}: {}", words.join(" "), output.status, text(&output.stderr));
    }
    Ok(text(&output.stdout))
}

/// Waits until `look` finds something; what it fails with is the error.
pub(super) fn until<T>(what: &str, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    wait::until(what, PATIENCE, || look().transpose())?
}

/// Waits until what `look` returns has been the same for a second.
pub(super) fn settled<T: PartialEq>(what: &str, mut look: impl FnMut() -> Result<T>) -> Result<T> {
    let mut last = (look()?, Instant::now());
    until(what, || {
        let now = look()?;
        if now != last.0 {
            last = (now, Instant::now());
        }
        Ok((last.1.elapsed() >= Duration::from_secs(1)).then_some(()))
    })?;
    Ok(last.0)
}

/// A network with an address range and a bridge of its own.
fn network(number: usize) -> Value {
    json!({
        "cniVersion": "1.0.0",
        "name": format!("net-{number}"),
        "type": "bridge",
        "bridge": format!("bench{number}"),
        "ipam": {"type": "host-local", "subnet": format!("10.{}.0.0/16", 60 + number)},
    })
}

fn network_object(number: usize) -> Value {
    network_attachment_definition(&format!("net-{number}"), &network(number))
}

pub(super) fn network_attachment_definition(name: &str, config: &Value) -> Value {
    json!({
        "apiVersion": "k8s.cni.cncf.io/v1",
        "kind": "NetworkAttachmentDefinition",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"config": config.to_string()},
    })
}

/// What selects that many networks.
pub(super) fn annotations(count: usize) -> Value {
    let networks: Vec<_> = (1..=count).map(|number| format!("net-{number}")).collect();
    if networks.is_empty() { json!({}) } else { json!({ NETWORKS: networks.join(",") }) }
}

fn held_pod(name: &str, side: Side, count: usize) -> Value {
    let mut pod = pod(name, side, count, &["sleep", "inf"]);
    // The kubelet makes a sandbox when all volumes are there.
    pod["spec"]["volumes"] = json!([{"name": "never", "configMap": {"name": "never"}}]);
    pod["spec"]["containers"][0]["volumeMounts"] = json!([{"name": "never", "mountPath": "/never"}]);
    pod
}

/// A pod on that node that selects that many networks.
pub(super) fn pod(name: &str, side: Side, count: usize, command: &[&str]) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": "bench"}, "annotations": annotations(count)},
        "spec": {
            "nodeName": side.name(),
            "terminationGracePeriodSeconds": 1,
            "tolerations": [{"operator": "Exists"}],
            "enableServiceLinks": false,
            "automountServiceAccountToken": false,
            "containers": [{"name": "main", "image": images::BUSYBOX, "command": command}],
        },
    })
}

/// Fails unless the cluster can be had at all.
pub(super) fn require_root() -> Result<()> {
    ensure!(
        rustix::process::geteuid().is_root(),
        "the benchmark on a cluster needs root, for namespaces, mounts and control groups"
    );
    Ok(())
}
