//! The project's own tasks: `cargo xtask demo|test|conformance|fuzz|bench`. Start reading at the module of the task.

mod bench;
mod build;
mod chart;
mod cluster;
mod cni;
mod conformance;
mod demo;
mod e2e;
mod fuzz;
mod image;
mod release;
mod soak;
mod test;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};

const USAGE: &str = "usage: cargo xtask TASK [ARGUMENT...]

  demo            attach three example pods in scratch network namespaces, and show what they got
  test [STEP...]  everything that must hold before a change lands
  conformance     black-box cases against upstream's multus and ours; writes docs/conformance.md
                  [--only NAME]... [--peer PATH] [--no-peer] [--ours PATH] [--list]
  fuzz            [TARGET|all] [SECONDS]
  image           the images that are released, as OCI archives in target/image, without a container engine
                  [--arch amd64|arm64]... [--programs ARCH=FOLDER]... [--out FOLDER] [--layout] [--registry NAME] [--tag TAG]
                  [--load containerd|k3s [--address SOCKET]] [--push [--plain-http]]
  release         a step of a release: check|notes|charts [--tag TAG], index --url URL [--merge FILE], push --to oci://…
  chart           what is made of the charts: schema, READMEs, deployments/, golden renders; [--check] only compares
  bench           ours and upstream's in one run, taking turns; writes target/bench.md and
                  docs/benchmarks.md; [--quick | --rounds N: only the former] [--ours PROGRAM] [--shim PROGRAM]
                  --cluster: both thick on a real cluster, as root, into docs/performance.md; [--quick: only shown]
                  [--rounds N] [--bursts N: the same] [--images FOLDER]
  cluster         a real Kubernetes cluster on this machine: up, down, status, kubectl, helm, ...
  soak            faults one after another on a real cluster while pods come and go; writes docs/reliability.md
                  [--fault NAME]... [--for 30m] [--engine ours|upstream] [--seed N] [--page]
  parts           build what the tests need from others (reference plugins, upstream's multus, Kubernetes, ...) and stop";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<()> {
    let Some((task, rest)) = arguments.split_first() else { bail!("{USAGE}") };
    match task.as_str() {
        "test" => test::run(rest),
        "chart" => chart::run(rest),
        "release" => release::run(rest),
        "bench" => bench::run(rest),
        "demo" => demo::run(rest),
        "conformance" => conformance::run(rest),
        "fuzz" => fuzz::run(rest),
        "image" => image::run(rest),
        "cluster" => cluster::run(rest),
        "soak" => soak::run(rest),
        "parts" => parts(),
        _ => bail!("there is no task {task:?}\n{USAGE}"),
    }
}

fn parts() -> Result<()> {
    use testbed::parts;
    for folder in [
        parts::reference_plugins,
        parts::upstream_multus,
        || parts::upstream_multus_version("v4.2.4"),
        parts::debian,
        parts::helm4,
        parts::helm3,
        parts::containerd,
        parts::flannel,
        parts::kubernetes,
    ] {
        say(&folder()?.display().to_string());
    }
    Ok(())
}

/// One line for the person who started the task.
pub(crate) fn say(line: &str) {
    // A closed stdout must not turn a good run into a bad one.
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// The workspace.
pub(crate) fn root() -> PathBuf {
    testbed::parts::workspace()
}
