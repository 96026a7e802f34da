//! A machine: process 1 and what runs below it, in network, mount, process and host name spaces of its own, with a folder
//! for its root.
//!
//! Everything that a machine runs hangs on its process 1: end that and the kernel ends all the rest, mounts and network
//! included. So there is nothing to clean up after a crash but folders and control groups.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::{parts, wait};

const INIT: &str = include_str!("init.sh");
/// What a kubelet would set in the kernel of the whole computer, and finds set instead.
const KERNEL: [(&str, &str); 6] = [
    ("vm/overcommit_memory", "1"),
    ("vm/panic_on_oom", "0"),
    ("kernel/panic", "10"),
    ("kernel/panic_on_oops", "1"),
    ("kernel/keys/root_maxkeys", "1000000"),
    ("kernel/keys/root_maxbytes", "25000000"),
];
/// Folders of the root that something is mounted on.
const MOUNT_POINTS: [&str; 8] =
    ["parts", "proc", "sys", "dev", "run", "tmp", "etc/alternatives", "etc/kernel"];
/// Inside, where the parts are: before the system's, so that a node's containerd finds its own runc and shim.
const PATH: &str = "/parts/debian/usr/sbin:/parts/debian/usr/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// How long a machine lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Life {
    /// It ends with the process that started it, however that ends.
    Held,
    /// Until it is shut down.
    Own,
}

/// Enough to find process 1 again, and to know that it is still the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) name: String,
    pub(super) pid: u32,
    /// In clock ticks after the computer's start; with it a process id is unique.
    started: u64,
}

impl Record {
    pub(super) fn is_alive(&self) -> bool {
        start_of(self.pid) == Some(self.started)
    }

    /// Ends the machine and waits until nothing of it runs.
    pub(super) fn kill(&self) -> Result<()> {
        if !self.is_alive() {
            return Ok(());
        }
        let pid = i32::try_from(self.pid).ok().and_then(rustix::process::Pid::from_raw);
        let pid = pid.with_context(|| format!("{} is no process id", self.pid))?;
        match rustix::process::kill_process(pid, rustix::process::Signal::KILL) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => {}
            Err(error) => return Err(error).with_context(|| format!("end process 1 of {}", self.name)),
        }
        let what = format!("the end of the machine {}", self.name);
        wait::until(&what, Duration::from_secs(30), || (!self.is_alive()).then_some(()))
    }
}

/// A machine that runs.
#[derive(Debug)]
pub struct Machine {
    root: PathBuf,
    /// Another one after each boot, which whoever else holds the machine need not know of.
    boot: Mutex<Boot>,
}

/// One boot of a machine.
#[derive(Debug)]
struct Boot {
    record: Record,
    /// Closed, it ends the machine; see [`Life::Held`].
    _lifeline: Option<ChildStdin>,
    child: Option<Child>,
}

impl Machine {
    /// Starts a machine on the folder `root`. `record` puts it on record before it does anything; the machine that cannot be
    /// put on record does not live.
    pub(super) fn boot(
        name: &str,
        root: &Path,
        life: Life,
        record: impl FnOnce(&Record) -> Result<()>,
    ) -> Result<Self> {
        lay_out(name, root).with_context(|| format!("lay out the root folder of the machine {name}"))?;
        let init = root.join("etc/init.sh");
        let mut child = Command::new("setsid")
            .args(["unshare", "--net", "--mount", "--pid", "--uts", "--fork", "--propagation", "private"])
            .arg("sh")
            .args([&init, root])
            .arg(parts::root())
            .args([name, if life == Life::Held { "held" } else { "own" }])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::from(fs::File::create(root.join("var/log/boot.log"))?))
            .spawn()
            .context("start setsid and unshare (Debian package util-linux)")?;
        let pipes = child.stdin.take().zip(child.stdout.take());
        let (mut stdin, stdout) = pipes.context("a pipe that was asked for is missing")?;
        let mut lines = BufReader::new(stdout).lines();
        let pid = lines.next().and_then(Result::ok).and_then(|line| line.trim().parse().ok());
        let why = || format!("start the machine {name}: {}", boot_log(root));
        let pid = pid.with_context(why)?;
        let started = start_of(pid).with_context(why)?;
        let machine = Record { name: name.to_owned(), pid, started };
        record(&machine)?;
        writeln!(stdin, "go").with_context(why)?;
        match lines.next() {
            Some(Ok(line)) if line == "up" => {}
            _ => bail!("{}", why()),
        }
        let (lifeline, child) = match life {
            Life::Held => (Some(stdin), Some(child)),
            Life::Own => (None, None),
        };
        Ok(Self::of(Boot { record: machine, _lifeline: lifeline, child }, root))
    }

    /// A machine that another process started.
    pub(super) fn find(record: &Record, root: &Path) -> Result<Self> {
        if !record.is_alive() {
            bail!("the machine {} does not run any more", record.name);
        }
        Ok(Self::of(Boot { record: record.clone(), _lifeline: None, child: None }, root))
    }

    fn of(boot: Boot, root: &Path) -> Self {
        Self { root: root.to_owned(), boot: Mutex::new(boot) }
    }

    fn boot_now(&self) -> MutexGuard<'_, Boot> {
        // A boot is put in place whole.
        self.boot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn name(&self) -> String {
        self.boot_now().record.name.clone()
    }

    /// The process that all of the machine hangs on, as seen from outside; another one after each boot.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.boot_now().record.pid
    }

    /// From now on this is `again`, the same machine booted once more.
    pub(super) fn is_now(&self, again: Self) {
        *self.boot_now() = again.boot.into_inner().unwrap_or_else(PoisonError::into_inner);
    }

    /// Where a path of the machine lies outside. Only for what is on disk (`/run` is not), and a link that is absolute leads
    /// out: use [`Machine::run`] for those.
    #[must_use]
    pub fn path(&self, inside: &str) -> PathBuf {
        self.root.join(inside.trim_start_matches('/'))
    }

    /// A command that runs on the machine, with nothing of this process' environment.
    #[must_use]
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command
            .args(["--target", &self.pid().to_string(), "--net", "--mount", "--pid", "--uts", "--"])
            .arg(program)
            .env_clear()
            .env("PATH", PATH)
            .env("HOME", "/root");
        command
    }

    /// Runs a program on the machine and returns what it printed.
    ///
    /// # Errors
    /// When it cannot start or does not succeed.
    pub fn run<S: AsRef<OsStr>>(&self, program: &str, arguments: &[S]) -> Result<String> {
        let mut command = self.command(program);
        super::output(command.args(arguments)).with_context(|| format!("on {}", self.name()))
    }

    /// Starts a program that stays. Its output goes to `/var/log/<service>.log`, its process id to `/run/<service>.pid`.
    pub(super) fn start<S: AsRef<OsStr>>(
        &self,
        service: &str,
        environment: &[(&str, &str)],
        command: &[S],
    ) -> Result<()> {
        let script = r#"setsid "$@" </dev/null >>"/var/log/$0.log" 2>&1 & echo $! >"/run/$0.pid""#;
        let mut shell = self.command("sh");
        shell.args(["-c", script, service]).args(command).envs(environment.iter().copied());
        super::output(&mut shell).with_context(|| format!("start {service} on {}", self.name()))?;
        Ok(())
    }

    /// Sends a signal to a service, as in `TERM` or `KILL`. After one that ends it, waits until it has ended.
    ///
    /// # Errors
    /// When the service does not run, or does not end.
    pub fn signal(&self, service: &str, signal: &str) -> Result<()> {
        let script = r#"pid=$(cat "/run/$0.pid") && kill -s "$1" "$pid" && echo "$pid""#;
        let pid = self.run("sh", &["-c", script, service, signal])?;
        if !matches!(signal, "TERM" | "KILL" | "INT") {
            return Ok(());
        }
        let what = format!("{service} on {} to end after SIG{signal}", self.name());
        wait::until(&what, Duration::from_secs(60), || {
            self.run("kill", &["-0", pid.trim()]).is_err().then_some(())
        })
    }

    /// Whether a service that was started still runs.
    #[must_use]
    pub fn is_running(&self, service: &str) -> bool {
        self.run("sh", &["-c", r#"kill -0 "$(cat "/run/$0.pid")""#, service]).is_ok()
    }

    /// The last lines that a service logged.
    #[must_use]
    pub fn log_tail(&self, service: &str) -> String {
        let log = fs::read(self.path(&format!("/var/log/{service}.log"))).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<_> = log.lines().rev().take(20).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }

    /// Ends the machine, with everything that runs on it. Its files stay.
    pub(super) fn kill(&self) -> Result<()> {
        let mut boot = self.boot_now();
        boot.record.kill()?;
        if let Some(mut child) = boot.child.take() {
            child.wait().context("reap unshare")?;
        }
        Ok(())
    }
}

fn lay_out(name: &str, root: &Path) -> Result<()> {
    for dir in MOUNT_POINTS.iter().chain(&["var/log", "var/lib", "root", "opt", "etc"]) {
        fs::create_dir_all(root.join(dir))?;
    }
    let boot = fs::read_to_string("/proc/sys/kernel/random/uuid").context("read a random UUID")?;
    for (file, value) in KERNEL.iter().copied().chain([("kernel/random/boot_id", boot.trim())]) {
        let file = root.join("etc/kernel").join(file);
        fs::create_dir_all(file.parent().unwrap_or(root))?;
        fs::write(file, format!("{value}\n"))?;
    }
    if fs::symlink_metadata(root.join("var/run")).is_err() {
        std::os::unix::fs::symlink("/run", root.join("var/run"))?;
    }
    let files = [
        ("init.sh", INIT.to_owned()),
        ("hostname", format!("{name}\n")),
        ("hosts", format!("127.0.0.1 localhost {name}\n")),
        // No name server: this network leads nowhere. Without a file a kubelet starts no pod.
        ("resolv.conf", String::new()),
        ("passwd", "root:x:0:0:root:/root:/bin/sh\n".to_owned()),
        ("group", "root:x:0:\n".to_owned()),
    ];
    for (file, content) in files {
        fs::write(root.join("etc").join(file), content)?;
    }
    let machine_id = root.join("etc/machine-id");
    if !machine_id.exists() {
        fs::write(machine_id, boot.replace('-', ""))?;
    }
    Ok(())
}

fn boot_log(root: &Path) -> String {
    fs::read_to_string(root.join("var/log/boot.log")).unwrap_or_default().trim_end().to_owned()
}

/// When a process started; nothing if there is none, or only what is left of one.
fn start_of(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may hold anything.
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    let state = fields.next()?;
    let started = fields.nth(18)?.parse().ok()?;
    (state != "Z" && state != "X").then_some(started)
}

#[cfg(test)]
mod tests;
