//! Pods that tests create, and what is seen from inside them.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// A pod that sleeps.
#[derive(Debug, Clone)]
pub struct Pod {
    /// Its name.
    pub name: String,
    node: String,
    app: String,
    networks: Option<String>,
}

/// Addresses by interface, the loopback left out. An interface without an IPv4 address has none.
pub type Interfaces = BTreeMap<String, Vec<String>>;

impl Pod {
    /// A pod on that node.
    #[must_use]
    pub fn new(name: &str, node: &str) -> Self {
        Self { name: name.to_owned(), node: node.to_owned(), app: "e2e".to_owned(), networks: None }
    }

    /// With that annotation `k8s.v1.cni.cncf.io/networks`.
    #[must_use]
    pub fn networks(mut self, annotation: impl Into<String>) -> Self {
        self.networks = Some(annotation.into());
        self
    }

    /// With that label `app`.
    #[must_use]
    pub fn app(mut self, app: &str) -> Self {
        app.clone_into(&mut self.app);
        self
    }

    /// Its manifest. The node is given, not scheduled: a node that is not ready gets the pod too.
    #[must_use]
    pub fn manifest(&self) -> Value {
        let mut metadata = json!({"name": self.name, "labels": {"app": self.app}});
        if let Some(networks) = &self.networks {
            metadata["annotations"] = json!({"k8s.v1.cni.cncf.io/networks": networks});
        }
        json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": metadata,
            "spec": {
                "nodeName": self.node,
                "terminationGracePeriodSeconds": 0,
                "tolerations": [{"operator": "Exists"}],
                "containers": [{
                    "name": "main",
                    "image": testbed::images::BUSYBOX,
                    "command": ["sleep", "inf"],
                }],
            },
        })
    }
}

/// Prints what [`interfaces`] reads.
pub(crate) const LIST_INTERFACES: &str = "ip -o link; echo; ip -o -4 address";

/// Reads what [`LIST_INTERFACES`] printed.
pub(crate) fn interfaces(text: &str) -> Interfaces {
    let mut found = Interfaces::new();
    let (links, addresses) = text.split_once("\n\n").unwrap_or((text, ""));
    for line in links.lines() {
        let Some(name) = line.split_whitespace().nth(1) else { continue };
        let name = name.trim_end_matches(':');
        found.entry(name.split('@').next().unwrap_or(name).to_owned()).or_default();
    }
    for line in addresses.lines() {
        let words: Vec<_> = line.split_whitespace().collect();
        if let [_, name, "inet", address, ..] = words.as_slice() {
            found.entry((*name).to_owned()).or_default().push((*address).to_owned());
        }
    }
    found.remove("lo");
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_are_read_as_busybox_prints_them() {
        let text = "1: lo: <LOOPBACK,UP> mtu 65536 qdisc noqueue qlen 1000\\    link/loopback 00:00\n\
                    3: eth0@if4: <BROADCAST,UP> mtu 1500\\    link/ether aa\n\
                    4: net1@eth0: <BROADCAST,UP> mtu 1500\\    link/ether bb\n\n\
                    1: lo    inet 127.0.0.1/8 scope host lo\\       valid_lft forever\n\
                    3: eth0    inet 10.42.1.2/24 brd 10.42.1.255 scope global eth0\\       valid_lft forever\n";
        let wanted = [("eth0".to_owned(), vec!["10.42.1.2/24".to_owned()]), ("net1".to_owned(), vec![])];
        assert_eq!(interfaces(text), Interfaces::from(wanted));
    }
}
