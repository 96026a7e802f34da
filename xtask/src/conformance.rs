//! `cargo xtask conformance`: black-box cases for a CNI meta-plugin, run against upstream's Multus and against ours.
//!
//! A case says once what must happen. Where upstream is known to do otherwise the case says why, and the run fails too
//! when upstream no longer does: so the matrix it writes, `docs/conformance.md`, stays true in both directions.
//! Start reading at `conformance/README.md`, which tells how cases are written; then [`case`], [`step`] and [`check`].

mod case;
mod check;
mod matching;
mod matrix;
mod process;
mod step;
mod target;
mod world;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use case::{Book, Case};
use matrix::{Column, Outcome};
use target::Target;

#[derive(Debug, Default)]
struct Options {
    only: Vec<String>,
    peer: Option<PathBuf>,
    no_peer: bool,
    ours: Option<PathBuf>,
    no_ours: bool,
    list: bool,
    verbose: bool,
}

impl Options {
    fn parse(arguments: &[String]) -> Result<Self> {
        let mut options = Self::default();
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            let mut value = || rest.next().cloned().with_context(|| format!("{argument} needs a value"));
            match argument.as_str() {
                "--only" => options.only.push(value()?),
                "--peer" => options.peer = Some(value()?.into()),
                "--no-peer" => options.no_peer = true,
                "--ours" => options.ours = Some(value()?.into()),
                "--no-ours" => options.no_ours = true,
                "--list" => options.list = true,
                "--verbose" => options.verbose = true,
                other => bail!("conformance knows no {other:?}; see `cargo xtask`"),
            }
        }
        Ok(options)
    }

    fn selects(&self, case: &Case) -> bool {
        self.only.is_empty()
            || self.only.iter().any(|wanted| case.name.contains(wanted) || case.covers.contains(wanted))
    }
}

/// Runs the task.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let options = Options::parse(arguments)?;
    let book = Book::open(&crate::root().join("conformance"))?;
    if options.list {
        for case in &book.cases {
            crate::say(&format!("{:40} {}", case.name, case.covers.join(" ")));
        }
        return Ok(());
    }
    // What has to be fetched or built is, before the network is left behind.
    testbed::parts::reference_plugins()?;
    testbed::plugin::program()?;
    let upstream = testbed::parts::upstream_multus()?;
    let ours = if options.no_ours { PathBuf::new() } else { our_binary(&options)? };
    if let Some(status) = testbed::enter(&[("MULTUS_CONFORMANCE_OURS", &ours.to_string_lossy())])? {
        if !status.success() {
            bail!("not all cases hold");
        }
        return Ok(());
    }
    private_places()?;
    let scratch = tempfile::Builder::new().prefix("conformance-targets-").tempdir()?;
    let mut targets = Vec::new();
    if let Some(peer) = &options.peer {
        let dir = peer.parent().unwrap_or(Path::new("/"));
        targets.push(Target::separate("peer", &format!("`{}`", peer.display()), peer, dir, scratch.path())?);
    } else if !options.no_peer {
        let title = format!("Multus {}", testbed::parts::UPSTREAM_VERSION);
        targets.push(Target::separate(
            "upstream",
            &title,
            &upstream.join("multus"),
            &upstream,
            scratch.path(),
        )?);
    }
    if !options.no_ours {
        targets.push(Target::multi_call("ours", "multus-rs", &ours, scratch.path())?);
    }
    play_all(&book, &options, &targets)
}

/// Builds ours, or takes what is given. Inside the namespace it is built already.
fn our_binary(options: &Options) -> Result<PathBuf> {
    if let Some(path) = &options.ours {
        return fs::canonicalize(path).with_context(|| format!("find {}", path.display()));
    }
    if let Some(path) = std::env::var_os("MULTUS_CONFORMANCE_OURS") {
        return Ok(path.into());
    }
    crate::say("building multus");
    let status = crate::build::cargo()
        .args(["build", "--quiet", "--locked", "--package", "multus", "--bin", "multus"])
        .current_dir(crate::root())
        .status()
        .context("start cargo")?;
    if !status.success() {
        bail!("multus does not build");
    }
    // This program lies beside it.
    Ok(std::env::current_exe()?.with_file_name("multus"))
}

/// Hides the machine's own folders under those paths that programs have built in. The mount namespace is ours.
fn private_places() -> Result<()> {
    for place in ["/usr/src", "/var/lib"] {
        if crate::root().starts_with(place) {
            bail!("the workspace lies in {place}, which has to be hidden for the cases; move it");
        }
        let status =
            Command::new("mount").args(["-t", "tmpfs", "tmpfs", place]).status().context("start mount")?;
        if !status.success() {
            bail!("cannot mount a file system of our own on {place}");
        }
    }
    Ok(())
}

fn play_all(book: &Book, options: &Options, targets: &[Target]) -> Result<()> {
    let mut columns: Vec<_> =
        targets.iter().map(|target| Column { title: target.title.clone(), outcomes: Vec::new() }).collect();
    let mut failures = 0_usize;
    for case in &book.cases {
        for (target, column) in targets.iter().zip(&mut columns) {
            if !options.selects(case) {
                column.outcomes.push(Outcome::NotApplicable);
                continue;
            }
            let other = targets.iter().find(|other| other.name != target.name).unwrap_or(target);
            let outcome = outcome(case, target, other);
            if let Outcome::Failed(why) = &outcome {
                failures += 1;
                crate::say(&format!("FAILED {} on {}", case.name, target.title));
                for why in why {
                    crate::say(&format!("    {why}"));
                }
            }
            if options.verbose
                && let Outcome::Differs(why, how) = &outcome
            {
                crate::say(&format!("otherwise {} on {}: {why}", case.name, target.title));
                crate::say(&format!("    {}", how.join("\n    ")));
            }
            column.outcomes.push(outcome);
        }
    }
    for column in &columns {
        let count = |word| column.outcomes.iter().filter(|outcome| outcome.word() == word).count();
        crate::say(&format!(
            "{}: {} as specified, {} otherwise as known, {} failed",
            column.title,
            count("yes"),
            count("no"),
            count("FAILED")
        ));
    }
    if options.only.is_empty() && options.peer.is_none() && targets.len() == 2 {
        let path = crate::root().join("docs/conformance.md");
        fs::write(&path, matrix::page(book, &columns))
            .with_context(|| format!("write {}", path.display()))?;
        crate::say(&format!("wrote {}", path.display()));
    }
    if failures > 0 {
        bail!("{failures} results are not as stated");
    }
    Ok(())
}

fn outcome(case: &Case, target: &Target, other: &Target) -> Outcome {
    if case.needs.iter().any(|program| target.program(program).is_none()) {
        return Outcome::NotApplicable;
    }
    let findings = match step::play(case, target, other) {
        Ok(findings) => findings,
        Err(error) => return Outcome::Failed(vec![format!("{error:#}")]),
    };
    let has_instead = case.steps.iter().any(|step| step.instead.contains_key(&target.name));
    match case.differs.get(&target.name) {
        None if findings.as_stated.is_empty() => Outcome::Passed,
        None => Outcome::Failed(findings.as_stated),
        Some(why) if findings.as_stated.is_empty() => {
            Outcome::Failed(vec![format!("does as the case says, though said not to: {why}")])
        }
        Some(_) if has_instead && !findings.as_known.is_empty() => Outcome::Failed(findings.as_known),
        Some(why) => Outcome::Differs(why.clone(), findings.as_stated),
    }
}
