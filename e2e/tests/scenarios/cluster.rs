//! The cluster that all other tests stand on.

use std::fs;
use std::process::Command;

use e2e::{Leftovers, Pod, World};
use testbed::cluster::{Cluster, Containerd, NodeSpec, Spec};

#[test]
fn a_cluster_leaves_the_machine_as_it_was() {
    let look = || {
        let links = Command::new("ip").args(["-o", "link"]).output().unwrap().stdout;
        let settings = ["vm/overcommit_memory", "kernel/panic", "kernel/panic_on_oops"];
        let settings = settings.map(|name| fs::read_to_string(format!("/proc/sys/{name}")).unwrap());
        (String::from_utf8(links).unwrap(), fs::read_to_string("/proc/self/mounts").unwrap(), settings)
    };
    let before = look();
    let world = World::up("as-it-was", |spec| spec.node(NodeSpec::new("node1")));
    world.plain_pods_start().unwrap();
    assert_eq!(look(), before, "while it runs");
    let folder = world.cluster().dir().to_owned();
    drop(world);
    assert_eq!(look(), before, "when it is down");
    assert!(!folder.exists());
    assert!(control_groups("testbed-e2e-as-it-was-").is_empty());
}

#[test]
fn a_cluster_that_stays_is_found_again_and_taken_down() {
    let spec = Spec::new("e2e-stays").node(NodeSpec::new("node1").containerd(Containerd::V2));
    Cluster::take_down(&spec.name).unwrap();
    drop(Cluster::up_to_stay(&spec).unwrap());
    assert!(Cluster::up_to_stay(&spec).unwrap_err().to_string().contains("runs already"));

    let found = Cluster::open(&spec.name).unwrap();
    assert!(found.services().iter().all(|(_, _, runs)| *runs), "{:?}", found.services());
    let nodes = found.kubectl().args(["get", "nodes", "--output=name"]).output().unwrap();
    assert_eq!(String::from_utf8(nodes.stdout).unwrap(), "node/node1\n");
    assert!(Cluster::take_down(&spec.name).unwrap());
    assert!(Cluster::open(&spec.name).is_err());
}

#[test]
fn two_clusters_at_once_have_the_same_addresses_and_do_not_meet() {
    let [one, two] =
        ["at-once-1", "at-once-2"].map(|name| World::up(name, |spec| spec.node(NodeSpec::new("node1"))));
    let pod = Pod::new("pod", "node1");
    one.start(std::slice::from_ref(&pod)).unwrap();
    assert!(two.kubectl(&["get", "pod", "pod"]).is_err());
    two.start(std::slice::from_ref(&pod)).unwrap();
    assert_eq!(one.interfaces("pod").unwrap(), two.interfaces("pod").unwrap());
}

#[test]
fn pods_reach_each_other_and_the_api_over_nodes() {
    let world = World::up("reach", |spec| {
        spec.suffix("+k3s1").node(NodeSpec::new("node1")).node(NodeSpec::k3s("node2"))
    });
    let pods = [Pod::new("one", "node1"), Pod::new("two", "node2")];
    world.start(&pods).unwrap();
    let address = world.kubectl(&["get", "pod", "two", "--output=jsonpath={.status.podIP}"]).unwrap();
    world.exec("one", &format!("ping -c 2 -W 2 {address}")).unwrap();
    let version = world.exec("two", "wget -q -O - --no-check-certificate https://10.43.0.1/version").unwrap();
    assert!(version.contains("v1.34.4+k3s1"), "{version}");
    world.delete(&pods).unwrap();
    Leftovers::wait_until_none(world.cluster().nodes()).unwrap();
}

#[test]
fn a_node_comes_back_after_a_power_cut_and_its_services_after_a_kill() {
    let world = World::up("back", |spec| spec.node(NodeSpec::new("node1").containerd(Containerd::V2)));
    world.plain_pods_start().unwrap();
    let boot = |world: &World| {
        world.node("node1").machine().run("cat", &["/proc/sys/kernel/random/boot_id"]).unwrap()
    };
    let before = boot(&world);
    world.cluster().reboot("node1").unwrap();
    assert_ne!(boot(&world), before);
    world.plain_pods_start().unwrap();

    let node = world.node("node1");
    for service in ["kubelet", "containerd"] {
        node.machine().signal(service, "KILL").unwrap();
        assert!(!node.machine().is_running(service));
    }
    node.start_containerd().unwrap();
    node.start_kubelet().unwrap();
    world.plain_pods_start().unwrap();
    Leftovers::wait_until_none(world.cluster().nodes()).unwrap();
}

fn control_groups(prefix: &str) -> Vec<String> {
    let hierarchies = fs::read_dir("/sys/fs/cgroup").unwrap().flatten();
    hierarchies
        .flat_map(|hierarchy| fs::read_dir(hierarchy.path()).into_iter().flatten().flatten())
        .map(|group| group.file_name().to_string_lossy().into_owned())
        .filter(|name| name.starts_with(prefix))
        .collect()
}
