//! A certificate of its own for each node: `kubeconfig_generator` asks a real API server, and what it writes is accepted there.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use e2e::install::OUR_IMAGE;
use e2e::{Archive, NAMESPACE, World};
use serde_json::{Value, json};
use testbed::cluster::NodeSpec;

/// The generator as upstream's manifest for thick with certificates runs it: beside the kubelet's own kubeconfig.
fn generator() -> Value {
    let (_, image) = OUR_IMAGE.split_once('=').unwrap();
    let host = |name: &str, path: &str| json!({"name": name, "hostPath": {"path": path, "type": "DirectoryOrCreate"}});
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "generator", "namespace": NAMESPACE},
        "spec": {
            "nodeName": "node1", "hostNetwork": true, "terminationGracePeriodSeconds": 10,
            "tolerations": [{"operator": "Exists"}],
            "containers": [{
                "name": "generator", "image": format!("{image}:v4.0.0"), "imagePullPolicy": "Never",
                "command": ["/kubeconfig_generator"],
                "args": ["--bootstrap-config=/kubernetes/kubelet.conf", "--certdir=/certificates",
                         "--kubeconfig=/certificates/kubeconfig", "--cert-duration=1h"],
                "env": [{"name": "MULTUS_NODE_NAME", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}],
                "volumeMounts": [{"name": "kubernetes", "mountPath": "/kubernetes", "readOnly": true},
                                 {"name": "certificates", "mountPath": "/certificates"}],
            }],
            "volumes": [host("kubernetes", "/etc/kubernetes"), host("certificates", "/certificates")],
        },
    })
}

#[test]
fn the_generator_gets_a_certificate_that_the_api_server_accepts() {
    let world = World::up("certificates", |spec| spec.node(NodeSpec::new("node1")));
    world.load(&[Archive::Ours]).unwrap();
    world.apply(&generator().to_string()).unwrap();
    let wait = "for i in $(seq 1 120); do found=$(kubectl get csr -o name); [ -n \"$found\" ] && break; sleep 0.5; done; echo \"$found\"";
    let request = world.shell(wait).unwrap();
    let request = request.trim();
    let asked: Value =
        serde_json::from_str(&world.kubectl(&["get", request, "-o", "json"]).unwrap()).unwrap();
    assert_eq!(asked["spec"]["signerName"], "kubernetes.io/kube-apiserver-client");
    assert_eq!(asked["spec"]["username"], "system:node:node1");
    assert_eq!(asked["spec"]["expirationSeconds"], 3600);

    world
        .kubectl(&[
            "certificate",
            "approve",
            request.trim_start_matches("certificatesigningrequest.certificates.k8s.io/"),
        ])
        .unwrap();
    let machine = world.node("node1").machine();
    let written = machine.path("/certificates/kubeconfig");
    testbed::wait::until("the kubeconfig", std::time::Duration::from_secs(60), || {
        written.exists().then_some(())
    })
    .unwrap();
    // kubectl reads it where its paths lead somewhere: on the node.
    let kubeconfig = std::fs::read_to_string(&written).unwrap();
    let local =
        kubeconfig.replace("/certificates/", &format!("{}/", machine.path("/certificates").display()));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("kubeconfig");
    std::fs::write(&path, local).unwrap();
    let flag = format!("--kubeconfig={}", path.display());
    let who: Value =
        serde_json::from_str(&world.kubectl(&[&flag, "auth", "whoami", "-o", "json"]).unwrap()).unwrap();
    assert_eq!(who["status"]["userInfo"]["username"], "system:multus:node1");
    assert!(
        who["status"]["userInfo"]["groups"].as_array().unwrap().contains(&"system:multus".into()),
        "{who}"
    );

    // Nobody renews the certificate any more, so the kubeconfig that names it goes.
    world.kubectl(&["-n", NAMESPACE, "delete", "pod", "generator", "--timeout=60s"]).unwrap();
    assert!(!written.exists());
}
