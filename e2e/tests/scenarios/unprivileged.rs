//! What the chart's pod of thick mode may do, read off the processes that run: nothing but what `docs/security.md` says.

use std::collections::{BTreeMap, BTreeSet};

use e2e::install::{DAEMON_SET, EXAMPLE_VALUES, OUR_IMAGE};
use e2e::{Archive, NAMESPACE, Pair, World};
use serde_json::Value;
use testbed::cluster::{Containerd, Helm, Node, NodeSpec};

/// What container runtime and kubelet put into every container.
const EVERYONES: [&str; 9] = [
    "/proc",
    "/dev",
    "/sys",
    "/etc/hosts",
    "/etc/hostname",
    "/etc/resolv.conf",
    "/dev/termination-log",
    "/var/run/secrets",
    "/run/secrets",
];

/// Program, and what of the node it sees: where, and whether it may write there.
const PROGRAMS: [(&str, &[(&str, bool)]); 2] = [
    (
        "multus-daemon",
        &[
            ("/etc/cni/net.d/multus.d", false),
            ("/host/etc/cni/net.d", true),
            ("/host/opt/cni", false),
            ("/run/multus", true),
            ("/var/lib/cni/multus", false),
            ("/var/lib/kubelet/pod-resources", false),
        ],
    ),
    (
        "install_multus",
        &[
            ("/host/etc/cni/net.d", false),
            ("/host/opt/cni", true),
            ("/var/lib/cni/multus", false),
            ("/var/lib/cni/results", false),
        ],
    ),
];

#[test]
fn its_processes_have_no_capability_and_see_only_what_they_need() {
    let world = World::up("unprivileged", |spec| {
        spec.node(NodeSpec::new("node1")).node(NodeSpec::new("node2").containerd(Containerd::V2))
    });
    world.load(&[Archive::Ours]).unwrap();
    // With the limits of `examples/values-multus.yaml`, 100m and 50Mi: they hold.
    let options = ["-f", EXAMPLE_VALUES, "--set", OUR_IMAGE, "--set", "metrics.port=9091"];
    world.install(Helm::V4, &options).unwrap();
    let pair = Pair::start(&world, "pair");
    for node in world.cluster().nodes() {
        for (program, mounts) in PROGRAMS {
            let process = Process::find(node, program);
            process.has_no_power();
            process.sees_only(mounts);
        }
    }
    // One daemon takes over from another on the node's own network, where both have the same port.
    world.kubectl(&["-n", NAMESPACE, "rollout", "restart", &format!("daemonset/{DAEMON_SET}")]).unwrap();
    world.rollout(DAEMON_SET).unwrap();
    pair.end(&world);
    for node in world.cluster().nodes() {
        let get = "exec 3<>/dev/tcp/127.0.0.1/9091; printf 'GET /metrics HTTP/1.0\\r\\n\\r\\n' >&3; cat <&3";
        let metrics = node.machine().run("bash", &["-c", get]).unwrap();
        assert!(metrics.contains("multus_calls_total{code=\"0\",verb=\"DEL\"}"), "{metrics}");
    }
    no_container_was_restarted(&world);
}

/// A process of the pod, as the node sees it.
struct Process<'a> {
    node: &'a Node,
    name: String,
    pid: String,
}

impl<'a> Process<'a> {
    fn find(node: &'a Node, program: &str) -> Self {
        let find = "for process in /proc/[0-9]*; do \
                    case \"$(tr '\\0' ' ' <$process/cmdline)\" in /usr/src/multus-cni/bin/$0*) basename $process;; esac; done";
        let found = node.machine().run("sh", &["-c", find, program]).unwrap();
        let pids: Vec<&str> = found.split_whitespace().collect();
        assert_eq!(pids.len(), 1, "{program} on {}: {pids:?}", node.name());
        Self { node, name: format!("{program} on {}", node.name()), pid: pids[0].to_owned() }
    }

    fn read(&self, file: &str) -> String {
        self.node.machine().run("cat", &[format!("/proc/{}/{file}", self.pid)]).unwrap()
    }

    fn has_no_power(&self) {
        let status = self.read("status");
        let status: BTreeMap<&str, &str> = status
            .lines()
            .filter_map(|line| line.split_once(':'))
            .map(|(key, value)| (key, value.trim()))
            .collect();
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            assert_eq!(status[set], "0000000000000000", "{set} of {}", self.name);
        }
        assert_eq!(status["NoNewPrivs"], "1", "{}", self.name);
        // A filter, which is RuntimeDefault's.
        assert_eq!(status["Seccomp"], "2", "{}", self.name);
        // Its own numbering besides the node's: not the node's processes.
        assert_eq!(status["NSpid"].split_whitespace().count(), 2, "{}", self.name);
        for namespace in ["pid", "mnt", "ipc"] {
            let of = |pid: &str| {
                let link = format!("/proc/{pid}/ns/{namespace}");
                self.node.machine().run("readlink", &[link]).unwrap()
            };
            assert_ne!(of(&self.pid), of("1"), "the {namespace} namespace of {}", self.name);
        }
    }

    fn sees_only(&self, allowed: &[(&str, bool)]) {
        let mut found = BTreeSet::new();
        for line in self.read("mountinfo").lines() {
            let fields: Vec<&str> = line.split(' ').collect();
            let (at, writes) = (fields[4], fields[5].split(',').any(|option| option == "rw"));
            if at == "/" {
                assert!(!writes, "the root of {} can be written", self.name);
            } else if !EVERYONES.iter().any(|one| at == *one || at.starts_with(&format!("{one}/"))) {
                found.insert((at.to_owned(), writes));
            }
        }
        let allowed: BTreeSet<_> = allowed.iter().map(|(at, writes)| ((*at).to_owned(), *writes)).collect();
        assert_eq!(found, allowed, "{}", self.name);
    }
}

/// Out of memory within those limits would be one.
fn no_container_was_restarted(world: &World) {
    let pods = world.kubectl(&["-n", NAMESPACE, "get", "pods", "--selector=app=multus", "--output=json"]);
    let pods: Value = serde_json::from_str(&pods.unwrap()).unwrap();
    for pod in pods["items"].as_array().unwrap() {
        for container in pod["status"]["containerStatuses"].as_array().unwrap() {
            assert_eq!(container["restartCount"], 0, "{container}");
        }
    }
}
