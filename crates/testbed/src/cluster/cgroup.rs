//! Control groups of the nodes, in whichever hierarchies the computer has: version 1, version 2, or both.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::wait;

/// Creates the control group `name` in every hierarchy.
pub(super) fn create(name: &str) -> Result<()> {
    for (kind, hierarchy) in hierarchies()? {
        let group = hierarchy.join(name);
        fs::create_dir_all(&group)
            .with_context(|| format!("create the control group {}; is this run as root?", group.display()))?;
        if kind == "cgroup2" {
            delegate(&hierarchy)?;
            delegate(&group)?;
        } else {
            inherit_cpuset(&hierarchy, &group)?;
        }
    }
    Ok(())
}

/// Version 1: a new cpuset has no processor until it is given some.
fn inherit_cpuset(hierarchy: &Path, group: &Path) -> Result<()> {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        if let Ok(all) = fs::read(hierarchy.join(file)) {
            fs::write(group.join(file), all).with_context(|| format!("set {file} of {}", group.display()))?;
        }
    }
    Ok(())
}

/// Version 2: groups below get a controller only if each group above hands it down.
fn delegate(group: &Path) -> Result<()> {
    let available = fs::read_to_string(group.join("cgroup.controllers")).unwrap_or_default();
    let file = group.join("cgroup.subtree_control");
    let handed = fs::read_to_string(&file).unwrap_or_default();
    for controller in available.split_whitespace() {
        if handed.split_whitespace().any(|name| name == controller) {
            continue;
        }
        fs::write(&file, format!("+{controller}"))
            .with_context(|| format!("hand {controller} down in {}", file.display()))?;
    }
    Ok(())
}

/// Removes the control group `name`, and those below, from every hierarchy. What was in them has just been ended.
pub(super) fn remove(name: &str) -> Result<()> {
    for (_, hierarchy) in hierarchies()? {
        let group = hierarchy.join(name);
        let what = format!("the control group {} to be empty", group.display());
        wait::until(&what, Duration::from_secs(20), || remove_tree(&group).then_some(()))?;
    }
    Ok(())
}

/// Whether nothing is left.
fn remove_tree(group: &Path) -> bool {
    let Ok(entries) = fs::read_dir(group) else { return !group.exists() };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path());
        }
    }
    match fs::remove_dir(group) {
        Ok(()) => true,
        Err(error) => error.kind() == ErrorKind::NotFound,
    }
}

/// File system types and mount points.
fn hierarchies() -> Result<Vec<(String, PathBuf)>> {
    let mounts = fs::read_to_string("/proc/self/mounts").context("read which file systems are mounted")?;
    let found: Vec<_> = mounts
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ').skip(1);
            let (place, kind) = (fields.next()?, fields.next()?);
            (matches!(kind, "cgroup" | "cgroup2") && place.starts_with("/sys/fs/cgroup"))
                .then(|| (kind.to_owned(), place.into()))
        })
        .collect();
    anyhow::ensure!(
        !found.is_empty(),
        "no control groups are mounted below /sys/fs/cgroup; a kubelet cannot run without"
    );
    Ok(found)
}
