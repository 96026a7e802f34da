//! A real Kubernetes cluster on one computer: etcd, API server, controller manager, scheduler, and nodes with containerd,
//! runc and a kubelet, each on a [`Machine`] of its own.
//!
//! Nothing of the computer's own network is touched, and of its files only the cluster's folder; root is needed. The service
//! `kubernetes` works from every node; there is no kube-proxy and no DNS, and no way out: images are imported.
//!
//! A cluster of [`Cluster::up`] ends with the process that brought it up, however that ends; one of
//! [`Cluster::up_to_stay`] goes on until [`Cluster::down`], called perhaps by a later process on [`Cluster::open`].
//!
//! Start reading at [`Spec`] and [`Cluster`].

mod cgroup;
mod client;
mod control;
mod disk;
mod gate;
mod layout;
mod machine;
mod node;
mod pki;
mod primary;
mod spec;
mod state;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, bail};

pub use client::Helm;
pub use gate::{Gate, Passage};
pub use machine::Machine;
pub use node::Node;
pub use spec::{Containerd, Layout, NodeSpec, Primary, Spec};

use crate::{images, parts};
use machine::Life;
use node::Place;
use state::State;

/// A cluster that runs.
#[derive(Debug)]
pub struct Cluster {
    dir: PathBuf,
    spec: Spec,
    life: Life,
    control: Machine,
    nodes: Vec<Node>,
    lock: Option<File>,
}

impl Cluster {
    /// Brings a cluster up that ends with this process. What an earlier one of the same name left is removed first; one that
    /// another process holds is waited for.
    ///
    /// # Errors
    /// Without root; when a part cannot be had; when something does not start, with what it logged.
    pub fn up(spec: &Spec) -> Result<Self> {
        Self::bring_up(spec, Life::Held)
    }

    /// Brings a cluster up that stays until [`Cluster::down`].
    ///
    /// # Errors
    /// As [`Cluster::up`], and when a cluster of that name runs.
    pub fn up_to_stay(spec: &Spec) -> Result<Self> {
        if state::is_alive(&folder(&spec.name)) {
            bail!(
                "a cluster {:?} runs already; take it down first, or give this one another name",
                spec.name
            );
        }
        Self::bring_up(spec, Life::Own)
    }

    /// The cluster of that name, which another process brought up to stay.
    ///
    /// # Errors
    /// When there is none, or a machine of it does not run any more.
    pub fn open(name: &str) -> Result<Self> {
        let dir = folder(name);
        let state = State::read(&dir)?.with_context(|| format!("there is no cluster {name:?}"))?;
        let machine = |name: &str| {
            let record = state.machines.iter().rev().find(|record| record.name == name);
            let record = record.with_context(|| format!("the machine {name} was never started"))?;
            Machine::find(record, &machine_root(&dir, name))
        };
        let mut nodes = Vec::new();
        for (index, node) in state.spec.nodes.iter().enumerate() {
            nodes.push(Node::find(node, &place(&dir, &state.spec, index), machine(&node.name)?));
        }
        Ok(Self {
            control: machine(control::NAME)?,
            dir,
            spec: state.spec,
            life: Life::Own,
            nodes,
            lock: None,
        })
    }

    fn bring_up(spec: &Spec, life: Life) -> Result<Self> {
        if !rustix::process::geteuid().is_root() {
            bail!("a cluster needs root, for namespaces, mounts and control groups");
        }
        spec.check()?;
        provide(spec)?;
        let dir = folder(&spec.name);
        let lock = state::lock(&dir)?;
        if life == Life::Own && state::is_alive(&dir) {
            bail!(
                "a cluster {:?} runs already; take it down first, or give this one another name",
                spec.name
            );
        }
        clear(&dir)?;
        State::begin(&dir, spec)?;
        let mut cluster = Self::start(&dir, spec, life).inspect_err(|_| {
            // That error is what the caller must see; what cannot be ended now is on record for the next `up`.
            let _ = state::end_machines(&dir);
        })?;
        state::finish(&dir)?;
        cluster.lock = (life == Life::Held).then_some(lock);
        Ok(cluster)
    }

    fn start(dir: &Path, spec: &Spec, life: Life) -> Result<Self> {
        let root = machine_root(dir, control::NAME);
        let pki = control::certify(&root)?;
        std::fs::write(dir.join("kubeconfig"), pki.kubeconfig("admin", Some("system:masters"))?)?;
        let control = Machine::boot(control::NAME, &root, life, |record| state::record(dir, record))?;
        let mut cluster =
            Self { dir: dir.to_owned(), spec: spec.clone(), life, control, nodes: Vec::new(), lock: None };
        control::network(&cluster.control)?;
        control::start_api(&cluster.control, spec)?;

        // The API server takes seconds to start; meanwhile the nodes do.
        for (index, node) in spec.nodes.iter().enumerate() {
            let place = place(dir, spec, index);
            let kubeconfig = pki.kubeconfig(&format!("system:node:{}", node.name), Some("system:nodes"))?;
            cgroup::create(&place.cgroup)?;
            let root = machine_root(dir, &node.name);
            Node::prepare(&root, node, &place, &kubeconfig)
                .with_context(|| format!("prepare the node {}", node.name))?;
            let record = |record: &machine::Record| state::record(dir, record);
            cluster.nodes.push(Node::boot(&root, node, &place, life, &cluster.control, record)?);
        }
        let archive = dir.join("base-images.tar");
        oci_archive::write_archive(&archive, &[images::pause()?, images::busybox()?])?;
        cluster.load(&archive)?;

        control::wait_for_api(&cluster.control, || {
            cluster
                .kubectl()
                .args(["get", "--raw", "/readyz"])
                .output()
                .is_ok_and(|output| output.status.success())
        })?;
        control::start_controllers(&cluster.control, spec)?;
        for node in &cluster.nodes {
            node.start_kubelet()?;
        }
        cluster.wait_for_nodes()?;
        // Without it no pod is admitted.
        let wait = ["wait", "--for=create", "--timeout=60s", "serviceaccount/default"];
        output(cluster.kubectl().args(wait)).context("wait for the service account that pods get")?;
        Ok(cluster)
    }

    /// Waits until every node is ready.
    ///
    /// # Errors
    /// When one is not in time; the error shows what its kubelet logged.
    pub fn wait_for_nodes(&self) -> Result<()> {
        for node in &self.nodes {
            let object = format!("node/{}", node.name());
            for condition in ["create", "condition=Ready"] {
                let wait = ["wait", "--timeout=90s", &format!("--for={condition}"), &object];
                output(self.kubectl().args(wait)).with_context(|| {
                    format!(
                        "node {} is not ready; its kubelet logged:\n{}",
                        node.name(),
                        node.machine().log_tail("kubelet")
                    )
                })?;
            }
        }
        Ok(())
    }

    /// Imports an OCI archive on all nodes.
    ///
    /// # Errors
    /// When a node's containerd does not take it.
    pub fn load(&self, archive: &Path) -> Result<()> {
        std::thread::scope(|scope| {
            let imports: Vec<_> =
                self.nodes.iter().map(|node| scope.spawn(move || node.import(archive))).collect();
            imports.into_iter().try_for_each(|import| match import.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            })
        })
    }

    /// The node of that name.
    ///
    /// # Errors
    /// When the cluster has none.
    pub fn node(&self, name: &str) -> Result<&Node> {
        let node = self.nodes.iter().find(|node| node.name() == name);
        node.with_context(|| format!("the cluster {:?} has no node {name:?}", self.spec.name))
    }

    /// All nodes.
    #[must_use]
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The machine of `etcd`, `kube-apiserver`, `kube-controller-manager` and `kube-scheduler`.
    #[must_use]
    pub fn control_plane(&self) -> &Machine {
        &self.control
    }

    /// Which services run, by machine.
    #[must_use]
    pub fn services(&self) -> Vec<(String, &'static str, bool)> {
        let name = |machine: &str, (service, runs)| (machine.to_owned(), service, runs);
        let mut services: Vec<_> = control::services(&self.control)
            .into_iter()
            .map(|service| name(control::NAME, service))
            .collect();
        for node in &self.nodes {
            for service in ["containerd", "kubelet"] {
                services.push((node.name().to_owned(), service, node.machine().is_running(service)));
            }
        }
        services
    }

    /// What was asked for.
    #[must_use]
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// The cluster's folder: logs are in `<machine>/var/log`.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Cuts a node's power and boots it again: nothing that ran does, `/run` is empty, the boot id is another, disks are as
    /// they were. Returns when Kubernetes has heard of the new boot.
    ///
    /// # Errors
    /// When the node does not come up again.
    pub fn reboot(&self, name: &str) -> Result<()> {
        let index = self.nodes.iter().position(|node| node.name() == name);
        let index =
            index.with_context(|| format!("the cluster {:?} has no node {name:?}", self.spec.name))?;
        self.nodes[index].machine().kill()?;
        let place = place(&self.dir, &self.spec, index);
        cgroup::remove(&place.cgroup)?;
        cgroup::create(&place.cgroup)?;
        let root = machine_root(&self.dir, name);
        let record = |record: &machine::Record| state::record(&self.dir, record);
        let node = &self.nodes[index];
        let booted = Node::boot(&root, node.spec(), &place, self.life, &self.control, record)?;
        node.machine().is_now(booted.into_machine());
        node.start_kubelet()?;
        let boot = node.machine().run("cat", &["/proc/sys/kernel/random/boot_id"])?;
        let seen = format!("--for=jsonpath={{.status.nodeInfo.bootID}}={}", boot.trim());
        let wait = ["wait", "--timeout=90s", &seen, &format!("node/{name}")];
        output(self.kubectl().args(wait))
            .with_context(|| format!("wait for {name} to report its new boot"))?;
        self.wait_for_nodes()
    }

    /// Ends everything and removes the cluster's folder.
    ///
    /// # Errors
    /// When something does not end, or the folder cannot be removed.
    pub fn down(mut self) -> Result<()> {
        self.end()?;
        if self.lock.is_none() {
            self.lock = Some(state::lock(&self.dir)?);
        }
        clear(&self.dir)
    }

    /// Takes down what is left of the cluster of that name, whatever state it is in. Says whether there was anything.
    ///
    /// # Errors
    /// As [`Cluster::down`].
    pub fn take_down(name: &str) -> Result<bool> {
        let dir = folder(name);
        let _lock = state::lock(&dir)?;
        let existed = dir.exists();
        clear(&dir)?;
        Ok(existed)
    }

    fn end(&self) -> Result<()> {
        for node in &self.nodes {
            node.machine().kill()?;
        }
        self.control.kill()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.life == Life::Held {
            // The machines end with this process in any case.
            let _ = self.end();
        }
    }
}

/// Ends what the folder's record names, then removes control groups and the folder.
fn clear(dir: &Path) -> Result<()> {
    let Some(state) = State::read(dir)? else { return Ok(()) };
    state::end_machines(dir)?;
    for index in 0..state.spec.nodes.len() {
        cgroup::remove(&place(dir, &state.spec, index).cgroup)?;
    }
    std::fs::remove_dir_all(dir).with_context(|| format!("remove {}", dir.display()))
}

/// Everything that can take minutes, before anything is started.
fn provide(spec: &Spec) -> Result<()> {
    for part in [parts::debian, parts::kubernetes, parts::helm4] {
        part()?;
    }
    spec.nodes.iter().try_for_each(node::provide)
}

fn folder(name: &str) -> PathBuf {
    parts::workspace().join("target/cluster").join(name)
}

fn machine_root(dir: &Path, machine: &str) -> PathBuf {
    dir.join(machine)
}

fn place(dir: &Path, spec: &Spec, index: usize) -> Place {
    // Two clusters of one name, in two folders, do not share control groups.
    let owner = parts::fingerprint(&[&dir.display().to_string()]);
    let node = &spec.nodes[index].name;
    Place {
        number: index + 1,
        version: format!("{}{}", parts::KUBERNETES_VERSION, spec.suffix),
        cgroup: format!("testbed-{}-{node}-{}", spec.name, &owner[..8]),
    }
}

/// Where a machine sees a part.
fn inside(part: &Path) -> String {
    format!("/parts/{}", part.file_name().unwrap_or_default().to_string_lossy())
}

fn kubernetes_program(name: &str) -> Result<String> {
    Ok(format!("{}/{name}", inside(&parts::kubernetes()?)))
}

/// Runs a command to its end with nothing on its standard input and returns what it printed; its errors are in the error.
fn output(command: &mut Command) -> Result<String> {
    output_of(command.stdin(Stdio::null()))
}

/// The same with the standard input that it has.
fn output_of(command: &mut Command) -> Result<String> {
    let shown = format!("{command:?}");
    let Output { status, stdout, stderr } = command.output().with_context(|| format!("start {shown}"))?;
    if !status.success() {
        bail!("{shown} ended with {status}: {}", String::from_utf8_lossy(&stderr).trim_end());
    }
    Ok(String::from_utf8_lossy(&stdout).into_owned())
}

#[cfg(test)]
mod tests;
