//! A plugin as a process of ours.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, MutexGuard, Once, PoisonError};
use std::time::Duration;

use rustix::process::PidfdFlags;

use super::start::{Child, Ends, start};
use super::{Failure, Invocation, pause, remaining};

/// A plugin that runs.
pub(super) struct Process {
    pub(super) child: Child,
    /// Becomes readable at its end; none on kernels before 5.3.
    pub(super) pidfd: Option<OwnedFd>,
}

impl Process {
    pub(super) fn pid(&self) -> u32 {
        self.child.pid().as_raw_nonzero().get().unsigned_abs()
    }

    /// How long to wait for events: without a pidfd the end has to be looked for.
    pub(super) fn patience(&self, left: Option<Duration>) -> Option<Duration> {
        const LOOK: Duration = Duration::from_millis(5);
        if self.pidfd.is_some() { left } else { Some(left.map_or(LOOK, |left| left.min(LOOK))) }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let pid = self.pid();
        running().retain(|other| *other != pid);
    }
}

static RUNNING: Mutex<Vec<u32>> = Mutex::new(Vec::new());

/// The plugins that run now. Held while one is started, so that whoever looks at our children under this lock
/// sees no half-started one.
pub(super) fn running() -> MutexGuard<'static, Vec<u32>> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts a plugin. An executable that is being written ("text file busy") is tried again, as installers
/// replace plugins under running nodes (C-89).
pub(super) fn spawn(invocation: &Invocation<'_>) -> Result<(Process, Ends), Failure> {
    become_subreaper();
    let mut waits = [10, 50, 200, 500, 1000, 1000, 1000, 1000].map(Duration::from_millis).into_iter();
    loop {
        match spawn_once(invocation) {
            Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy => {
                let left = remaining(invocation.deadline).unwrap_or(Duration::MAX);
                match waits.next().filter(|wait| *wait < left) {
                    Some(wait) => pause(wait),
                    None => return Err(Failure::Spawn(error)),
                }
            }
            Err(error) => return Err(Failure::Spawn(error)),
            Ok(started) => return Ok(started),
        }
    }
}

fn spawn_once(invocation: &Invocation<'_>) -> io::Result<(Process, Ends)> {
    let raise_oom_score = oom_score_is_negative();
    let mut running = running();
    let (child, ends) = start(invocation.path, invocation.environment, raise_oom_score)?;
    let pidfd = rustix::process::pidfd_open(child.pid(), PidfdFlags::empty()).ok();
    let process = Process { child, pidfd };
    running.push(process.pid());
    Ok((process, ends))
}

fn oom_score_is_negative() -> bool {
    let score = fs::read_to_string("/proc/self/oom_score_adj").unwrap_or_default();
    score.trim().parse::<i32>().is_ok_and(|score| score < 0)
}

/// Makes orphaned descendants of plugins ours, so that they can be found when a plugin is ended. A long-lived
/// process that uses this crate should know that it then inherits the daemons which plugins start.
fn become_subreaper() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // Without it a plugin's group and its living tree are still found.
        let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
    });
}
