//! Thick mode: the daemons behind the two shims, and what they cost.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::scene::{Plugins, Scene, Side};

/// The node that the daemons and all pods are on.
pub(super) const NODE: &str = "bench";
/// Where Go's client in a cluster finds its credentials; `/run` is this program's own.
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const PATIENCE: Duration = Duration::from_secs(60);

/// One for each side and kind of plugins: a daemon has one primary network.
pub(super) type Daemons = BTreeMap<(Side, Plugins), Daemon>;

/// A daemon that runs. Dropped, it is ended.
#[derive(Debug)]
pub(super) struct Daemon {
    child: Child,
    /// What it wrote for the container runtime.
    pub(super) netconf: Value,
    /// KiB, before the first pod.
    pub(super) idle: u64,
}

impl Daemon {
    /// Starts a daemon in a folder of its own, and waits for the configuration that it writes.
    pub(super) fn start(scene: &Scene, side: Side, plugins: Plugins, primary: &str) -> Result<Self> {
        let dir = scene.path(&format!("{side:?}-{plugins:?}"));
        for folder in ["net.d", "bin", "run"] {
            fs::create_dir_all(dir.join(folder))?;
        }
        fs::copy(scene.path(primary), dir.join("net.d").join(primary))?;
        let mut config = json!({
            "cniVersion": "1.0.0",
            "cniConfigDir": dir.join("net.d"),
            "multusAutoconfigDir": dir.join("net.d"),
            "multusConfigFile": "auto",
            "socketDir": dir.join("run"),
            "daemonSocketDir": dir.join("run"),
            "binDir": scene.plugin_dir(plugins),
            "cniDir": dir.join("cni"),
        });
        let program = if side == Side::OursThick {
            config["kubeconfig"] = json!(scene.path("kubeconfig"));
            config["shimDir"] = json!(dir.join("bin"));
            symlink(&scene.programs.shim, dir.join("bin/multus-shim"))?;
            symlink(&scene.programs.ours, dir.join("multus-daemon"))?;
            dir.join("multus-daemon")
        } else {
            service_account(scene)?;
            scene.programs.upstream_daemon.clone()
        };
        let config_file = dir.join("daemon-config.json");
        fs::write(&config_file, config.to_string())?;
        let log = dir.join("log");
        let child = Command::new(&program)
            .arg("-config")
            .arg(&config_file)
            .env("KUBERNETES_SERVICE_HOST", "127.0.0.1")
            .env("KUBERNETES_SERVICE_PORT", scene.api.port().to_string())
            .env("MULTUS_NODE_NAME", NODE)
            .env("PATH", crate::cni::search_path())
            .stdout(Stdio::null())
            .stderr(fs::File::create(&log)?)
            .spawn()
            .with_context(|| format!("start {}", program.display()))?;
        let mut daemon = Self { child, netconf: Value::Null, idle: 0 };
        let written =
            testbed::wait::until("the daemon's configuration", PATIENCE, || written(&dir.join("net.d")));
        daemon.netconf = written.with_context(|| fs::read_to_string(&log).unwrap_or_default())?;
        daemon.idle = daemon.resident()?;
        Ok(daemon)
    }

    /// KiB that are resident now.
    pub(super) fn resident(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        number.context("read how much memory a daemon has")
    }

    /// User and system time so far, its children's included.
    pub(super) fn cpu(&self) -> Result<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let fields = stat.rsplit_once(") ").map(|(_, rest)| rest).unwrap_or_default();
        // utime, stime, cutime and cstime, in hundredths of a second.
        let ticks = fields.split(' ').skip(11).take(4).map(|field| field.parse::<u64>());
        let ticks: u64 = ticks.sum::<std::result::Result<u64, _>>().context("read a daemon's CPU time")?;
        Ok(Duration::from_millis(ticks * 10))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn service_account(scene: &Scene) -> Result<()> {
    fs::create_dir_all(SERVICE_ACCOUNT)?;
    let dir = Path::new(SERVICE_ACCOUNT);
    fs::write(dir.join("token"), "testbed-token")?;
    fs::write(dir.join("ca.crt"), scene.api.authority().context("the API server has no TLS")?)?;
    Ok(())
}

/// The configuration that a runtime would take, as it hands it to the plugin: of a list, its only plugin.
pub(super) fn written(net_d: &Path) -> Option<Value> {
    let read = |name: &str| {
        fs::read(net_d.join(name)).ok().and_then(|text| serde_json::from_slice::<Value>(&text).ok())
    };
    if let Some(single) = read("00-multus.conf") {
        return Some(single);
    }
    let list = read("00-multus.conflist")?;
    let mut plugin = list["plugins"][0].clone();
    plugin["name"] = list["name"].clone();
    plugin["cniVersion"] = list["cniVersion"].clone();
    Some(plugin)
}
