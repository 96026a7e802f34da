//! Runs programs and weighs them.

use std::ffi::OsString;
use std::fs;
use std::io::{Read, Seek};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Output};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use wait4::Wait4;

/// One run of a program.
#[derive(Debug)]
pub(super) struct Run {
    /// From before it was started until it was reaped.
    pub(super) wall: Duration,
    /// User and system time, its children's included.
    pub(super) cpu: Duration,
    pub(super) status: ExitStatus,
    pub(super) stdout: Vec<u8>,
}

impl Run {
    pub(super) fn error_text(&self) -> String {
        crate::cni::error_text(&Output {
            status: self.status,
            stdout: self.stdout.clone(),
            stderr: Vec::new(),
        })
    }
}

/// Runs a command to its end. Its output goes to a file, so that nobody has to empty a pipe while the clock runs.
pub(super) fn run(mut command: Command) -> Result<Run> {
    let mut stdout = tempfile::tempfile().context("make a file for stdout")?;
    let shown = format!("{:?}", command.get_program());
    command.stdout(stdout.try_clone()?).stderr(std::process::Stdio::null());
    let start = Instant::now();
    let child = command.spawn().with_context(|| format!("start {shown}"))?;
    let ended = child.wait4().with_context(|| format!("wait for {shown}"))?;
    let wall = start.elapsed();
    stdout.rewind()?;
    let mut text = Vec::new();
    stdout.read_to_end(&mut text)?;
    Ok(Run { wall, cpu: ended.rusage.utime + ended.rusage.stime, status: ended.status, stdout: text })
}

/// A process starts with the peak of the one that started it, so the program is started by a small process of its own: this program
/// again, as `bench weigh REPORT PROGRAM`. The answer is in KiB, and is that of the heaviest of the program and its children.
pub(super) fn peak_memory(program: &Path, environment: &[(String, OsString)], stdin: &[u8]) -> Result<u64> {
    let report = tempfile::NamedTempFile::new().context("make a file for the report")?;
    let mut weigher = crate::cni::command(&std::env::current_exe()?, environment, stdin)?;
    weigher.args(["bench", "weigh"]).arg(report.path()).arg(program);
    let output = weigher.output().context("start the weigher")?;
    let text = fs::read_to_string(report.path())?;
    if !output.status.success() {
        bail!("{} failed while it was weighed: {}", program.display(), crate::cni::error_text(&output));
    }
    text.trim().parse().with_context(|| format!("read the weigher's report {text:?}"))
}

/// The weigher: starts a program with this process's own environment and stdin, and writes down the peak.
pub(super) fn weigh(report: &Path, program: &str) -> Result<()> {
    // A group of its own makes the standard library fork instead of sharing this process's memory until the program is executed; a
    // forked process has next to no peak to hand on.
    let own_group = rustix::process::getgid().as_raw();
    let ended =
        Command::new(program).gid(own_group).spawn().with_context(|| format!("start {program}"))?.wait4()?;
    fs::write(report, (ended.rusage.maxrss / 1024).to_string())?;
    anyhow::ensure!(ended.status.success(), "{program} ended with {}", ended.status);
    Ok(())
}

/// Durations of one kind of call.
#[derive(Debug, Default, Clone)]
pub(super) struct Samples(Vec<Duration>);

impl Samples {
    pub(super) fn add(&mut self, sample: Duration) {
        self.0.push(sample);
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The sample below which `share` of all lie, in milliseconds.
    pub(super) fn quantile(&self, share: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let last = sorted.len().saturating_sub(1);
        #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let index = (last as f64 * share).round() as usize;
        sorted.get(index).map_or(f64::NAN, |sample| sample.as_secs_f64() * 1000.0)
    }

    pub(super) fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    /// Less exact than a median, and not blind where the clock of CPU time ticks coarsely.
    pub(super) fn mean(&self) -> f64 {
        let total: Duration = self.0.iter().sum();
        #[allow(clippy::cast_precision_loss)]
        let count = self.0.len() as f64;
        total.as_secs_f64() * 1000.0 / count
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_samples() {
        let mut samples = Samples::default();
        for milliseconds in [5, 1, 4, 2, 3] {
            samples.add(Duration::from_millis(milliseconds));
        }
        assert!((samples.median() - 3.0).abs() < 1e-9);
        assert!((samples.quantile(0.95) - 5.0).abs() < 1e-9);
        assert!((samples.mean() - 3.0).abs() < 1e-9);
        assert!(Samples::default().median().is_nan());
    }
}
