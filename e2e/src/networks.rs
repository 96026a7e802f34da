//! Secondary networks that tests attach pods to.

/// A bridge on each node, with addresses by `host-local`.
pub const BRIDGE: &str = r#"
apiVersion: k8s.cni.cncf.io/v1
kind: NetworkAttachmentDefinition
metadata: {name: bridge}
spec:
  config: |
    {"cniVersion": "1.0.0", "name": "bridge", "type": "bridge", "bridge": "br-e2e",
     "ipam": {"type": "host-local", "subnet": "10.55.0.0/24"}}
"#;

/// macvlan on the nodes' own network, with the addresses that pods ask for.
pub const MACVLAN: &str = r#"
apiVersion: k8s.cni.cncf.io/v1
kind: NetworkAttachmentDefinition
metadata: {name: macvlan}
spec:
  config: |
    {"cniVersion": "1.0.0", "name": "macvlan", "type": "macvlan", "master": "eth0", "mode": "bridge",
     "capabilities": {"ips": true}, "ipam": {"type": "static"}}
"#;

/// One more bridge.
pub const SECOND_BRIDGE: &str = r#"
apiVersion: k8s.cni.cncf.io/v1
kind: NetworkAttachmentDefinition
metadata: {name: second}
spec:
  config: |
    {"cniVersion": "1.0.0", "name": "second", "type": "bridge", "bridge": "br-second",
     "ipam": {"type": "host-local", "subnet": "10.57.0.0/24"}}
"#;

/// [`BRIDGE`] and [`MACVLAN`] as a pod selects them, with that address on the latter.
#[must_use]
pub fn bridge_and_macvlan(address: &str) -> String {
    format!(r#"[{{"name": "bridge"}}, {{"name": "macvlan", "ips": ["{address}"]}}]"#)
}
