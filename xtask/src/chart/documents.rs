//! READMEs of the charts, by helm-docs out of `README*.gotmpl` and the comments of the values.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use chart::values;

use super::Files;

/// Template, values with the comments in its language, and the file.
const LANGUAGES: [(&str, &str, &str); 2] = [
    ("README.md.gotmpl", "values.yaml", "README.md"),
    ("README.zh-CN.md.gotmpl", "values.zh-CN.yaml", "README.zh-CN.md"),
];

pub(crate) fn all() -> Result<Files> {
    let dir = chart::dir("multus");
    same_values(&dir)?;
    let program = testbed::parts::helm_docs()?.join("helm-docs");
    let mut files = Files::new();
    for (template, values, output) in LANGUAGES {
        // In a copy, since helm-docs writes beside the chart.
        let copy = tempfile::tempdir().context("make a folder for helm-docs")?;
        for file in ["Chart.yaml", values, template] {
            fs::copy(dir.join(file), copy.path().join(file)).with_context(|| format!("copy {file}"))?;
        }
        let said = Command::new(&program)
            .args(["--chart-search-root", ".", "--sort-values-order", "file", "--log-level", "warning"])
            .args(["--template-files", template, "--values-file", values, "--output-file", output])
            .current_dir(copy.path())
            .output()
            .with_context(|| format!("start {}", program.display()))?;
        ensure!(said.status.success(), "helm-docs: {}", String::from_utf8_lossy(&said.stderr));
        let text = fs::read_to_string(copy.path().join(output)).context("read what helm-docs wrote")?;
        files.insert(dir.join(output), text.trim_end().to_owned() + "\n");
    }
    Ok(files)
}

/// The Chinese values are the English ones with other comments.
fn same_values(dir: &Path) -> Result<()> {
    let read = |name: &str| -> Result<_> {
        let text = fs::read_to_string(dir.join(name)).with_context(|| format!("read {name}"))?;
        let entries = values::read(&text).with_context(|| name.to_owned())?;
        let all = values::flat(&entries).into_iter().map(|(path, entry)| (path, entry.default.clone()));
        Ok(all.collect::<Vec<_>>())
    };
    let (english, chinese) = (read("values.yaml")?, read("values.zh-CN.yaml")?);
    for (ours, theirs) in english.iter().zip(&chinese) {
        ensure!(ours == theirs, "values.zh-CN.yaml has {theirs:?} where values.yaml has {ours:?}");
    }
    ensure!(english.len() == chinese.len(), "values.zh-CN.yaml and values.yaml have different keys");
    Ok(())
}
