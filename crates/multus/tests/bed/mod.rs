//! A daemon as a program: with an API server that has faults, a node's folders, and the shim's side of the socket.
#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "shared by tests that need parts of it; a test fails by panicking"
)]

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use engine::{Cluster, Query};
use plan::{NadLookup, NadRef};
use protocol::message::Caller;
use protocol::{SocketCluster, Versions, socket_path};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use testbed::apiserver::FakeApi;
use testbed::wait::until;

pub(crate) const LONG: Duration = Duration::from_secs(120);
const PRIMARY: &str = r#"{"cniVersion":"1.0.0","name":"kindnet","plugins":[{"type":"ptp"}]}"#;

pub(crate) struct Node {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) api: FakeApi,
}

pub(crate) struct Daemon {
    pub(crate) child: Child,
    log: PathBuf,
}

impl Node {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for folder in ["net.d", "bin", "run", "image"] {
            fs::create_dir(dir.path().join(folder)).unwrap();
        }
        fs::write(dir.path().join("net.d/10-kindnet.conflist"), PRIMARY).unwrap();
        fs::write(dir.path().join("bin/multus-shim"), "shim").unwrap();
        symlink(env!("CARGO_BIN_EXE_multus"), dir.path().join("image/multus-daemon")).unwrap();
        let api = FakeApi::plain().unwrap();
        api.write_kubeconfig(&dir.path().join("kubeconfig")).unwrap();
        Self { dir, api }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn conf(&self) -> PathBuf {
        self.path("net.d/00-multus.conf")
    }

    pub(crate) fn write_config(&self, more: Value) {
        let mut config = json!({
            "socketDir": self.path("run"), "cniConfigDir": self.path("net.d"), "shimDir": self.path("bin"),
            "kubeconfig": self.path("kubeconfig"), "owner": "test/multus", "cniDir": self.path("cni"),
        });
        for (key, value) in more.as_object().unwrap() {
            config[key] = value.clone();
        }
        fs::write(self.path("daemon-config.json"), config.to_string()).unwrap();
    }

    pub(crate) fn command(&self, flags: &[&str]) -> Command {
        let mut command = Command::new(self.path("image/multus-daemon"));
        command.arg("-config").arg(self.path("daemon-config.json")).args(flags).env_remove("CNI_COMMAND");
        command.env("MULTUS_NODE_NAME", "node1");
        command
    }

    /// Starts a daemon; what it says goes to a file of its own.
    pub(crate) fn start(&self, name: &str) -> Daemon {
        let log = self.path(name);
        let file = fs::File::create(&log).unwrap();
        let child = self.command(&[]).stderr(file).stdout(Stdio::null()).spawn().unwrap();
        Daemon { child, log }
    }

    /// Starts one and waits until pods with networks can start.
    pub(crate) fn started(&self) -> Daemon {
        self.write_config(json!({}));
        let daemon = self.start("log");
        daemon.wait("the configuration", || self.conf().exists().then_some(()));
        daemon
    }

    pub(crate) fn shim(&self) -> SocketCluster {
        SocketCluster::speaking(&socket_path(&self.path("run")), Caller::default(), Versions::OURS, LONG)
    }

    pub(crate) fn nad(&self, name: &str) -> NadLookup {
        let nad = NadRef::new("test", name);
        let query = Query { pod: None, nads: vec![nad.clone()], deadline: Instant::now() + LONG };
        self.shim().lookup(&query).unwrap().nads.remove(&nad).unwrap()
    }

    pub(crate) fn inode(&self) -> Option<u64> {
        fs::metadata(socket_path(&self.path("run"))).ok().map(|found| found.ino())
    }
}

impl Daemon {
    pub(crate) fn wait<T>(&self, what: &str, look: impl FnMut() -> Option<T>) -> T {
        until(what, LONG, look).unwrap_or_else(|error| panic!("{error}; its log:\n{}", self.log()))
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub(crate) fn says(&self, words: &str) {
        self.wait(words, || self.log().contains(words).then_some(()));
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Asks it to end, and waits for that.
    pub(crate) fn stop(mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.child.wait().unwrap()
    }

    pub(crate) fn ended(&mut self) -> ExitStatus {
        until("its end", LONG, || self.child.try_wait().unwrap()).unwrap()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
