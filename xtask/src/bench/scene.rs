//! What both sides are measured on: one API server with real TLS, one set of plugins, one pod for each number of networks.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use testbed::Netns;
use testbed::apiserver::FakeApi;

use super::Programs;
use super::thick::{Daemon, Daemons};
use crate::cni::{self, Sandbox};

/// How many networks the pods select.
pub(super) const COUNTS: [usize; 4] = [0, 1, 2, 4];
const NETWORKS: &str = "k8s.v1.cni.cncf.io/networks";

/// Who is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Side {
    /// The plugins called one after another with nobody between.
    Plugins,
    /// Ours; the runtime hands the pod's annotations over.
    Ours,
    /// Ours with an older runtime, which does not.
    OursAlone,
    /// Upstream's.
    Upstream,
    /// Our shim, with our daemon behind it.
    OursThick,
    /// Upstream's shim and daemon.
    UpstreamThick,
}

impl Side {
    pub(super) const ALL: [Self; 6] =
        [Self::Plugins, Self::Ours, Self::OursAlone, Self::Upstream, Self::OursThick, Self::UpstreamThick];
    pub(super) const THIN: [Self; 3] = [Self::Ours, Self::OursAlone, Self::Upstream];
    pub(super) const THICK: [Self; 2] = [Self::OursThick, Self::UpstreamThick];
    pub(super) const MULTUS: [Self; 5] =
        [Self::Ours, Self::OursAlone, Self::Upstream, Self::OursThick, Self::UpstreamThick];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Plugins => "plugins alone",
            Self::Ours => "ours",
            Self::OursAlone => "ours, looked up",
            Self::Upstream => "upstream",
            Self::OursThick => "ours, thick",
            Self::UpstreamThick => "upstream, thick",
        }
    }
}

/// Which plugins run behind `multus`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Plugins {
    /// bridge and host-local in real namespaces.
    Real,
    /// One that does nothing and weighs little, where `multus` itself is weighed.
    Light,
}

pub(super) struct Scene {
    // They end before what they stand on goes.
    daemons: Daemons,
    pub(super) api: FakeApi,
    pub(super) programs: Programs,
    light: PathBuf,
    dir: tempfile::TempDir,
    sandboxes: BTreeMap<usize, (Netns, Sandbox)>,
}

impl Scene {
    pub(super) fn set(programs: Programs) -> Result<Self> {
        testbed::require_namespace()?;
        let dir =
            tempfile::Builder::new().prefix("bench").tempdir_in("/run").context("make a folder in /run")?;
        let light = dir.path().join("light");
        testbed::plugin::Recorder::new(&light, &["light"])?;
        let api = FakeApi::tls()?;
        api.write_kubeconfig(&dir.path().join("kubeconfig"))?;
        let mut sandboxes = BTreeMap::new();
        for count in COUNTS {
            let (pod, uid) = (format!("pod-{count}"), format!("uid-{count}"));
            let netns = Netns::new(&pod)?;
            for (namespace, plugins) in [("default", Plugins::Real), ("light", Plugins::Light)] {
                api.add_pod(json!({
                    "metadata": {
                        "name": pod, "namespace": namespace, "uid": uid,
                        "annotations": { NETWORKS: selection(count, plugins) },
                    },
                    // A daemon watches the pods of its own node.
                    "spec": { "nodeName": super::thick::NODE, "containers": [{ "name": "c", "image": "i" }] },
                }));
            }
            let sandbox = Sandbox {
                container_id: format!("bench-{count}"),
                netns: netns.path(),
                namespace: "default".to_owned(),
                pod,
                uid,
            };
            sandboxes.insert(count, (netns, sandbox));
        }
        let mut scene = Self { daemons: Daemons::default(), api, programs, light, dir, sandboxes };
        for network in 1..=COUNTS[COUNTS.len() - 1] {
            scene.api.add_nad_with("default", &format!("net-{network}"), &scene.config(network).to_string());
            scene.api.add_nad_with("light", &format!("light-{network}"), &light_config(network).to_string());
        }
        fs::write(scene.path("10-real.conf"), scene.config(0).to_string())?;
        fs::write(scene.path("10-light.conf"), light_config(0).to_string())?;
        for side in Side::THICK {
            for (plugins, primary) in [(Plugins::Real, "10-real.conf"), (Plugins::Light, "10-light.conf")] {
                let daemon = Daemon::start(&scene, side, plugins, primary)
                    .with_context(|| format!("start the daemon of {}", side.name()))?;
                scene.daemons.insert((side, plugins), daemon);
            }
        }
        Ok(scene)
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Network 0 is the cluster's own.
    fn config(&self, network: usize) -> Value {
        json!({
            "cniVersion": "1.0.0",
            "name": format!("net-{network}"),
            "type": "bridge",
            "bridge": format!("bench{network}"),
            "isGateway": network == 0,
            "ipam": {
                "type": "host-local",
                "dataDir": self.path("leases"),
                "subnet": format!("10.{}.0.0/16", 60 + network),
            }
        })
    }

    pub(super) fn daemon(&self, side: Side, plugins: Plugins) -> Option<&Daemon> {
        self.daemons.get(&(side, plugins))
    }

    fn netconf(&self, side: Side, count: usize, plugins: Plugins) -> Value {
        let mut netconf = match self.daemon(side, plugins) {
            Some(daemon) => daemon.netconf.clone(),
            None => self.thin_netconf(side, plugins),
        };
        if matches!(side, Side::Ours | Side::OursThick) {
            let annotations =
                if count == 0 { json!({}) } else { json!({ NETWORKS: selection(count, plugins) }) };
            netconf["capabilities"] = json!({ "io.kubernetes.cri.pod-annotations": true });
            netconf["runtimeConfig"] = json!({ "io.kubernetes.cri.pod-annotations": annotations });
        }
        netconf
    }

    fn thin_netconf(&self, side: Side, plugins: Plugins) -> Value {
        let primary = match plugins {
            Plugins::Real => "10-real.conf",
            Plugins::Light => "10-light.conf",
        };
        json!({
            "cniVersion": "1.0.0",
            "name": "multus-cni-network",
            "type": "multus",
            "kubeconfig": self.path("kubeconfig"),
            "clusterNetwork": self.path(primary),
            "cniDir": self.path(if side == Side::Upstream { "cni-upstream" } else { "cni-ours" }),
            "binDir": self.plugin_dir(plugins),
        })
    }

    pub(super) fn plugin_dir(&self, plugins: Plugins) -> &Path {
        match plugins {
            Plugins::Real => &self.programs.plugins,
            Plugins::Light => &self.light,
        }
    }

    fn program(&self, side: Side) -> &Path {
        match side {
            Side::Plugins | Side::Ours | Side::OursAlone => &self.programs.ours,
            Side::Upstream => &self.programs.upstream,
            Side::OursThick => &self.programs.shim,
            Side::UpstreamThick => &self.programs.upstream_shim,
        }
    }

    /// Program, environment and stdin of a call of `multus`.
    pub(super) fn call(
        &self,
        side: Side,
        verb: &str,
        count: usize,
        plugins: Plugins,
    ) -> (&Path, Vec<(String, OsString)>, Vec<u8>) {
        let mut sandbox = self.sandboxes[&count].1.clone();
        if matches!(plugins, Plugins::Light) {
            sandbox.namespace = "light".to_owned();
            sandbox.container_id.push_str("-light");
        }
        let environment = cni::environment(verb, &sandbox, "eth0", self.plugin_dir(plugins));
        (self.program(side), environment, self.netconf(side, count, plugins).to_string().into_bytes())
    }

    /// The commands that a verb comes to: one of `multus`, or one of each plugin.
    pub(super) fn commands(
        &self,
        side: Side,
        verb: &str,
        count: usize,
        plugins: Plugins,
    ) -> Result<Vec<Command>> {
        if side != Side::Plugins {
            let (program, environment, stdin) = self.call(side, verb, count, plugins);
            return Ok(vec![cni::command(program, &environment, &stdin)?]);
        }
        let sandbox = &self.sandboxes[&count].1;
        let dir = self.plugin_dir(plugins);
        let mut commands = Vec::new();
        for network in 0..=count {
            let interface = if network == 0 { "eth0".to_owned() } else { format!("net{network}") };
            let environment = cni::environment(verb, sandbox, &interface, dir);
            let (program, config) = match plugins {
                Plugins::Real => ("bridge", self.config(network)),
                Plugins::Light => ("light", light_config(network)),
            };
            commands.push(cni::command(&dir.join(program), &environment, config.to_string().as_bytes())?);
        }
        if verb == "DEL" {
            commands.reverse();
        }
        Ok(commands)
    }

    /// The light plugin remembers its calls, and must not grow slower by that.
    pub(super) fn forget_calls(&self) -> Result<()> {
        testbed::plugin::Recorder { dir: self.light.clone() }.clear()
    }

    /// Links in the pods and leases that are left: none, when all was detached.
    pub(super) fn left(&self) -> Result<usize> {
        let mut left = 0;
        for (netns, _) in self.sandboxes.values() {
            left += netns.link_names()?.len();
        }
        for network in fs::read_dir(self.path("leases")).into_iter().flatten().flatten() {
            let names = fs::read_dir(network.path())?.flatten().map(|entry| entry.file_name());
            left += names.filter(|name| name.to_string_lossy().starts_with("10.")).count();
        }
        Ok(left)
    }
}

fn selection(count: usize, plugins: Plugins) -> String {
    let prefix = match plugins {
        Plugins::Real => "net",
        Plugins::Light => "light",
    };
    (1..=count).map(|network| format!("{prefix}-{network}")).collect::<Vec<_>>().join(",")
}

fn light_config(network: usize) -> Value {
    json!({
        "cniVersion": "1.0.0",
        "name": format!("light-{network}"),
        "type": "light",
        "x-result": {
            "cniVersion": "1.0.0",
            "interfaces": [{ "name": "$IFNAME", "mac": "02:00:00:00:00:01", "sandbox": "$NETNS" }],
            "ips": [{ "address": format!("10.{}.0.2/16", 60 + network), "interface": 0 }]
        }
    })
}
