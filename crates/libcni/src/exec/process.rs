//! Starting a plugin.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, PidfdFlags, Signal};

use super::{Failure, Invocation, pause, remaining};

/// A plugin that runs.
pub(super) struct Process {
    pub(super) child: Child,
    /// Becomes readable at its end; none on kernels before 5.3.
    pub(super) pidfd: Option<OwnedFd>,
}

impl Process {
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
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
pub(super) fn spawn(invocation: &Invocation<'_>) -> Result<Process, Failure> {
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
            Ok(process) => return Ok(process),
        }
    }
}

fn spawn_once(invocation: &Invocation<'_>) -> io::Result<Process> {
    let mut command = Command::new(invocation.path);
    command
        .env_clear()
        .envs(invocation.environment.iter().map(|(key, value)| (key, value)))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    prepare(&mut command);
    let mut running = running();
    let child = command.spawn()?;
    running.push(child.id());
    let pidfd = Pid::from_child(&child);
    let pidfd = rustix::process::pidfd_open(pidfd, PidfdFlags::empty()).ok();
    Ok(Process { child, pidfd })
}

/// What the child does between fork and exec: it asks to be killed when the thread that started it ends, and
/// gives up a protection from the OOM killer that was meant for the container runtime.
#[allow(unsafe_code)]
fn prepare(command: &mut Command) {
    let parent = rustix::process::getpid();
    let raise_oom_score = oom_score_is_negative();
    let in_child = move || {
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        if rustix::process::getppid() != Some(parent) {
            // The parent has gone before it could be watched.
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if raise_oom_score {
            let flags = OFlags::WRONLY | OFlags::CLOEXEC;
            if let Ok(file) = rustix::fs::open(c"/proc/self/oom_score_adj", flags, Mode::empty()) {
                let _ = rustix::io::write(&file, b"0");
            }
        }
        Ok(())
    };
    // SAFETY: between fork and exec only async-signal-safe functions may run. `in_child` makes system calls
    // (prctl, getppid, open, write, close) directly, allocates nothing, takes no lock and does not unwind.
    unsafe {
        command.pre_exec(in_child);
    }
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
