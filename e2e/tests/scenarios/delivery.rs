//! How the chart reaches a cluster: an index, an OCI registry, and renderers that do not see the cluster. And `helm test`.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use e2e::install::{CHART, DAEMON_SET};
use e2e::{Archive, NAMESPACE, Pair, World};
use testbed::cluster::{Cluster, Containerd, Helm, NodeSpec};
use testbed::{parts, wait};

#[test]
fn helm_test_passes_on_both_engines() {
    let world = up("helm-test");
    world.load(&[Archive::Upstream("v4.3.0")]).unwrap();
    world.install(Helm::V4, &[]).unwrap();
    for helm in [Helm::V3, Helm::V4] {
        let tested = world.helm(helm, &["test", "multus", "--namespace", NAMESPACE, "--timeout=3m"]).unwrap();
        assert!(tested.contains("Succeeded"), "{tested}");
    }
    let upstream =
        ["--set", "image.repository=ghcr.io/k8snetworkplumbingwg/multus-cni", "--set", "image.tag=v4.3.0"];
    world.upgrade(Helm::V4, &upstream).unwrap();
    let tested = world.helm(Helm::V4, &["test", "multus", "--namespace", NAMESPACE, "--timeout=3m"]).unwrap();
    assert!(tested.contains("Succeeded"), "{tested}");
}

#[test]
fn helm_test_fails_where_multus_does_not_run() {
    let world = up("helm-test-fails");
    let install = ["install", "multus", CHART, "--namespace", NAMESPACE, "--set", "image.tag=v4.9.9"];
    world.helm(Helm::V4, &install).unwrap();
    let tested = world.helm(Helm::V4, &["test", "multus", "--namespace", NAMESPACE, "--timeout=30s"]);
    assert!(tested.is_err(), "{tested:?}");
}

/// The document's `helm repo add multus … && helm install multus multus/multus`.
#[test]
fn from_an_index() {
    let world = up("from-index");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().display().to_string();
    let url = "http://127.0.0.1:8080";
    for helm in [Helm::V3, Helm::V4] {
        world.helm(helm, &["package", CHART, "--destination", &path]).unwrap();
        world.helm(helm, &["repo", "index", &path, "--url", url]).unwrap();
        let busybox = parts::debian().unwrap().join("bin/busybox");
        let arguments = ["httpd", "-f", "-p", "127.0.0.1:8080", "-h", &path];
        let _server = Server::start(world.cluster(), &busybox, &arguments, 8080);
        world.helm(helm, &["repo", "add", "--force-update", "multus", url]).unwrap();
        world.helm(helm, &["install", "multus", "multus/multus"]).unwrap();
        world.rollout(DAEMON_SET).unwrap();
        Pair::start(&world, "pair").end(&world);
        world.helm(helm, &["uninstall", "multus"]).unwrap();
        world.daemon_pods_are_gone().unwrap();
    }
}

#[test]
fn from_an_oci_registry() {
    let world = up("from-oci");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().display().to_string();
    let config = folder.path().join("registry.yml");
    let text = format!(
        "version: 0.1\nstorage: {{filesystem: {{rootdirectory: {path}/data}}}}\nhttp: {{addr: 127.0.0.1:5000}}\n"
    );
    std::fs::write(&config, text).unwrap();
    let program = parts::docker_registry().unwrap();
    let _server = Server::start(world.cluster(), &program, &["serve", &config.display().to_string()], 5000);
    for helm in [Helm::V3, Helm::V4] {
        world.helm(helm, &["package", CHART, "--destination", &path]).unwrap();
        let package = format!("{path}/multus-4.0.0.tgz");
        world.helm(helm, &["push", &package, "oci://127.0.0.1:5000/charts", "--plain-http"]).unwrap();
        let chart = "oci://127.0.0.1:5000/charts/multus";
        world.helm(helm, &["install", "multus", chart, "--version", "4.0.0", "--plain-http"]).unwrap();
        world.rollout(DAEMON_SET).unwrap();
        world.helm(helm, &["uninstall", "multus"]).unwrap();
        world.daemon_pods_are_gone().unwrap();
    }
}

/// Argo CD renders without a cluster and with the version cut; Flux installs and upgrades what Helm does. What is rendered so is
/// applied as it is.
#[test]
fn rendered_where_no_cluster_is_seen() {
    let world = up("rendered");
    for helm in [Helm::V3, Helm::V4] {
        let render =
            ["template", "multus", CHART, "--namespace", NAMESPACE, "--kube-version", "v1.34", "--no-hooks"];
        let rendered = world.helm(helm, &render).unwrap();
        assert_eq!(rendered, world.helm(helm, &render).unwrap(), "two renders differ");
        world.apply(&rendered).unwrap();
        world.rollout(DAEMON_SET).unwrap();
        Pair::start(&world, "pair").end(&world);
    }
}

fn up(name: &str) -> World {
    let world = World::up(name, |spec| {
        spec.node(NodeSpec::new("node1")).node(NodeSpec::new("node2").containerd(Containerd::V2))
    });
    world.load(&[Archive::Ours]).unwrap();
    world
}

/// A server in the cluster's network, which ends with the test.
struct Server(Child);

impl Server {
    fn start(cluster: &Cluster, program: &Path, arguments: &[&str], port: u16) -> Self {
        let mut command = cluster.command(program);
        let server =
            Self(command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
        let probe = format!("exec 3<>/dev/tcp/127.0.0.1/{port}");
        wait::until("the server to listen", Duration::from_secs(20), || {
            let mut bash: Command = cluster.command("bash");
            let connected = bash.args(["-c", &probe]).stderr(Stdio::null()).status();
            connected.is_ok_and(|status| status.success()).then_some(())
        })
        .unwrap();
        server
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
