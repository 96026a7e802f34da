use std::cell::RefCell;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use node_config::{Directory, choose};

use super::install::{Failure, Installation, Say};
use super::options::{Asked, Options};
use super::stop::Stop;
use super::{keep, kubeconfig};

mod cluster;
mod generation;
mod keeping;
mod life;
mod turns;

const OLD_PRIMARY: &str = r#"{ "cniVersion": "0.3.1", "name": "test1", "type": "cnitesttype" }"#;
const NEW_PRIMARY: &str = r#"{ "cniVersion": "1.0.0", "name": "test1", "type": "cnitesttype" }"#;

struct Node {
    dir: tempfile::TempDir,
    said: Mutex<Vec<String>>,
}

impl Node {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for name in ["bin", "net.d", "account"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        fs::write(dir.path().join("multus"), "program").unwrap();
        fs::write(dir.path().join("account/token"), "t0ken").unwrap();
        fs::write(dir.path().join("account/ca.crt"), "CA").unwrap();
        Self { dir, said: Mutex::default() }
    }

    fn with_primary(name: &str, text: &str) -> Self {
        let node = Self::new();
        node.write(name, text);
        node
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file into the CNI configuration directory.
    fn write(&self, name: &str, text: &str) {
        fs::write(self.path("net.d").join(name), text).unwrap();
    }

    fn conf(&self, name: &str) -> String {
        fs::read_to_string(self.path("net.d").join(name)).unwrap()
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path("net.d")).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn read(&self, more: &[&str]) -> Result<Asked, String> {
        let flag = |name: &str, path: &str| format!("--{name}={}", self.path(path).display());
        let mut arguments = vec![
            flag("cni-bin-dir", "bin"),
            flag("cni-conf-dir", "net.d"),
            flag("multus-autoconfig-dir", "net.d"),
            flag("multus-bin-file", "multus"),
            "--multus-cni-conf-dir=".to_owned(),
            "--multus-kubeconfig-file-host=/etc/foobar_kubeconfig".to_owned(),
        ];
        arguments.extend(more.iter().map(|&argument| argument.to_owned()));
        let environment = |name: &str| match name {
            "KUBERNETES_SERVICE_HOST" => Some("fd00::1".to_owned()),
            "KUBERNETES_SERVICE_PORT" => Some("6443".to_owned()),
            _ => None,
        };
        Options::read(&arguments, &environment)
    }

    fn options(&self, more: &[&str]) -> Options {
        let (Asked::Run(mut options) | Asked::Health(mut options)) = self.read(more).unwrap() else {
            panic!()
        };
        options.service_account = self.path("account");
        options.spool = self.path("spool");
        options.multus_conf_dir = self.path("multus-net.d");
        options.journals = self.path("cni/multus");
        options.runtime_cache = self.path("cni");
        *options
    }

    fn say(&self) -> impl Fn(&str) + Sync + '_ {
        |line| self.said.lock().unwrap().push(line.to_owned())
    }

    fn has_said(&self, text: &str) -> bool {
        self.times_said(text) > 0
    }

    fn times_said(&self, text: &str) -> usize {
        self.said.lock().unwrap().iter().filter(|line| line.contains(text)).count()
    }
}

fn installed<'a>(node: &'a Node, more: &[&str], say: &'a (dyn Fn(&str) + Sync)) -> Installation<'a> {
    let mut installation = Installation::new(node.options(more), say).unwrap();
    installation.install().unwrap();
    installation.configure_first().unwrap();
    installation
}

/// What a program says while it runs.
pub(crate) struct Heard {
    lines: Receiver<String>,
    all: RefCell<Vec<String>>,
}

impl Heard {
    /// Waits for a line that holds `text`.
    pub(crate) fn wait_for(&self, text: &str) {
        loop {
            let line = self.lines.recv_timeout(Duration::from_secs(30));
            let line = line.unwrap_or_else(|error| panic!("{text:?}: {error} after {:?}", self.all.borrow()));
            let found = line.contains(text);
            self.all.borrow_mut().push(line);
            if found {
                return;
            }
        }
    }
}

/// Runs the entry point while `during` runs, then asks it to end. Returns all that it said, and how it ended.
fn run(options: Options, during: impl FnOnce(&Heard)) -> (Vec<String>, Result<(), String>) {
    run_with(move |stop, say| keep(options, stop, say), during)
}

/// Runs `program` as [`run`] runs the entry point.
pub(crate) fn run_with(
    program: impl FnOnce(&Stop, Say<'_>) -> Result<(), String> + Send,
    during: impl FnOnce(&Heard),
) -> (Vec<String>, Result<(), String>) {
    let (stop, sender) = Stop::by_hand().unwrap();
    let (tell, lines) = channel::<String>();
    let heard = Heard { lines, all: RefCell::default() };
    let ended = std::thread::scope(|scope| {
        let kept = scope.spawn(move || program(&stop, &|line| drop(tell.send(line.to_owned()))));
        // Also when `during` panics: then the thread ends, and the panic is shown.
        let sender = sender;
        during(&heard);
        drop(sender);
        kept.join().unwrap()
    });
    let Heard { lines, all } = heard;
    (all.into_inner().into_iter().chain(lines.iter()).collect(), ended)
}

/// Polls for what sends no event.
pub(crate) fn until(what: &str, mut look: impl FnMut() -> bool) {
    testbed::wait::until(what, Duration::from_secs(30), || look().then_some(())).unwrap();
}
