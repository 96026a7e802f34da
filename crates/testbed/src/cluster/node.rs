//! A node: a machine with containerd and a kubelet.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::json;

use super::layout::{self, Folders};
use super::machine::{Life, Machine, Record};
use super::{Containerd, NodeSpec, Primary, control, primary};
use crate::{images, parts, wait};

/// A node that runs.
#[derive(Debug)]
pub struct Node {
    spec: NodeSpec,
    number: usize,
    version: String,
    machine: Machine,
}

/// What a node is told about the cluster.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// From 1.
    pub(super) number: usize,
    /// The version that the kubelet claims to be.
    pub(super) version: String,
    pub(super) cgroup: String,
}

impl Node {
    /// Makes the root folder of a node that was never up.
    pub(super) fn prepare(root: &Path, spec: &NodeSpec, place: &Place, kubeconfig: &str) -> Result<()> {
        let folders = spec.layout.folders();
        let configuration = kubelet_configuration(&folders, &place.cgroup);
        let files = [
            (folders.containerd_config.to_owned(), containerd_configuration(spec)),
            (folders.kubelet_kubeconfig.to_owned(), kubeconfig.to_owned()),
            ("/etc/kubernetes/kubelet.json".to_owned(), configuration),
            (
                format!("{}/{}", folders.conf_dir, spec.primary.file()),
                spec.primary.conflist(&subnet(place.number)),
            ),
        ];
        for (path, content) in files {
            let path = root.join(path.trim_start_matches('/'));
            fs::create_dir_all(path.parent().unwrap_or(root))?;
            fs::write(&path, content).with_context(|| format!("write {}", path.display()))?;
        }
        for dir in ["/var/lib/kubelet", "/var/lib/cni", "/etc/kubernetes/manifests"] {
            fs::create_dir_all(root.join(dir.trim_start_matches('/')))?;
        }
        layout::install_plugins(root, spec)
    }

    /// Boots the machine, plugs it in and starts containerd.
    pub(super) fn boot(
        root: &Path,
        spec: &NodeSpec,
        place: &Place,
        life: Life,
        switch: &Machine,
        record: impl FnOnce(&Record) -> Result<()>,
    ) -> Result<Self> {
        let machine = Machine::boot(&spec.name, root, life, record)?;
        let node = Self { spec: spec.clone(), number: place.number, version: place.version.clone(), machine };
        node.plug_in(switch).with_context(|| format!("connect the node {}", spec.name))?;
        if spec.primary == Primary::Flannel {
            let script = "mkdir -p /run/flannel && printf %s \"$0\" >/run/flannel/subnet.env";
            node.machine.run("sh", &["-c", script, &primary::flannel_environment(&subnet(place.number))])?;
        }
        node.start_containerd()?;
        Ok(node)
    }

    /// A node that another process started.
    pub(super) fn find(spec: &NodeSpec, place: &Place, machine: Machine) -> Self {
        Self { spec: spec.clone(), number: place.number, version: place.version.clone(), machine }
    }

    fn plug_in(&self, switch: &Machine) -> Result<()> {
        let port = format!("n{}", self.number);
        let (ours, theirs) = (self.machine.pid().to_string(), switch.pid().to_string());
        // Made where they belong; not even for a moment in the network of whoever runs this.
        let mut link = Command::new("ip");
        link.args([
            "link", "add", &port, "netns", &theirs, "type", "veth", "peer", "name", "eth0", "netns", &ours,
        ]);
        super::output(&mut link)?;
        let script = "ip link set \"$0\" master lan up && ip route replace \"$1\" via \"$2\"";
        switch.run("sh", &["-c", script, &port, &subnet(self.number), &self.address()])?;
        let script =
            "ip address add \"$0\"/24 dev eth0 && ip link set eth0 up && ip route add default via \"$1\"";
        self.machine.run("sh", &["-c", script, &self.address(), control::ADDRESS])?;
        Ok(())
    }

    /// Its name in Kubernetes.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// What was asked for.
    #[must_use]
    pub fn spec(&self) -> &NodeSpec {
        &self.spec
    }

    /// Its namespaces, files and services: `containerd` and `kubelet`.
    #[must_use]
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// What boots a node again hands it over to the one that is known already.
    pub(super) fn into_machine(self) -> Machine {
        self.machine
    }

    /// Its address in the nodes' network.
    #[must_use]
    pub fn address(&self) -> String {
        format!("10.99.0.{}", 10 + self.number)
    }

    /// The folder that containerd reads CNI configuration from.
    #[must_use]
    pub fn conf_dir(&self) -> &'static str {
        self.spec.layout.folders().conf_dir
    }

    /// The folder that containerd looks for plugins in.
    #[must_use]
    pub fn bin_dir(&self) -> &'static str {
        self.spec.layout.folders().bin_dir
    }

    /// The name under which the distribution documents [`Node::bin_dir`] for those who add plugins.
    #[must_use]
    pub fn install_dir(&self) -> &'static str {
        self.spec.layout.folders().install_dir
    }

    /// A `ctr` that speaks to this node's containerd about Kubernetes' images and containers.
    #[must_use]
    pub fn ctr(&self) -> Command {
        let mut command = self.machine.command(self.containerd_program("ctr"));
        command.args(["--address", &self.socket(), "--namespace", "k8s.io"]);
        command
    }

    /// Imports an OCI archive.
    ///
    /// # Errors
    /// When containerd does not take it.
    pub fn import(&self, archive: &Path) -> Result<()> {
        let what = || format!("import {} on {}", archive.display(), self.spec.name);
        let file = File::open(archive).with_context(what)?;
        let mut command = self.ctr();
        // By standard input: the node's root has no such file.
        super::output_of(command.args(["images", "import", "-"]).stdin(file)).with_context(what)?;
        Ok(())
    }

    /// Starts containerd and waits until it answers.
    ///
    /// # Errors
    /// When it ends instead; the error shows its log.
    pub fn start_containerd(&self) -> Result<()> {
        let folders = self.spec.layout.folders();
        let program = self.containerd_program("containerd");
        let folder = program.trim_end_matches("/containerd");
        // containerd looks for its shim, and the shim for runc, on the path.
        let path = format!("{folder}:/parts/debian/usr/sbin:/usr/sbin:/usr/bin:/sbin:/bin");
        self.machine.start(
            "containerd",
            &[("PATH", &path)],
            &[&program, "--config", folders.containerd_config],
        )?;
        let mut running = true;
        let what = format!("containerd on {}", self.spec.name);
        wait::until(&what, Duration::from_secs(60), || {
            running = self.machine.is_running("containerd");
            let answers = || self.ctr().arg("version").output().is_ok_and(|output| output.status.success());
            (!running || answers()).then_some(())
        })?;
        if !running {
            bail!("{what} ended at once; it logged: {}", self.machine.log_tail("containerd"));
        }
        Ok(())
    }

    /// Starts the kubelet. That it is ready is seen at the API server.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_kubelet(&self) -> Result<()> {
        let arguments = [
            super::kubernetes_program("kubelet")?,
            "--config=/etc/kubernetes/kubelet.json".to_owned(),
            format!("--kubeconfig={}", self.spec.layout.folders().kubelet_kubeconfig),
            "--root-dir=/var/lib/kubelet".to_owned(),
            format!("--hostname-override={}", self.spec.name),
            format!("--node-ip={}", self.address()),
            "--v=2".to_owned(),
        ];
        self.machine.start("kubelet", &[("TESTBED_KUBERNETES_VERSION", &self.version)], &arguments)
    }

    /// Ends the kubelet by that signal and starts it again.
    ///
    /// # Errors
    /// When it does not run, or cannot be started.
    pub fn restart_kubelet(&self, signal: &str) -> Result<()> {
        self.machine.signal("kubelet", signal)?;
        self.start_kubelet()
    }

    /// Ends containerd by that signal, and starts it again. Containers go on; they hang on shims of their own.
    ///
    /// # Errors
    /// When it does not run, or cannot be started.
    pub fn restart_containerd(&self, signal: &str) -> Result<()> {
        self.machine.signal("containerd", signal)?;
        self.start_containerd()
    }

    fn containerd_program(&self, name: &str) -> String {
        match self.spec.containerd {
            Containerd::Debian => format!("/parts/debian/usr/bin/{name}"),
            Containerd::V2 => format!("/parts/{}-{}/{name}", parts::CONTAINERD.0, parts::CONTAINERD.1),
        }
    }

    fn socket(&self) -> String {
        socket(&self.spec.layout.folders())
    }
}

/// The parts that a node of this kind needs, made before anything is started.
pub(super) fn provide(spec: &NodeSpec) -> Result<()> {
    parts::reference_plugins()?;
    parts::flannel()?;
    if spec.containerd == Containerd::V2 {
        parts::containerd()?;
    }
    Ok(())
}

/// The range of pod addresses of the node with that number.
fn subnet(number: usize) -> String {
    format!("10.42.{number}.0/24")
}

fn socket(folders: &Folders) -> String {
    format!("{}/containerd.sock", folders.containerd_state)
}

fn containerd_configuration(spec: &NodeSpec) -> String {
    let folders = spec.layout.folders();
    let Folders { conf_dir, bin_dir, containerd_root, containerd_state, .. } = folders;
    let socket = socket(&folders);
    let pause = images::PAUSE;
    let common = format!(
        "root = \"{containerd_root}\"\nstate = \"{containerd_state}\"\n\n[grpc]\naddress = \"{socket}\"\n"
    );
    // restrict_oom_score_adj: where CAP_SYS_RESOURCE is missing, runc could not lower the score, and would end without
    // saying so.
    match spec.containerd {
        Containerd::Debian => format!(
            "version = 2\ndisabled_plugins = [\"io.containerd.internal.v1.opt\"]\n{common}
[plugins.\"io.containerd.grpc.v1.cri\"]
restrict_oom_score_adj = true
sandbox_image = \"{pause}\"

[plugins.\"io.containerd.grpc.v1.cri\".cni]
bin_dir = \"{bin_dir}\"
conf_dir = \"{conf_dir}\"
"
        ),
        Containerd::V2 => format!(
            "version = 3\n{common}
[plugins.'io.containerd.cri.v1.images'.pinned_images]
sandbox = \"{pause}\"

[plugins.'io.containerd.cri.v1.runtime']
restrict_oom_score_adj = true

[plugins.'io.containerd.cri.v1.runtime'.cni]
bin_dirs = [\"{bin_dir}\"]
conf_dir = \"{conf_dir}\"

[plugins.'io.containerd.nri.v1.nri']
disable = true
"
        ),
    }
}

fn kubelet_configuration(folders: &Folders, cgroup: &str) -> String {
    let configuration = json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {"anonymous": {"enabled": true}, "webhook": {"enabled": false}},
        "authorization": {"mode": "AlwaysAllow"},
        "containerRuntimeEndpoint": format!("unix://{}", socket(folders)),
        // No systemd to ask.
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": format!("/{cgroup}"),
        "failCgroupV1": false,
        "failSwapOn": false,
        "maxPods": 250,
        "staticPodPath": "/etc/kubernetes/manifests",
        "volumePluginDir": "/var/lib/kubelet/volumeplugins",
        "clusterDNS": ["10.43.0.10"],
        "clusterDomain": "cluster.local",
        // The disk is the computer's, and its state none of this cluster's business.
        "imageGCHighThresholdPercent": 100,
        "localStorageCapacityIsolation": false,
        "evictionHard": {"memory.available": "0%", "nodefs.available": "0%", "imagefs.available": "0%"},
        // A pod's end is not to be waited for longer than it takes.
        "syncFrequency": "10s",
    });
    format!("{configuration:#}\n")
}
