//! `examples/values-multus-k3s.yaml`: k3s. Its folders are those of old releases, and must do on new ones too.

use std::time::Duration;

use e2e::install::{EXAMPLE_K3S_VALUES, EXAMPLE_VALUES, OUR_IMAGE};
use e2e::{Archive, Pair, World};
use testbed::cluster::{Containerd, Helm, Layout, NodeSpec};
use testbed::wait;

#[test]
fn values_multus_k3s_alone() {
    let world = up("k3s-alone");
    follow(&world, Helm::V4, &["-f", EXAMPLE_K3S_VALUES]);
}

#[test]
fn both_files_with_our_image() {
    let world = up("k3s-both-ours");
    follow(&world, Helm::V3, &["-f", EXAMPLE_VALUES, "-f", EXAMPLE_K3S_VALUES, "--set", OUR_IMAGE]);
    a_new_release_gets_the_shim(&world);
}

/// An upgrade of an old k3s makes `data/current` lead to another folder, which has none of our programs.
fn a_new_release_gets_the_shim(world: &World) {
    let upgrade = "cd /var/lib/rancher/k3s/data && mkdir -p next/bin && cp -a current/bin/* next/bin/ && \
                   rm next/bin/multus-shim next/bin/passthru && ln -sfn /var/lib/rancher/k3s/data/next current";
    let machine = world.node("old").machine();
    machine.run("sh", &["-ec", upgrade]).unwrap();
    let works = "CNI_COMMAND=VERSION /var/lib/rancher/k3s/data/next/bin/multus-shim </dev/null";
    let there = wait::until("the shim in the new release's folder", Duration::from_secs(30), || {
        machine.run("sh", &["-c", works]).ok()
    });
    there.unwrap();
}

/// The tag is another than in the document: v4.0.0 of upstream's cannot be built.
#[test]
fn both_files_with_upstreams_image() {
    let world = up("k3s-both-upstream");
    world.load(&[Archive::Upstream("v4.3.0")]).unwrap();
    follow(&world, Helm::V4, &["-f", EXAMPLE_VALUES, "-f", EXAMPLE_K3S_VALUES, "--set", "image.tag=v4.3.0"]);
}

fn up(name: &str) -> World {
    let world = World::up(name, |spec| {
        spec.suffix("+k3s1")
            .node(NodeSpec::k3s("old").layout(Layout::K3sOld).containerd(Containerd::Debian))
            .node(NodeSpec::k3s("new"))
    });
    world.load(&[Archive::Ours, Archive::Plugins]).unwrap();
    world
}

fn follow(world: &World, helm: Helm, options: &[&str]) {
    let before = bundled(world);
    world.install(helm, options).unwrap();
    let pair = Pair::start(world, "pair");
    world.plain_pods_start().unwrap();
    pair.end(world);
    assert_eq!(bundled(world), before, "k3s' own plugins must stay as they are");
}

/// What k3s brought, with what each link leads to, as a node sees it.
fn bundled(world: &World) -> Vec<String> {
    let nodes = world.cluster().nodes().iter();
    let list = "cd \"$0\" && for plugin in bandwidth bridge firewall flannel host-local loopback portmap; do \
                readlink -f $plugin; sha256sum <$plugin; done";
    nodes.map(|node| node.machine().run("sh", &["-c", list, node.bin_dir()]).unwrap()).collect()
}
