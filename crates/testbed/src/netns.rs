//! Named network namespaces, as a container runtime makes them.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// Set by whoever started this process in a network and mount namespace of its own.
pub(crate) const MARK: &str = "MULTUS_TESTBED_NAMESPACE";

/// Fails unless this process has a network of its own, so that no test can touch the machine's.
///
/// # Errors
/// When the mark is missing, or the network namespace is that of process 1 (where that can be seen).
pub fn require_namespace() -> Result<()> {
    if std::env::var_os(MARK).is_none_or(|value| value != "1") {
        bail!(
            "this needs a network of its own: run it through `cargo test` (crates/testbed/in-namespaces.sh is cargo's \
             runner here) or through `cargo xtask`"
        );
    }
    let own = fs::metadata("/proc/self/ns/net").context("look at the own network namespace")?.ino();
    let first = fs::metadata("/proc/1/ns/net").map(|meta| meta.ino());
    if first.is_ok_and(|first| first == own) {
        bail!("{MARK}=1 is set, but this process still has the machine's own network namespace");
    }
    Ok(())
}

/// A network namespace with a name below `/run/netns`. Dropped, it is deleted.
#[derive(Debug)]
pub struct Netns {
    name: String,
}

impl Netns {
    /// Creates the namespace `name`; its loopback is up.
    ///
    /// # Errors
    /// Outside a testbed namespace, or when `ip netns add` fails.
    pub fn new(name: &str) -> Result<Self> {
        require_namespace()?;
        succeed(Command::new("ip").args(["netns", "add", name]))?;
        let netns = Self { name: name.to_owned() };
        netns.run("ip", &["link", "set", "lo", "up"])?;
        Ok(netns)
    }

    /// Creates a namespace whose name starts with `prefix` and is used by no other test.
    ///
    /// # Errors
    /// As [`Netns::new`].
    pub fn unique(prefix: &str) -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self::new(&format!("{prefix}-{}-{number}", std::process::id()))
    }

    /// The name that `ip netns` shows.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The path that goes into `CNI_NETNS`.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        PathBuf::from("/run/netns").join(&self.name)
    }

    /// A command that will run inside. By `nsenter`: `ip netns exec` remounts `/sys`.
    #[must_use]
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.path().display())).arg("--").arg(program);
        command
    }

    /// Runs a program inside and returns what it printed.
    ///
    /// # Errors
    /// When it cannot start or does not succeed.
    pub fn run(&self, program: &str, arguments: &[&str]) -> Result<String> {
        let output = succeed(self.command(program).args(arguments))?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// All links as `ip -j link` shows them.
    ///
    /// # Errors
    /// When `ip` fails.
    pub fn links(&self) -> Result<Vec<Value>> {
        self.ip(&["-d", "link"])
    }

    /// Names of all links but the loopback, sorted.
    ///
    /// # Errors
    /// When `ip` fails.
    pub fn link_names(&self) -> Result<Vec<String>> {
        let mut names: Vec<_> = self
            .links()?
            .iter()
            .filter_map(|link| link["ifname"].as_str())
            .filter(|name| *name != "lo")
            .map(str::to_owned)
            .collect();
        names.sort();
        Ok(names)
    }

    /// Addresses with prefix length per link, without loopback and link-local ones.
    ///
    /// # Errors
    /// When `ip` fails.
    pub fn addresses(&self) -> Result<BTreeMap<String, Vec<String>>> {
        let mut found = BTreeMap::new();
        for link in self.ip(&["address"])? {
            let addresses = link["addr_info"].as_array().into_iter().flatten();
            let addresses: Vec<_> = addresses
                .filter(|address| address["scope"] == "global")
                .filter_map(|address| {
                    Some(format!("{}/{}", address["local"].as_str()?, address["prefixlen"]))
                })
                .collect();
            if !addresses.is_empty() {
                found.insert(link["ifname"].as_str().unwrap_or_default().to_owned(), addresses);
            }
        }
        Ok(found)
    }

    /// Routes of the main table, IPv4 and then IPv6, as `ip -j route` shows them.
    ///
    /// # Errors
    /// When `ip` fails.
    pub fn routes(&self) -> Result<Vec<Value>> {
        let mut routes = self.ip(&["-4", "route"])?;
        routes.extend(self.ip(&["-6", "route"])?);
        Ok(routes)
    }

    fn ip(&self, arguments: &[&str]) -> Result<Vec<Value>> {
        let text = self.run("ip", &[&["-j"], arguments].concat())?;
        if text.trim().is_empty() {
            return Ok(Vec::new());
        }
        serde_json::from_str(&text).with_context(|| format!("read what ip {arguments:?} printed: {text}"))
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        // A test may have deleted it on purpose; then there is nothing to do.
        let _ = Command::new("ip").args(["netns", "delete", &self.name]).output();
    }
}

fn succeed(command: &mut Command) -> Result<Output> {
    let shown = format!("{command:?}");
    let output = command.output().with_context(|| format!("start {shown}"))?;
    if !output.status.success() {
        bail!("{shown} ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim_end());
    }
    Ok(output)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_comes_and_goes() {
        let netns = Netns::unique("tb").unwrap();
        let path = netns.path();
        netns.run("ip", &["link", "add", "one", "type", "veth", "peer", "name", "two"]).unwrap();
        netns.run("ip", &["address", "add", "10.1.2.3/24", "dev", "one"]).unwrap();
        netns.run("ip", &["link", "set", "one", "up"]).unwrap();
        netns.run("ip", &["link", "set", "two", "up"]).unwrap();
        assert_eq!(netns.link_names().unwrap(), ["one", "two"]);
        assert_eq!(netns.addresses().unwrap()["one"], ["10.1.2.3/24"]);
        assert!(netns.routes().unwrap().iter().any(|route| route["dst"] == "10.1.2.0/24"));
        assert!(path.exists());
        drop(netns);
        assert!(!path.exists());
    }
}
