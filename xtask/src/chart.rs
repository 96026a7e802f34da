//! `cargo xtask chart [--check]`: everything that is made of the charts: the schema of the values, the tables in the READMEs, the
//! plain manifests of `deployments/`, the golden renders. With `--check` nothing is written, and what differs is an error.

mod deployments;
mod documents;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use chart::helm::Helm;
use chart::{case, schema, values};

/// Generated files with their content.
pub(crate) type Files = BTreeMap<PathBuf, String>;

/// Runs the task.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let check = match arguments {
        [] => false,
        [flag] if flag == "--check" => true,
        _ => bail!("usage: cargo xtask chart [--check]"),
    };
    let helm = Helm::four()?;
    let mut files = Files::new();
    // First, since Helm reads them when it renders.
    files.extend(of_values()?);
    if !check {
        write(&files)?;
    }
    files.extend(documents::all()?);
    files.extend(deployments::all(&helm)?);
    if check {
        return compare(&files);
    }
    let cases = case::all()?;
    for (name, rendered) in case::render_all(&cases, &helm) {
        files.insert(cases[&name].golden(), rendered?);
    }
    write(&files)
}

/// The schema, and the defaults in a form that templates can read: they do not see `values.yaml` itself.
fn of_values() -> Result<Files> {
    let dir = chart::dir("multus");
    let read = |name: &str| {
        let path = dir.join(name);
        fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))
    };
    let entries = values::read(&read("values.yaml")?).context("values.yaml")?;
    let renamed = serde_saphyr::from_str(&read("files/renamed.yaml")?).context("files/renamed.yaml")?;
    let schema = schema::of(&entries, &renamed)?;
    let defaults: BTreeMap<_, _> =
        values::flat(&entries).into_iter().map(|(path, entry)| (path, &entry.default)).collect();
    Ok(Files::from([
        (dir.join("values.schema.json"), serde_json::to_string_pretty(&schema)? + "\n"),
        (dir.join("files/defaults.json"), serde_json::to_string_pretty(&defaults)? + "\n"),
    ]))
}

fn write(files: &Files) -> Result<()> {
    for (path, text) in files {
        if fs::read_to_string(path).is_ok_and(|found| found == *text) {
            continue;
        }
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
        }
        fs::write(path, text).with_context(|| format!("write {}", path.display()))?;
        crate::say(&format!("wrote {}", shown(path)));
    }
    Ok(())
}

fn compare(files: &Files) -> Result<()> {
    let mut stale = Vec::new();
    for (path, text) in files {
        let found = fs::read_to_string(path).unwrap_or_default();
        if found != *text {
            stale.push(format!("{}\n{}", shown(path), case::difference(&found, text)));
        }
    }
    if !stale.is_empty() {
        bail!(
            "these files are not what the charts say; `cargo xtask chart` writes them anew:\n{}",
            stale.join("\n")
        );
    }
    Ok(())
}

fn shown(path: &std::path::Path) -> String {
    path.strip_prefix(crate::root()).unwrap_or(path).display().to_string()
}
