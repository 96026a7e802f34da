//! `cargo xtask bench --cluster`: multus-rs and upstream's Multus, both thick, on a real cluster: real API server, kubelet, container
//! runtime and images. Three nodes are alike but for what is installed: nothing, ours by the chart with
//! `examples/values-multus.yaml`, upstream by its own manifest. They take turns, with upstream's limits and without.
//!
//! What is told is ratios, and medians of differences within a round. Start reading at [`run`]; [`budget`] says what each figure is
//! to be.

mod agent;
mod audit;
mod budget;
mod burst;
mod calls;
mod install;
mod interrupt;
mod memory;
mod programs;
mod report;
mod scene;
mod series;
mod slow;
mod spent;
mod weigh;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use testbed::cluster::Cluster;
use testbed::{images, parts};

use crate::say;
use burst::Bursts;
use calls::Calls;
use memory::Pair;
use programs::Shim;
use scene::Scene;
use slow::Slow;

/// The folder with archives of both images, in the half of this task that measures.
const IMAGES: &str = "MULTUS_BENCH_IMAGES";

/// What is measured, and how often.
#[derive(Debug, Clone)]
pub(super) struct Options {
    /// Of ADD and DEL.
    pub(super) rounds: usize,
    /// Of ten pods at once.
    pub(super) bursts: usize,
    /// Also what takes minutes.
    pub(super) whole: bool,
    /// Whether the figures go into docs/performance.md.
    pub(super) publish: bool,
    /// Archives that are there already.
    pub(super) images: Option<PathBuf>,
}

impl Options {
    const WHOLE: Self = Self { rounds: 30, bursts: 5, whole: true, publish: true, images: None };
    const QUICK: Self = Self { rounds: 3, bursts: 1, whole: false, publish: false, images: None };

    /// `--cluster [--quick] [--rounds N] [--bursts N] [--images FOLDER]`
    pub(super) fn parse(arguments: &[String]) -> Result<Self> {
        let mut options = Self::WHOLE;
        let mut words = arguments.iter().map(String::as_str);
        while let Some(word) = words.next() {
            match word {
                "--cluster" => {}
                "--quick" => options = Self { images: options.images, ..Self::QUICK },
                "--rounds" | "--bursts" => {
                    let number = words.next().and_then(|count| count.parse().ok()).filter(|count| *count > 0);
                    let number = number.with_context(|| format!("{word} needs a number"))?;
                    let count = if word == "--rounds" { &mut options.rounds } else { &mut options.bursts };
                    *count = number;
                    options.publish = false;
                }
                "--images" => {
                    let folder = words.next().context("--images needs a folder")?;
                    options.images = Some(folder.into());
                }
                unknown => bail!(
                    "bench --cluster knows no {unknown:?}; there are --quick, --rounds N, --bursts N and --images FOLDER"
                ),
            }
        }
        Ok(options)
    }
}

/// All that was measured.
struct Findings {
    rounds: usize,
    shims: [Shim; 2],
    /// With the limits that both ship.
    shipped: Phase,
    /// Without.
    free: Phase,
    whole: Option<Whole>,
}

/// With or without limits.
struct Phase {
    idle: Pair,
    calls: Calls,
    bursts: Bursts,
    loaded: Pair,
}

/// What only a whole run has, without limits.
struct Whole {
    images: [u64; 2],
    /// Milliseconds a minute of the control groups of daemons that have nothing to do.
    rest: [f64; 2],
    slow: Slow,
    pods: Pair,
    networks: Pair,
}

/// The half of this on a node.
pub(super) fn serve() -> Result<()> {
    agent::serve()
}

/// Measures, and writes the page.
pub(super) fn run(options: &Options, arguments: &[String]) -> Result<()> {
    scene::require_root()?;
    interrupt::catch()?;
    if let Some(images) = std::env::var_os(IMAGES) {
        return measure(options, Path::new(&images));
    }
    crate::test::install_tools()?;
    let images = match &options.images {
        Some(images) => images.clone(),
        None => archives()?,
    };
    let ended = measure_in_a_process_of_its_own(arguments, &images);
    // However that process ended.
    let struck = Cluster::take_down(scene::NAME).context("take the cluster down");
    ended.and(struck.map(drop))
}

/// Makes the images that both are installed from.
fn archives() -> Result<PathBuf> {
    let folder = crate::root().join("target/bench");
    std::fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    say("Making the images: multus-rs as it is released, and upstream's");
    crate::image::run(&["--out".to_owned(), folder.display().to_string()])?;
    let programs = parts::upstream_multus()?;
    let archive = folder.join(format!("upstream-{}.tar", parts::UPSTREAM_VERSION));
    oci_archive::write_archive(&archive, &images::upstream(parts::UPSTREAM_VERSION, &programs)?)
        .context("write upstream's images")?;
    Ok(folder)
}

/// As an optimised program: it is on the nodes, between the clock and the plugins.
fn measure_in_a_process_of_its_own(arguments: &[String], images: &Path) -> Result<()> {
    let program = crate::build::measuring()?;
    let mut child = Command::new(&program)
        .arg("bench")
        .args(arguments)
        .env(IMAGES, images)
        .current_dir(crate::root())
        .spawn()
        .with_context(|| format!("start {}", program.display()))?;
    let mut told = false;
    let status = testbed::wait::until("the benchmark", Duration::from_secs(3600), || {
        if interrupt::asked() && !told {
            told = true;
            let pid = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw);
            let _ = pid.map(|pid| rustix::process::kill_process(pid, rustix::process::Signal::TERM));
        }
        child.try_wait().transpose()
    });
    if status.is_err() {
        child.kill().context("end the benchmark")?;
        child.wait()?;
    }
    let status = status?.context("wait for the benchmark")?;
    ensure!(status.success(), "the benchmark did not end well");
    Ok(())
}

fn measure(options: &Options, images: &Path) -> Result<()> {
    let start = Instant::now();
    let step = |name: &str| say(&format!("{:4.0} s  {name}", start.elapsed().as_secs_f32()));
    let ours = images.join("multus-rs.tar");
    let archives = [ours.clone(), images.join(format!("upstream-{}.tar", parts::UPSTREAM_VERSION))];
    for archive in &archives {
        if !archive.is_file() {
            bail!("{} is missing; leave --images out, and it is made", archive.display());
        }
    }
    step("a cluster of three nodes");
    let mut scene = Scene::set(&archives)?;
    let found = findings(&mut scene, options, &ours, &step);
    step("taking the cluster down");
    let found = match found {
        Ok(found) => found,
        Err(error) => {
            // Why it could not be taken down says less than why it had to be.
            let _ = scene.strike();
            return Err(error);
        }
    };
    scene.strike()?;
    let report = report::of(&found);
    say("");
    say(report.trim_end());
    if options.publish {
        super::page::publish("docs/performance.md", &report)?;
    }
    step("done");
    Ok(())
}

fn findings(scene: &mut Scene, options: &Options, image: &Path, step: &dyn Fn(&str)) -> Result<Findings> {
    step("both installed, upstream's limits");
    install::limited(scene)?;
    scene.hold_pods()?;
    step("the programs on the node");
    let shims = programs::shims(scene, options.rounds)?;
    let shipped = phase(scene, options, "upstream's limits", step)?;
    step("limits lifted");
    install::lift_limits(scene)?;
    let free = phase(scene, options, "no limits", step)?;
    let whole = if options.whole { Some(whole(scene, image, step)?) } else { None };
    Ok(Findings { rounds: options.rounds, shims, shipped, free, whole })
}

fn phase(scene: &mut Scene, options: &Options, limits: &str, step: &dyn Fn(&str)) -> Result<Phase> {
    let idle = memory::at_rest(scene)?;
    step(&format!("{limits}: {} rounds of ADD and DEL", options.rounds));
    let calls = calls::measure(scene, options.rounds)?;
    step(&format!("{limits}: {} times ten pods at once", options.bursts));
    let bursts = burst::measure(scene, options.bursts)?;
    let loaded = memory::at_rest(scene)?;
    Ok(Phase { idle, calls, bursts, loaded })
}

fn whole(scene: &mut Scene, image: &Path, step: &dyn Fn(&str)) -> Result<Whole> {
    step("the daemons at rest, and meanwhile the images");
    let (rest, images) = memory::resting(scene, || programs::images(image))?;
    step("as many pods as a node takes");
    let pods = memory::with_pods(scene)?;
    step("10,000 networks");
    let networks = memory::among_networks(scene)?;
    // The last, since the way that is made slow goes when this is done.
    step("the API server answers late");
    let slow = slow::measure(scene)?;
    Ok(Whole { images, rest, slow, pods, networks })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Options> {
        Options::parse(&words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn only_a_whole_run_is_published() {
        let whole = parse(&["--cluster"]).unwrap();
        assert!(whole.whole && whole.publish);
        let quick = parse(&["--images", "f", "--cluster", "--quick"]).unwrap();
        assert!(!quick.whole && quick.images == Some("f".into()));
        let fewer = parse(&["--cluster", "--rounds", "7", "--bursts", "2"]).unwrap();
        assert_eq!((fewer.rounds, fewer.bursts, fewer.whole, fewer.publish), (7, 2, true, false));
        for wrong in [&["--cluster", "--rounds", "0"][..], &["--cluster", "--fast"], &["--images"]] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
