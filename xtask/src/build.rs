//! Builds the programs that the tasks run or ship.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// A kind of machine that programs are built for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arch {
    Amd64,
    Arm64,
}

impl Arch {
    pub(crate) const ALL: [Self; 2] = [Self::Amd64, Self::Arm64];

    /// Of this machine.
    pub(crate) fn native() -> Result<Self> {
        let name = std::env::consts::ARCH;
        Self::ALL
            .into_iter()
            .find(|arch| arch.triple().starts_with(name))
            .with_context(|| format!("nothing is built for machines of this kind, {name}"))
    }

    /// From Go's word, which container images use too.
    pub(crate) fn parse(name: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|arch| arch.go() == name);
        found.with_context(|| format!("{name:?} is not one of amd64, arm64"))
    }

    pub(crate) fn go(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }

    fn triple(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64-unknown-linux-gnu",
            Self::Arm64 => "aarch64-unknown-linux-gnu",
        }
    }
}

/// Cargo as a person would call it. Of the variables with which Cargo runs this program, those that describe its package are left out:
/// build scripts that watch them (ring's) would run anew each time that a task's call follows one by hand, or the other way round, and
/// whatever is built upon them.
pub(crate) fn cargo() -> Command {
    let mut cargo = Command::new(env!("CARGO"));
    for (name, _) in std::env::vars_os() {
        if ["CARGO_MANIFEST_", "CARGO_PKG_"].iter().any(|start| name.to_string_lossy().starts_with(start)) {
            cargo.env_remove(name);
        }
    }
    cargo
}

/// `multus` as `cargo build` makes it. Progress is shown on stderr.
pub(crate) fn debug_multus() -> Result<PathBuf> {
    build(cargo().args(["build", "--locked", "--package", "multus"]), "multus")
}

/// `multus` as it is released: optimised, static, in one file.
pub(crate) fn static_multus() -> Result<PathBuf> {
    static_program("multus", Arch::native()?)
}

/// This very program, optimised for what is measured with it.
pub(crate) fn measuring() -> Result<PathBuf> {
    let arguments = ["build", "--locked", "--profile", "measure", "--package", "xtask"];
    build(cargo().args(arguments), "xtask")
}

/// A package's program of the same name as it is released.
pub(crate) fn static_program(package: &str, arch: Arch) -> Result<PathBuf> {
    let small = SMALL.contains(&package);
    let profile = if small { "small" } else { "release" };
    let mut cargo = cargo();
    cargo.args(["build", "--locked", "--profile", profile, "--target", arch.triple(), "--package", package]);
    let mut flags = static_flags();
    // Relocations of a static program as bits and not as records: only this linker is known to write them for old kernels.
    if small && arch == Arch::Amd64 {
        flags.push("-Clink-arg=-Wl,--pack-dyn-relocs=relr".to_owned());
    }
    // With --target these flags do not reach build scripts and macros, which must stay dynamic.
    cargo.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f")).env_remove("RUSTFLAGS");
    if arch != Arch::native()? {
        cross(&mut cargo, arch)?;
    }
    let program = build(&mut cargo, package)?;
    if small {
        drop_unwind_tables(&program, arch)?;
    }
    Ok(program)
}

/// Programs that go to every node and are started for every call.
const SMALL: [&str; 1] = ["multus-shim"];

/// A tenth of such a program is tables for unwinding, which nothing uses: it ends where it panics, and says where that is.
fn drop_unwind_tables(program: &Path, arch: Arch) -> Result<()> {
    let objcopy = if arch == Arch::native()? {
        "objcopy".to_owned()
    } else {
        arch.triple().replace("-unknown", "") + "-objcopy"
    };
    let mut command = Command::new(&objcopy);
    command.args(["--remove-section=.eh_frame", "--remove-section=.eh_frame_hdr"]).arg(program);
    let status = command
        .status()
        .with_context(|| format!("start {objcopy}, which comes with the linker (binutils)"))?;
    if !status.success() {
        bail!("{command:?} ended with {status}");
    }
    Ok(())
}

/// Where sources lie on the building machine is nobody's business, and must not change the bytes.
fn static_flags() -> Vec<String> {
    let mut flags = vec!["-Ctarget-feature=+crt-static".to_owned()];
    let home = |name: &str| std::env::var_os("HOME").map(|home| Path::new(&home).join(name));
    let cargo = std::env::var_os("CARGO_HOME").map(PathBuf::from).or_else(|| home(".cargo"));
    for (from, to) in [(Some(crate::root()), "/multus-rs"), (cargo, "/cargo")] {
        flags.extend(from.map(|from| format!("--remap-path-prefix={}={to}", from.display())));
    }
    flags
}

/// What another machine's programs need besides: Rust's library for it, and a linker.
fn cross(cargo: &mut Command, arch: Arch) -> Result<()> {
    let triple = arch.triple();
    let library = Command::new("rustc").args(["--print", "target-libdir", "--target", triple]).output();
    let library = library.context("ask rustc where its libraries are")?;
    if !Path::new(String::from_utf8_lossy(&library.stdout).trim()).is_dir() {
        bail!(
            "this Rust cannot build for {triple}; run `rustup target add {triple}`, or build on such a machine"
        );
    }
    let (linker, package) = match arch {
        Arch::Amd64 => ("x86_64-linux-gnu-gcc", "gcc-x86-64-linux-gnu"),
        Arch::Arm64 => ("aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu"),
    };
    if !crate::test::on_path(linker) {
        crate::test::install(&[package])?;
    }
    cargo.env(format!("CARGO_TARGET_{}_LINKER", triple.replace('-', "_").to_uppercase()), linker);
    Ok(())
}

fn build(cargo: &mut Command, program: &str) -> Result<PathBuf> {
    let output = cargo
        .arg("--message-format=json-render-diagnostics")
        .current_dir(crate::root())
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("start cargo to build {program}"))?;
    if !output.status.success() {
        bail!("cargo could not build {program}: {}", output.status);
    }
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message["target"]["name"] == program)
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .with_context(|| format!("cargo built {program} and did not say where"))
}
