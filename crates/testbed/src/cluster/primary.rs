//! The cluster's own network on a node.

use serde_json::json;

use super::Primary;

/// All pods of all nodes.
const NETWORK: &str = "10.42.0.0/16";

impl Primary {
    /// The file that its owner writes into the conf dir.
    #[must_use]
    pub fn file(self) -> &'static str {
        match self {
            Self::Bridge => "10-bridge.conflist",
            Self::Flannel => "10-flannel.conflist",
        }
    }

    /// What is in it, for a node with that range of pod addresses. Flannel's is k3s' own, to the letter.
    pub(super) fn conflist(self, subnet: &str) -> String {
        let main = match self {
            Self::Bridge => json!({
                "type": "bridge",
                "bridge": "cni0",
                "isDefaultGateway": true,
                "hairpinMode": true,
                "ipam": {"type": "host-local", "ranges": [[{"subnet": subnet}]]},
            }),
            Self::Flannel => json!({
                "type": "flannel",
                "delegate": {"hairpinMode": true, "forceAddress": true, "isDefaultGateway": true},
            }),
        };
        let mut plugins = vec![main, json!({"type": "portmap", "capabilities": {"portMappings": true}})];
        if self == Self::Flannel {
            plugins.push(json!({"type": "bandwidth", "capabilities": {"bandwidth": true}}));
        }
        let conflist = json!({"name": "cbr0", "cniVersion": "1.0.0", "plugins": plugins});
        format!("{conflist:#}\n")
    }
}

/// What Flannel's daemon writes for its plugin, into `/run/flannel/subnet.env`.
pub(super) fn flannel_environment(subnet: &str) -> String {
    let gateway = subnet.replace(".0/24", ".1/24");
    format!("FLANNEL_NETWORK={NETWORK}\nFLANNEL_SUBNET={gateway}\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n")
}
