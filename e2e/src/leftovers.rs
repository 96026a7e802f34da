//! What is left on nodes of pods that are gone.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::Result;
use testbed::cluster::Node;
use testbed::wait;

/// Run on a node, since not all of this is on its disk.
const LIST: &str = "ls -d /sys/class/net/veth* /run/netns/* 2>/dev/null
    find /var/lib/cni/networks /var/lib/cni/results /var/lib/cni/multus /run/multus/spool -type f 2>/dev/null || :";

/// How many of a kind are shown; a hundred more tell no more.
const SHOWN: usize = 6;

/// Kinds of things that a pod's end must take away, with what was found of each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Leftovers {
    found: BTreeMap<&'static str, Vec<Item>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Item {
    node: String,
    path: String,
}

impl Leftovers {
    /// Looks at nodes on which no pod with a network of its own runs.
    #[must_use]
    pub fn on(nodes: &[Node]) -> Self {
        let mut leftovers = Self::default();
        for node in nodes {
            let mut add = |kind, path: &str| {
                let item = Item { node: node.name().to_owned(), path: path.to_owned() };
                leftovers.found.entry(kind).or_default().push(item);
            };
            match node.machine().run("sh", &["-c", LIST]) {
                Ok(listed) => {
                    listed
                        .lines()
                        .filter_map(|path| Some((kind(path)?, path)))
                        .for_each(|(kind, path)| add(kind, path));
                }
                // Not seen is not clean.
                Err(error) => add("unknown", &format!("{error:#}")),
            }
        }
        leftovers
    }

    /// Whether there is nothing.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.found.is_empty()
    }

    /// How many of a kind: `leases`, `journals`, `results`, `records`, `locks`, `links`, `namespaces`; `unknown` for a
    /// node that could not be looked at.
    #[must_use]
    pub fn count(&self, kind: &str) -> usize {
        self.found.get(kind).map_or(0, Vec::len)
    }

    /// How many of each kind that there is any of.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<String, usize> {
        self.found.iter().map(|(kind, items)| ((*kind).to_owned(), items.len())).collect()
    }

    /// Waits for a minute until nothing is left; a pod is gone from Kubernetes a moment before its sandbox is. Returns what is.
    #[must_use]
    pub fn wait(nodes: &[Node]) -> Self {
        let mut last = Self::default();
        // That the minute is over is in what is returned.
        let _ = wait::until("nodes without leftovers", Duration::from_secs(60), || {
            last = Self::on(nodes);
            last.is_none().then_some(())
        });
        last
    }

    /// [`Leftovers::wait`], for who wants nothing to be left.
    ///
    /// # Errors
    /// When something stays; the error lists it.
    pub fn wait_until_none(nodes: &[Node]) -> Result<()> {
        let left = Self::wait(nodes);
        anyhow::ensure!(left.is_none(), "left on the nodes after a minute:\n{left}");
        Ok(())
    }

    /// Removes it all, for what comes next.
    ///
    /// # Errors
    /// When a node does not let go of something.
    pub fn remove(&self, nodes: &[Node]) -> Result<()> {
        let script = "for path; do case $path in
              /sys/class/net/*) ip link delete \"${path##*/}\" 2>/dev/null || : ;;
              /run/netns/*) umount \"$path\" 2>/dev/null || : ; rm -f \"$path\" ;;
              *) rm -f \"$path\" ;;
            esac; done";
        for node in nodes {
            let known =
                self.found.iter().filter(|(kind, _)| **kind != "unknown").flat_map(|(_, items)| items);
            let mine = known.filter(|item| item.node == node.name());
            let mut arguments = vec!["-ec", script, "sh"];
            arguments.extend(mine.map(|item| item.path.as_str()));
            node.machine().run("sh", &arguments)?;
        }
        Ok(())
    }
}

/// What a path is; nothing, if it belongs to the node and to no pod.
fn kind(path: &str) -> Option<&'static str> {
    let name = path.rsplit('/').next()?;
    let is_ours_alone = name.starts_with('.');
    let is_in = |folder: &str| path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'));
    match path {
        _ if is_in("/sys/class/net") => Some("links"),
        _ if is_in("/run/netns") => Some("namespaces"),
        _ if is_in("/var/lib/cni/networks") => name.parse::<IpAddr>().is_ok().then_some("leases"),
        _ if is_ours_alone => None,
        _ if is_in("/var/lib/cni/results") || is_in("/var/lib/cni/multus/results") => Some("results"),
        _ if is_in("/var/lib/cni/multus/.locks") => Some("locks"),
        _ if is_in("/var/lib/cni/multus") => Some("journals"),
        _ if is_in("/run/multus/spool") => Some("records"),
        _ => None,
    }
}

impl fmt::Display for Leftovers {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (kind, items) in &self.found {
            write!(formatter, "{} {kind}:", items.len())?;
            items
                .iter()
                .take(SHOWN)
                .try_for_each(|item| write!(formatter, " {}:{}", item.node, item.path))?;
            writeln!(formatter, "{}", if items.len() > SHOWN { " …" } else { "" })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_tells_what_it_is() {
        for (path, wanted) in [
            ("/var/lib/cni/networks/cbr0/10.42.1.5", Some("leases")),
            ("/var/lib/cni/networks/cbr0/last_reserved_ip.0", None),
            ("/var/lib/cni/networks/cbr0/lock", None),
            ("/var/lib/cni/multus/0123", Some("journals")),
            ("/var/lib/cni/multus/.0123.tmp", None),
            ("/var/lib/cni/multus/results/cbr0-0123-eth0", Some("results")),
            ("/var/lib/cni/results/cbr0-0123-eth0", Some("results")),
            ("/var/lib/cni/multus/.locks/0123", Some("locks")),
            ("/var/lib/cni/multus/.locks/.node", None),
            ("/run/multus/spool/0123", Some("records")),
            ("/run/netns/cni-0123", Some("namespaces")),
            ("/sys/class/net/veth0123", Some("links")),
        ] {
            assert_eq!(kind(path), wanted, "{path}");
        }
    }
}
