//! `cargo xtask test`: everything that must hold before a change lands, in the order in which failures are cheapest.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};

/// What the tests call, and the Debian package that has it.
const TOOLS: [(&str, &str); 7] = [
    ("ip", "iproute2"),
    ("unshare", "util-linux"),
    ("iptables", "iptables"),
    ("nft", "nftables"),
    ("ping", "iputils-ping"),
    ("conntrack", "conntrack"),
    ("skopeo", "skopeo"),
];

const CARGO_DENY: &str = "0.20.2";

/// A step that is left out unless it is named: it needs a database from the network, and what it finds is news about what others
/// wrote and not a fault of the change.
const ON_REQUEST: &str = "advisories";

type Step = (&'static str, fn() -> Result<()>);

/// Runs all steps, or those whose name is in `only`.
pub(crate) fn run(only: &[String]) -> Result<()> {
    let steps: [Step; 10] = [
        ("format", || cargo(&["fmt", "--all", "--check"], &[])),
        ("lint", || {
            cargo(
                &["clippy", "--workspace", "--all-targets", "--locked", "--quiet", "--", "-D", "warnings"],
                &[],
            )
        }),
        ("test", || {
            // First and out here, where a failed download says so by itself and not from within a test.
            testbed::parts::reference_plugins()?;
            testbed::parts::reference_plugins_licenses()?;
            testbed::parts::upstream_multus()?;
            testbed::parts::upstream_source(testbed::parts::UPSTREAM_VERSION)?;
            testbed::parts::debian()?;
            testbed::parts::docker_registry()?;
            testbed::parts::cnitool()?;
            testbed::parts::helm3()?;
            cargo(
                &["test", "--workspace", "--exclude", "e2e", "--locked"],
                &[("RUST_BACKTRACE", "1"), ("RUST_TEST_THREADS", &at_once())],
            )
        }),
        ("e2e", crate::e2e::run),
        ("charts", || crate::chart::run(&["--check".to_owned()])),
        ("docs", || {
            cargo(
                &["doc", "--workspace", "--no-deps", "--locked", "--quiet", "--document-private-items"],
                &[("RUSTDOCFLAGS", "-D warnings")],
            )
        }),
        ("fuzz targets", || {
            // Nightly's instrumentation is not needed to know that the targets still fit the code.
            cargo(&["check", "--manifest-path", "fuzz/Cargo.toml", "--quiet"], &[])
        }),
        ("workflows", workflows),
        ("dependencies", || deny(&["--offline"], &["bans", "licenses", "sources"])),
        (ON_REQUEST, || deny(&[], &["advisories"])),
    ];
    if let Some(unknown) = only.iter().find(|name| !steps.iter().any(|(step, _)| step == name)) {
        bail!("no step is called {unknown:?}; there are: {}", steps.map(|(step, _)| step).join(", "));
    }
    install_tools()?;
    // Also what only other platforms need: the steps that read the dependency graph work offline.
    cargo(&["fetch", "--locked", "--quiet"], &[])?;
    for (name, step) in steps {
        let wanted =
            if only.is_empty() { name != ON_REQUEST } else { only.iter().any(|wanted| wanted == name) };
        if !wanted {
            continue;
        }
        let start = Instant::now();
        crate::say(&format!("== {name}"));
        step().with_context(|| format!("step {name:?} failed"))?;
        crate::say(&format!("== {name}: {:.0} s", start.elapsed().as_secs_f32()));
    }
    Ok(())
}

/// How many tests run at once: many wait for processes and deadlines more than they compute.
pub(crate) fn at_once() -> String {
    std::thread::available_parallelism().map_or(4, |cores| cores.get() * 2).to_string()
}

pub(crate) fn cargo(arguments: &[&str], environment: &[(&str, &str)]) -> Result<()> {
    let status = crate::build::cargo()
        .args(arguments)
        .envs(environment.iter().copied())
        .current_dir(crate::root())
        .status()
        .context("start cargo")?;
    if !status.success() {
        bail!("cargo {} ended with {status}", arguments.join(" "));
    }
    Ok(())
}

/// What CI and a release do, as far as it can be seen without doing it.
fn workflows() -> Result<()> {
    if !on_path("shellcheck") {
        // actionlint hands the workflows' shell parts to it.
        install(&["shellcheck"])?;
    }
    let mut actionlint = Command::new(testbed::parts::actionlint()?);
    for entry in std::fs::read_dir(crate::root().join(".github/workflows")).context("read the workflows")? {
        actionlint.arg(entry?.path());
    }
    let status = actionlint.status().context("start actionlint")?;
    if !status.success() {
        bail!("actionlint ended with {status}");
    }
    Ok(())
}

fn deny(options: &[&str], checks: &[&str]) -> Result<()> {
    if !on_path("cargo-deny") {
        cargo(&["install", "cargo-deny", "--version", CARGO_DENY, "--locked", "--quiet"], &[])?;
    }
    cargo(&[&["deny", "--log-level", "error"], options, &["check"], checks].concat(), &[])
}

/// Installs the programs that tests call, where the machine lacks them and lets us.
pub(crate) fn install_tools() -> Result<()> {
    let missing: Vec<_> = TOOLS.iter().filter(|(tool, _)| !on_path(tool)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let packages: Vec<_> = missing.iter().map(|(_, package)| *package).collect();
    crate::say(&format!("== installing {}", packages.join(", ")));
    install(&packages)
}

/// Installs Debian packages.
pub(crate) fn install(packages: &[&str]) -> Result<()> {
    for arguments in [
        vec!["update", "-qq"],
        [vec!["install", "-y", "-qq", "--no-install-recommends"], packages.to_vec()].concat(),
    ] {
        let ended = Command::new("apt-get")
            .args(&arguments)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .stdout(std::process::Stdio::null())
            .status();
        if !ended.is_ok_and(|status| status.success()) {
            bail!("apt-get could not install these packages; they are needed here: {}", packages.join(" "));
        }
    }
    Ok(())
}

pub(crate) fn on_path(tool: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(Into::into))
        .any(|dir| Path::new(&dir).join(tool).is_file())
}
