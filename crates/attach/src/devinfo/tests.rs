use std::os::unix::fs::PermissionsExt;

use super::*;

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
