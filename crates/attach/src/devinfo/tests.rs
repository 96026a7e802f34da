use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use super::*;
use crate::testing::{Node, network};

#[test]
fn n114_the_copy_replaces_what_was_there_and_may_be_read_by_all() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("source");
    let target = dir.path().join("devinfo/cni/ns-net-pod_net1");
    fs::write(&source, r#"{"version":"1.1.0", "type":"pci","pci":{"pci-address":"1"},"later":1.50}"#)
        .unwrap();
    for _ in 0..2 {
        copy(&source, &target).unwrap();
    }
    let text = fs::read_to_string(&target).unwrap();
    assert_eq!(text, r#"{"later":1.50,"pci":{"pci-address":"1"},"type":"pci","version":"1.1.0"}"#);
    assert_eq!(fs::metadata(&target).unwrap().permissions().mode() & 0o777, 0o444);
    assert_eq!(fs::read_dir(target.parent().unwrap()).unwrap().count(), 1);
    assert!(collect(&target).unwrap().is_some());
}

#[test]
fn what_is_no_device_information_is_not_copied() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("source");
    let target = dir.path().join("cni/target");
    assert_eq!(copy(&source, &target).unwrap_err().kind(), io::ErrorKind::NotFound);
    assert!(collect(&source).unwrap().is_none());
    let huge = format!("{{\"a\":\"{}\"}}", "x".repeat(2 << 20));
    for text in ["", "[]", "null", "{\"a\":", huge.as_str()] {
        fs::write(&source, text).unwrap();
        copy(&source, &target).unwrap_err();
        collect(&source).unwrap_err();
    }
    assert!(!target.exists());
}

#[test]
fn n115_only_files_of_attachments_are_removed() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("cni")).unwrap();
    fs::create_dir_all(dir.path().join("dp")).unwrap();
    let theirs = dir.path().join("dp/resource-1-device.json");
    let ours = path_for(dir.path(), "ns/net", "pod", "net1");
    fs::write(&theirs, "{}").unwrap();
    fs::write(&ours, "{}").unwrap();
    assert_eq!(ours.file_name().unwrap(), "ns-net-pod_net1");
    for path in [&theirs, &ours, &dir.path().join("cni/../dp/resource-1-device.json")] {
        remove(dir.path(), path).unwrap();
        remove(dir.path(), path).unwrap();
    }
    assert!(theirs.exists() && !ours.exists());
}

#[test]
fn n115_the_file_of_what_upstream_added_goes_also_when_its_del_fails_first() {
    let node = Node::new(&["a"]);
    let busy = json!({"x-error": {"code": 5, "msg": "busy", "on": ["DEL"], "times": 1}});
    node.add(&node.plan(&[network("a", busy)])).unwrap();
    let mut journal: Value = serde_json::from_slice(&fs::read(node.journal_path()).unwrap()).unwrap();
    journal[0].as_object_mut().unwrap().remove("multus-rs").unwrap();
    node.write_journal(&journal.to_string());
    let file = path_for(&node.host.devinfo_root, "conf-a", "pod1", "eth0");
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(&file, "{}").unwrap();
    node.del().unwrap_err();
    assert!(file.exists());
    node.del().unwrap();
    assert!(!file.exists());
    assert_eq!(node.files(), Vec::<String>::new());
}

#[test]
fn n115_without_a_journal_the_file_is_the_one_that_the_plugins_were_told() {
    let node = Node::new(&["a"]);
    let file = path_for(&node.host.devinfo_root, "ns/nad", "pod1", "eth0");
    let mut plan = node.plan(&[network("a", json!({}))]);
    plan.attachments[0].capability_args.set("CNIDeviceInfoFile", &file);
    node.add(&plan).unwrap();
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(&file, "{}").unwrap();
    fs::remove_file(node.journal_path()).unwrap();
    node.del().unwrap();
    assert!(!file.exists());
}
