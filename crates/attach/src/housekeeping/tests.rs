use std::fs::{self, File};
use std::time::{Duration, SystemTime};

use plan::SpecMode;
use serde_json::json;

use crate::journal::{Element, Store};
use crate::lock::{NodeLock, SandboxLock};
use crate::testing::{Node, network, run, soon};
use crate::{Tidied, housekeeping};

/// Looks now, however recently it looked before.
fn look(node: &Node) -> Tidied {
    let _ = fs::remove_file(node.host.cni_dir.join(".locks/.housekeeping"));
    housekeeping(&node.host, Duration::from_secs(20))
}

/// Makes what is in the journal due now.
fn make_due(node: &Node) {
    let mut elements: Vec<Element> = node.journal().unwrap();
    for own in elements.iter_mut().filter_map(|element| element.own.as_mut()) {
        own.next_try = own.next_try.map(|_| 0);
    }
    Store::new(&node.host.cni_dir).write("pod1", &elements).unwrap();
}

#[test]
fn what_was_set_aside_is_retried_when_due_and_goes_in_the_end() {
    let node = Node::new(&["a", "b"]);
    let failing = json!({"x-error": {"code": 5, "msg": "stuck", "on": ["DEL"], "times": 7}});
    node.add(&node.plan(&[network("a", json!({})), network("b", failing)])).unwrap();
    for _ in 1..5 {
        node.del().unwrap_err();
    }
    node.del().unwrap();
    let dels = || node.sequence().iter().filter(|call| *call == "DEL b/net1").count();
    assert_eq!(dels(), 5);
    // Not due yet: the pause doubles with each try.
    assert!(look(&node).lines.is_empty());
    assert_eq!(dels(), 5);
    for tries in [6, 7] {
        make_due(&node);
        assert!(look(&node).lines[0].contains("still not freed"));
        let own = node.journal().unwrap()[0].own.clone().unwrap();
        assert_eq!((own.tries, own.parked), (tries, true));
        let pause = own.next_try.unwrap() - crate::undo::now();
        assert!(pause <= 64 && pause >= 1 << (tries - 3), "after {tries} tries a pause of {pause} s");
    }
    make_due(&node);
    assert!(look(&node).lines[0].contains("freed 1"));
    assert_eq!(node.files(), Vec::<String>::new());
}

#[test]
fn a_sandbox_of_another_boot_or_without_its_namespace_is_undone() {
    for reboot in [true, false] {
        let mut node = Node::new(&["a"]);
        node.add(&node.plan(&[network("a", json!({}))])).unwrap();
        node.recorder.clear().unwrap();
        assert!(look(&node).lines.is_empty());
        if reboot {
            node.host.boot_id = "another boot".to_owned();
        } else {
            run("ip", &["netns", "delete", node.netns.name()]);
        }
        assert_eq!(look(&node).lines.len(), 1);
        assert_eq!(node.sequence(), ["DEL a/eth0"]);
        assert_eq!(node.calls()[0].env("CNI_NETNS"), "");
        assert_eq!(node.files(), Vec::<String>::new());
    }
}

#[test]
fn what_upstream_left_of_a_sandbox_whose_namespace_is_gone_is_undone() {
    let node = Node::new(&["a"]);
    node.add(&node.plan(&[network("a", json!({}))])).unwrap();
    let mut text: serde_json::Value =
        serde_json::from_slice(&fs::read(node.journal_path()).unwrap()).unwrap();
    text[0].as_object_mut().unwrap().remove("multus-rs");
    text[0]["ifnameRequest"] = json!("eth0");
    node.write_journal(&text.to_string());
    assert!(look(&node).lines.is_empty());
    run("ip", &["netns", "delete", node.netns.name()]);
    assert_eq!(look(&node).lines.len(), 1);
    assert_eq!(node.files(), Vec::<String>::new());
}

#[test]
fn an_unusable_journal_of_a_dead_sandbox_goes_and_one_of_a_living_stays() {
    let node = Node::new(&["a"]);
    node.add(&node.plan(&[network("a", json!({}))])).unwrap();
    node.recorder.clear().unwrap();
    node.write_journal("[{");
    assert!(look(&node).lines.is_empty());
    run("ip", &["netns", "delete", node.netns.name()]);
    assert_eq!(look(&node).lines.len(), 1);
    assert_eq!(node.sequence(), ["DEL a/eth0"]);
    assert_eq!(node.files(), Vec::<String>::new());
    // Older than the boot, and nothing is known of it.
    node.write_journal("");
    assert!(look(&node).lines.is_empty());
    File::options()
        .write(true)
        .open(node.journal_path())
        .unwrap()
        .set_modified(SystemTime::UNIX_EPOCH)
        .unwrap();
    look(&node);
    assert_eq!(node.files(), Vec::<String>::new());
}

#[test]
fn a_result_without_a_journal_is_undone_when_its_namespace_is_gone() {
    let node = Node::new(&["a"]);
    node.add(&node.plan(&[network("a", json!({}))])).unwrap();
    fs::remove_file(node.journal_path()).unwrap();
    node.recorder.clear().unwrap();
    assert!(look(&node).lines.is_empty());
    run("ip", &["netns", "delete", node.netns.name()]);
    assert_eq!(look(&node).lines.len(), 1);
    assert_eq!(node.sequence(), ["DEL a/eth0"]);
    assert_eq!(node.files(), Vec::<String>::new());
}

#[test]
fn a_result_that_cannot_be_undone_yet_leaves_no_lock() {
    let node = Node::new(&["a"]);
    let stuck = json!({"x-error": {"code": 5, "msg": "stuck", "on": ["DEL"]}});
    node.add(&node.plan(&[network("a", stuck)])).unwrap();
    fs::remove_file(node.journal_path()).unwrap();
    fs::remove_file(node.host.cni_dir.join(".locks/pod1")).unwrap();
    run("ip", &["netns", "delete", node.netns.name()]);
    assert!(look(&node).lines[0].ends_with("still not freed: plugin type=\"a\" failed (delete): stuck"));
    assert_eq!(node.files(), ["results/conf-a-pod1-eth0"]);
}

#[test]
fn a_sandbox_on_which_somebody_works_is_not_touched() {
    let mut node = Node::new(&["a"]);
    node.add(&node.plan(&[network("a", json!({}))])).unwrap();
    node.recorder.clear().unwrap();
    node.host.boot_id = "another boot".to_owned();
    let held = SandboxLock::try_acquire(&node.host.cni_dir, "pod1").unwrap();
    look(&node);
    drop(held);
    let collecting = NodeLock::exclusive(&node.host.cni_dir, soon()).unwrap();
    look(&node);
    drop(collecting);
    assert_eq!(node.sequence(), Vec::<String>::new());
    look(&node);
    assert_eq!(node.sequence(), ["DEL a/eth0"]);
}

#[test]
fn it_looks_seldom_and_not_at_all_without_a_budget() {
    let mut node = Node::new(&["a"]);
    node.add(&node.plan(&[network("a", json!({}))])).unwrap();
    node.recorder.clear().unwrap();
    assert!(look(&node).lines.is_empty());
    node.host.boot_id = "another boot".to_owned();
    assert!(housekeeping(&node.host, Duration::from_secs(20)).lines.is_empty());
    let _ = fs::remove_file(node.host.cni_dir.join(".locks/.housekeeping"));
    assert!(housekeeping(&node.host, Duration::ZERO).lines.is_empty());
    assert_eq!(node.sequence(), Vec::<String>::new());
    assert_eq!(look(&node).lines.len(), 1);
}

#[test]
fn strict_mode_leaves_nothing_for_housekeeping_to_retry() {
    let node = Node::new(&["a", "b"]);
    let failing = json!({"x-error": {"code": 5, "msg": "stuck", "on": ["DEL"]}});
    node.add(&node.plan(&[network("a", json!({})), network("b", failing)])).unwrap();
    for _ in 0..6 {
        node.del_as(&node.sandbox, SpecMode::Strict, &|| None).unwrap_err();
    }
    node.recorder.clear().unwrap();
    make_due(&node);
    look(&node);
    // The runtime keeps asking; as long as the namespace lives that is enough.
    assert_eq!(node.sequence(), Vec::<String>::new());
}
