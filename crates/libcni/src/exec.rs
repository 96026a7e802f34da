//! Running one plugin: its pipes, its end, and the end of all it started when time is up.
//!
//! A plugin runs in a process group of its own. It dies with the thread that started it (PDEATHSIG), which is
//! also the thread that waits; it is not spared by the OOM killer as the container runtime is. What it leaves
//! running after a regular end is its own affair: some plugins start daemons.

mod end;
mod pipes;
mod process;
mod start;

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use pipes::Pipes;
use process::Process;

/// How long the pipes are read after the plugin's end when something else still holds them open.
const GRACE: Duration = Duration::from_millis(100);

/// One run of a plugin.
pub(crate) struct Invocation<'a> {
    pub(crate) path: &'a Path,
    /// The whole environment.
    pub(crate) environment: &'a [(OsString, OsString)],
    pub(crate) stdin: &'a [u8],
    pub(crate) deadline: Option<Instant>,
}

/// What a plugin that came to its end has left.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) end: End,
    pub(crate) stdout: Vec<u8>,
    /// It wrote more to stdout than is kept.
    pub(crate) too_long: bool,
    pub(crate) stderr: Vec<u8>,
}

/// How a plugin ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Exit(i32),
    Signal(i32),
}

impl From<ExitStatus> for End {
    fn from(status: ExitStatus) -> End {
        match (status.code(), status.signal()) {
            (Some(code), _) => End::Exit(code),
            (None, signal) => End::Signal(signal.unwrap_or_default()),
        }
    }
}

/// Why there is no output.
#[derive(Debug)]
pub(crate) enum Failure {
    Spawn(io::Error),
    TimedOut { after: Duration, stderr: Vec<u8> },
}

/// Most bytes of stdout that are kept; no result is longer.
pub(crate) const MOST_STDOUT: usize = pipes::MOST_STDOUT;

/// Runs a plugin to its end or to the deadline.
pub(crate) fn run(invocation: &Invocation<'_>) -> Result<Output, Failure> {
    let started = Instant::now();
    let timed_out = |stderr| Failure::TimedOut { after: started.elapsed(), stderr };
    if remaining(invocation.deadline).is_some_and(|left| left.is_zero()) {
        return Err(timed_out(Vec::new()));
    }
    let (mut process, ends) = process::spawn(invocation)?;
    let mut pipes = match Pipes::of(ends, invocation.stdin) {
        Ok(pipes) => pipes,
        Err(error) => return Err(abandoned(process, invocation, error)),
    };
    match until_end(&mut process, &mut pipes, invocation.deadline) {
        Ok(Some(end)) => {
            let (stdout, too_long, stderr) = pipes.into_output();
            Ok(Output { end, stdout, too_long, stderr })
        }
        Ok(None) => {
            end::everything(process, &marks(invocation.environment));
            let (_, _, stderr) = pipes.into_output();
            Err(timed_out(stderr))
        }
        Err(error) => Err(abandoned(process, invocation, error)),
    }
}

/// A plugin that we cannot serve must not go on unseen.
fn abandoned(process: Process, invocation: &Invocation<'_>, error: io::Error) -> Failure {
    end::everything(process, &marks(invocation.environment));
    Failure::Spawn(error)
}

/// Serves the pipes until the plugin has ended; none when the deadline came first.
fn until_end(
    process: &mut Process,
    pipes: &mut Pipes<'_>,
    deadline: Option<Instant>,
) -> io::Result<Option<End>> {
    let end = loop {
        let left = remaining(deadline);
        if left.is_some_and(|left| left.is_zero()) {
            return Ok(None);
        }
        pipes.turn(process.pidfd.as_ref(), process.patience(left))?;
        if let Some(status) = process.child.try_wait()? {
            break End::from(status);
        }
    };
    pipes.close_stdin();
    let grace = Instant::now() + GRACE;
    while !pipes.are_closed() {
        let left = remaining(Some(grace)).filter(|left| !left.is_zero());
        let Some(left) = left else { break };
        pipes.turn(None, Some(left))?;
    }
    Ok(Some(end))
}

fn remaining(deadline: Option<Instant>) -> Option<Duration> {
    deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()))
}

/// What tells the processes of this run from all others: the variables that name it.
fn marks(environment: &[(OsString, OsString)]) -> Vec<Vec<u8>> {
    const NAMING: [&str; 4] = ["CNI_COMMAND", "CNI_CONTAINERID", "CNI_IFNAME", "CNI_NETNS"];
    let naming = environment.iter().filter(|(key, _)| NAMING.iter().any(|name| key == OsStr::new(name)));
    naming.map(|(key, value)| [key.as_encoded_bytes(), b"=", value.as_encoded_bytes()].concat()).collect()
}

/// Waits a moment for something that has no event.
#[allow(clippy::disallowed_methods)]
fn pause(time: Duration) {
    std::thread::sleep(time);
}

#[cfg(test)]
mod tests;
