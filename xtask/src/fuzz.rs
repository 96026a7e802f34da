//! `cargo xtask fuzz`: the fuzz targets, each for some seconds, or one of them for longer.

use std::process::Command;

use anyhow::{Context, Result, bail};

const CARGO_FUZZ: &str = "0.13.2";

/// `[TARGET|all] [SECONDS]`; all targets for ten seconds each unless told otherwise.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let target = arguments.first().map_or("all", String::as_str);
    let seconds: u32 = arguments.get(1).map_or(Ok(10), |text| text.parse()).context("SECONDS is a number")?;
    if Command::new("cargo").args(["fuzz", "--version"]).output().is_ok_and(|output| !output.status.success())
    {
        crate::say("== installing cargo-fuzz");
        succeed(crate::build::cargo().args([
            "install",
            "cargo-fuzz",
            "--version",
            CARGO_FUZZ,
            "--locked",
            "--quiet",
        ]))?;
    }
    let targets = targets()?;
    let chosen: Vec<_> = targets.iter().filter(|name| target == "all" || *name == target).collect();
    if chosen.is_empty() {
        bail!("there is no target {target:?}; there are: {}", targets.join(", "));
    }
    for name in chosen {
        crate::say(&format!("== fuzz {name}, {seconds} s"));
        // What is found new stays out of the repository; somebody chooses what is worth a place in the corpus.
        let found = crate::root().join("target/fuzz-corpus").join(name);
        std::fs::create_dir_all(&found)?;
        succeed(
            crate::build::cargo()
                .args(["fuzz", "run", name])
                .arg(&found)
                .arg(crate::root().join("fuzz/corpus").join(name))
                .args(["--", &format!("-max_total_time={seconds}"), "-rss_limit_mb=2048", "-timeout=20"])
                // libFuzzer's instrumentation is unstable by name only; the stable compiler has it.
                .env("RUSTC_BOOTSTRAP", "1"),
        )?;
    }
    Ok(())
}

fn targets() -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(crate::root().join("fuzz/fuzz_targets"))? {
        let path = entry?.path();
        names.extend(path.file_stem().map(|stem| stem.to_string_lossy().into_owned()));
    }
    names.sort();
    Ok(names)
}

fn succeed(command: &mut Command) -> Result<()> {
    let status = command.current_dir(crate::root()).status().with_context(|| format!("start {command:?}"))?;
    if !status.success() {
        bail!("{command:?} ended with {status}");
    }
    Ok(())
}
