//! What a cluster shall look like.

use std::str::FromStr;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

/// A cluster to bring up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// Tells clusters on one machine apart.
    pub name: String,
    /// What a distribution adds to Kubernetes' version, as in `+k3s1`.
    pub suffix: String,
    /// The nodes.
    pub nodes: Vec<NodeSpec>,
    /// Users whose requests the API server logs.
    #[serde(default)]
    pub audited: Vec<String>,
}

impl Spec {
    /// Where the control plane has the log of [`Spec::audit`], a JSON object a line.
    pub const AUDIT_LOG: &str = "/var/log/audit.log";

    /// A cluster without nodes, as yet.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), suffix: String::new(), nodes: Vec::new(), audited: Vec::new() }
    }

    /// Lets Kubernetes report a version with this suffix.
    #[must_use]
    pub fn suffix(mut self, suffix: &str) -> Self {
        suffix.clone_into(&mut self.suffix);
        self
    }

    /// Lets the API server log each request of these users, in the control plane's [`Spec::AUDIT_LOG`].
    #[must_use]
    pub fn audit(mut self, users: &[&str]) -> Self {
        self.audited = users.iter().map(|&user| user.to_owned()).collect();
        self
    }

    /// Adds a node.
    #[must_use]
    pub fn node(mut self, node: NodeSpec) -> Self {
        self.nodes.push(node);
        self
    }

    /// Names go into paths, control groups and host names.
    pub(super) fn check(&self) -> Result<()> {
        for name in self.nodes.iter().map(|node| &node.name).chain([&self.name]) {
            let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            if name.is_empty() || name.len() > 40 || !name.chars().all(plain) {
                bail!("{name:?} cannot name a cluster or a node: use up to 40 of a-z, 0-9 and '-'");
            }
        }
        if let Some(twice) = self
            .nodes
            .iter()
            .enumerate()
            .find(|(i, node)| self.nodes[..*i].iter().any(|other| other.name == node.name))
        {
            bail!("two nodes are called {:?}", twice.1.name);
        }
        if self.nodes.len() > 50 {
            bail!("{} nodes are more than the addresses here reach for; 50 is the most", self.nodes.len());
        }
        Ok(())
    }
}

/// One node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeSpec {
    /// Its name in Kubernetes.
    pub name: String,
    /// Where it keeps things.
    pub layout: Layout,
    /// Its container runtime.
    pub containerd: Containerd,
    /// The cluster's own network.
    pub primary: Primary,
}

impl NodeSpec {
    /// A node with upstream's folders, Debian's containerd and a bridge.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            layout: Layout::Generic,
            containerd: Containerd::Debian,
            primary: Primary::Bridge,
        }
    }

    /// A node as k3s makes them from the releases of October 2024 on: its folders, containerd 2 and Flannel.
    #[must_use]
    pub fn k3s(name: &str) -> Self {
        Self::new(name).layout(Layout::K3s).containerd(Containerd::V2).primary(Primary::Flannel)
    }

    /// With another layout.
    #[must_use]
    pub fn layout(mut self, layout: Layout) -> Self {
        self.layout = layout;
        self
    }

    /// With another container runtime.
    #[must_use]
    pub fn containerd(mut self, containerd: Containerd) -> Self {
        self.containerd = containerd;
        self
    }

    /// With another network of the cluster's own.
    #[must_use]
    pub fn primary(mut self, primary: Primary) -> Self {
        self.primary = primary;
        self
    }
}

impl FromStr for NodeSpec {
    type Err = anyhow::Error;

    /// `NAME[,layout=generic|k3s|k3s-old][,containerd=debian|2][,primary=bridge|flannel]`
    fn from_str(text: &str) -> Result<Self> {
        let mut parts = text.split(',');
        let mut node = Self::new(parts.next().unwrap_or_default());
        for part in parts {
            let (key, value) = part.split_once('=').with_context(|| format!("{part:?} is no KEY=VALUE"))?;
            node = match (key, value) {
                ("layout", "generic") => node.layout(Layout::Generic),
                ("layout", "k3s") => node.layout(Layout::K3s),
                ("layout", "k3s-old") => node.layout(Layout::K3sOld),
                ("containerd", "debian") => node.containerd(Containerd::Debian),
                ("containerd", "2") => node.containerd(Containerd::V2),
                ("primary", "bridge") => node.primary(Primary::Bridge),
                ("primary", "flannel") => node.primary(Primary::Flannel),
                _ => bail!(
                    "{part:?} of node {:?}: there are layout=generic|k3s|k3s-old, containerd=debian|2 and \
                     primary=bridge|flannel",
                    node.name
                ),
            };
        }
        Ok(node)
    }
}

/// Where a node keeps CNI's and containerd's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Layout {
    /// `/etc/cni/net.d`, `/opt/cni/bin` with all reference plugins.
    Generic,
    /// k3s since October 2024: plugins are links in `data/cni`, which stays over upgrades.
    K3s,
    /// k3s before: plugins lie in `data/<hash>/bin`, to which `data/current` leads until the next upgrade.
    K3sOld,
}

/// The container runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Containerd {
    /// The one that the distribution packages: 1.6 on Debian 12, which knows CNI 1.0.
    Debian,
    /// 2.4, which knows CNI 1.1 and calls STATUS.
    V2,
}

/// The cluster's own network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Primary {
    /// `bridge` with `host-local` and `portmap`, named `cbr0` as Flannel's conflist is.
    Bridge,
    /// k3s' own conflist of Flannel, whose plugin writes a configuration for `bridge` and delegates to it.
    Flannel,
}
