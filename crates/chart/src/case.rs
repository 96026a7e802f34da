//! Golden renders: `charts/multus/tests/cases/NAME.yaml` says what is set, `NAME.golden.yaml` beside it what comes of it.
//!
//! Helm 3 and 4 must render the same. The exception is a version suffix: without a cluster, Helm 3 cuts it off `--kube-version`,
//! and so renders what another case says.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use serde_json::Value;

use crate::helm::Helm;

/// The version that clusters have where a case does not care.
const KUBE_VERSION: &str = "v1.34.4";

/// A case.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Case {
    /// The file's name.
    #[serde(skip)]
    pub name: String,
    /// What it shows, in a sentence.
    pub about: String,
    /// The chart, below the workspace.
    #[serde(default = "multus")]
    chart: PathBuf,
    /// The cluster's version, with its suffix.
    #[serde(default = "kube_version")]
    kube_version: String,
    /// APIs that the cluster serves besides Kubernetes' own.
    #[serde(default)]
    api_versions: Vec<String>,
    /// Values files below the workspace.
    #[serde(default)]
    values_files: Vec<PathBuf>,
    /// Values.
    #[serde(default)]
    values: Value,
    /// Which templates are shown; all where none is named.
    #[serde(default)]
    templates: Vec<String>,
    /// The case that Helm 3 renders instead, since it knows no version suffix.
    #[serde(default)]
    helm3_renders: Option<String>,
}

fn multus() -> PathBuf {
    "charts/multus".into()
}

fn kube_version() -> String {
    KUBE_VERSION.to_owned()
}

/// The folder of the cases.
#[must_use]
pub fn dir() -> PathBuf {
    crate::dir("multus").join("tests/cases")
}

/// All cases, by name.
///
/// # Errors
/// When one cannot be read.
pub fn all() -> Result<BTreeMap<String, Case>> {
    let mut cases = BTreeMap::new();
    for entry in fs::read_dir(dir()).with_context(|| format!("list {}", dir().display()))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let Some(name) = name.strip_suffix(".yaml").filter(|name| !name.ends_with(".golden")) else {
            continue;
        };
        let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        let case: Case =
            serde_saphyr::from_str(&text).with_context(|| format!("understand {}", path.display()))?;
        cases.insert(name.to_owned(), Case { name: name.to_owned(), ..case });
    }
    Ok(cases)
}

impl Case {
    /// What was rendered when somebody last looked at it.
    #[must_use]
    pub fn golden(&self) -> PathBuf {
        dir().join(format!("{}.golden.yaml", self.name))
    }

    /// Values that this case sets, the files' included.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn values(&self) -> Result<Vec<Value>> {
        let mut all = vec![self.values.clone()];
        for file in &self.values_files {
            let path = testbed::parts::workspace().join(file);
            let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
            all.push(serde_saphyr::from_str(&text)?);
        }
        Ok(all)
    }

    /// The render that `helm` must reproduce: this case's, or what Helm 3 takes it for.
    #[must_use]
    pub fn golden_of(&self, helm: &Helm) -> &str {
        match &self.helm3_renders {
            Some(other) if helm.major == 3 => other,
            _ => &self.name,
        }
    }

    /// Renders it.
    ///
    /// # Errors
    /// When Helm refuses; the error is Helm's.
    pub fn render(&self, helm: &Helm) -> Result<String> {
        let workspace = testbed::parts::workspace();
        let folder = tempfile::tempdir().context("make a folder for the values")?;
        let own = folder.path().join("values.yaml");
        // JSON is YAML.
        fs::write(&own, serde_json::to_string(&self.values)?)?;
        let mut arguments = vec!["--kube-version".to_owned(), self.kube_version.clone()];
        let mut add = |flag: &str, value: String| arguments.extend([flag.to_owned(), value]);
        for version in &self.api_versions {
            add("--api-versions", version.clone());
        }
        for file in &self.values_files {
            add("--values", workspace.join(file).display().to_string());
        }
        if !self.values.is_null() {
            add("--values", own.display().to_string());
        }
        for template in &self.templates {
            add("--show-only", format!("templates/{template}.yaml"));
        }
        let chart = self.chart(helm, folder.path())?;
        let said = helm.template(&chart, &arguments)?;
        if !said.success {
            bail!("Helm {} does not render the case {}: {}", helm.major, self.name, said.stderr);
        }
        Ok(tidy(&said.stdout))
    }

    /// The chart's folder; one with dependencies is built beside its own, as `helm dependency build` would do in place.
    fn chart(&self, helm: &Helm, folder: &Path) -> Result<PathBuf> {
        let chart = testbed::parts::workspace().join(&self.chart);
        let metadata = fs::read_to_string(chart.join("Chart.yaml"))
            .with_context(|| format!("read {}", chart.join("Chart.yaml").display()))?;
        if !metadata.contains("dependencies:") {
            return Ok(chart);
        }
        let copy = folder.join("charts-of-the-user/main");
        copy_dir(&chart, &copy)?;
        copy_dir(&crate::dir("multus"), &folder.join("charts-of-the-user/multus"))?;
        copy_dir(&crate::dir("multus-crds"), &folder.join("charts-of-the-user/multus-crds"))?;
        let said = helm.run(
            &["dependency", "build"]
                .map(str::to_owned)
                .into_iter()
                .chain([copy.display().to_string()])
                .collect::<Vec<_>>(),
        )?;
        ensure!(said.success, "helm dependency build: {}", said.stderr);
        Ok(copy)
    }
}

/// Renders all of them, as many at once as the machine has cores.
#[must_use]
pub fn render_all(cases: &BTreeMap<String, Case>, helm: &Helm) -> BTreeMap<String, Result<String>> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let cases: Vec<&Case> = cases.values().collect();
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let work = || {
            let mut done = Vec::new();
            while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                done.push((case.name.clone(), case.render(helm)));
            }
            done
        };
        let workers: Vec<_> = (0..cores).map(|_| scope.spawn(work)).collect();
        workers.into_iter().filter_map(|worker| worker.join().ok()).flatten().collect()
    })
}

/// The first lines in which two texts differ.
#[must_use]
pub fn difference(wanted: &str, found: &str) -> String {
    let first = wanted.lines().zip(found.lines()).take_while(|(wanted, found)| wanted == found).count();
    let shown = |text: &str, mark: char| -> String {
        text.lines().skip(first).take(6).map(|line| format!("  {mark} {line}\n")).collect()
    };
    format!("  line {}\n{}{}", first + 1, shown(wanted, '-'), shown(found, '+'))
}

/// Copies files and folders; what `helm dependency build` made there before is left out.
fn copy_dir(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from).with_context(|| format!("list {}", from.display()))? {
        let entry = entry?;
        let (path, name) = (entry.path(), entry.file_name());
        if name == "charts" || name == "Chart.lock" || name == "tests" && from.ends_with("multus") {
            continue;
        }
        if path.is_dir() {
            copy_dir(&path, &to.join(name))?;
        } else {
            fs::copy(&path, to.join(name)).with_context(|| format!("copy {}", path.display()))?;
        }
    }
    Ok(())
}

/// One form for both Helms: they differ in empty lines only.
fn tidy(rendered: &str) -> String {
    let lines = rendered.lines().map(str::trim_end).filter(|line| !line.is_empty());
    lines.fold(String::new(), |text, line| text + line + "\n")
}
