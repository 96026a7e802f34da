//! What runs on this node, as the kernel accounts for it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// What a daemon weighs. Its control group holds what it starts as well.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Weight {
    pub(super) pid: u32,
    /// Bytes that are resident, file pages included.
    pub(super) resident: u64,
    /// User and system time of the process and of what it started and waited for: upstream's delegates.
    pub(super) own: Duration,
    /// Of its control group, the kubelet's probes included.
    pub(super) cpu: Duration,
    /// Bytes that count for its control group: what is used without file pages that could go at once.
    pub(super) group: u64,
    /// The most bytes that its control group ever used, all file pages included.
    pub(super) peak: u64,
}

/// The multus daemon of this node; the newest, where one follows another.
pub(super) fn daemon() -> Result<Weight> {
    let daemons = processes().filter(|process| {
        let words = words(process);
        let program = words.first().is_some_and(|program| Path::new(program).ends_with("multus-daemon"));
        program && !words.iter().any(|word| word.starts_with("-probe"))
    });
    let newest = daemons.filter_map(|process| Some((start(&process)?, process))).max();
    let (_, process) = newest.context("no multus-daemon runs here")?;
    let groups = Groups::of(&process)?;
    let status = fs::read_to_string(process.join("status"))?;
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let resident = resident.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    let pid = process.file_name().and_then(|name| name.to_str()?.parse().ok());
    Ok(Weight {
        pid: pid.context("a process without a number")?,
        resident: resident.context("read how much memory the daemon has")? * 1024,
        own: own(&process).context("read the daemon's CPU time")?,
        cpu: groups.cpu()?,
        group: groups.memory()?,
        peak: groups.peak()?,
    })
}

/// When each program with this argument started, since the computer did.
pub(super) fn started(argument: &str) -> Result<Vec<Duration>> {
    let matching = processes().filter(|process| words(process).iter().any(|word| word == argument));
    // A container's first process was runc before it became the program, and has its time of start.
    Ok(matching.filter_map(|process| start(&process)).collect())
}

/// The time since the computer started.
pub(super) fn now() -> Result<Duration> {
    let text = fs::read_to_string("/proc/uptime").context("read how long the computer is up")?;
    let seconds = text.split_whitespace().next().and_then(|seconds| seconds.parse().ok());
    Ok(Duration::from_secs_f64(seconds.context("understand /proc/uptime")?))
}

/// Folders of all processes that can be seen from here.
pub(super) fn processes() -> impl Iterator<Item = PathBuf> {
    let all = fs::read_dir("/proc").into_iter().flatten().flatten();
    all.filter(|entry| entry.file_name().to_string_lossy().bytes().all(|byte| byte.is_ascii_digit()))
        .map(|entry| entry.path())
}

/// The words of its command line.
pub(super) fn words(process: &Path) -> Vec<String> {
    let line = fs::read(process.join("cmdline")).unwrap_or_default();
    let line = String::from_utf8_lossy(&line).into_owned();
    line.split_terminator('\0').map(str::to_owned).collect()
}

/// When a process started. Nothing, if it has ended meanwhile.
fn start(process: &Path) -> Option<Duration> {
    let ticks = stat(process)?.split(' ').nth(19)?.parse().ok()?;
    Some(of_ticks(ticks))
}

/// CPU time of a process, exact while no thread of it ends, and of its children that have ended, in hundredths of a second: ours has
/// none.
fn own(process: &Path) -> Option<Duration> {
    let mut threads = 0;
    for thread in fs::read_dir(process.join("task")).ok()?.flatten() {
        let times = fs::read_to_string(thread.path().join("schedstat")).unwrap_or_default();
        threads += times.split(' ').next()?.parse::<u64>().unwrap_or_default();
    }
    Some(Duration::from_nanos(threads).max(alone(process)?) + ticks(process, CHILDREN)?)
}

/// CPU time of a process without its children, in hundredths of a second.
pub(super) fn alone(process: &Path) -> Option<Duration> {
    ticks(process, ITSELF)
}

/// Where user and system time stand in `/proc/<pid>/stat`, after the name.
const ITSELF: usize = 11;
const CHILDREN: usize = 13;

fn ticks(process: &Path, place: usize) -> Option<Duration> {
    let stat = stat(process)?;
    let fields = stat.split(' ').skip(place).take(2).map(|field| field.parse::<u64>());
    Some(of_ticks(fields.sum::<std::result::Result<u64, _>>().ok()?))
}

/// What `/proc/<pid>/stat` tells after the name, which stands in parentheses and may hold anything.
fn stat(process: &Path) -> Option<String> {
    let stat = fs::read_to_string(process.join("stat")).ok()?;
    Some(stat.rsplit_once(") ")?.1.to_owned())
}

/// Hundredths of a second, as the kernel tells every user.
pub(super) fn of_ticks(ticks: u64) -> Duration {
    Duration::from_millis(ticks * 10)
}

/// The control groups of a process.
struct Groups {
    /// Lines of `/proc/<pid>/cgroup`.
    lines: Vec<String>,
}

impl Groups {
    fn of(process: &Path) -> Result<Self> {
        let text = fs::read_to_string(process.join("cgroup")).context("read the daemon's control groups")?;
        Ok(Self { lines: text.lines().map(str::to_owned).collect() })
    }

    /// The folder of a controller of version 1, if there is one.
    fn first(&self, controller: &str) -> Option<PathBuf> {
        self.lines.iter().find_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            let (controllers, path) = (fields.next()?, fields.next()?);
            let mount = Path::new("/sys/fs/cgroup").join(controllers);
            let mount = if mount.is_dir() { mount } else { Path::new("/sys/fs/cgroup").join(controller) };
            (controllers.split(',').any(|name| name == controller))
                .then(|| mount.join(path.trim_start_matches('/')))
        })
    }

    /// The folder in version 2.
    fn second(&self) -> Result<PathBuf> {
        let path = self.lines.iter().find_map(|line| line.strip_prefix("0::"));
        let path = path.context("a process without a control group")?;
        Ok(Path::new("/sys/fs/cgroup").join(path.trim_start_matches('/')))
    }

    fn cpu(&self) -> Result<Duration> {
        match self.first("cpuacct") {
            Some(group) => Ok(Duration::from_nanos(number(&group.join("cpuacct.usage"))?)),
            None => Ok(Duration::from_micros(of_list(&self.second()?.join("cpu.stat"), "usage_usec")?)),
        }
    }

    fn memory(&self) -> Result<u64> {
        let (group, used, key) = match self.first("memory") {
            Some(group) => (group, "memory.usage_in_bytes", "total_inactive_file"),
            None => (self.second()?, "memory.current", "inactive_file"),
        };
        Ok(number(&group.join(used))?.saturating_sub(of_list(&group.join("memory.stat"), key)?))
    }

    fn peak(&self) -> Result<u64> {
        match self.first("memory") {
            Some(group) => number(&group.join("memory.max_usage_in_bytes")),
            None => number(&self.second()?.join("memory.peak")),
        }
    }
}

fn number(path: &Path) -> Result<u64> {
    let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    text.trim().parse().with_context(|| format!("{} holds no number", path.display()))
}

fn of_list(path: &Path, key: &str) -> Result<u64> {
    let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    let value = text.lines().find_map(|line| line.strip_prefix(key)?.trim().parse().ok());
    value.with_context(|| format!("{} has no {key}", path.display()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_found_by_its_argument_with_its_time_of_start() {
        let before = now().unwrap();
        let argument = format!("98765.{}", std::process::id());
        let mut child = std::process::Command::new("sleep").arg(&argument).spawn().unwrap();
        let found = testbed::wait::until("the process", Duration::from_secs(10), || {
            started(&argument).unwrap().first().copied()
        });
        child.kill().unwrap();
        child.wait().unwrap();
        // Both clocks tick in hundredths of a second.
        assert!(found.unwrap() + Duration::from_millis(20) >= before);
    }

    #[test]
    fn cpu_time_grows_with_work() {
        let this = Path::new("/proc/self");
        let before = own(this).unwrap();
        // Looking is work, and the wait between two looks lets the kernel account for it.
        testbed::wait::until("more CPU time", Duration::from_secs(10), || {
            own(this).is_some_and(|now| now > before).then_some(())
        })
        .unwrap();
    }

    #[test]
    fn control_groups_of_both_versions_are_found() {
        let groups = |text: &str| Groups { lines: text.lines().map(str::to_owned).collect() };
        let first = groups("9:memory:/a/b\n4:cpu,cpuacct:/a/c\n0::/");
        assert_eq!(first.first("memory").unwrap(), Path::new("/sys/fs/cgroup/memory/a/b"));
        assert!(first.first("cpuacct").unwrap().ends_with("a/c"));
        let second = groups("0::/a/b");
        assert!(second.first("memory").is_none());
        assert_eq!(second.second().unwrap(), Path::new("/sys/fs/cgroup/a/b"));
    }
}
