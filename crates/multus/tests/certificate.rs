//! Daemons with a certificate of the node's own, as programs.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bed;

use std::fs;

use bed::Node;
use plan::NadLookup;
use serde_json::json;

const CERTIFICATE: &str = include_str!("../src/kubeconfig_generator/tests/certificate.pem");

#[test]
fn the_kubeconfig_of_the_certificate_stays_for_the_daemon_that_has_taken_over() {
    let node = Node::new();
    node.api.add_nad_with("test", "lan", "{}");
    fs::create_dir(node.path("certs")).unwrap();
    fs::write(node.path("certs/multus-client-current.pem"), CERTIFICATE).unwrap();
    node.write_config(json!({"perNodeCertificate": {
        "enabled": true, "bootstrapKubeconfig": node.path("kubeconfig"), "certDir": node.path("certs"), "certDuration": "10m",
    }}));
    let old = node.start("log");
    old.wait("the configuration", || node.conf().exists().then_some(()));
    let inode = node.inode();
    let new = node.start("log2");
    new.wait("the take-over", || (node.inode() != inode).then_some(()));
    assert_eq!(old.stop().code(), Some(0));
    let kubeconfig = node.path("certs/multus-daemon.kubeconfig");
    let text = fs::read_to_string(&kubeconfig).unwrap();
    assert!(text.contains("client-certificate: "), "{text}");

    // As a daemon of an earlier version does at its end.
    fs::remove_file(&kubeconfig).unwrap();
    new.wait("the kubeconfig", || fs::read_to_string(&kubeconfig).ok().filter(|found| *found == text));
    assert!(matches!(node.nad("lan"), NadLookup::Found(_)));
    assert_eq!(new.stop().code(), Some(0));
    assert!(kubeconfig.exists());
}

#[test]
fn the_kubeconfig_of_the_certificate_goes_with_the_install() {
    let node = Node::new();
    fs::create_dir(node.path("certs")).unwrap();
    fs::write(node.path("certs/multus-client-current.pem"), CERTIFICATE).unwrap();
    let certificate = json!({
        "enabled": true, "bootstrapKubeconfig": node.path("kubeconfig"), "certDir": node.path("certs"), "certDuration": "10m",
    });
    node.write_config(json!({"daemonSet": "kube-system/kube-multus-ds", "perNodeCertificate": certificate}));
    let daemon = node.start("log");
    daemon.says("there is no DaemonSet kube-system/kube-multus-ds");
    daemon.wait("the configuration", || node.conf().exists().then_some(()));
    assert_eq!(daemon.stop().code(), Some(0));
    assert!(!node.path("certs/multus-daemon.kubeconfig").exists());
}
