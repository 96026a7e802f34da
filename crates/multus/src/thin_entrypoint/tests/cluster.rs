//! The own DaemonSet, and what becomes of the node at the end.

use serde_json::{Value, json};
use testbed::apiserver::{FakeApi, Fault, FaultKind};

use super::*;

const FLAGS: [&str; 3] =
    ["--daemonset=kube-system/kube-multus-ds", "--node-name=n1", "--owner=kube-system/multus"];

struct Scene {
    node: Node,
    api: FakeApi,
}

impl Scene {
    fn new() -> Self {
        let scene =
            Self { node: Node::with_primary("10-testcni.conf", OLD_PRIMARY), api: FakeApi::tls().unwrap() };
        fs::write(scene.node.path("account/token"), "testbed-token").unwrap();
        fs::write(scene.node.path("account/ca.crt"), scene.api.authority().unwrap()).unwrap();
        scene.api.add_node(json!({"metadata": {"name": "n1", "labels": {"multus": "yes"}}}));
        scene.add_daemon_set(json!({}));
        scene
    }

    fn add_daemon_set(&self, metadata: Value) {
        let mut daemon_set = json!({
            "metadata": {"namespace": "kube-system", "name": "kube-multus-ds"},
            "spec": {"template": {"spec": {"nodeSelector": {"multus": "yes"}}}},
        });
        for (key, value) in metadata.as_object().unwrap() {
            daemon_set["metadata"][key] = value.clone();
        }
        self.api.add_daemon_set(daemon_set);
    }

    fn delete_daemon_set(&self) {
        self.api.delete_daemon_set("kube-system", "kube-multus-ds");
    }

    fn options(&self) -> Options {
        let mut options = self.node.options(&FLAGS);
        options.server = Ok(self.api.url());
        options
    }

    /// Runs until `during` is through, once the watch stands, and returns the last line.
    fn ended(&self, during: impl FnOnce(&Heard)) -> String {
        let (said, ended) = run(self.options(), |heard| {
            until("the watch", || {
                self.api
                    .requests()
                    .iter()
                    .any(|request| request.query.contains("watch=true") && request.status == 200)
            });
            during(heard);
        });
        ended.unwrap();
        said.last().unwrap().clone()
    }

    fn fail(&self, path: &str, code: u16) {
        let kind = FaultKind::Status(code, "Fault".to_owned(), "no".to_owned());
        self.api.add_fault(Fault {
            method: "GET".to_owned(),
            path: path.to_owned(),
            times: usize::MAX,
            kind,
        });
    }

    fn is_installed(&self) -> bool {
        let all = ["net.d/00-multus.conf", "net.d/multus.d/multus.kubeconfig", "bin/multus"]
            .map(|name| self.node.path(name).exists());
        assert!(all[2], "what pods may need stays in any case");
        assert_eq!(all[0], all[1]);
        all[0]
    }
}

#[test]
fn an_end_while_the_daemonset_wants_the_node_leaves_everything() {
    let scene = Scene::new();
    let last = scene.ended(|_| {});
    assert!(last.contains("everything stays on the node: the DaemonSet still wants this node"), "{last}");
    assert!(scene.is_installed());
    assert!(!scene.node.path("net.d/multus.d/turn").exists());
}

#[test]
fn a_deletion_that_was_seen_counts_also_when_the_rights_and_the_account_are_gone() {
    type Later = fn(&mut Scene);
    let later: [Later; 4] = [
        |_| {},
        |scene| scene.fail("/daemonsets", 403),
        |scene| scene.api.require_token(Some("another")),
        |scene| scene.api.refuse(),
    ];
    for after in later {
        let mut scene = Scene::new();
        let options = scene.options();
        let (said, ended) = run(options, |heard| {
            heard.wait_for("Entering watch loop");
            until("the watch", || {
                scene.api.requests().iter().any(|r| r.query.contains("watch=true") && r.status == 200)
            });
            scene.delete_daemon_set();
            heard.wait_for("has been deleted; when this ends, the node is cleaned up");
            assert!(scene.is_installed(), "pods may still start until the end");
            after(&mut scene);
        });
        ended.unwrap();
        let last = said.last().unwrap();
        assert!(!scene.is_installed(), "{last}");
        assert_eq!(scene.node.names(), ["10-testcni.conf"]);
        assert!(last.contains("removed from the node: ") && last.contains("00-multus.conf"), "{last}");
        assert!(
            last.contains("left on it: ") && last.contains("bin/multus (pods that were started with it"),
            "{last}"
        );
    }
}

#[test]
fn a_deletion_that_has_only_begun_counts() {
    let scene = Scene::new();
    let last = scene.ended(|heard| {
        scene.add_daemon_set(json!({"deletionTimestamp": "2026-01-02T03:04:05Z"}));
        heard.wait_for("is being deleted");
    });
    assert!(last.contains("the DaemonSet is being deleted"), "{last}");
    assert!(!scene.is_installed());
}

/// `kubectl delete namespace` ends the pods before anything is deleted that made them.
#[test]
fn a_deletion_of_its_namespace_counts_and_is_asked_about_only_where_the_daemonset_is_there() {
    let deleted = json!({"metadata": {"name": "kube-system", "deletionTimestamp": "2026-01-02T03:04:05Z"}});
    let scene = Scene::new();
    scene.api.add_namespace(deleted.clone());
    let last = scene.ended(|_| {});
    assert!(last.contains("the namespace of the DaemonSet is being deleted"), "{last}");
    assert!(!scene.is_installed());

    let scene = Scene::new();
    scene.api.add_namespace(deleted);
    let last = scene.ended(|_| scene.fail("/api/v1/namespaces/kube-system", 403));
    assert!(last.contains("everything stays on the node"), "{last}");
    assert!(scene.is_installed());

    let scene = Scene::new();
    scene.api.add_namespace(json!({"metadata": {"name": "kube-system"}}));
    scene.delete_daemon_set();
    let last = scene.ended(|_| {});
    assert!(last.contains("the DaemonSet does not exist"), "{last}");
    let is_asked = |request: &testbed::apiserver::Request| request.path == "/api/v1/namespaces/kube-system";
    assert!(!scene.api.requests().iter().any(is_asked));
}

#[test]
fn a_404_counts_without_anything_seen_before() {
    let scene = Scene::new();
    scene.delete_daemon_set();
    let kind = FaultKind::Status(403, "Forbidden".to_owned(), "no".to_owned());
    scene.api.add_fault(Fault { method: "GET".to_owned(), path: "/daemonsets".to_owned(), times: 1, kind });
    let (said, ended) = run(scene.options(), |heard| heard.wait_for("cannot watch DaemonSet"));
    ended.unwrap();
    assert!(said.last().unwrap().contains("the DaemonSet does not exist"), "{said:?}");
    assert!(!scene.is_installed());
}

#[test]
fn no_answer_and_no_right_to_one_leave_everything() {
    type Before = fn(&mut Scene);
    let before: [(Before, &str); 3] = [
        (|scene| scene.api.require_token(Some("another")), "Unauthorized"),
        (|scene| scene.fail("/daemonsets", 403), "no"),
        (|scene| scene.api.refuse(), "get DaemonSet kube-system/kube-multus-ds"),
    ];
    for (before, reason) in before {
        let mut scene = Scene::new();
        scene.delete_daemon_set();
        before(&mut scene);
        let (said, ended) = run(scene.options(), |heard| heard.wait_for("cannot watch DaemonSet"));
        ended.unwrap();
        let last = said.last().unwrap();
        assert!(last.contains("everything stays") && last.contains(reason), "{last}");
        assert!(scene.is_installed());
    }
}

#[test]
fn a_node_that_is_no_longer_selected_is_cleaned_up_and_an_unknown_one_is_not() {
    let scene = Scene::new();
    let last = scene.ended(|_| scene.fail("/nodes/", 403));
    assert!(last.contains("it is not known whether the DaemonSet selects this node: get node n1"), "{last}");
    assert!(scene.is_installed());
    scene.api.clear_faults();
    scene.api.clear_requests();
    let last =
        scene.ended(|_| scene.api.add_node(json!({"metadata": {"name": "n1", "labels": {"multus": "no"}}})));
    assert!(last.contains("does not select this node any more"), "{last}");
    assert!(!scene.is_installed());
}

#[test]
fn a_quick_reinstall_keeps_what_is_there() {
    let scene = Scene::new();
    let last = scene.ended(|heard| {
        scene.delete_daemon_set();
        heard.wait_for("has been deleted");
        scene.add_daemon_set(json!({}));
        heard.wait_for("is there");
    });
    assert!(last.contains("everything stays"), "{last}");
    assert!(scene.is_installed());
}

#[test]
fn another_installs_configuration_and_what_lies_beside_it_stay() {
    let node = Node::with_primary("10-testcni.conf", OLD_PRIMARY);
    let say = node.say();
    let mut ours = installed(&node, &["--owner=a/b"], &say);
    let theirs = node.conf("00-multus.conf").replace("a/b", "c/d");
    node.write("00-multus.conf", &theirs);
    let words = super::super::uninstall::remove(&mut ours);
    assert!(words.contains("removed from the node: nothing") && words.contains("\"c/d\""), "{words}");
    assert_eq!(node.conf("00-multus.conf"), theirs);
    assert!(node.path("net.d/multus.d/multus.kubeconfig").exists() && node.path("bin/multus").exists());
}

#[test]
fn a_copied_configuration_goes_unless_somebody_has_changed_it() {
    for (changed, left) in [(false, false), (true, true)] {
        let node = Node::new();
        let source = node.path("70-mine.conf");
        fs::write(&source, OLD_PRIMARY).unwrap();
        let flag = format!("--multus-conf-file={}", source.display());
        let say = node.say();
        let mut ours = installed(&node, &[FLAGS[0], FLAGS[1], &flag], &say);
        if changed {
            node.write("70-mine.conf", NEW_PRIMARY);
        }
        let words = super::super::uninstall::remove(&mut ours);
        assert_eq!(node.path("net.d/70-mine.conf").exists(), left, "{words}");
    }
}

#[test]
fn the_program_goes_when_nothing_on_the_node_names_it() {
    for (journal, left) in [(false, false), (true, true)] {
        let scene = Scene::new();
        for (file, text) in [
            ("passthru", "passthru"),
            ("bin/passthru", "passthru"),
            // It was in thick mode before.
            ("multus-shim", "shim"),
            ("bin/multus-shim", "shim"),
            ("bin/bridge", "bridge"),
        ] {
            fs::write(scene.node.path(file), text).unwrap();
        }
        fs::create_dir_all(scene.node.path("cni/multus")).unwrap();
        fs::create_dir_all(scene.node.path("cni/results")).unwrap();
        if journal {
            fs::write(scene.node.path("cni/multus/container1"), "[]").unwrap();
        }
        let last = scene.ended(|heard| {
            scene.delete_daemon_set();
            heard.wait_for("has been deleted");
        });
        for program in ["bin/multus", "bin/passthru", "bin/multus-shim"] {
            assert_eq!(scene.node.path(program).exists(), left, "{last}");
        }
        assert!(scene.node.path("bin/bridge").exists(), "not of this image");
        assert_eq!(last.matches("1 pods have a journal").count(), if left { 3 } else { 0 }, "{last}");
        assert_eq!(last.ends_with("left on it: nothing"), !left, "{last}");
    }
}

#[test]
fn files_of_others_beside_ours_stay() {
    let scene = Scene::new();
    let last = scene.ended(|heard| {
        scene.node.write("multus.d/theirs", "x");
        scene.delete_daemon_set();
        heard.wait_for("has been deleted");
    });
    assert_eq!(scene.node.names(), ["10-testcni.conf", "multus.d"]);
    assert!(last.contains("it holds files of others"), "{last}");
    let left: Vec<_> =
        fs::read_dir(scene.node.path("net.d/multus.d")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["theirs"]);
}

#[test]
fn an_older_pod_cleans_nothing_up_while_a_newer_one_runs() {
    let scene = Scene::new();
    let say = scene.node.say();
    let last = scene.ended(|heard| {
        scene.delete_daemon_set();
        heard.wait_for("has been deleted");
        let newer = installed(&scene.node, &["--owner=kube-system/multus"], &say);
        heard.wait_for("a newer pod of this install keeps this node now");
        // Alive until the older one has ended: it is killed with this process.
        std::mem::forget(newer);
    });
    assert!(last.contains("another pod of this install keeps the node"), "{last}");
    assert!(scene.is_installed());
}

#[test]
fn a_wrong_daemonset_is_told_at_the_start() {
    let scene = Scene::new();
    scene.delete_daemon_set();
    let (said, _) =
        run(scene.options(), |heard| heard.wait_for("there is no DaemonSet kube-system/kube-multus-ds"));
    assert!(said.iter().any(|line| line.contains("if it does not come before this ends")), "{said:?}");
}

const NAD: &str = r#"{"cniVersion":"0.3.1","name":"mine","type":"macvlan"}"#;

fn with_definition(scene: &Scene, more: &[&str]) -> Options {
    let flags: Vec<&str> = ["--default-network=nets/mine"].iter().chain(more).copied().collect();
    let mut options = scene.node.options(&flags);
    options.server = Ok(scene.api.url());
    options
}

#[test]
fn a_definition_may_be_the_primary_network_and_is_part_of_the_configuration() {
    let scene = Scene::new();
    scene.api.add_nad_with("nets", "mine", NAD);
    let (_, ended) = run(with_definition(&scene, &["--owner=a/b"]), |heard| {
        heard.wait_for("multus config file is created.")
    });
    ended.unwrap();
    let text = scene.node.conf("00-multus.conf");
    assert!(text.contains(r#"{"cniVersion":"0.3.1","name":"mine","type":"macvlan"}"#), "{text}");
    assert!(text.contains(r#""primary":"nets/mine""#), "{text}");
    // Without an API server, what was there last is used.
    fs::remove_file(scene.node.path("net.d/00-multus.conf")).unwrap();
    let mut scene = scene;
    scene.api.refuse();
    let (said, ended) =
        run(with_definition(&scene, &["--owner=a/b"]), |heard| heard.wait_for("Entering watch loop"));
    ended.unwrap();
    assert_eq!(scene.node.conf("00-multus.conf"), text, "{said:?}");
}

#[test]
fn a_definition_that_is_not_there_is_as_any_network_that_is_not() {
    let scene = Scene::new();
    let (said, ended) =
        run(with_definition(&scene, &[]), |heard| heard.wait_for("multus config file is created."));
    ended.unwrap();
    assert!(
        said.iter().any(|line| line.contains("there is no NetworkAttachmentDefinition nets/mine")),
        "{said:?}"
    );
    assert!(scene.node.conf("00-multus.conf").contains("test1"));
    let scene = Scene::new();
    let (_, ended) = run(with_definition(&scene, &["--require-default-network"]), |heard| {
        heard.wait_for("there is no NetworkAttachmentDefinition nets/mine");
        assert!(!scene.node.path("net.d/00-multus.conf").exists());
        scene.api.add_nad_with("nets", "mine", NAD);
        heard.wait_for("multus config file is created.");
    });
    ended.unwrap();
    assert!(scene.node.conf("00-multus.conf").contains("macvlan"));
}
