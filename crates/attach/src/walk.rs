//! kill -9 at every step of ADD, of a failing ADD's rollback and of DEL, with the real bridge and host-local: the following DEL
//! leaves nothing.
//!
//! A child process (this test program again, told by its environment what to do) dies at the n-th step; n grows until the child
//! comes through alive.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use libcni::{Object, Search, Verb};
use plan::{Facts, NetConf, OnDisk, Plan, PodIdentity, Sandbox, SpecMode};
use serde_json::json;
use testbed::Netns;

use crate::{DelRequest, Deleted, Error, Host, add, del};

const STEP: &str = "WALK_DIES_AT";
const DIR: &str = "WALK_DIR";
const VERB: &str = "WALK_VERB";
const NETNS: &str = "WALK_NETNS";

pub(crate) fn die_if_it_is_time(_name: &str) {
    static REACHED: AtomicU32 = AtomicU32::new(0);
    let Some(step) = std::env::var(STEP).ok().and_then(|step| step.parse::<u32>().ok()) else { return };
    if REACHED.fetch_add(1, Ordering::SeqCst) + 1 == step {
        rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL).unwrap();
    }
}

/// A node in a folder, with two networks of bridge and host-local.
struct Node {
    dir: PathBuf,
    bridges: [String; 2],
    /// The second network's chain ends with a plugin that fails, so that all before it is rolled back.
    fails: bool,
}

impl Node {
    fn at(dir: &Path) -> Node {
        // Interface names are short; the folder's name is unique.
        let unique: u32 =
            dir.to_string_lossy().bytes().fold(7, |sum, byte| sum.wrapping_mul(31) + u32::from(byte));
        let bridges = [format!("wa{unique:08x}"), format!("wb{unique:08x}")];
        Node { dir: dir.to_owned(), bridges, fails: false }
    }

    fn failing_at(dir: &Path) -> Node {
        Node { fails: true, ..Node::at(dir) }
    }

    fn host(&self) -> Host {
        let plugins = testbed::parts::reference_plugins().unwrap();
        let mut host = Host::new(self.dir.join("cni"), Search(vec![self.dir.join("bin"), plugins]));
        host.environment = std::env::vars_os().collect();
        host.devinfo_root = self.dir.join("devinfo");
        host.runtime_cache = self.dir.join("runtime");
        host
    }

    fn plan(&self, sandbox: &Sandbox) -> Plan {
        let network = |index: usize| {
            let mut plugins = vec![json!({
                "type": "bridge", "bridge": self.bridges[index], "isGateway": index == 0,
                "ipam": {"type": "host-local", "dataDir": self.dir.join("leases"), "subnet": format!("10.{}.0.0/24", 77 + index)},
            })];
            if self.fails && index == 1 {
                plugins.push(json!({"type": "fails"}));
            }
            json!({"cniVersion": "1.0.0", "name": format!("walk{index}"), "plugins": plugins})
        };
        let netconf = json!({"cniVersion": "1.0.0", "name": "m", "type": "multus", "delegates": [network(0), network(1)]});
        let netconf = NetConf::parse(netconf.to_string().as_bytes()).unwrap();
        plan::plan(&Facts {
            netconf: &netconf,
            verb: Verb::Add,
            sandbox,
            identity: &PodIdentity::default(),
            pod: None,
            nads: &Default::default(),
            disk: &OnDisk::default(),
            devices: &Default::default(),
        })
        .unwrap()
    }

    fn add(&self, sandbox: &Sandbox) -> Result<crate::Attached, Error> {
        add(&self.host(), &self.plan(sandbox), sandbox, &PodIdentity::default(), soon())
    }

    fn del(&self, sandbox: &Sandbox) -> Result<Deleted, Error> {
        let request = DelRequest {
            sandbox,
            mode: SpecMode::Compat,
            runtime_config: &Object::default(),
            without_records: &|| Some(self.plan(sandbox)),
            deadline: soon(),
        };
        del(&self.host(), &request)
    }

    /// Starts the child that does `verb` and dies at `step`.
    fn child(&self, verb: &str, netns: &Netns, step: u32) -> Child {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "walk::one_call_of_a_child_process", "--nocapture"])
            .env(STEP, step.to_string())
            .env(DIR, &self.dir)
            .env(VERB, verb)
            .env(NETNS, netns.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    }

    fn dies(&self, verb: &str, netns: &Netns, step: u32) -> bool {
        let status: ExitStatus = self.child(verb, netns, step).wait().unwrap();
        assert!(status.success() || status.signal() == Some(9), "the child's {verb} failed: {status}");
        status.signal() == Some(9)
    }

    fn assert_nothing_is_left(&self, netns: &Netns, when: &str) {
        assert_eq!(netns.link_names().unwrap(), Vec::<String>::new(), "interfaces in the pod, {when}");
        let ports = Command::new("ip").args(["-o", "link", "show", "type", "veth"]).output().unwrap();
        let ports = String::from_utf8_lossy(&ports.stdout).into_owned();
        let ours = ports.lines().filter(|line| self.bridges.iter().any(|bridge| line.contains(bridge)));
        assert_eq!(ours.count(), 0, "interfaces on the host, {when}: {ports}");
        assert_eq!(files(&self.dir.join("leases"), &["lock"]), Vec::<String>::new(), "leases, {when}");
        let kept = ["lock", ".gate", ".node", ".housekeeping"];
        assert_eq!(files(&self.dir.join("cni"), &kept), Vec::<String>::new(), "files, {when}");
    }
}

/// Files below `dir`, but those with one of these names and what host-local keeps for its round robin.
fn files(dir: &Path, but: &[&str]) -> Vec<String> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if entry.file_type().unwrap().is_dir() {
            found.extend(files(&entry.path(), but));
        } else if !but.contains(&name.as_str())
            && !name.starts_with("last_reserved")
            && !name.starts_with(".slot-")
        {
            found.push(name);
        }
    }
    found
}

fn sandbox(netns: &Path) -> Sandbox {
    Sandbox {
        container_id: "walker".to_owned(),
        netns: netns.display().to_string(),
        if_name: "eth0".to_owned(),
        args: Vec::new(),
    }
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(30)
}

/// What the child does. Called without its environment it does both, and lives.
#[test]
fn one_call_of_a_child_process() {
    let (Ok(dir), Ok(verb), Ok(netns)) = (std::env::var(DIR), std::env::var(VERB), std::env::var(NETNS))
    else {
        let dir = tempfile::tempdir().unwrap();
        let (node, netns) = (Node::at(dir.path()), Netns::unique("walk").unwrap());
        let sandbox = sandbox(&netns.path());
        node.add(&sandbox).unwrap();
        assert_eq!(netns.link_names().unwrap(), ["eth0", "net1"]);
        node.del(&sandbox).unwrap();
        node.assert_nothing_is_left(&netns, "nobody was killed");
        return;
    };
    let node = Node::at(Path::new(&dir));
    let sandbox = sandbox(Path::new(&netns));
    match verb.as_str() {
        "ADD" => drop(node.add(&sandbox).unwrap()),
        "failing ADD" => drop(Node::failing_at(&node.dir).add(&sandbox).unwrap_err()),
        _ => drop(node.del(&sandbox).unwrap()),
    }
}

#[test]
fn c26_a_del_after_an_add_that_was_killed_at_any_step_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::at(dir.path());
    let mut step = 1;
    loop {
        let netns = Netns::unique("walk").unwrap();
        let died = node.dies("ADD", &netns, step);
        node.del(&sandbox(&netns.path())).unwrap();
        node.assert_nothing_is_left(&netns, &format!("killed at step {step} of ADD"));
        if !died {
            break;
        }
        step += 1;
    }
    assert!(step > 6, "ADD has more steps than {step}");
}

#[test]
fn c26_a_del_after_an_add_that_was_killed_at_any_step_of_its_rollback_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::failing_at(dir.path());
    fs::create_dir(dir.path().join("bin")).unwrap();
    let fails = "#!/bin/sh\n[ \"$CNI_COMMAND\" = ADD ] || exit 0\necho '{\"code\":100,\"msg\":\"on purpose\"}'\nexit 1\n";
    testbed_script(&dir.path().join("bin/fails"), fails);
    let mut step = 1;
    loop {
        let netns = Netns::unique("walk").unwrap();
        let died = node.dies("failing ADD", &netns, step);
        if !died {
            node.assert_nothing_is_left(&netns, "the ADD failed and nobody was killed");
        }
        node.del(&sandbox(&netns.path())).unwrap();
        node.assert_nothing_is_left(&netns, &format!("killed at step {step} of a failing ADD"));
        if !died {
            break;
        }
        step += 1;
    }
    assert!(step > 11, "a failing ADD and its rollback have more steps than {step}");
}

#[test]
fn c30_a_del_after_a_del_that_was_killed_at_any_step_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::at(dir.path());
    let mut step = 1;
    loop {
        let netns = Netns::unique("walk").unwrap();
        let sandbox = sandbox(&netns.path());
        node.add(&sandbox).unwrap();
        assert_eq!(netns.link_names().unwrap(), ["eth0", "net1"]);
        let died = node.dies("DEL", &netns, step);
        node.del(&sandbox).unwrap();
        node.assert_nothing_is_left(&netns, &format!("killed at step {step} of DEL"));
        if !died {
            break;
        }
        step += 1;
    }
    assert!(step > 5, "DEL has more steps than {step}");
}

/// The bridge plugin dies with us, but not the host-local that it started: it goes on and takes an address. DEL waits for it.
#[test]
fn del_waits_for_an_ipam_plugin_that_a_killed_add_left_running() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::at(dir.path());
    let real = testbed::parts::reference_plugins().unwrap().join("host-local");
    let started = dir.path().join("started");
    let go_on = dir.path().join("go-on");
    fs::create_dir(dir.path().join("bin")).unwrap();
    let made = Command::new("mkfifo").arg(&go_on).status().unwrap();
    assert!(made.success());
    let wrapper = format!(
        "#!/bin/sh\nif [ \"$CNI_COMMAND\" = ADD ]; then : > {}; read -r _ < {}; fi\nexec {}\n",
        started.display(),
        go_on.display(),
        real.display()
    );
    testbed_script(&dir.path().join("bin/host-local"), &wrapper);

    let netns = Netns::unique("walk").unwrap();
    let mut child = node.child("ADD", &netns, 0);
    testbed::wait::until("host-local to start", Duration::from_secs(20), || started.exists().then_some(()))
        .unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    let sandbox = sandbox(&netns.path());
    std::thread::scope(|scope| {
        let deleting = scope.spawn(|| node.del(&sandbox));
        // The orphan goes on only now, while DEL waits for it.
        fs::write(&go_on, "go\n").unwrap();
        deleting.join().unwrap().unwrap();
    });
    node.assert_nothing_is_left(&netns, "with an orphaned host-local");
}

fn testbed_script(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}
