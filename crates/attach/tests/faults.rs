//! DEL on a node on which something is broken: disks, plugins, journals (N-98, N-99, C-30, Q10).
#![allow(clippy::unwrap_used, reason = "tests may unwrap")]

mod node;

use std::fs;
use std::path::Path;
use std::process::Command;

use attach::{Error, Outcome};
use node::{Node, Pod, fails, single};
use serde_json::{Value, json};

const NOTHING: [&str; 0] = [];

fn run(program: &str, arguments: &[&str]) {
    let status = Command::new(program).args(arguments).status().unwrap();
    assert!(status.success(), "{program} {arguments:?}");
}

/// Mounts over a folder of this test program's own mount namespace, undone in the end.
struct Mounted(String);

impl Mounted {
    fn tmpfs(dir: &Path) -> Mounted {
        fs::create_dir_all(dir).unwrap();
        let dir = dir.display().to_string();
        run("mount", &["-t", "tmpfs", "-o", "size=256k", "tmpfs", &dir]);
        Mounted(dir)
    }

    fn read_only(dir: &Path) -> Mounted {
        let place = dir.display().to_string();
        run("mount", &["--bind", &place, &place]);
        testbed::mounts::read_only(dir, &["bind"]).unwrap();
        Mounted(place)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").args(["-l", &self.0]).status();
    }
}

fn fill(dir: &Path) {
    let full =
        (0..64).any(|number| fs::write(dir.join(format!(".fill{number}")), vec![7; 64 << 10]).is_err());
    assert!(full, "the disk takes more and more");
    // What is smaller than the last piece fits no more either.
    while fs::OpenOptions::new()
        .append(true)
        .create(true)
        .open(dir.join(".rest"))
        .and_then(|mut file| std::io::Write::write_all(&mut file, &[7; 4096]))
        .is_ok()
    {}
}

/// A pod with the networks main, one, two; the second fails as `keys` say.
fn three<'n>(node: &'n Node, keys: Value) -> Pod<'n> {
    node.pod().nad("one", single("one", keys)).nad("two", single("two", json!({}))).selects(json!([
        {"name": "one", "namespace": "test"},
        {"name": "two", "namespace": "test"},
    ]))
}

fn stuck() -> Value {
    json!({"x-error": {"code": 5, "msg": "device not found", "on": ["DEL"]}})
}

#[test]
fn n98_n99_on_a_read_only_disk_every_network_is_tried_and_the_failure_returned() {
    let node = Node::new();
    let pod = three(&node, stuck());
    pod.add().unwrap();
    let journal = node.journal_json("pod1");
    for lock_is_there in [true, false] {
        if !lock_is_there {
            fs::remove_dir_all(node.host.cni_dir.join(".locks")).unwrap();
        }
        node.recorder.clear().unwrap();
        let mounted = Mounted::read_only(&node.host.cni_dir);
        let error = pod.del().unwrap_err();
        drop(mounted);
        assert_eq!(node.called("DEL"), ["two net2", "one net1", "main eth0"]);
        let text = error.to_string();
        assert!(text.contains("one-net") && !text.to_lowercase().contains("not found"), "{text}");
        assert_eq!(node.journal_json("pod1"), journal);
    }
}

#[test]
fn c30_on_a_read_only_disk_del_succeeds_again_and_again_and_says_what_it_could_not_write() {
    let node = Node::new();
    let pod = three(&node, json!({}));
    pod.add().unwrap();
    let mounted = Mounted::read_only(&node.host.cni_dir);
    for _ in 0..2 {
        let deleted = pod.del().unwrap();
        assert_eq!(deleted.attachments.len(), 3);
        assert!(deleted.notes.iter().any(|note| note.contains("pod1")), "{:?}", deleted.notes);
    }
    assert_eq!(pod.netns.link_names().unwrap(), NOTHING);
    drop(mounted);
    pod.del().unwrap();
    assert_eq!(node.files(), NOTHING);
}

#[test]
fn n98_on_a_full_disk_everything_goes() {
    let node = Node::new();
    let _mounted = Mounted::tmpfs(&node.host.cni_dir);
    let pod = three(&node, json!({}));
    pod.add().unwrap();
    fill(&node.host.cni_dir);
    let deleted = pod.del().unwrap();
    assert_eq!(deleted.attachments.len(), 3);
    assert_eq!(node.called("DEL"), ["two net2", "one net1", "main eth0"]);
    assert_eq!(node.files(), NOTHING);
}

#[test]
fn n99_on_a_full_disk_a_failing_network_stays_recorded() {
    let node = Node::new();
    let _mounted = Mounted::tmpfs(&node.host.cni_dir);
    let pod = three(&node, json!({"x-error": {"code": 5, "msg": "stuck", "on": ["DEL"], "times": 1}}));
    pod.add().unwrap();
    fill(&node.host.cni_dir);
    let error = pod.del().unwrap_err();
    assert!(matches!(&error, Error::Del(failures) if failures.len() == 1), "{error}");
    // Whatever the journal says now, it is one, and the next DEL frees the rest.
    let journal = node.journal_json("pod1");
    assert!(journal.as_array().unwrap().iter().any(|element| element["Name"] == "test/one"), "{journal}");
    pod.del().unwrap();
    assert_eq!(pod.netns.link_names().unwrap(), NOTHING);
    assert_eq!(node.files(), NOTHING);
}

#[test]
fn on_a_full_disk_nothing_is_attached() {
    let node = Node::new();
    let _mounted = Mounted::tmpfs(&node.host.cni_dir);
    fill(&node.host.cni_dir);
    let pod = three(&node, json!({}));
    let error = pod.add().unwrap_err();
    assert!(matches!(&error, Error::State { .. }), "{error}");
    assert!(error.to_string().contains("nothing was attached"), "{error}");
    assert_eq!(node.called("ADD"), NOTHING);
    pod.del().unwrap();
    assert_eq!(node.files(), NOTHING);
}

/// A disk that fills up between the journal and the results.
#[test]
fn n97_a_result_that_cannot_be_kept_fails_the_add_and_undoes_it() {
    let node = Node::new();
    let pod = three(&node, json!({}));
    fs::create_dir_all(node.host.cni_dir.join("results")).unwrap();
    let mounted = Mounted::read_only(&node.host.cni_dir.join("results"));
    let error = pod.add().unwrap_err();
    drop(mounted);
    assert!(error.to_string().contains("results/main-net-pod1-eth0"), "{error}");
    assert_eq!(
        (node.called("ADD"), node.called("DEL")),
        (vec!["main eth0".to_owned()], vec!["main eth0".to_owned()])
    );
    assert_eq!(pod.netns.link_names().unwrap(), NOTHING);
    assert_eq!(node.files(), NOTHING);
}

#[test]
fn q10_every_kind_of_broken_journal_frees_by_the_result_cache() {
    let deep = "[".repeat(200_000);
    for text in
        ["", "[", "[]", "null", "garbage", "{\"a\":1}", "[{\"Name\":\"x\"}]", "[{},{}]", &deep, "\u{0}\u{0}"]
    {
        let node = Node::new();
        let pod = node
            .pod()
            .default_network(node.bridge("cluster", 1))
            .nad("net1", node.bridge("net1", 2))
            .nad("one", single("one", json!({})))
            .selects(json!([{"name": "net1", "namespace": "test"}, {"name": "one", "namespace": "test"}]));
        pod.add().unwrap();
        fs::write(node.journal("pod1"), text).unwrap();
        let shown = &text[..text.len().min(20)];
        let deleted = pod.del().unwrap();
        let names: Vec<_> = deleted.attachments.iter().map(|one| one.if_name.as_str()).collect();
        assert_eq!(names, ["eth0", "net1", "net2"], "{shown}");
        assert_eq!(pod.netns.link_names().unwrap(), NOTHING, "{shown}");
        assert_eq!((node.leases(), node.files()), (vec![], vec![]), "{shown}");
        pod.del().unwrap();
    }
}

/// A half-written journal at every length.
#[test]
fn q10_a_truncated_journal_frees_by_the_result_cache() {
    let node = Node::new();
    for part in [1, 3, 10, 50, 97] {
        node.recorder.clear().unwrap();
        let pod = three(&node, json!({}));
        pod.add().unwrap();
        let whole = fs::read(node.journal("pod1")).unwrap();
        fs::write(node.journal("pod1"), &whole[..whole.len() * part / 100]).unwrap();
        pod.del().unwrap();
        assert_eq!(node.called("DEL"), ["two net2", "one net1", "main eth0"]);
        assert_eq!(node.files(), NOTHING);
    }
}

#[test]
fn n98_a_plugin_that_is_not_installed_keeps_no_other_network() {
    let node = Node::new();
    let pod = three(&node, json!({}));
    pod.add().unwrap();
    let program = node.recorder.dir.join("one");
    fs::rename(&program, program.with_extension("away")).unwrap();
    let error = pod.del().unwrap_err();
    assert_eq!(node.called("DEL"), ["two net2", "main eth0"]);
    let text = error.to_string();
    assert!(text.contains("one-net") && text.contains("\"one\"") && text.contains("net1"), "{text}");
    assert!(!text.to_lowercase().contains("not found"), "{text}");
    fs::rename(program.with_extension("away"), &program).unwrap();
    pod.del().unwrap();
    assert_eq!(node.called("DEL"), ["two net2", "main eth0", "one net1"]);
    assert_eq!((pod.netns.link_names().unwrap(), node.files()), (vec![], vec![]));
}

#[test]
fn n99_a_secondary_that_keeps_failing_is_set_aside_in_compat_and_freed_later() {
    let node = Node::new();
    let pod = three(&node, json!({"x-error": {"code": 5, "msg": "stuck", "on": ["DEL"], "times": 5}}));
    pod.add().unwrap();
    for _ in 0..4 {
        pod.del().unwrap_err();
    }
    let deleted = pod.del().unwrap();
    assert!(
        matches!(&deleted.attachments[..], [one] if one.if_name == "net1" && matches!(&one.outcome, Outcome::Parked(why) if why.contains("stuck"))),
        "{deleted:?}"
    );
    // The runtime removes the namespace; housekeeping waits until it is due.
    run("ip", &["netns", "delete", pod.netns.name()]);
    assert_eq!(node.housekeeping(), NOTHING);
    node.edit_journal("pod1", |elements| elements[0]["multus-rs"]["nextTry"] = json!(0));
    assert_eq!(node.housekeeping().len(), 1);
    assert_eq!(node.calls("DEL").last().unwrap().env("CNI_NETNS"), "");
    assert_eq!(node.files(), NOTHING);
}

#[test]
fn n99_two_minutes_are_enough_too() {
    let node = Node::new();
    let pod = three(&node, stuck());
    pod.add().unwrap();
    pod.del().unwrap_err();
    node.edit_journal("pod1", |elements| elements[0]["multus-rs"]["firstFailure"] = json!(1));
    pod.del().unwrap();
    assert!(node.journal("pod1").exists());
}

#[test]
fn n99_neither_a_secondary_in_strict_mode_nor_the_default_network_is_ever_set_aside() {
    let node = Node::new();
    let secondary = three(&node, stuck()).strict();
    secondary.add().unwrap();
    let node = Node::new();
    let primary = node.pod().default_network(single("main", fails(5, "stuck", &["DEL"])));
    primary.add().unwrap();
    for _ in 0..8 {
        secondary.del().unwrap_err();
        primary.del().unwrap_err();
    }
    node.edit_journal("pod1", |elements| elements[0]["multus-rs"]["firstFailure"] = json!(1));
    primary.del().unwrap_err();
}

#[test]
fn c30_c31_del_of_a_sandbox_that_nobody_knows() {
    let node = Node::new();
    let pod = three(&node, json!({}));
    for _ in 0..2 {
        pod.del().unwrap();
    }
    // The default network is asked to undo what it may have; what the pod selected is not known any more.
    assert_eq!(node.called("DEL"), ["main eth0", "main eth0"]);
    assert_eq!(node.files(), NOTHING);
}
