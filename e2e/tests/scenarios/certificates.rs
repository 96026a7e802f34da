//! A certificate of its own for each node: `cert-approver` of our image, by the example's manifest, gives ours and upstream's
//! `kubeconfig_generator` what they ask a real API server for, and refuses whoever asks for more.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use e2e::install::OUR_IMAGE;
use e2e::{Archive, NAMESPACE, World};
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, SanType};
use serde_json::{Value, json};
use testbed::cluster::NodeSpec;
use testbed::wait::until;

const UPSTREAM: &str = "v4.3.0";
const MINUTE: Duration = Duration::from_secs(60);

/// The generator beside the kubelet's own kubeconfig. Upstream's writes to `/run/multus`, whatever it is told.
fn generator(name: &str, image: &str) -> Value {
    let host = |name: &str, path: &str| json!({"name": name, "hostPath": {"path": path, "type": "DirectoryOrCreate"}});
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "nodeName": "node1", "hostNetwork": true, "terminationGracePeriodSeconds": 10,
            "tolerations": [{"operator": "Exists"}],
            "containers": [{
                "name": "generator", "image": image, "imagePullPolicy": "Never",
                "command": ["/kubeconfig_generator"],
                "args": ["--bootstrap-config=/kubernetes/kubelet.conf", "--certdir=/certificates", "--cert-duration=1h"],
                "env": [{"name": "MULTUS_NODE_NAME", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}],
                "volumeMounts": [{"name": "kubernetes", "mountPath": "/kubernetes", "readOnly": true},
                                 {"name": "run", "mountPath": "/run/multus"},
                                 {"name": "certificates", "mountPath": "/certificates"}],
            }],
            "volumes": [host("kubernetes", "/etc/kubernetes"), host("certificates", &format!("/certificates-{name}")),
                        host("run", &format!("/kubeconfig-{name}"))],
        },
    })
}

/// Who somebody is by the kubeconfig that generator `name` wrote.
fn identity(world: &World, name: &str) -> Value {
    let machine = world.node("node1").machine();
    let written = machine.path(&format!("/kubeconfig-{name}/kubeconfig"));
    until("the kubeconfig", 2 * MINUTE, || written.exists().then_some(())).unwrap_or_else(|error| {
        panic!("{error}; {}", world.kubectl(&["get", "csr", "-o", "yaml"]).unwrap_or_default())
    });
    // kubectl reads it where its paths lead somewhere: on the node. Upstream's link leads to a path in the container.
    let certificates = machine.path(&format!("/certificates-{name}"));
    let current = std::fs::read_link(certificates.join("multus-client-current.pem")).unwrap();
    let current = certificates.join(current.file_name().unwrap());
    let kubeconfig = std::fs::read_to_string(&written).unwrap();
    let local = kubeconfig.replace("/certificates/multus-client-current.pem", &current.display().to_string());
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("kubeconfig");
    std::fs::write(&path, local).unwrap();
    let flag = format!("--kubeconfig={}", path.display());
    serde_json::from_str(&world.kubectl(&[&flag, "auth", "whoami", "-o", "json"]).unwrap()).unwrap()
}

/// A request that somebody makes; by default as node1's Multus does when it renews its certificate.
struct Asked {
    name: &'static str,
    user: &'static str,
    groups: &'static [&'static str],
    common_name: &'static str,
    organizations: &'static [&'static str],
    dns: Option<&'static str>,
    usages: &'static [&'static str],
    seconds: Option<u64>,
    /// A part of the reason for its denial; nothing where it is left to others.
    denied: Option<&'static str>,
}

const RENEWAL: Asked = Asked {
    name: "renewal",
    user: "system:multus:node1",
    groups: &["system:multus"],
    common_name: "system:multus:node1",
    organizations: &["system:multus"],
    dns: None,
    usages: &["digital signature", "client auth"],
    seconds: Some(600),
    denied: None,
};
const KUBELET: Asked = Asked { user: "system:node:node1", groups: &["system:nodes"], ..RENEWAL };

const HOSTILE: [Asked; 12] = [
    Asked { name: "another-node", common_name: "system:multus:node2", denied: Some("commonName"), ..KUBELET },
    Asked { name: "of-another-node", user: "system:node:node2", denied: Some("commonName"), ..KUBELET },
    Asked {
        name: "renewal-of-another",
        common_name: "system:multus:node2",
        denied: Some("commonName"),
        ..RENEWAL
    },
    Asked { name: "more-groups", organizations: &["system:nodes"], denied: Some("organization"), ..KUBELET },
    Asked {
        name: "of-a-master",
        groups: &["system:nodes", "system:masters"],
        denied: Some("unexpected groups"),
        ..KUBELET
    },
    Asked { name: "of-no-kubelet", groups: &["system:multus"], denied: Some("unexpected groups"), ..KUBELET },
    Asked {
        name: "of-a-pod",
        user: "system:serviceaccount:default:default",
        groups: &["system:multus"],
        denied: Some("unexpected user"),
        ..KUBELET
    },
    Asked {
        name: "a-server",
        usages: &["digital signature", "client auth", "server auth"],
        denied: Some("unexpected usages"),
        ..KUBELET
    },
    Asked {
        name: "too-long",
        seconds: Some(2 * 365 * 24 * 3600),
        denied: Some("expirationSeconds"),
        ..KUBELET
    },
    Asked { name: "for-ever", seconds: None, denied: Some("expirationSeconds"), ..KUBELET },
    Asked {
        name: "other-names",
        dns: Some("kubernetes.default"),
        denied: Some("alternative names"),
        ..KUBELET
    },
    // No name of Multus: it stays as it is, and nobody gets a certificate by it.
    Asked { name: "an-administrator", common_name: "admin", ..KUBELET },
];

impl Asked {
    fn create(&self, world: &World) {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name = DistinguishedName::new();
        for organization in self.organizations {
            params.distinguished_name.push(DnType::OrganizationName, *organization);
        }
        params.distinguished_name.push(DnType::CommonName, self.common_name);
        params.subject_alt_names =
            self.dns.into_iter().map(|name| SanType::DnsName(name.try_into().unwrap())).collect();
        let pem = params.serialize_request(&KeyPair::generate().unwrap()).unwrap().pem().unwrap();
        let mut request = json!({
            "apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest",
            "metadata": {"name": self.name},
            "spec": {"request": STANDARD.encode(pem), "signerName": "kubernetes.io/kube-apiserver-client", "usages": self.usages},
        });
        if let Some(seconds) = self.seconds {
            request["spec"]["expirationSeconds"] = seconds.into();
        }
        let flags =
            self.groups.iter().map(|group| format!("--as-group={group}")).collect::<Vec<_>>().join(" ");
        world
            .shell(&format!("kubectl create --as={} {flags} -f - <<'END'\n{request}\nEND", self.user))
            .unwrap();
    }

    fn found(&self, world: &World) -> Value {
        serde_json::from_str(&world.kubectl(&["get", "csr", self.name, "-o", "json"]).unwrap()).unwrap()
    }
}

/// The verdict on a request, when there is one.
fn verdict(request: &Value) -> Option<(String, String)> {
    let condition = request["status"]["conditions"].get(0)?;
    Some((condition["type"].as_str()?.to_owned(), condition["message"].as_str()?.to_owned()))
}

fn wait(world: &World, asked: &Asked) -> (String, String) {
    until(&format!("a verdict on {}", asked.name), MINUTE, || verdict(&asked.found(world))).unwrap_or_else(
        |error| {
            let log = world.kubectl(&["-n", NAMESPACE, "logs", "deployment/multus-cert-approver"]);
            panic!("{error}; the log: {}", log.unwrap_or_default())
        },
    )
}

#[test]
fn a_node_gets_its_own_certificate_and_nobody_gets_another() {
    let world = World::up("certificates", |spec| spec.node(NodeSpec::new("node1")));
    world.load(&[Archive::Ours, Archive::Upstream(UPSTREAM)]).unwrap();
    world.shell("kubectl apply -f examples/certificates/cert-approver.yaml").unwrap();
    world
        .kubectl(&["-n", NAMESPACE, "rollout", "status", "deployment/multus-cert-approver", "--timeout=120s"])
        .unwrap();

    let (_, ours) = OUR_IMAGE.split_once('=').unwrap();
    let upstream = format!("ghcr.io/k8snetworkplumbingwg/multus-cni:{UPSTREAM}");
    for (name, image) in [("ours", format!("{ours}:v4.0.0")), ("upstream", upstream)] {
        world.apply(&generator(name, &image).to_string()).unwrap();
        let who = identity(&world, name);
        assert_eq!(who["status"]["userInfo"]["username"], "system:multus:node1", "{name}");
        let groups = who["status"]["userInfo"]["groups"].as_array().unwrap();
        assert!(groups.contains(&"system:multus".into()), "{name}: {who}");
    }

    // Nobody renews ours any more, so the kubeconfig that names it goes.
    let written = world.node("node1").machine().path("/kubeconfig-ours/kubeconfig");
    world.kubectl(&["-n", NAMESPACE, "delete", "pod", "ours", "upstream", "--timeout=60s"]).unwrap();
    assert!(!written.exists());

    HOSTILE.iter().for_each(|asked| asked.create(&world));
    RENEWAL.create(&world);
    assert_eq!(wait(&world, &RENEWAL), ("Approved".to_owned(), "Auto-approved CSR \"renewal\"".to_owned()));
    for asked in &HOSTILE {
        match asked.denied {
            Some(part) => {
                let (kind, message) = wait(&world, asked);
                assert!(kind == "Denied" && message.contains(part), "{}: {kind}: {message}", asked.name);
            }
            // It came before the renewal, which has its verdict.
            None => assert_eq!(verdict(&asked.found(&world)), None, "{}", asked.name),
        }
        assert!(asked.found(&world)["status"]["certificate"].is_null(), "{}", asked.name);
    }
    let told = world.events("a-server").unwrap();
    assert!(
        told.iter().any(|line| line.starts_with("CSRDenied: The CSR \"a-server\" has been denied")),
        "{told:?}"
    );
    let told = world.events("renewal").unwrap();
    assert!(
        told.iter().any(|line| line.starts_with("CSRApproved: CSR \"renewal\" has been approved")),
        "{told:?}"
    );
    let log = world.kubectl(&["-n", NAMESPACE, "logs", "deployment/multus-cert-approver"]).unwrap();
    assert!(log.contains("approved \"renewal\": node node1") && log.contains("denied \"too-long\""), "{log}");
    assert!(!log.contains("an-administrator"), "{log}");
}
