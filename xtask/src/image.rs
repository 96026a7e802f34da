//! `cargo xtask image`: the images that are released, as OCI archives, made without a container engine.
//!
//! | archive | holds |
//! |---|---|
//! | `multus-rs.tar` | our programs under upstream's paths |
//! | `cni-plugins.tar` | the CNI reference plugins and the program that copies them to nodes that lack them |
//!
//! Programs for machines of another kind are built there and handed over: `--programs arm64=FOLDER`. Packing itself does not care
//! where it is done. Start reading at [`content`].

mod content;
mod deliver;
mod licenses;
mod programs;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use oci_archive::{Image, Packed, write_archive, write_layout};

use self::content::Source;
use self::deliver::Runtime;
use crate::build::Arch;
use crate::say;

const REGISTRY: &str = "ghcr.io/multus-rs";
/// More than this no node should have to pull before it gets its networks.
const MOST_PACKED: u64 = 12 << 20;

#[derive(Debug)]
struct Options {
    out: PathBuf,
    registry: String,
    tag: String,
    layout: bool,
    /// Built here for these, unless their programs are given.
    archs: Vec<Arch>,
    programs: Vec<(Arch, PathBuf)>,
    load: Option<Runtime>,
    push: bool,
    plain_http: bool,
}

impl Options {
    fn parse(arguments: &[String]) -> Result<Self> {
        let mut options = Self {
            out: crate::root().join("target/image"),
            registry: REGISTRY.to_owned(),
            tag: format!("v{}", env!("CARGO_PKG_VERSION")),
            layout: false,
            archs: Vec::new(),
            programs: Vec::new(),
            load: None,
            push: false,
            plain_http: false,
        };
        let mut address = None;
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            let mut value = || rest.next().cloned().with_context(|| format!("{argument} needs a value"));
            match argument.as_str() {
                "--out" => options.out = value()?.into(),
                "--registry" => options.registry = value()?.trim_end_matches('/').to_owned(),
                "--tag" => options.tag = value()?,
                "--layout" => options.layout = true,
                "--arch" => options.archs.push(Arch::parse(&value()?)?),
                "--programs" => options.programs.push(given(&value()?)?),
                "--load" => options.load = Some(Runtime::parse(&value()?)?),
                "--address" => address = Some(value()?),
                "--push" => options.push = true,
                "--plain-http" => options.plain_http = true,
                other => bail!("image knows no {other:?}; see `cargo xtask`"),
            }
        }
        match (&mut options.load, address) {
            (_, None) => {}
            (Some(load), address) => load.address = address,
            (None, Some(_)) => {
                bail!("--address says where --load loads to; give --load containerd or --load k3s too")
            }
        }
        if options.archs.is_empty() && options.programs.is_empty() {
            options.archs.push(Arch::native()?);
        }
        Ok(options)
    }
}

/// `ARCH=FOLDER`.
fn given(text: &str) -> Result<(Arch, PathBuf)> {
    let (arch, folder) =
        text.split_once('=').context("--programs takes ARCH=FOLDER, as in arm64=/tmp/programs")?;
    Ok((Arch::parse(arch)?, folder.into()))
}

/// Whether the task takes these arguments.
#[cfg(test)]
pub(crate) fn check(arguments: &[String]) -> Result<()> {
    Options::parse(arguments).map(drop)
}

/// Runs the task.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let options = Options::parse(arguments)?;
    fs::create_dir_all(&options.out).with_context(|| format!("create {}", options.out.display()))?;
    let mut sources = Vec::new();
    for (arch, folder) in &options.programs {
        sources.push(programs::collect(*arch, folder)?);
    }
    for arch in &options.archs {
        sources.push(programs::build(*arch, &options.out.join("programs"))?);
    }
    let multus = format!("{}/{}:{}", options.registry, content::MULTUS, options.tag);
    let plugins =
        format!("{}/{}:{}", options.registry, content::PLUGINS, testbed::parts::REFERENCE_PLUGINS_VERSION);
    let images = |reference: &str, make: fn(&Source, &str) -> Result<Image>| {
        sources.iter().map(|source| make(source, reference)).collect::<Result<Vec<_>>>()
    };
    let archives = [
        write(&options, content::MULTUS, &images(&multus, content::multus)?, Some(MOST_PACKED))?,
        write(&options, content::PLUGINS, &images(&plugins, content::plugins)?, None)?,
    ];
    let mut pushed = String::new();
    for (archive, reference) in archives.iter().zip([&multus, &plugins]) {
        if let Some(runtime) = &options.load {
            deliver::load(runtime, archive, reference)?;
        }
        if options.push {
            pushed += &format!("{}\n", deliver::push(archive, reference, options.plain_http)?);
        }
    }
    if options.push {
        // For who signs them.
        let path = options.out.join("pushed");
        fs::write(&path, pushed).with_context(|| format!("write {}", path.display()))?;
    }
    Ok(())
}

/// Writes one archive, and a layout beside it where that is wanted.
fn write(options: &Options, name: &str, images: &[Image], most: Option<u64>) -> Result<PathBuf> {
    let archive = options.out.join(format!("{name}.tar"));
    let packed = write_archive(&archive, images)?;
    if options.layout {
        let layout = options.out.join(name);
        if layout.exists() {
            // Else blobs of earlier images would gather in it.
            fs::remove_dir_all(&layout).with_context(|| format!("clear {}", layout.display()))?;
        }
        write_layout(&layout, images)?;
    }
    report(&archive, images, &packed);
    check_size(&packed, most)?;
    Ok(archive)
}

fn report(archive: &Path, images: &[Image], packed: &[Packed]) {
    say(&archive.display().to_string());
    for (image, packed) in images.iter().zip(packed) {
        say(&format!(
            "  {} {} {} {:.2} MB packed",
            image.references.join(" "),
            packed.platform.architecture,
            packed.manifest.digest,
            packed.size() as f64 / 1e6
        ));
    }
}

fn check_size(packed: &[Packed], most: Option<u64>) -> Result<()> {
    let Some(most) = most else { return Ok(()) };
    if let Some(large) = packed.iter().find(|packed| packed.size() > most) {
        bail!(
            "the image for {} has {} bytes packed; at most {most} are allowed",
            large.platform.architecture,
            large.size()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests;
