//! What a node gets: the program that the runtime starts, and the image that it is pulled in.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use oci_archive::{Image, Layer};
use testbed::parts;

use super::scene::{Scene, Side};
use super::series::Series;
use crate::bench::measure;

/// Calls of each program in a round.
const CALLS: usize = 10;

/// The program that the runtime starts.
#[derive(Debug, Default)]
pub(super) struct Shim {
    /// Milliseconds of `VERSION` beyond /bin/true, by call.
    pub(super) beyond: Series,
    /// KiB at the most.
    pub(super) peak: u64,
}

/// Ours and upstream's, taking turns with /bin/true.
pub(super) fn shims(scene: &Scene, rounds: usize) -> Result<[Shim; 2]> {
    let program = |side| -> Result<PathBuf> {
        let node = scene.node(side)?;
        Ok(node.machine().path(node.bin_dir()).join("multus-shim"))
    };
    let programs = [program(Side::Ours)?, program(Side::Upstream)?];
    let environment = [("CNI_COMMAND".to_owned(), "VERSION".into())];
    let stdin = b"{\"cniVersion\":\"1.0.0\"}";
    let time = |program: &Path| -> Result<std::time::Duration> {
        let run = measure::run(crate::cni::command(program, &environment, stdin)?)?;
        ensure!(run.status.success(), "{}: {}", program.display(), run.error_text());
        Ok(run.wall)
    };
    let mut nothing = Series::default();
    let mut walls = [Series::default(), Series::default()];
    for _ in 0..rounds * CALLS {
        nothing.add(time(Path::new("/bin/true"))?);
        for (program, wall) in programs.iter().zip(&mut walls) {
            wall.add(time(program)?);
        }
    }
    let mut shims = [Shim::default(), Shim::default()];
    for ((shim, program), wall) in shims.iter_mut().zip(&programs).zip(&walls) {
        shim.beyond = wall.minus(&nothing);
        shim.peak = measure::peak_memory(program, &environment, stdin)?;
    }
    Ok(shims)
}

/// Bytes packed: our image as it is released, and upstream's programs, which are all that can be had of its image without pulling it.
pub(super) fn images(ours: &Path) -> Result<[u64; 2]> {
    let ours = std::fs::metadata(ours).with_context(|| format!("look at {}", ours.display()))?.len();
    let mut layer = Layer::new();
    let programs = parts::upstream_multus()?;
    for entry in std::fs::read_dir(&programs).with_context(|| format!("list {}", programs.display()))? {
        let path = entry?.path();
        layer.file_from(
            &format!("/{}", path.file_name().unwrap_or_default().to_string_lossy()),
            &path,
            0o755,
        )?;
    }
    let image = Image { layers: vec![layer], ..Image::default() };
    Ok([ours, image.pack().context("pack upstream's programs")?.size()])
}
