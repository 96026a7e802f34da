//! What the licences of others' code in an image want to be told along with it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// One text with the licence files of all crates that `packages` are built from, equal ones once.
pub(super) fn of(packages: &[&str]) -> Result<String> {
    let metadata = metadata()?;
    let mut texts: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for package in below(&metadata, packages)? {
        let text = |key: &str| package[key].as_str().unwrap_or_default();
        let title = format!("{} {} ({})", text("name"), text("version"), text("license"));
        let folder = Path::new(text("manifest_path")).parent().context("a crate without a folder")?;
        for license in files(folder)? {
            texts.entry(license).or_default().insert(title.clone());
        }
    }
    Ok(join(texts))
}

/// One text with the files in `folder`, each of which is called after what it is the licence of; equal ones once.
pub(super) fn in_folder(folder: &Path) -> Result<String> {
    let mut texts: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for entry in fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))? {
        let path = entry?.path();
        let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        texts
            .entry(text)
            .or_default()
            .extend(path.file_name().map(|name| name.to_string_lossy().into_owned()));
    }
    Ok(join(texts))
}

/// Licences, each with what it is of.
fn join(texts: BTreeMap<String, BTreeSet<String>>) -> String {
    let mut all = "These programs contain code of others, under the licences below.\n".to_owned();
    for (text, titles) in texts {
        let titles = titles.into_iter().collect::<Vec<_>>().join("\n");
        // Writing to a String cannot fail.
        let _ = write!(all, "\n{}\n{titles}\n\n{}\n", "=".repeat(80), text.trim());
    }
    all
}

fn metadata() -> Result<Value> {
    let output = crate::build::cargo()
        .args(["metadata", "--format-version", "1", "--locked", "--offline"])
        .current_dir(crate::root())
        .output()
        .context("ask cargo for the dependencies")?;
    if !output.status.success() {
        bail!(
            "cargo metadata ended with {}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim_end()
        );
    }
    serde_json::from_slice(&output.stdout).context("read cargo's metadata")
}

/// The crates of others that end up in the programs of `packages`.
fn below<'a>(metadata: &'a Value, packages: &[&str]) -> Result<Vec<&'a Value>> {
    let by_id = |list: &'a Value| -> BTreeMap<&'a str, &'a Value> {
        let items = list.as_array().into_iter().flatten();
        items.filter_map(|item| Some((item["id"].as_str()?, item))).collect()
    };
    let (known, nodes) = (by_id(&metadata["packages"]), by_id(&metadata["resolve"]["nodes"]));
    let ours = |package: &Value| package["source"].is_null();
    let mut open: Vec<&str> = known
        .iter()
        .filter(|(_, package)| ours(package) && packages.iter().any(|name| package["name"] == *name))
        .map(|(id, _)| *id)
        .collect();
    if open.len() != packages.len() {
        bail!("not all of {packages:?} are packages of this workspace");
    }
    let mut seen: BTreeSet<&str> = open.iter().copied().collect();
    while let Some(id) = open.pop() {
        let dependencies = nodes.get(id).and_then(|node| node["deps"].as_array()).into_iter().flatten();
        let normal = dependencies.filter(|dependency| {
            dependency["dep_kinds"]
                .as_array()
                .is_some_and(|kinds| kinds.iter().any(|kind| kind["kind"].is_null()))
        });
        open.extend(normal.filter_map(|dependency| dependency["pkg"].as_str()).filter(|id| seen.insert(id)));
    }
    Ok(seen.into_iter().filter_map(|id| known.get(id).copied()).filter(|package| !ours(package)).collect())
}

fn files(folder: &Path) -> Result<Vec<String>> {
    let mut texts = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        if ["license", "licence", "copying", "copyright", "notice"]
            .iter()
            .any(|start| name.starts_with(start))
            && path.is_file()
        {
            let bytes = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
            texts.push(String::from_utf8_lossy(&bytes).into_owned());
        }
    }
    Ok(texts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crates_of_others_in_our_programs_are_named_with_their_licences() {
        let text = of(&["multus"]).unwrap();
        assert!(text.contains("\nring 0."), "a dependency of a dependency");
        assert!(text.contains("Permission is hereby granted, free of charge"), "the MIT licence");
        assert!(!text.contains("\ntempfile "), "tests only");
        assert!(!text.contains("\nlibcni "), "our own");
        assert!(of(&["no-such-package"]).unwrap_err().to_string().contains("no-such-package"));
    }

    #[test]
    fn go_modules_in_the_plugins_are_named_with_their_licences() {
        let folder = testbed::parts::reference_plugins_licenses().unwrap();
        let text = in_folder(&folder).unwrap();
        for part in [
            "github.com_vishvananda_netlink v1.",
            "github.com_containernetworking_plugins v1.9.1 LICENSE",
            "\ngo1.",
        ] {
            assert!(text.contains(part), "{part}");
        }
        let (files, texts) = (fs::read_dir(folder).unwrap().count(), text.matches(&"=".repeat(80)).count());
        assert!(texts < files, "of {files} licences some are equal; {texts} texts");
    }
}
