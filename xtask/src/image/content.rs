//! What is in the images.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result};
use oci_archive::{Config, Image, Layer, Platform};

use crate::build::Arch;

/// Names of the images and of their archives.
pub(super) const MULTUS: &str = "multus-rs";
pub(super) const PLUGINS: &str = "cni-plugins";

const BIN: &str = "/usr/src/multus-cni/bin";
const PLUGINS_BIN: &str = "/usr/src/cni-plugins/bin";
const PROJECT: &str = env!("CARGO_PKG_REPOSITORY");

/// A program of ours: one file with one or more names, of which each is a role.
pub(super) struct Program {
    /// The cargo package that it is built from, and its first name in the image.
    pub(super) package: &'static str,
    /// Its other names beside the first.
    names: &'static [&'static str],
    /// Those of its names that the root folder has too, as upstream's image has them.
    root: &'static [&'static str],
}

/// All programs of ours.
pub(super) const PROGRAMS: [Program; 2] = [
    Program {
        package: "multus",
        names: &[
            "multus-daemon",
            "install_multus",
            "thin_entrypoint",
            "kubeconfig_generator",
            "cert-approver",
            "install_plugins",
            "copy_primary",
            "chart_test",
        ],
        root: &[
            "install_multus",
            "thin_entrypoint",
            "kubeconfig_generator",
            "cert-approver",
            "install_plugins",
        ],
    },
    // What goes to every node is the smaller of the two that can be passthru.
    Program { package: "multus-shim", names: &["passthru"], root: &[] },
];

/// What images for one kind of machine are made of.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) arch: Arch,
    /// Folder with the file of each of [`PROGRAMS`].
    pub(super) programs: PathBuf,
    /// Files of the CNI reference plugins.
    pub(super) plugins: Vec<PathBuf>,
    /// Theirs and their parts' licences, as one text.
    pub(super) plugins_licenses: String,
    /// Those of the crates in our programs, as one text.
    pub(super) crate_licenses: String,
}

/// Our image: upstream's paths, so that upstream's manifests run with it.
pub(super) fn multus(source: &Source, reference: &str) -> Result<Image> {
    let mut layer = Layer::new();
    layer.minimal_root()?;
    add_licenses(&mut layer, source)?;
    for program in PROGRAMS {
        let file = format!("{BIN}/{}", program.package);
        layer.file_from(&file, &source.programs.join(program.package), 0o755)?;
        let names = program.names.iter().map(|name| format!("{BIN}/{name}"));
        for name in names.chain(program.root.iter().map(|name| format!("/{name}"))) {
            layer.hard_link(&name, &file)?;
        }
    }
    let about = "Multus for Kubernetes: pods with more than one network interface";
    Ok(image(
        source,
        reference,
        layer,
        "/thin_entrypoint",
        labels("multus-rs", about, env!("CARGO_PKG_VERSION")),
    ))
}

/// The reference plugins and what copies them to a node.
pub(super) fn plugins(source: &Source, reference: &str) -> Result<Image> {
    let mut layer = Layer::new();
    layer.minimal_root()?;
    layer.file("/usr/src/cni-plugins/LICENSES", source.plugins_licenses.as_str(), 0o644)?;
    add_licenses(&mut layer, source)?;
    layer.file_from("/install_plugins", &source.programs.join("multus"), 0o755)?;
    for path in &source.plugins {
        let name = path.file_name().and_then(|name| name.to_str());
        let name = name.with_context(|| format!("{} has no name that an image can have", path.display()))?;
        layer.file_from(&format!("{PLUGINS_BIN}/{name}"), path, 0o755)?;
    }
    let about = "The CNI reference plugins, and a program that copies them to nodes that lack them";
    let version = testbed::parts::REFERENCE_PLUGINS_VERSION.trim_start_matches('v');
    Ok(image(source, reference, layer, "/install_plugins", labels("cni-plugins", about, version)))
}

/// Ours, and what we owe to those whose code is in our programs.
fn add_licenses(layer: &mut Layer, source: &Source) -> Result<()> {
    layer.file_from("/usr/src/multus-cni/LICENSE", &crate::root().join("LICENSE"), 0o644)?;
    layer.file("/usr/src/multus-cni/THIRD-PARTY-LICENSES", source.crate_licenses.as_str(), 0o644)?;
    Ok(())
}

fn image(
    source: &Source,
    reference: &str,
    layer: Layer,
    entrypoint: &str,
    labels: BTreeMap<String, String>,
) -> Image {
    Image {
        references: vec![reference.to_owned()],
        platform: Platform::linux(source.arch.go()),
        config: Config {
            entrypoint: vec![entrypoint.to_owned()],
            env: vec!["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned()],
            working_dir: "/".to_owned(),
            labels: labels.clone(),
            ..Config::default()
        },
        layers: vec![layer],
        // Registries show these, not the labels.
        annotations: labels,
    }
}

/// `created` is left out: it would make every build another image.
fn labels(title: &str, description: &str, version: &str) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    let mut set = |key: &str, value: &str| {
        labels.insert(format!("org.opencontainers.image.{key}"), value.to_owned());
    };
    set("title", title);
    set("description", description);
    set("version", version);
    set("source", PROJECT);
    set("url", PROJECT);
    set("documentation", &format!("{PROJECT}/blob/main/README.md"));
    set("licenses", env!("CARGO_PKG_LICENSE"));
    set("vendor", "multus-rs");
    // Set by the release job along with what the programs say of themselves.
    if let Ok(commit) = std::env::var("MULTUS_COMMIT") {
        set("revision", &commit);
    }
    labels
}
