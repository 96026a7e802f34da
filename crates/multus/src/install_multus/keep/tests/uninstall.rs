//! What becomes of the programs at the end.

use serde_json::json;
use testbed::apiserver::{FakeApi, Fault, FaultKind};

use super::*;

const OURS: &str =
    r#"{"type":"multus-shim","multus-rs":{"owner":"kube-system/multus","primary":"p","sha256":""}}"#;

struct Scene {
    node: Node,
    api: FakeApi,
}

impl Scene {
    fn new() -> Self {
        let scene = Self { node: Node::new(), api: FakeApi::plain().unwrap() };
        scene.api.write_kubeconfig(&scene.node.path("kubeconfig")).unwrap();
        scene.api.add_node(json!({"metadata": {"name": "n1", "labels": {"multus": "yes"}}}));
        scene.add_daemon_set();
        scene.configure(OURS);
        scene
    }

    fn configure(&self, text: &str) {
        fs::write(self.node.path("net.d/00-multus.conf"), text).unwrap();
    }

    fn take_configuration_away(&self) {
        fs::remove_file(self.node.path("net.d/00-multus.conf")).unwrap();
    }

    fn add_daemon_set(&self) {
        self.api.add_daemon_set(json!({
            "metadata": {"namespace": "kube-system", "name": "kube-multus-ds"},
            "spec": {"template": {"spec": {"nodeSelector": {"multus": "yes"}}}},
        }));
    }

    fn delete_daemon_set(&self, heard: &Heard) {
        self.api.delete_daemon_set("kube-system", "kube-multus-ds");
        heard.wait_for("has been deleted; when this ends, the node is cleaned up");
    }

    fn keeping(&self) -> Keeping {
        let own = Own::parse("kube-system/kube-multus-ds", "n1".to_owned()).unwrap();
        Keeping { own: Some(own), owner: Some("kube-system/multus".to_owned()), ..self.node.keeping("image") }
    }

    /// Waits for the programs and the watch.
    fn has_begun(&self) {
        until("the programs", || self.is_installed());
        until("the watch", || {
            let requests = self.api.requests();
            requests.iter().any(|r| r.query.contains("watch=true") && r.status == 200)
        });
    }

    /// Runs until `during` is through, which begins with all in place; returns the last line.
    fn ended(&self, keeping: &Keeping, during: impl FnOnce(&Heard)) -> String {
        self.api.clear_requests();
        let said = kept(keeping, |heard| {
            self.has_begun();
            during(heard);
        });
        said.last().unwrap().clone()
    }

    fn is_installed(&self) -> bool {
        self.node.has("opt/bin", "1")
    }
}

#[test]
fn they_go_when_the_configuration_has_gone_first() {
    let scene = Scene::new();
    // As thin mode of the same image has left it.
    for path in ["image/multus", "opt/bin/multus"] {
        fs::write(scene.node.path(path), "thin").unwrap();
    }
    let last = scene.ended(&scene.keeping(), |heard| {
        scene.delete_daemon_set(heard);
        scene.take_configuration_away();
    });
    assert!(last.starts_with("ending; the DaemonSet does not exist; removed from the node: "), "{last}");
    assert!(last.contains("opt/bin/multus-shim, "), "{last}");
    assert!(last.contains("opt/bin/passthru, "), "{last}");
    assert!(last.ends_with("opt/bin/multus; left on it: nothing"), "{last}");
    assert_eq!(scene.node.names("opt/bin"), Vec::<String>::new());
}

#[test]
fn they_wait_for_the_daemon_to_take_the_configuration_away() {
    let scene = Scene::new();
    let keeping = scene.keeping();
    let (said, ended) = run_with(
        |stop, say| {
            let takes_away = |line: &str| {
                say(line);
                if line.starts_with("waiting until the daemon has taken ") {
                    assert!(scene.is_installed(), "the runtime still calls them");
                    scene.take_configuration_away();
                }
            };
            keep(&keeping, stop, &takes_away)
        },
        |heard| {
            scene.has_begun();
            scene.delete_daemon_set(heard);
        },
    );
    ended.unwrap();
    assert!(said.last().unwrap().ends_with("left on it: nothing"), "{said:?}");
    assert!(!scene.is_installed());
}

#[test]
fn they_stay_while_a_configuration_calls_them() {
    let scene = Scene::new();
    let impatient = Keeping { patience: Duration::ZERO, ..scene.keeping() };
    let last = scene.ended(&impatient, |heard| scene.delete_daemon_set(heard));
    assert!(last.contains("removed from the node: nothing; left on it: "), "{last}");
    assert_eq!(last.matches("00-multus.conf still calls multus-shim after 0 seconds").count(), 2, "{last}");
    assert!(scene.is_installed());
    // That of another install will not go however long it is waited for.
    scene.configure(&OURS.replace("kube-system/multus", "other/multus"));
    scene.add_daemon_set();
    let last = scene.ended(&scene.keeping(), |heard| scene.delete_daemon_set(heard));
    assert!(
        last.contains("00-multus.conf, the one of another install, \"other/multus\", calls it"),
        "{last}"
    );
    assert!(scene.is_installed());
    // Nor is one that cannot be seen one that is gone.
    fs::rename(scene.node.path("net.d"), scene.node.path("elsewhere")).unwrap();
    scene.add_daemon_set();
    let last = scene.ended(&scene.keeping(), |heard| scene.delete_daemon_set(heard));
    assert!(last.contains("net.d: No such file or directory"), "{last}");
    assert!(scene.is_installed());
}

#[test]
fn they_stay_while_pods_need_them_and_what_is_not_ours_stays_in_any_case() {
    let scene = Scene::new();
    scene.take_configuration_away();
    fs::write(scene.node.path("cni/multus/container1"), "[]").unwrap();
    let last = scene.ended(&scene.keeping(), |heard| scene.delete_daemon_set(heard));
    assert_eq!(last.matches("1 pods have a journal").count(), 2, "{last}");
    assert!(scene.is_installed());
    fs::remove_file(scene.node.path("cni/multus/container1")).unwrap();
    scene.add_daemon_set();
    let last = scene.ended(&scene.keeping(), |heard| {
        write(&scene.node.path("opt/theirs"), &program("2"));
        fs::rename(scene.node.path("opt/theirs"), scene.node.path("opt/bin/passthru")).unwrap();
        heard.wait_for("passthru of another version");
        scene.delete_daemon_set(heard);
    });
    assert!(last.contains("bin/multus-shim; left on it: "), "{last}");
    assert!(last.ends_with("bin/passthru (it is not the one of this image)"), "{last}");
    assert_eq!(scene.node.names("opt/bin"), ["passthru"]);
}

#[test]
fn a_newer_pod_keeps_them() {
    let scene = Scene::new();
    scene.take_configuration_away();
    let keeping = scene.keeping();
    let mut newer = Folder::new(&keeping.delivery, &scene.node.path("opt/bin"));
    let last = scene.ended(&keeping, |old| {
        scene.delete_daemon_set(old);
        newer.look(&|_| {});
        old.wait_for("a newer pod of this install keeps ");
    });
    assert_eq!(last.matches("(a newer pod of this install keeps it)").count(), 2, "{last}");
    assert!(scene.is_installed());
    newer.end();
}

#[test]
fn an_end_that_says_nothing_about_the_install_leaves_everything() {
    let scene = Scene::new();
    scene.take_configuration_away();
    let last = scene.ended(&scene.keeping(), |_| {});
    assert!(last.contains("everything stays on the node: the DaemonSet still wants this node"), "{last}");
    // It was installed again, quickly.
    let last = scene.ended(&scene.keeping(), |heard| {
        scene.delete_daemon_set(heard);
        scene.add_daemon_set();
        heard.wait_for("is there");
    });
    assert!(last.contains("everything stays on the node"), "{last}");
    assert!(scene.is_installed());
    // Nobody has told it of a DaemonSet.
    scene.api.delete_daemon_set("kube-system", "kube-multus-ds");
    kept(&scene.node.keeping("image"), |_| until("the programs", || scene.is_installed()));
    assert!(scene.is_installed());
}

#[test]
fn no_answer_and_no_right_to_one_leave_everything() {
    type Before = fn(&mut Scene);
    let before: [(Before, &str); 3] = [
        (|scene| scene.api.require_token(Some("another")), "Unauthorized"),
        (
            |scene| {
                let kind = FaultKind::Status(403, "Forbidden".to_owned(), "no".to_owned());
                let path = "/daemonsets".to_owned();
                scene.api.add_fault(Fault { method: "GET".to_owned(), path, times: usize::MAX, kind });
            },
            "no",
        ),
        (|scene| scene.api.refuse(), "get DaemonSet kube-system/kube-multus-ds"),
    ];
    for (before, reason) in before {
        let mut scene = Scene::new();
        scene.take_configuration_away();
        scene.api.delete_daemon_set("kube-system", "kube-multus-ds");
        before(&mut scene);
        let said = kept(&scene.keeping(), |heard| {
            heard.wait_for("cannot watch DaemonSet");
            until("the programs", || scene.is_installed());
        });
        let last = said.last().unwrap();
        assert!(last.contains("everything stays") && last.contains(reason), "{last}");
        assert!(scene.is_installed());
    }
}
