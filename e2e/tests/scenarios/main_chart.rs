//! `examples/main-chart`: Multus as a dependency of a main chart.

use std::process::Command;

use e2e::install::DAEMON_SET;
use e2e::{Archive, NAMESPACE, Pair, World, workspace};
use testbed::cluster::{Helm, NodeSpec};

#[test]
fn the_main_chart_brings_multus_and_leaves_it_out() {
    let world = World::up("main-chart", |spec| spec.suffix("+k3s1").node(NodeSpec::k3s("node1")));
    world.load(&[Archive::Ours, Archive::Plugins]).unwrap();

    for helm in [Helm::V3, Helm::V4] {
        // As a user has it: a copy, in which Helm packs the dependency.
        let copy = tempfile::tempdir().unwrap();
        let copied = Command::new("cp")
            .args(["-a", "charts", "examples"])
            .arg(copy.path())
            .current_dir(workspace())
            .status()
            .unwrap();
        assert!(copied.success());
        let chart = copy.path().join("examples/main-chart").display().to_string();
        world.helm(helm, &["dependency", "build", &chart]).unwrap();

        world.helm(helm, &["install", "main", &chart, "--set", "multus.enabled=false"]).unwrap();
        let listed = ["-n", NAMESPACE, "get", "daemonset", DAEMON_SET, "--ignore-not-found"];
        assert_eq!(world.kubectl(&listed).unwrap(), "", "multus.enabled: false installs it all the same");

        world.helm(helm, &["upgrade", "main", &chart, "--reset-values"]).unwrap();
        world.rollout(DAEMON_SET).unwrap();
        Pair::start(&world, "pair").end(&world);

        world.helm(helm, &["uninstall", "main"]).unwrap();
        world.daemon_pods_are_gone().unwrap();
        world.plain_pods_start().unwrap();
    }
}
