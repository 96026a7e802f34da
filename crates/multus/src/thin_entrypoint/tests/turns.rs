//! Two pods of one install on one node: during an upgrade, and while an install goes from one mode to the other.

use std::time::Instant;

use super::*;

const MINUTE: Duration = Duration::from_secs(60);

/// The daemon's files are those of thin mode but for the program and the kubeconfig.
fn daemon(node: &Node) -> Options {
    let mut options = node.options(&["--skip-multus-binary-copy", "--owner=a/b"]);
    options.thin = false;
    options.template.plugin_type = "multus-shim".to_owned();
    options
}

#[test]
fn the_kubeconfig_of_a_newer_pod_of_thin_mode_is_not_the_daemon_s_to_take_away() {
    let node = Node::with_primary("10-testcni.conf", OLD_PRIMARY);
    let say = node.say();
    let kubeconfig = daemon(&node).kubeconfig_path();
    let mut old = Installation::new(daemon(&node), &say).unwrap();
    assert!(old.come().unwrap());
    old.configure_first().unwrap();
    old.look().unwrap();

    let mut new = installed(&node, &["--owner=a/b"], &say);
    old.look().unwrap();
    old.forget_kubeconfig(Instant::now() + 10 * MINUTE).unwrap();
    assert!(kubeconfig.exists(), "the old one has not the turn");
    assert!(!node.conf("00-multus.conf").contains("multus-shim"));

    // The other one ends, as when the upgrade is rolled back; its configuration was in use until now.
    new.end();
    old.look().unwrap();
    assert!(node.conf("00-multus.conf").contains("multus-shim"));
    old.forget_kubeconfig(Instant::now() + 4 * MINUTE).unwrap();
    assert!(kubeconfig.exists(), "a call of thin mode may be under way");
    old.forget_kubeconfig(Instant::now() + 6 * MINUTE).unwrap();
    assert!(!kubeconfig.exists());
}

#[test]
fn the_turn_that_is_taken_between_two_looks_is_not_overlooked() {
    let node = Node::with_primary("10-testcni.conf", OLD_PRIMARY);
    let say = node.say();
    let mut old = Installation::new(daemon(&node), &say).unwrap();
    assert!(old.come().unwrap());
    old.configure_first().unwrap();
    old.look().unwrap();
    let _new = installed(&node, &["--owner=a/b"], &say);
    old.forget_kubeconfig(Instant::now() + 10 * MINUTE).unwrap();
    assert!(daemon(&node).kubeconfig_path().exists());
}

#[test]
fn the_newest_comes_to_keeping_the_node_and_an_older_one_waits() {
    let node = Node::with_primary("10-testcni.conf", OLD_PRIMARY);
    let say = node.say();
    let mut old = Installation::new(daemon(&node), &say).unwrap();
    let mut new = Installation::new(daemon(&node), &say).unwrap();
    assert!(old.come().unwrap());
    assert!(new.come().unwrap(), "it has never kept the node, so it is the newer one");
    // As after what was missing for both is there again.
    assert!(!old.come().unwrap(), "it has");
    assert!(new.has_turn().unwrap());
    new.end();
    assert!(old.come().unwrap());
}
