//! What can go wrong on a node, as things to be done to one.

use std::fmt;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use testbed::cluster::{Helm, Node, Passage};
use testbed::wait;

use crate::install::{CHART, DAEMON_SET};
use crate::soak::Scene;
use crate::{Churn, NAMESPACE, Pod};

/// One fault.
pub struct Fault {
    /// How it is called on a command line.
    pub name: &'static str,
    /// What is done, in an administrator's words.
    pub what: &'static str,
    /// How long a pod may take to become ready: a minute more than the fault lasts.
    pub patience: Duration,
    /// What has to be done before pods come and go.
    pub(crate) prepare: fn(&Scene) -> Result<()>,
    /// Puts it in, and takes it away again.
    pub(crate) put_in: fn(&Scene, &Churn<'_>) -> Result<()>,
    /// What has to be undone when all pods are gone.
    pub(crate) undo: fn(&Scene) -> Result<()>,
}

impl fmt::Debug for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name)
    }
}

/// A minute, for faults that are over at once.
const MINUTE: Duration = Duration::from_secs(60);
/// For what keeps the whole node from starting pods for a while.
const MINUTES: Duration = Duration::from_secs(180);
/// How long the API server is away.
const AWAY: Duration = Duration::from_secs(60);
/// How slow it is.
const SLOW: Duration = Duration::from_secs(5);
/// How long the primary's file is away.
const LATE: Duration = Duration::from_secs(5);
/// How long a disk stays full.
const FULL: Duration = Duration::from_secs(20);
/// What lies on the disk that gets full.
const ON_SMALL_DISK: [&str; 2] = ["/var/lib/cni", "/etc/cni"];

const fn fault(
    name: &'static str,
    what: &'static str,
    patience: Duration,
    put_in: fn(&Scene, &Churn<'_>) -> Result<()>,
) -> Fault {
    Fault { name, what, patience, prepare: |_| Ok(()), put_in, undo: |_| Ok(()) }
}

/// All faults.
pub static FAULTS: [Fault; 22] = [
    fault("none", "nothing", MINUTE, |scene, churn| {
        scene.some_pods(churn, 12);
        Ok(())
    }),
    fault("daemon-killed", "the daemon is killed (`kill -9`), twice on each node", MINUTE, daemon_killed),
    fault("daemon-deleted", "the daemon's pods are deleted", MINUTE, daemon_deleted),
    fault("rollout", "`kubectl rollout restart` of the DaemonSet", MINUTE, rolled_out),
    fault("upgrade", "`helm upgrade` with another value, then `helm rollback`", MINUTE, upgraded),
    fault("mode", "`helm upgrade` from thick mode to thin, and back", MINUTE, mode_switched),
    fault("kubelet", "the kubelet is killed and started again", MINUTE, |scene, churn| {
        each_node(scene, churn, |node| node.restart_kubelet("KILL"))
    }),
    fault("containerd", "containerd is restarted, then killed and started again", MINUTE, |scene, churn| {
        each_node(scene, churn, |node| node.restart_containerd("TERM"))?;
        each_node(scene, churn, |node| node.restart_containerd("KILL"))
    }),
    fault("api-cut", "the API server is cut off from the nodes for 60 s", MINUTES, |scene, churn| {
        api(scene, churn, Passage::Shut, true)
    }),
    fault(
        "api-cut-multus",
        "the API server is cut off from Multus alone for 60 s",
        MINUTES,
        |scene, churn| api(scene, churn, Passage::Shut, false),
    ),
    fault("api-slow", "the API server answers the nodes 5 s late, for 60 s", MINUTES, |scene, churn| {
        api(scene, churn, Passage::Slow(SLOW), true)
    }),
    fault(
        "api-slow-multus",
        "the API server answers Multus alone 5 s late, for 60 s",
        MINUTES,
        |scene, churn| api(scene, churn, Passage::Slow(SLOW), false),
    ),
    fault("reboot", "the power of a node is cut, and it boots again", MINUTES, rebooted),
    fault(
        "image",
        "`helm upgrade` to an image that cannot be pulled, then `helm rollback`",
        MINUTE,
        image_missing,
    ),
    fault(
        "conf-deleted",
        "Multus' configuration is deleted, three times on each node",
        MINUTE,
        |scene, churn| conf_damaged(scene, churn, "rm \"$0\""),
    ),
    fault(
        "conf-renamed",
        "Multus' configuration is renamed to `….cilium_bak`, as Cilium does",
        MINUTE,
        |scene, churn| conf_damaged(scene, churn, "mv \"$0\" \"$0.cilium_bak\""),
    ),
    fault("conf-truncated", "Multus' configuration is truncated", MINUTE, |scene, churn| {
        conf_damaged(scene, churn, ": >\"$0\"")
    }),
    fault("primary-late", "the file of the cluster's own network is away for 5 s", MINUTE, primary_late),
    fault(
        "primary-early",
        "the file of the cluster's own network is replaced while pods start",
        MINUTE,
        primary_early,
    ),
    Fault {
        name: "disk-full",
        what: "the disk of /etc/cni and /var/lib/cni is full for 20 s, then /run is",
        patience: MINUTES,
        prepare: |scene| with_small_disk(scene, |node| node.move_to_small_disk(&ON_SMALL_DISK)),
        put_in: disk_full,
        undo: |scene| with_small_disk(scene, |node| node.move_from_small_disk(&ON_SMALL_DISK)),
    },
    fault(
        "journals",
        "the journals of running pods are truncated, emptied and overwritten",
        MINUTE,
        |scene, churn| state_damaged(scene, churn, "/var/lib/cni/multus"),
    ),
    fault(
        "results",
        "Multus' own result files of running pods are truncated, emptied and overwritten",
        MINUTE,
        |scene, churn| state_damaged(scene, churn, "/var/lib/cni/multus/results"),
    ),
];

/// The fault of that name.
///
/// # Errors
/// When there is none; the error lists them.
pub fn named(name: &str) -> Result<&'static Fault> {
    let names = || FAULTS.iter().map(|fault| fault.name).collect::<Vec<_>>().join(", ");
    FAULTS
        .iter()
        .find(|fault| fault.name == name)
        .with_context(|| format!("there is no fault {name:?}; there are: {}", names()))
}

fn each_node(scene: &Scene, churn: &Churn<'_>, act: impl Fn(&Node) -> Result<()>) -> Result<()> {
    for node in scene.nodes() {
        act(node)?;
        scene.some_pods(churn, 4 + scene.random(3));
    }
    Ok(())
}

fn daemon_killed(scene: &Scene, churn: &Churn<'_>) -> Result<()> {
    for _ in 0..2 {
        each_node(scene, churn, |node| {
            let id = scene.world.kubectl(&[
                "-n",
                NAMESPACE,
                "get",
                "pod",
                "--selector=app=multus",
                &format!("--field-selector=spec.nodeName={}", node.name()),
                "--output=jsonpath={.items[*].status.containerStatuses[?(@.name==\"kube-multus\")].containerID}",
            ])?;
            let id = id.trim().trim_start_matches("containerd://");
            // One that the kubelet has not started again yet has no task.
            let _ = node.ctr().args(["task", "kill", "--signal", "SIGKILL", id]).output();
            Ok(())
        })?;
    }
    scene.world.rollout(DAEMON_SET)
}

fn daemon_deleted(scene: &Scene, churn: &Churn<'_>) -> Result<()> {
    scene.world.kubectl(&["-n", NAMESPACE, "delete", "pod", "--selector=app=multus", "--wait=false"])?;
    scene.some_pods(churn, 12);
    scene.world.rollout(DAEMON_SET)
}

fn rolled_out(scene: &Scene, churn: &Churn<'_>) -> Result<()> {
    scene.world.kubectl(&["-n", NAMESPACE, "rollout", "restart", &format!("daemonset/{DAEMON_SET}")])?;
    scene.some_pods(churn, 8);
    scene.world.rollout(DAEMON_SET)
}

fn upgraded(scene: &Scene, churn: &Churn<'_>) -> Result<()> {
    scene.upgrade(&["resources.requests.cpu=20m"])?;
    scene.some_pods(churn, 6);
    scene.roll_back()
}

fn mode_switched(scene: &Scene, churn: &Churn<'_>) -> Result<()> {
    let thin = scene.engine.image(false);
    scene.upgrade(&thin.iter().map(String::as_str).collect::<Vec<_>>())?;
    scene.some_pods(churn, 12);
    scene.roll_back()
}

fn api(scene: &Scene, churn: &Churn<'_>, passage: Passage, for_all: bool) -> Result<()> {
    let set = |passage| {
        scene.gate_of_multus.set(passage);
        if for_all {
            scene.gate_of_nodes.set(passage);
        }
    };
    set(passage);
    scene.last(AWAY);
    set(Passage::Open);
    scene.some_pods(churn, 4);
    Ok(())
}

fn rebooted(scene: &Scene, churn: &Churn<'_>) -> Result<()> {
    let node = &scene.nodes()[scene.random(scene.nodes().len())];
    scene.world.cluster().reboot(node.name())?;
    scene.some_pods(churn, 4);
    scene.world.rollout(DAEMON_SET)
}

fn image_missing(scene: &Scene, churn: &Churn<'_>) -> Result<()> {
    let values = scene.values(&[scene.engine.missing_image()]);
    let upgrade = ["upgrade", "multus", CHART, "--namespace", NAMESPACE].map(str::to_owned);
    let arguments: Vec<_> = upgrade.iter().chain(&values).map(String::as_str).collect();
    scene.world.helm(Helm::V4, &arguments)?;
    let reasons = "--output=jsonpath={.items[*].status['initContainerStatuses','containerStatuses'][*].state.waiting.reason}";
    wait::until("an image that is not pulled", MINUTE, || {
        let pods = scene.world.kubectl(&["-n", NAMESPACE, "get", "pod", "--selector=app=multus", reasons]);
        pods.is_ok_and(|reasons| reasons.contains("Image")).then_some(())
    })?;
    scene.some_pods(churn, 12);
    scene.roll_back()
}

fn conf_damaged(scene: &Scene, churn: &Churn<'_>, script: &str) -> Result<()> {
    let mut damaged = 0;
    for _ in 0..3 {
        for node in scene.nodes() {
            // What was damaged before and never put right cannot be damaged again.
            let Some(conf) = scene.conf(node) else { continue };
            scene.damages(node);
            node.machine().run("sh", &["-ec", script, &conf])?;
            damaged += 1;
            scene.some_pods(churn, 2 + scene.random(3));
        }
    }
    ensure!(damaged >= scene.nodes().len(), "there is no configuration of Multus to damage on some node");
    Ok(())
}

fn primary(node: &Node) -> String {
    format!("{}/{}", node.conf_dir(), node.spec().primary.file())
}

fn primary_late(scene: &Scene, churn: &Churn<'_>) -> Result<()> {
    for node in scene.nodes() {
        let file = primary(node);
        node.machine().run("mv", &[file.as_str(), "/root/primary"])?;
        scene.last(LATE);
        node.machine().run("mv", &["/root/primary", file.as_str()])?;
        scene.some_pods(churn, 4);
    }
    Ok(())
}

/// As its owner does when it starts again: the same network, written anew.
fn primary_early(scene: &Scene, churn: &Churn<'_>) -> Result<()> {
    for _ in 0..3 {
        for node in scene.nodes() {
            let script = "cp \"$0\" \"$0.new\" && echo >>\"$0.new\" && mv \"$0.new\" \"$0\"";
            node.machine().run("sh", &["-ec", script, &primary(node)])?;
            scene.some_pods(churn, 1 + scene.random(3));
        }
    }
    Ok(())
}

fn with_small_disk(scene: &Scene, act: fn(&Node) -> Result<()>) -> Result<()> {
    for node in scene.nodes() {
        act(node)?;
    }
    scene.world.cluster().wait_for_nodes()?;
    // Their mounts are of the folders of before.
    scene.world.kubectl(&["-n", NAMESPACE, "delete", "pod", "--selector=app=multus"])?;
    scene.world.rollout(DAEMON_SET)
}

fn disk_full(scene: &Scene, churn: &Churn<'_>) -> Result<()> {
    let leaves =
        |node: &Node| Pod::new(&format!("leaves-{}", node.name()), node.name()).networks("bridge,second");
    let leaving: Vec<_> = scene.nodes().iter().map(leaves).collect();
    scene.world.start(&leaving)?;
    let full = |fill: fn(&Node, bool) -> Result<()>, full| {
        scene.nodes().iter().try_for_each(|node| fill(node, full))
    };
    full(Node::fill_small_disk, true)?;
    // What frees something may not need room for it.
    churn.pods_must_go(&leaving);
    scene.last(FULL);
    full(Node::fill_small_disk, false)?;
    scene.some_pods(churn, 8);
    full(Node::fill_run, true)?;
    scene.last(FULL);
    full(Node::fill_run, false)?;
    scene.some_pods(churn, 8);
    Ok(())
}

/// Each file in that folder in one of three ways.
fn state_damaged(scene: &Scene, churn: &Churn<'_>, folder: &str) -> Result<()> {
    const SCRIPT: &str = "n=$1; for file in \"$0\"/[0-9a-zA-Z]*; do
        [ -f \"$file\" ] || continue
        n=$((n + 1))
        case $((n % 3)) in
          0) : >\"$file\" ;;
          1) truncate -s 100 \"$file\" ;;
          2) echo garbage >\"$file\" ;;
        esac
        echo \"$file\"
      done";
    for _ in 0..2 {
        let mut damaged = 0;
        for node in scene.nodes() {
            let files = node.machine().run("sh", &["-ec", SCRIPT, folder, &scene.random(3).to_string()])?;
            damaged += files.lines().count();
        }
        ensure!(damaged > 0, "there is nothing in {folder} to damage");
        scene.some_pods(churn, 8);
    }
    Ok(())
}
