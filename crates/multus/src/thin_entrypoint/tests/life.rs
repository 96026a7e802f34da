//! Settings, other installs, restarts, upgrades and probes.

use super::super::health::troubles;
use super::*;

const FLANNEL: &str = r#"{"cniVersion":"1.0.0","name":"cbr0","plugins":[{"type":"flannel"}]}"#;
const CALICO: &str = r#"{"cniVersion":"0.3.1","name":"k8s-pod-network","plugins":[{"type":"calico"}]}"#;

fn error(node: &Node, more: &[&str]) -> String {
    node.read(more).unwrap_err()
}

#[test]
fn settings_that_make_no_sense_are_refused_with_their_names() {
    let node = Node::new();
    for (flags, part) in [
        (&["--default-network=a", "--multus-master-cni-file-name=b"][..], "give one of them"),
        (&["--require-default-network"], "needs default-network"),
        (&["--daemonset=multus", "--node-name=n"], "NAMESPACE/NAME"),
        (&["--daemonset=a/../b", "--node-name=n"], "NAMESPACE/NAME"),
        (&["--daemonset=a/b"], "node-name \"\""),
        (&["--daemonset=a/b", "--node-name=n", "--cleanup-config-on-exit"], "give one of them"),
        (&["--netconf-merge=[]"], "netconf-merge: "),
        (&["--netconf-merge={\"delegates\":[]}"], "--default-network chooses"),
        (&["--conf-file-name=multus.json"], "conf-file-name \"multus.json\""),
        (&["--conf-file-name=../00-multus.conf"], "conf-file-name"),
        (&["--multus-log-level=loud"], "multus-log-level"),
    ] {
        let error = error(&node, flags);
        assert!(error.contains(part), "{flags:?}: {error}");
    }
}

#[test]
fn the_owner_is_the_daemonset_where_none_is_named() {
    let node = Node::new();
    let owner = |flags: &[&str]| node.options(flags).template.owner;
    assert_eq!(owner(&[]), None);
    assert_eq!(owner(&["--daemonset=a/b", "--node-name=n"]).as_deref(), Some("a/b"));
    assert_eq!(owner(&["--daemonset=a/b", "--node-name=n", "--owner=c/d"]).as_deref(), Some("c/d"));
}

#[test]
fn the_program_is_kept_in_every_directory() {
    let node = Node::with_primary("10-testcni.conf", OLD_PRIMARY);
    fs::create_dir(node.path("data-cni")).unwrap();
    let more = format!("--additional-cni-bin-dir={}", node.path("data-cni").display());
    let say = node.say();
    let mut installation = installed(&node, &[&more], &say);
    for dir in ["bin", "data-cni"] {
        let path = node.path(dir).join("multus");
        assert_eq!(fs::read(&path).unwrap(), b"program");
        fs::write(&path, "another").unwrap();
        installation.look().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"program");
    }
    let error = keep(
        node.options(&["--additional-cni-bin-dir=/does/not/exist"]),
        &Stop::by_hand().unwrap().0,
        &|_| {},
    );
    assert!(error.unwrap_err().contains("additional-cni-bin-dir is not found: stat /does/not/exist"));
}

#[test]
fn another_default_network_is_a_warning_and_a_required_one_is_waited_for() {
    let node = Node::with_primary("20-calico.conflist", CALICO);
    let say = node.say();
    installed(&node, &["--default-network=cbr0"], &say);
    assert!(node.has_said("warning: the default network \"cbr0\" is not there"));
    assert!(node.conf("00-multus.conf").contains("k8s-pod-network"));

    let node = Node::with_primary("20-calico.conflist", CALICO);
    let flags = ["--default-network=cbr0", "--require-default-network"];
    let (_, ended) = run(node.options(&flags), |heard| {
        heard.wait_for("waiting for the primary network: the default network \"cbr0\" is not there");
        assert!(!node.path("net.d/00-multus.conf").exists());
        node.write("30-flannel.conflist", FLANNEL);
        heard.wait_for("multus config file is created.");
    });
    ended.unwrap();
    assert!(node.conf("00-multus.conflist").contains("cbr0"));
}

#[test]
fn a_network_that_comes_later_does_not_take_the_place_of_the_chosen_one() {
    let node = Node::with_primary("20-calico.conflist", CALICO);
    let say = node.say();
    let mut installation = installed(&node, &["--default-network=cbr0"], &say);
    node.write("10-flannel.conflist", FLANNEL);
    installation.look().unwrap();
    assert!(node.conf("00-multus.conf").contains("k8s-pod-network"), "never switched silently");
    drop(installation);
    installed(&node, &["--default-network=cbr0"], &say);
    assert!(node.conf("00-multus.conflist").contains("cbr0"), "a restart chooses anew");
}

#[test]
fn after_a_restart_without_the_primary_the_last_one_is_used() {
    let node = Node::with_primary("10-flannel.conflist", FLANNEL);
    let say = node.say();
    drop(installed(&node, &["--owner=a/b"], &say));
    let text = node.conf("00-multus.conflist");
    fs::remove_file(node.path("net.d/10-flannel.conflist")).unwrap();
    // Somebody has taken ours away too.
    fs::remove_file(node.path("net.d/00-multus.conflist")).unwrap();
    drop(installed(&node, &["--owner=a/b"], &say));
    assert_eq!(node.conf("00-multus.conflist"), text);
    // Another network's file is there first, and ours damaged.
    node.write("20-calico.conflist", CALICO);
    node.write("00-multus.conflist", "");
    let mut installation = installed(&node, &["--owner=a/b"], &say);
    assert_eq!(node.conf("00-multus.conflist"), text);
    assert!(node.has_said("10-flannel.conflist, the primary network until now, is not there"));
    node.write("10-flannel.conflist", &FLANNEL.replace("1.0.0", "1.1.0"));
    installation.look().unwrap();
    assert!(node.conf("00-multus.conflist").contains("1.1.0"), "it is back, and newer");
    drop(installation);
    fs::remove_file(node.path("net.d/10-flannel.conflist")).unwrap();
    installed(&node, &["--owner=a/b", "--default-network=k8s-pod-network"], &say);
    assert!(
        node.conf("00-multus.conf").contains("k8s-pod-network"),
        "a network that is named is not waited for"
    );
}

#[test]
fn what_the_runtime_uses_already_is_not_exchanged_for_what_was_there_once() {
    let node = Node::with_primary("10-flannel.conflist", FLANNEL);
    let say = node.say();
    drop(installed(&node, &["--owner=a/b"], &say));
    for file in ["10-flannel.conflist", "00-multus.conflist"] {
        fs::remove_file(node.path("net.d").join(file)).unwrap();
    }
    node.write("20-calico.conflist", CALICO);
    installed(&node, &["--owner=a/b"], &say);
    assert!(node.conf("00-multus.conf").contains("k8s-pod-network"));
}

#[test]
fn a_restart_with_the_primary_moved_aside_goes_on() {
    let node = Node::with_primary("10-testcni.conf", OLD_PRIMARY);
    let say = node.say();
    drop(installed(&node, &["--rename-conf-file"], &say));
    let inode = fs::metadata(node.path("net.d/00-multus.conf")).unwrap().ino();
    installed(&node, &["--rename-conf-file"], &say);
    assert_eq!(
        fs::metadata(node.path("net.d/00-multus.conf")).unwrap().ino(),
        inode,
        "never rewritten when identical"
    );
}

#[test]
fn a_restart_does_not_rewrite_what_is_identical() {
    let node = Node::with_primary("10-testcni.conf", OLD_PRIMARY);
    let say = node.say();
    let inodes = |node: &Node| {
        [
            "net.d/00-multus.conf",
            "bin/multus",
            "net.d/multus.d/multus.kubeconfig",
            "net.d/multus.d/primary/10-testcni.conf",
        ]
        .map(|name| fs::metadata(node.path(name)).unwrap().ino())
    };
    drop(installed(&node, &["--owner=a/b"], &say));
    let before = inodes(&node);
    drop(installed(&node, &["--owner=a/b"], &say));
    assert_eq!(inodes(&node), before);
}

#[test]
fn another_installs_node_is_left_alone_until_that_is_said_to_be_gone() {
    let node = Node::with_primary("10-testcni.conf", OLD_PRIMARY);
    let say = node.say();
    drop(installed(&node, &["--owner=a/b"], &say));
    let before = (node.names(), node.conf("00-multus.conf"));
    fs::write(node.path("multus"), "newer").unwrap();
    for flags in [&["--owner=c/d"][..], &[], &["--cleanup-config-on-exit"]] {
        let error = keep(node.options(flags), &Stop::by_hand().unwrap().0, &|_| {}).unwrap_err();
        assert!(
            error.contains("another install of multus, \"a/b\"") && error.contains("remove one of them"),
            "{error}"
        );
        assert_eq!((node.names(), node.conf("00-multus.conf")), before);
        assert_eq!(fs::read(node.path("bin/multus")).unwrap(), b"program", "nor is its program replaced");
    }
    installed(&node, &["--owner=c/d", "--take-over-from=a/b"], &say);
    assert!(node.conf("00-multus.conf").contains("c/d"));
    assert_eq!(fs::read(node.path("bin/multus")).unwrap(), b"newer");
}

#[test]
fn an_install_that_another_one_has_taken_over_ends_and_says_so() {
    let node = Node::with_primary("10-testcni.conf", OLD_PRIMARY);
    let (_, ended) = run(node.options(&["--owner=a/b"]), |heard| {
        heard.wait_for("Entering watch loop");
        let theirs = node.conf("00-multus.conf").replace("a/b", "c/d");
        node.write("00-multus.conf", &theirs);
        // It ends by itself; the end of its lines tells.
        until("the end", || {
            heard.lines.recv_timeout(Duration::from_millis(1))
                == Err(std::sync::mpsc::RecvTimeoutError::Disconnected)
        });
        assert_eq!(node.conf("00-multus.conf"), theirs);
    });
    assert!(ended.unwrap_err().contains("another install of multus, \"c/d\""));
}

#[test]
fn two_pods_of_one_install_do_not_undo_each_others_work() {
    let node = Node::with_primary("10-testcni.conf", OLD_PRIMARY);
    let say = node.say();
    let mut old = installed(&node, &["--owner=a/b"], &say);
    let mut new = installed(&node, &["--owner=a/b", "--multus-log-level=debug"], &say);
    let text = node.conf("00-multus.conf");
    assert!(text.contains("debug"));
    for _ in 0..2 {
        old.look().unwrap();
        new.look().unwrap();
        assert_eq!(node.conf("00-multus.conf"), text);
    }
    assert_eq!(node.times_said("a newer pod of this install keeps this node now"), 1);
    new.end();
    old.look().unwrap();
    assert!(!node.conf("00-multus.conf").contains("debug"), "the new one was rolled back");
}

#[test]
fn a_probe_tells_what_is_wrong_from_the_files_alone() {
    let node = Node::with_primary("10-testcni.conf", OLD_PRIMARY);
    let flags = ["--owner=a/b"];
    assert!(matches!(node.read(&["--owner=a/b", "--healthy"]).unwrap(), Asked::Health(_)));
    let options = node.options(&flags);
    let wrong = |part: &str| {
        let troubles = troubles(&options);
        assert!(troubles.len() == 1 && troubles[0].contains(part), "{part}: {troubles:?}");
    };
    assert_eq!(troubles(&options).len(), 3, "before the install: configuration, program and kubeconfig");
    let say = node.say();
    let mut installation = installed(&node, &flags, &say);
    assert_eq!(troubles(&options), Vec::<String>::new());
    fs::write(node.path("bin/multus"), "other").unwrap();
    wrong("bin/multus is missing or different");
    installation.look().unwrap();
    fs::write(node.path("account/token"), "fresh").unwrap();
    wrong("multus.kubeconfig is missing or outdated");
    installation.look().unwrap();
    node.write("00-multus.conf", "{}");
    wrong("no mark");
    installation.look().unwrap();
    node.write("00-aaa.conflist", FLANNEL);
    wrong("reads 00-aaa.conflist before");
    assert!(troubles(&node.options(&["--owner=c/d"]))[0].contains("another install"));
}

#[test]
fn a_probe_waits_with_the_program_for_a_required_network() {
    let node = Node::with_primary("20-calico.conflist", CALICO);
    let say = node.say();
    drop(installed(&node, &["--owner=a/b"], &say));
    let flags = ["--owner=a/b", "--default-network=cbr0", "--require-default-network"];
    let mut installation = installed(&node, &flags, &say);
    assert_eq!(troubles(&node.options(&flags)), ["waiting for the default network \"cbr0\""]);
    assert!(node.conf("00-multus.conf").contains("k8s-pod-network"), "what is there goes on working");
    node.write("30-flannel.conflist", FLANNEL);
    installation.look().unwrap();
    assert_eq!(troubles(&node.options(&flags)), Vec::<String>::new());
}

#[test]
fn a_probe_of_a_given_configuration_compares_it() {
    let node = Node::new();
    let source = node.path("70-mine.conf");
    fs::write(&source, OLD_PRIMARY).unwrap();
    let flag = format!("--multus-conf-file={}", source.display());
    let say = node.say();
    installed(&node, &[&flag], &say);
    let options = node.options(&[&flag]);
    assert_eq!(troubles(&options), Vec::<String>::new());
    node.write("70-mine.conf", "{}");
    assert!(troubles(&options)[0].contains("is not as"));
    node.write("70-mine.conf", OLD_PRIMARY);
    node.write("10-a.conf", OLD_PRIMARY);
    assert!(troubles(&options)[0].contains("reads 10-a.conf before 70-mine.conf"));
}

#[test]
fn broken_settings_of_the_plugin_never_reach_the_node() {
    let node = Node::with_primary("10-testcni.conf", OLD_PRIMARY);
    let say = node.say();
    drop(installed(&node, &["--owner=a/b"], &say));
    let text = node.conf("00-multus.conf");
    let flags = ["--owner=a/b", "--netconf-merge={\"specMode\":\"loose\"}"];
    let error = keep(node.options(&flags), &Stop::by_hand().unwrap().0, &|_| {}).unwrap_err();
    assert!(error.contains("specMode"), "{error}");
    assert_eq!(node.conf("00-multus.conf"), text);
}

fn mount(arguments: &[&str]) {
    let ended = std::process::Command::new(arguments[0]).args(&arguments[1..]).status().unwrap();
    assert!(ended.success(), "{arguments:?}");
}

#[test]
fn a_directory_that_cannot_be_written_is_named_with_what_to_set_and_the_configuration_stays() {
    for (dir, value) in [("bin", "cni.binDir"), ("net.d", "cni.configDir")] {
        let node = Node::new();
        let path = node.path(dir).display().to_string();
        mount(&["mount", "-t", "tmpfs", "tmpfs", &path]);
        node.write("10-testcni.conf", OLD_PRIMARY);
        let say = node.say();
        drop(installed(&node, &["--owner=a/b"], &say));
        let text = node.conf("00-multus.conf");
        if dir == "bin" {
            fs::write(node.path("multus"), "newer").unwrap();
        }
        testbed::mounts::read_only(&node.path(dir), &[]).unwrap();
        let flags = ["--owner=a/b", "--multus-log-level=debug"];
        let ended = keep(node.options(&flags), &Stop::by_hand().unwrap().0, &|_| {});
        let found = node.conf("00-multus.conf");
        mount(&["umount", "-l", &path]);
        let error = ended.unwrap_err();
        assert!(error.contains("Read-only file system") && error.contains(value), "{error}");
        assert_eq!(found, text);
    }
}
