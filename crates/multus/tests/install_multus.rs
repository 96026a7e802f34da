//! `install_multus --keep` as a program, in what a pod has and with the plugin as it is built.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Once;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use testbed::apiserver::FakeApi;
use testbed::wait::until;

/// A program with all that a debugger wants to know is large, and it is copied and compared here again and again.
const LONG: Duration = Duration::from_secs(120);
const IMAGE: &str = "/usr/src/multus-cni/bin";
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// Puts the program where the image has it, and the folders of a node where its pod sees them. Only this process and its children see
/// all that.
fn unpack() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        testbed::netns::require_namespace().unwrap();
        for dir in ["/usr/src", "/var/lib"] {
            assert!(Command::new("mount").args(["-t", "tmpfs", "tmpfs", dir]).status().unwrap().success());
        }
        for dir in [IMAGE, ACCOUNT, "/var/lib/cni/multus", "/var/lib/cni/results"] {
            fs::create_dir_all(dir).unwrap();
        }
        let image = Path::new(IMAGE);
        testbed::programs::copy(Path::new(env!("CARGO_BIN_EXE_multus")), &image.join("multus")).unwrap();
        for name in ["passthru", "install_multus"] {
            symlink("multus", image.join(name)).unwrap();
        }
    });
}

struct Node {
    dir: tempfile::TempDir,
    image: Vec<u8>,
}

impl Node {
    fn new() -> Self {
        unpack();
        let dir = tempfile::tempdir().unwrap();
        for folder in ["bin", "net.d"] {
            fs::create_dir(dir.path().join(folder)).unwrap();
        }
        Self { dir, image: fs::read(Path::new(IMAGE).join("multus")).unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The program as in a pod: without any capability.
    fn command(&self, flags: &[&str]) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--bounding-set=-all", "--inh-caps=-all", "--no-new-privs"]);
        command.arg(Path::new(IMAGE).join("install_multus"));
        command.args(["--type=thin", "--dest-dir"]).arg(self.path("bin")).args(flags);
        command.env_remove("CNI_COMMAND");
        command
    }

    fn run(&self, flags: &[&str]) -> (bool, String) {
        let Output { status, stdout, .. } = self.command(flags).output().unwrap();
        (status.success(), String::from_utf8(stdout).unwrap())
    }

    fn is_installed(&self) -> bool {
        let is_right = |name| fs::read(self.path("bin").join(name)).is_ok_and(|bytes| bytes == self.image);
        is_right("multus") && is_right("passthru")
    }

    fn is_put_right(&self, what: &str) {
        until(what, LONG, || self.is_installed().then_some(())).unwrap();
    }
}

fn asked_to_end(keeper: &Child) {
    kill_process(Pid::from_child(keeper), Signal::TERM).unwrap();
}

#[test]
fn it_keeps_the_plugin_answers_its_probe_and_leaves_all_in_place_on_a_signal() {
    let node = Node::new();
    assert!(!node.run(&["--healthy"]).0);
    assert!(node.run(&[]).0, "as an init container");
    assert_eq!(node.run(&["--healthy"]), (true, String::new()));

    let mut keeper = node.command(&["--keep"]).stdout(Stdio::null()).spawn().unwrap();
    let plugin = node.path("bin/multus");
    fs::remove_file(&plugin).unwrap();
    node.is_put_right("the lost program");
    // It starts all the same: what it has lost is of no use for VERSION.
    fs::write(&plugin, &node.image[..node.image.len() - 1]).unwrap();
    node.is_put_right("the truncated program");
    fs::rename(node.path("bin"), node.path("old")).unwrap();
    fs::create_dir(node.path("bin")).unwrap();
    node.is_put_right("the swapped directory");
    asked_to_end(&keeper);
    assert_eq!(keeper.wait().unwrap().code(), Some(0));
    assert!(node.is_installed());
    assert_eq!(fs::read_dir(node.path("bin")).unwrap().count(), 2);

    fs::write(&plugin, &node.image[..node.image.len() - 1]).unwrap();
    let (healthy, why) = node.run(&["--keep", "--healthy"]);
    assert!(!healthy && why.ends_with("bin/multus is truncated\n"), "{why}");
}

#[test]
fn with_the_pods_own_account_it_sees_its_daemonset_deleted_and_removes_the_plugin() {
    let node = Node::new();
    let api = FakeApi::tls().unwrap();
    fs::write(Path::new(ACCOUNT).join("token"), "testbed-token").unwrap();
    fs::write(Path::new(ACCOUNT).join("ca.crt"), api.authority().unwrap()).unwrap();
    api.add_daemon_set(json!({"metadata": {"namespace": "kube-system", "name": "kube-multus-ds"}}));
    let conf_dir = format!("--cni-conf-dir={}", node.path("net.d").display());
    let mut keeper = node
        .command(&["--keep", "--daemonset=kube-system/kube-multus-ds", "--node-name=n1", &conf_dir])
        .envs([
            ("KUBERNETES_SERVICE_HOST", "127.0.0.1"),
            ("KUBERNETES_SERVICE_PORT", &api.port().to_string()),
        ])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    node.is_put_right("the installation");
    until("the watch", LONG, || {
        let is_watch = |r: &testbed::apiserver::Request| r.query.contains("watch=true") && r.status == 200;
        api.requests().iter().any(is_watch).then_some(())
    })
    .unwrap();
    api.delete_daemon_set("kube-system", "kube-multus-ds");
    asked_to_end(&keeper);
    let lines: Vec<String> =
        BufReader::new(keeper.stdout.take().unwrap()).lines().map(Result::unwrap).collect();
    assert_eq!(keeper.wait().unwrap().code(), Some(0));
    let last = lines.last().unwrap();
    assert!(last.contains("ending; ") && last.ends_with("bin/passthru; left on it: nothing"), "{lines:?}");
    assert_eq!(fs::read_dir(node.path("bin")).unwrap().count(), 0);
}
