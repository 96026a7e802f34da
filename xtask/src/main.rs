//! The project's own tasks: `cargo xtask demo|test|conformance|fuzz|bench`. Start reading at the module of the task.

mod bench;
mod build;
mod cni;
mod conformance;
mod demo;
mod fuzz;
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
  bench           ours and upstream's in one run, taking turns; writes target/bench.md [--quick] [--ours PROGRAM]
  parts           build what the tests need from others (CNI reference plugins, upstream's multus) and stop";

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
        "bench" => bench::run(rest),
        "demo" => demo::run(rest),
        "conformance" => conformance::run(rest),
        "fuzz" => fuzz::run(rest),
        "parts" => {
            say(&testbed::parts::reference_plugins()?.display().to_string());
            say(&testbed::parts::upstream_multus()?.display().to_string());
            Ok(())
        }
        _ => bail!("there is no task {task:?}\n{USAGE}"),
    }
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
