//! What is installed is kept right while it runs.

use engine::{PodRef, Record};
use testbed::apiserver::{FakeApi, Fault, FaultKind};

use super::super::spool::Spool;
use super::*;

#[test]
fn everything_is_installed() {
    let node = Node::with_primary("10-testcni.conf", OLD_PRIMARY);
    node.write("00-multus.conflist", "stale");
    let say = node.say();
    installed(&node, &[], &say);
    assert_eq!(fs::read(node.path("bin/multus")).unwrap(), b"program");
    assert_eq!(node.names(), ["00-multus.conf", "10-testcni.conf", "multus.d"], "the stale form is gone");
    assert!(node.path("multus-net.d").is_dir());
    assert!(node.has_said("multus config file is created."));
}

#[test]
fn the_program_is_left_alone_on_request() {
    let node = Node::with_primary("10-testcni.conf", OLD_PRIMARY);
    let say = node.say();
    installed(&node, &["--skip-multus-binary-copy"], &say);
    assert!(!node.path("bin/multus").exists());
}

#[test]
fn a_lost_truncated_or_renamed_configuration_is_put_back() {
    let node = Node::with_primary("10-testcni.conf", OLD_PRIMARY);
    let say = node.say();
    for flags in [&[][..], &["--skip-config-watch"]] {
        let mut installation = installed(&node, flags, &say);
        let text = node.conf("00-multus.conf");
        let inode = fs::metadata(node.path("net.d/00-multus.conf")).unwrap().ino();
        installation.look().unwrap();
        assert_eq!(fs::metadata(node.path("net.d/00-multus.conf")).unwrap().ino(), inode, "not rewritten");
        node.write("00-multus.conf", "");
        installation.look().unwrap();
        assert_eq!(node.conf("00-multus.conf"), text);
        fs::rename(node.path("net.d/00-multus.conf"), node.path("net.d/00-multus.conf.cilium_bak")).unwrap();
        installation.look().unwrap();
        assert_eq!(node.conf("00-multus.conf"), text);
    }
}

#[test]
fn a_changed_primary_is_followed_and_a_broken_or_lost_one_changes_nothing() {
    let node = Node::with_primary("10-testcni.conf", OLD_PRIMARY);
    let say = node.say();
    let mut installation = installed(&node, &[], &say);
    let text = node.conf("00-multus.conf");
    node.write("10-testcni.conf", "{\"cniVersion\":");
    installation.look().unwrap();
    assert_eq!(node.conf("00-multus.conf"), text);
    fs::remove_file(node.path("net.d/10-testcni.conf")).unwrap();
    node.write("05-new.conf", &OLD_PRIMARY.replace("test1", "other"));
    installation.look().unwrap();
    assert_eq!(node.conf("00-multus.conf"), text, "never switched silently");
    assert!(node.has_said("waiting for its restoration..."));
    node.write("10-testcni.conf", NEW_PRIMARY);
    installation.look().unwrap();
    assert!(node.conf("00-multus.conflist").contains("1.0.0"));
    assert!(!node.path("net.d/00-multus.conf").exists());
}

#[test]
fn the_primary_is_moved_aside_on_request() {
    let node = Node::with_primary("10-testcni.conf", OLD_PRIMARY);
    let say = node.say();
    let mut installation = installed(&node, &["--rename-conf-file"], &say);
    assert_eq!(node.names(), ["00-multus.conf", "10-testcni.conf.old", "multus.d"]);
    installation.look().unwrap();
    assert_eq!(node.names(), ["00-multus.conf", "10-testcni.conf.old", "multus.d"]);
}

#[test]
fn a_given_configuration_is_copied_and_never_an_empty_one() {
    let node = Node::new();
    let source = node.path("70-mine.conf");
    fs::write(&source, OLD_PRIMARY).unwrap();
    let say = node.say();
    let mut installation = installed(&node, &[&format!("--multus-conf-file={}", source.display())], &say);
    assert_eq!(node.conf("70-mine.conf"), OLD_PRIMARY);
    fs::write(&source, "\n").unwrap();
    assert!(matches!(installation.look(), Err(Failure::Passing(error)) if error.contains("empty")));
    assert_eq!(node.conf("70-mine.conf"), OLD_PRIMARY);
}

#[test]
fn the_configuration_goes_at_the_end_on_request_only() {
    for (flags, left) in [(&[][..], true), (&["--cleanup-config-on-exit"], false)] {
        let node = Node::with_primary("10-testcni.conf", OLD_PRIMARY);
        let (stop, sender) = Stop::by_hand().unwrap();
        drop(sender);
        keep(node.options(flags), &stop, &node.say()).unwrap();
        assert_eq!(node.path("net.d/00-multus.conf").exists(), left);
        assert!(node.path("bin/multus").exists() && node.path("net.d/multus.d/multus.kubeconfig").exists());
    }
}

#[test]
fn q34_the_token_is_followed_without_any_flag_and_a_passing_fault_ends_nothing() {
    let node = Node::with_primary("10-testcni.conf", OLD_PRIMARY);
    let options = node.options(&[]);
    let (token, kubeconfig) = (node.path("account/token"), options.kubeconfig_path());
    let (_, ended) = run(options, |heard| {
        heard.wait_for("Entering watch loop");
        fs::remove_file(&token).unwrap();
        heard.wait_for("cannot read");
        fs::write(&token, "fresh").unwrap();
        heard.wait_for("recreating kubeconfig");
        assert!(fs::read_to_string(&kubeconfig).unwrap().contains("token: \"fresh\""));
    });
    ended.unwrap();
}

/// The damages of which the kernel tells, and which are put right long before the next look at intervals.
#[test]
fn while_it_runs_each_damage_is_put_right_by_itself() {
    let node = Node::with_primary("10-testcni.conf", OLD_PRIMARY);
    let (_, ended) = run(node.options(&["--owner=a/b"]), |heard| {
        heard.wait_for("Entering watch loop");
        let path = node.path("net.d/00-multus.conf");
        let text = fs::read_to_string(&path).unwrap();
        let right = |what: &str| until(what, || fs::read_to_string(&path).is_ok_and(|found| found == text));
        fs::rename(&path, node.path("net.d/00-multus.conf.cilium_bak")).unwrap();
        right("the renamed file");
        heard.wait_for("cni.exclusive=false");
        fs::write(&path, "").unwrap();
        right("the truncated file");
        fs::remove_file(&path).unwrap();
        right("the lost file");
        fs::rename(node.path("bin"), node.path("old")).unwrap();
        fs::create_dir(node.path("bin")).unwrap();
        heard.wait_for("bin/multus was missing or different and is installed again");
        assert_eq!(fs::read(node.path("bin/multus")).unwrap(), b"program");
    });
    ended.unwrap();
}

#[test]
fn q34_what_is_missing_is_an_error() {
    let node = Node::with_primary("10-testcni.conf", OLD_PRIMARY);
    let (stop, _sender) = Stop::by_hand().unwrap();
    for (flag, text) in [
        ("--cni-conf-dir=/does/not/exist", "cni-conf-dir is not found: stat /does/not/exist"),
        ("--cni-bin-dir=/does/not/exist", "cni-bin-dir is not found"),
        ("--multus-bin-file=/does/not/exist", "multus-bin-file is not found"),
        ("--multus-conf-file=/does/not/exist", "multus-conf-file is not found"),
    ] {
        let error = keep(node.options(&[flag]), &stop, &|_| {}).unwrap_err();
        assert!(error.contains(text), "{error}");
    }
    fs::remove_file(node.path("account/token")).unwrap();
    assert!(keep(node.options(&[]), &stop, &|_| {}).unwrap_err().contains("token"));
    let Asked::Run(outside) = Options::read(&[], &|_| None).unwrap() else { panic!() };
    let outside = Options { server: outside.server, ..node.options(&[]) };
    assert!(keep(outside, &stop, &|_| {}).unwrap_err().contains("KUBERNETES_SERVICE_HOST"));
}

#[test]
fn a_primary_that_comes_late_is_waited_for_and_that_is_said_once() {
    let node =
        Node::with_primary("87-podman-bridge.conflist", r#"{"name":"podman","plugins":[{"type":"bridge"}]}"#);
    let (said, ended) = run(node.options(&[]), |heard| {
        heard.wait_for("waiting for the primary network");
        heard.wait_for("Entering watch loop");
        node.write("10-testcni.conf", OLD_PRIMARY);
        heard.wait_for("multus config file is created.");
    });
    ended.unwrap();
    assert!(node.conf("00-multus.conf").contains("test1"));
    // It may also have been seen half written, which is another reason to wait and is said too.
    let waits = said.iter().filter(|line| line.contains("waiting for the primary network"));
    let without = waits.filter(|line| line.contains("87-podman-bridge.conflist: of Podman"));
    assert_eq!(without.count(), 1, "{said:?}");
}

#[test]
fn without_a_watch_a_missing_primary_is_an_error_at_once() {
    let node = Node::new();
    let (stop, _sender) = Stop::by_hand().unwrap();
    let error = keep(node.options(&["--skip-config-watch"]), &stop, &|_| {}).unwrap_err();
    assert!(error.starts_with("cannot find valid master CNI config in"), "{error}");
}

#[test]
fn a_stop_ends_the_waiting_for_a_primary() {
    let node = Node::new();
    let (_, ended) = run(node.options(&[]), |heard| heard.wait_for("waiting for the primary network"));
    ended.unwrap();
    assert_eq!(node.names(), ["multus.d"]);
}

fn leave(dir: &Path, container: &str, name: &str) {
    let pod = PodRef { namespace: "ns".to_owned(), name: name.to_owned(), uid: Some("u".to_owned()) };
    let record = Record { pod, status: Some("[]".to_owned()), events: Vec::new() };
    engine::spool::leave(dir, container, &record).unwrap();
}

#[test]
fn records_in_the_spool_are_made_when_the_api_server_is_back() {
    let mut api = FakeApi::tls().unwrap();
    api.add_pod_with("ns", "a", "u", &[]);
    let dir = tempfile::tempdir().unwrap();
    let kubeconfig = api.write_kubeconfig(&dir.path().join("kubeconfig")).unwrap();
    let path = dir.path().join("spool");
    leave(&path, "container1", "a");
    let said = Mutex::new(Vec::new());
    let say = |line: &str| said.lock().unwrap().push(line.to_owned());
    api.refuse();
    Spool::new(path.clone(), kubeconfig.clone()).drain(&say);
    assert!(path.join("container1").exists());
    assert!(said.lock().unwrap()[0].contains("stays in the spool"), "{said:?}");
    api.resume().unwrap();
    Spool::new(path.clone(), kubeconfig).drain(&say);
    assert!(!path.join("container1").exists());
    assert_eq!(api.annotation("ns", "a", plan::STATUS_ANNOTATION).as_deref(), Some("[]"));
}

#[test]
fn a_record_that_is_refused_keeps_none_that_comes_later_waiting() {
    let api = FakeApi::tls().unwrap();
    for name in ["a", "b"] {
        api.add_pod_with("ns", name, "u", &[]);
    }
    let kind = FaultKind::Status(403, "Forbidden".to_owned(), "admission says no".to_owned());
    api.add_fault(Fault {
        method: String::new(),
        path: "/pods/a/status".to_owned(),
        times: usize::MAX,
        kind,
    });
    let dir = tempfile::tempdir().unwrap();
    let kubeconfig = api.write_kubeconfig(&dir.path().join("kubeconfig")).unwrap();
    let path = dir.path().join("spool");
    let mut spool = Spool::new(path.clone(), kubeconfig);
    leave(&path, "container1", "a");
    spool.drain(&|_| {});
    leave(&path, "container2", "b");
    spool.drain(&|_| {});
    assert_eq!(api.annotation("ns", "b", plan::STATUS_ANNOTATION).as_deref(), Some("[]"));
    assert!(path.join("container1").exists());
}
