//! Ending a plugin and everything it started.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Read;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitOptions};

use super::pause;
use super::process::{Process, running};

/// How long to go on looking for survivors. What is left then hangs in the kernel, and dies when it leaves it.
const PATIENCE: Duration = Duration::from_secs(1);

/// Kills the plugin's group, its descendants wherever they have moved to, and those that were orphaned and
/// became our children; then reaps them. `marks` are the variables that the processes of this run carry.
pub(super) fn everything(mut process: Process, marks: &[Vec<u8>]) {
    let plugin = process.pid();
    let until = Instant::now() + PATIENCE;
    let start = Stat::of(plugin).map(|stat| stat.start);
    // Members of the group become our children when they lose their parent; they have to be reaped too.
    let mut killed: BTreeSet<u32> =
        all().iter().filter(|stat| stat.group == plugin).map(|stat| stat.pid).collect();
    killed.remove(&plugin);
    if let Some(pid) = pid_of(plugin) {
        // The group cannot be another's: its leader has not been reaped yet.
        let _ = rustix::process::kill_process_group(pid, Signal::KILL);
    }
    loop {
        let survivors = {
            let running = running();
            let others: Vec<u32> = running.iter().copied().filter(|pid| *pid != plugin).collect();
            let survivors = start.map(|start| survivors(plugin, start, marks, &others)).unwrap_or_default();
            survivors.iter().copied().for_each(kill);
            survivors
        };
        let alone = survivors.is_empty();
        killed.extend(survivors.into_iter().filter(|pid| *pid != plugin));
        let plugin_reaped = process.child.try_wait().is_ok_and(|status| status.is_some());
        killed.retain(|pid| !is_reaped(*pid));
        if (alone && plugin_reaped && killed.is_empty()) || Instant::now() >= until {
            return;
        }
        pause(Duration::from_millis(2));
    }
}

/// The living processes that belong to a plugin, itself included.
fn survivors(plugin: u32, start: u64, marks: &[Vec<u8>], others: &[u32]) -> Vec<u32> {
    let own = std::process::id();
    let all = all();
    let own_session = all.iter().find(|stat| stat.pid == own).map(|stat| stat.session);
    let is_orphan = |stat: &Stat| {
        // Older children are daemons of plugins that came before, or none of ours to kill.
        stat.parent == own
            // The clock ticks a hundred times a second; within a tick process numbers tell the order.
            && (stat.start, stat.pid) > (start, plugin)
            && !others.contains(&stat.pid)
            && match environment(stat.pid) {
                Some(found) if is_marked(&found) => carries(&found, marks),
                // A daemon that has wiped its environment, while no other plugin runs that could be its parent.
                _ => others.is_empty() && Some(stat.session) != own_session,
            }
    };
    let mut members: BTreeSet<u32> = all.iter().filter(|stat| is_orphan(stat)).map(|stat| stat.pid).collect();
    members.insert(plugin);
    loop {
        let before = members.len();
        for stat in &all {
            if members.contains(&stat.parent) {
                members.insert(stat.pid);
            }
        }
        if members.len() == before {
            break;
        }
    }
    all.iter().filter(|stat| !stat.zombie && members.contains(&stat.pid)).map(|stat| stat.pid).collect()
}

/// What `/proc/<pid>/stat` says about a process.
struct Stat {
    pid: u32,
    parent: u32,
    group: u32,
    session: u32,
    start: u64,
    zombie: bool,
}

impl Stat {
    fn of(pid: u32) -> Option<Stat> {
        let text = fs::read(format!("/proc/{pid}/stat")).ok()?;
        let text = String::from_utf8_lossy(&text);
        // The second field is the program's name in parentheses; it may hold blanks and parentheses.
        let fields: Vec<&str> = text.get(text.rfind(')')? + 1..)?.split_ascii_whitespace().collect();
        Some(Stat {
            pid,
            zombie: matches!(*fields.first()?, "Z" | "X"),
            parent: fields.get(1)?.parse().ok()?,
            group: fields.get(2)?.parse().ok()?,
            session: fields.get(3)?.parse().ok()?,
            start: fields.get(19)?.parse().ok()?,
        })
    }
}

fn all() -> Vec<Stat> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(Stat::of).collect()
}

fn environment(pid: u32) -> Option<Vec<u8>> {
    const MOST: u64 = 1 << 20;
    let mut bytes = Vec::new();
    File::open(format!("/proc/{pid}/environ")).ok()?.take(MOST).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// Whether a process was started by some CNI call.
fn is_marked(environment: &[u8]) -> bool {
    environment.split(|byte| *byte == 0).any(|variable| variable.starts_with(b"CNI_COMMAND="))
}

fn carries(environment: &[u8], marks: &[Vec<u8>]) -> bool {
    let variables: BTreeSet<&[u8]> = environment.split(|byte| *byte == 0).collect();
    !marks.is_empty() && marks.iter().all(|mark| variables.contains(mark.as_slice()))
}

fn pid_of(pid: u32) -> Option<Pid> {
    Pid::from_raw(pid.try_into().ok()?)
}

fn kill(pid: u32) {
    if let Some(pid) = pid_of(pid) {
        let _ = rustix::process::kill_process(pid, Signal::KILL);
    }
}

/// Reaps a killed process if it is our child by now; true when nothing is left of it.
fn is_reaped(pid: u32) -> bool {
    let reaped = pid_of(pid)
        .is_some_and(|pid| matches!(rustix::process::waitpid(Some(pid), WaitOptions::NOHANG), Ok(Some(_))));
    reaped || Stat::of(pid).is_none()
}
