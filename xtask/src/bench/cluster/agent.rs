//! The part of the benchmark that runs on a node: calls plugins from the node's own namespaces as the container runtime there does,
//! and looks at what runs. It is this program again, in a process of its own that ends with its standard input.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;
use testbed::cluster::Node;

use super::weigh::{self, Weight};
use crate::bench::measure;

/// Where the program lies on a node.
const PROGRAM: &str = "/opt/bench/xtask";

/// What an agent can do.
#[derive(Debug, Serialize, Deserialize)]
enum Ask {
    /// Run a plugin.
    Call(Call),
    /// Weigh the daemon.
    Daemon,
    /// When programs with this argument started.
    Started(String),
    /// How many ends of pods' interfaces there are.
    Veths,
}

/// One call of a plugin.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Call {
    pub(super) program: PathBuf,
    pub(super) environment: Vec<(String, String)>,
    pub(super) stdin: String,
}

/// How it went.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Called {
    /// From before it was started until it was reaped.
    pub(super) wall: Duration,
    /// When that was.
    pub(super) ended: SystemTime,
    /// The process' own and its children's.
    pub(super) cpu: Duration,
    /// What it printed.
    pub(super) stdout: String,
}

/// Answers what is asked on standard input, a line each, until that ends.
pub(super) fn serve() -> Result<()> {
    for line in std::io::stdin().lock().lines() {
        let answer = serde_json::from_str(&line?).context("understand what is asked").and_then(answer);
        let answer: std::result::Result<_, String> = answer.map_err(|error| format!("{error:#}"));
        let mut stdout = std::io::stdout().lock();
        writeln!(stdout, "{}", serde_json::to_string(&answer)?)?;
        stdout.flush()?;
    }
    Ok(())
}

fn answer(ask: Ask) -> Result<Value> {
    Ok(match ask {
        Ask::Call(call) => serde_json::to_value(run(&call)?)?,
        Ask::Daemon => serde_json::to_value(weigh::daemon()?)?,
        Ask::Started(argument) => serde_json::to_value(weigh::started(&argument)?)?,
        Ask::Veths => serde_json::to_value(veths()?)?,
    })
}

fn run(call: &Call) -> Result<Called> {
    let environment: Vec<_> =
        call.environment.iter().map(|(key, value)| (key.clone(), value.into())).collect();
    let run = measure::run(crate::cni::command(&call.program, &environment, call.stdin.as_bytes())?)?;
    let ended = SystemTime::now();
    if !run.status.success() {
        bail!("{}: {}", call.program.display(), run.error_text());
    }
    let stdout = String::from_utf8(run.stdout).context("read what the plugin printed")?;
    Ok(Called { wall: run.wall, ended, cpu: run.cpu, stdout })
}

fn veths() -> Result<usize> {
    let links = fs::read_dir("/sys/class/net").context("list the links")?;
    Ok(links.flatten().filter(|link| link.file_name().to_string_lossy().starts_with("veth")).count())
}

/// A running agent, seen from outside.
#[derive(Debug)]
pub(super) struct Agent {
    node: String,
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Agent {
    pub(super) fn start(node: &Node) -> Result<Self> {
        let own = std::env::current_exe().context("find this program")?;
        let place = node.machine().path(PROGRAM);
        fs::create_dir_all(place.parent().unwrap_or(Path::new("/")))?;
        testbed::programs::copy(&own, &place)?;
        let mut command = node.machine().command(PROGRAM);
        command.args(["bench", "agent"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child =
            command.spawn().with_context(|| format!("start the benchmark's agent on {}", node.name()))?;
        let pipes = child.stdin.take().zip(child.stdout.take());
        let (stdin, stdout) = pipes.context("a pipe that was asked for is missing")?;
        Ok(Self { node: node.name().to_owned(), child, stdin: Some(stdin), stdout: BufReader::new(stdout) })
    }

    /// Runs a plugin; one that fails is an error.
    pub(super) fn call(&mut self, call: &Call) -> Result<Called> {
        self.ask(&Ask::Call(call.clone()))
    }

    pub(super) fn daemon(&mut self) -> Result<Weight> {
        self.ask(&Ask::Daemon)
    }

    pub(super) fn started(&mut self, argument: &str) -> Result<Vec<Duration>> {
        self.ask(&Ask::Started(argument.to_owned()))
    }

    pub(super) fn veths(&mut self) -> Result<usize> {
        self.ask(&Ask::Veths)
    }

    fn ask<T: DeserializeOwned>(&mut self, ask: &Ask) -> Result<T> {
        super::interrupt::check()?;
        let why = || format!("ask the benchmark's agent on {}", self.node);
        let stdin = self.stdin.as_mut().with_context(why)?;
        writeln!(stdin, "{}", serde_json::to_string(ask)?).with_context(why)?;
        let mut line = String::new();
        self.stdout.read_line(&mut line).with_context(why)?;
        let answer: std::result::Result<T, String> = serde_json::from_str(&line).with_context(why)?;
        answer.map_err(anyhow::Error::msg).with_context(|| format!("on the node {}", self.node))
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // That ends it.
        self.stdin = None;
        let _ = self.child.wait();
    }
}
