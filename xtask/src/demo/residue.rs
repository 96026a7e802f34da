//! What pods leave on a node: links, leases, journals, caches, rules. Counted before detaching, so that a zero afterwards says
//! something.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::stage::{BRIDGES, CARD, LEASES, Stage, shell};

/// All that is there, by kind; each item named.
pub(crate) struct Residue(pub(crate) Vec<(&'static str, Vec<String>)>);

impl Residue {
    pub(crate) fn of(stage: &Stage) -> Result<Self> {
        let mut in_pods = Vec::new();
        for (pod, netns) in &stage.pods {
            in_pods.extend(netns.link_names()?.into_iter().map(|link| format!("{pod}:{link}")));
        }
        let in_cni_dir = |dir: &str| shown(&files(&stage.cni_dir.join(dir)));
        // What begins with a dot belongs to the node and not to a pod: its locks are of a fixed number and stay.
        let of_pods =
            |names: Vec<String>| names.into_iter().filter(|name| !name.contains("/.locks/.")).collect();
        let journals = fs::read_dir(&stage.cni_dir).into_iter().flatten().flatten();
        let journals = journals.map(|entry| entry.path()).filter(|path| path.is_file()).collect::<Vec<_>>();
        let mut kinds = vec![
            ("interfaces in pods", in_pods),
            ("interfaces on the node", node_links()?),
            ("address leases", leases()),
            ("journals of multus", shown(&journals)),
            ("locks of sandboxes", of_pods(in_cni_dir(".locks"))),
            ("cached results", in_cni_dir("results")),
            ("records not yet made", shown(&files(Path::new("/run/multus")))),
        ];
        if stage.no_port_mappings.is_none() {
            kinds.push(("port mapping rules", rules()));
        }
        Ok(Self(kinds))
    }
}

fn node_links() -> Result<Vec<String>> {
    let text = shell("ip -br link")?;
    let names = text.lines().filter_map(|line| line.split([' ', '@']).next());
    Ok(names
        .filter(|name| *name != "lo" && *name != CARD && !BRIDGES.contains(name))
        .map(str::to_owned)
        .collect())
}

fn leases() -> Vec<String> {
    let paths = files(Path::new(LEASES)).into_iter().filter(|path| {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        // host-local's own notes, no addresses.
        name != "lock" && !name.starts_with("last_reserved_ip")
    });
    shown(&paths.collect::<Vec<_>>())
}

/// Rules that lead to the port of the gateway pod, by whichever tool works here.
fn rules() -> Vec<String> {
    let text =
        shell("{ iptables-save -t nat || true; nft list ruleset || true; } 2>/dev/null").unwrap_or_default();
    text.lines()
        .map(str::trim)
        .filter(|line| line.contains("10.30.0.") && line.contains("80"))
        .map(str::to_owned)
        .collect()
}

fn shown(paths: &[PathBuf]) -> Vec<String> {
    paths.iter().map(|path| path.display().to_string()).collect()
}

/// All files below a folder; none when there is no such folder.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}
