//! Charts as packages: packed, indexed and pushed by Helm.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::version::{TREE, Version};

const CHARTS: [&str; 2] = ["multus", "multus-crds"];

/// The folder with the packed charts, and what packs them.
pub(super) struct Charts {
    out: PathBuf,
    helm: PathBuf,
}

impl Charts {
    pub(super) fn new(out: &Path) -> Result<Self> {
        fs::create_dir_all(out).with_context(|| format!("create {}", out.display()))?;
        Ok(Self { out: out.to_owned(), helm: testbed::parts::helm3()?.join("helm") })
    }

    /// Packs all charts with the versions of a release, whatever the tree's own say.
    pub(super) fn pack(&self, version: &Version) -> Result<Vec<PathBuf>> {
        for earlier in self.packed()? {
            fs::remove_file(&earlier)
                .with_context(|| format!("remove {} of an earlier run", earlier.display()))?;
        }
        let staging = tempfile::tempdir().context("make a folder for the charts")?;
        let mut packed = Vec::new();
        for name in CHARTS {
            let chart = staging.path().join(name);
            copy(&crate::root().join("charts").join(name), &chart)?;
            name_images(&chart.join("Chart.yaml"), version)?;
            self.run(self.helm().arg("package").arg(&chart).args(["--version", version.number()]).args([
                "--app-version",
                &version.tag(),
                "--destination",
                path(&self.out)?,
            ]))?;
            let archive = self.out.join(format!("{name}-{}.tgz", version.number()));
            self.check(&archive, version)?;
            packed.push(archive);
        }
        Ok(packed)
    }

    /// Whether a package says the release's versions, and renders.
    fn check(&self, archive: &Path, version: &Version) -> Result<()> {
        let shown = self.run(self.helm().args(["show", "chart"]).arg(archive))?;
        for line in [format!("version: {}", version.number()), format!("appVersion: {}", version.tag())] {
            if !shown.lines().any(|found| found == line) {
                bail!("{} does not say {line:?} but: {shown}", archive.display());
            }
        }
        // Helm built from its module takes the cluster for an ancient one when it has none.
        self.run(self.helm().args(["template", "multus", "--kube-version", "v1.34.0"]).arg(archive)).map(drop)
    }

    /// Writes `index.yaml` over the packed charts, which will be fetched from below `url`; entries of `earlier` are kept.
    pub(super) fn index(&self, url: &str, earlier: Option<&Path>) -> Result<PathBuf> {
        let mut helm = self.helm();
        helm.args(["repo", "index"]).arg(&self.out).args(["--url", url]);
        if let Some(earlier) = earlier {
            if !earlier.is_file() {
                bail!(
                    "{} is no index of earlier releases; leave --merge out for the first one",
                    earlier.display()
                );
            }
            helm.arg("--merge").arg(earlier);
        }
        self.run(&mut helm)?;
        Ok(self.out.join("index.yaml"))
    }

    /// Pushes the packed charts. Returns each as reference with its digest, which is what a signature is made over.
    pub(super) fn push(&self, to: &str, plain_http: bool) -> Result<Vec<String>> {
        let mut pushed = Vec::new();
        for archive in self.packed()? {
            let mut helm = self.helm();
            helm.arg("push").arg(&archive).arg(to);
            if plain_http {
                helm.arg("--plain-http");
            }
            pushed.push(
                reference(&self.run(&mut helm)?).with_context(|| format!("push {}", archive.display()))?,
            );
        }
        if pushed.is_empty() {
            bail!("{} has no packed charts; run `cargo xtask release charts` first", self.out.display());
        }
        Ok(pushed)
    }

    fn packed(&self) -> Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.out).with_context(|| format!("read {}", self.out.display()))? {
            found.push(entry?.path());
        }
        found.retain(|path| path.extension().is_some_and(|extension| extension == "tgz"));
        found.sort_unstable();
        Ok(found)
    }

    fn helm(&self) -> Command {
        Command::new(&self.helm)
    }

    /// Returns what Helm says, on either of its outputs.
    fn run(&self, helm: &mut Command) -> Result<String> {
        let shown = format!("{helm:?}");
        let output = helm.stdin(Stdio::null()).output().with_context(|| format!("start {shown}"))?;
        let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        if !output.status.success() {
            bail!("{shown} ended with {}: {}", output.status, said.trim_end());
        }
        Ok(said.into_owned())
    }
}

/// What `helm push` says, as `name@digest`.
fn reference(said: &str) -> Result<String> {
    let field = |name: &str| said.lines().find_map(|line| line.trim().strip_prefix(name)).map(str::trim);
    let (Some(pushed), Some(digest)) = (field("Pushed:"), field("Digest:")) else {
        bail!("helm did not say what it pushed, but: {said}");
    };
    // The tag is not part of what a signature is made over. A port is, and has a `:` too.
    let name = pushed.rsplit_once(':').filter(|(_, tag)| !tag.contains('/')).map_or(pushed, |(name, _)| name);
    Ok(format!("{name}@{digest}"))
}

/// The chart's list of images, which catalogues show, names the release's.
fn name_images(chart: &Path, version: &Version) -> Result<()> {
    let text = fs::read_to_string(chart).with_context(|| format!("read {}", chart.display()))?;
    let text = text.replace(&format!("/multus-rs:v{TREE}"), &format!("/multus-rs:{}", version.tag()));
    fs::write(chart, text).with_context(|| format!("write {}", chart.display()))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("create {}", to.display()))?;
    for entry in fs::read_dir(from).with_context(|| format!("read {}", from.display()))? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), &target).with_context(|| format!("copy {}", entry.path().display()))?;
        }
    }
    Ok(())
}

fn path(path: &Path) -> Result<&str> {
    path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))
}
