//! What is left on nodes of pods that are gone.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use testbed::cluster::Node;
use testbed::wait;

/// Kinds of things that a pod's end must take away, with what was found of each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Leftovers {
    found: BTreeMap<&'static str, Vec<String>>,
}

impl Leftovers {
    /// Looks at nodes on which no pod with a network of its own runs.
    #[must_use]
    pub fn on(nodes: &[Node]) -> Self {
        let mut leftovers = Self::default();
        for node in nodes {
            leftovers.look(node);
        }
        leftovers
    }

    /// Whether there is nothing.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.found.is_empty()
    }

    /// How many of a kind: `leases`, `journals`, `results`, `links`, `namespaces`.
    #[must_use]
    pub fn count(&self, kind: &str) -> usize {
        self.found.get(kind).map_or(0, Vec::len)
    }

    /// Waits until nothing is left; a pod is gone from Kubernetes a moment before its sandbox is.
    ///
    /// # Errors
    /// When something stays; the error lists it.
    pub fn wait_until_none(nodes: &[Node]) -> Result<()> {
        let mut last = Self::default();
        let waited = wait::until("nodes without leftovers", Duration::from_secs(60), || {
            last = Self::on(nodes);
            last.is_none().then_some(())
        });
        waited.map_err(|error| error.context(format!("left on the nodes:\n{last}")))
    }

    fn look(&mut self, node: &Node) {
        let disk = |path: &str| node.machine().path(path);
        for network in entries(&disk("/var/lib/cni/networks")) {
            let leases = entries(&disk("/var/lib/cni/networks").join(&network));
            let leases = leases.into_iter().filter(|name| name.parse::<std::net::IpAddr>().is_ok());
            self.add(node, "leases", leases.map(|lease| format!("{network}/{lease}")));
        }
        let files = |path: &str| {
            let folder = disk(path);
            entries(&folder)
                .into_iter()
                .filter(move |name| folder.join(name).is_file() && !name.starts_with('.'))
        };
        self.add(node, "journals", files("/var/lib/cni/multus"));
        self.add(node, "results", files("/var/lib/cni/results").chain(files("/var/lib/cni/multus/results")));
        let listed = |script: &str| node.machine().run("sh", &["-c", script]).unwrap_or_default();
        let links = listed("ls /sys/class/net");
        let links = links.split_whitespace().filter(|link| link.starts_with("veth")).map(str::to_owned);
        self.add(node, "links", links);
        let namespaces = listed("ls /run/netns 2>/dev/null || :");
        self.add(node, "namespaces", namespaces.split_whitespace().map(str::to_owned));
    }

    fn add(&mut self, node: &Node, kind: &'static str, items: impl Iterator<Item = String>) {
        let items: Vec<_> = items.map(|item| format!("{}: {item}", node.name())).collect();
        if !items.is_empty() {
            self.found.entry(kind).or_default().extend(items);
        }
    }
}

impl fmt::Display for Leftovers {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (kind, items) in &self.found {
            writeln!(formatter, "{} {kind}: {}", items.len(), items.join(", "))?;
        }
        Ok(())
    }
}

fn entries(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}
