use std::sync::Arc;

use engine::Silent;
use kube_cluster::{Api, Kubelet, Source};
use plan::STATUS_ANNOTATION;
use serde_json::{Value, json};
use testbed::apiserver::{Event, FakeApi};
use tokio::runtime::{Builder, Runtime};

use super::*;
use crate::{Backend, EventMode, Kube, Options, STALENESS_BOUND};

struct Bed {
    kube: Kube,
    api: FakeApi,
    dir: tempfile::TempDir,
    runtime: Runtime,
}

fn pod(name: &str, change: impl FnOnce(&mut Value)) -> Value {
    let mut pod = json!({
        "metadata": {"namespace": "a", "name": name, "uid": format!("uid-{name}"),
                     "annotations": {"k8s.v1.cni.cncf.io/networks": "net1,b/net2"}},
        "spec": {"nodeName": "n1"},
        "status": {"phase": "Running", "podIP": "10.1.1.2"},
    });
    change(&mut pod);
    pod
}

fn bed(api: FakeApi) -> Bed {
    let dir = tempfile::tempdir().unwrap();
    let source = Source::Kubeconfig(api.write_kubeconfig(&dir.path().join("kubeconfig")).unwrap());
    let options = Options {
        node: Some("n1".to_owned()),
        spool: dir.path().join("spool"),
        events: EventMode::Each,
        staleness_bound: STALENESS_BOUND,
        kubelet: Kubelet::default(),
    };
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let kube = {
        let _inside = runtime.enter();
        Kube::start(Api::new(source).unwrap(), options, Arc::new(Silent))
    };
    Bed { kube, api, dir, runtime }
}

impl Bed {
    /// Waits until the cache holds `pods` pods, and looks.
    fn look(&self, pods: usize) -> Vec<Event> {
        let shared = &self.kube.shared;
        self.runtime.block_on(async {
            let deadline = Instant::now() + Duration::from_secs(30);
            let known = || shared.pods().len() == pods && shared.pods().freshness().usable(Duration::ZERO);
            // At least once, since all other tasks run only while this one waits.
            loop {
                sleep(Duration::from_millis(5)).await;
                if known() || Instant::now() >= deadline {
                    break;
                }
            }
            assert!(known(), "{} pods are known", shared.pods().len());
            look(shared, Duration::ZERO).await;
        });
        self.api.events()
    }

    fn gauge(&self) -> bool {
        let mut metrics = String::new();
        self.kube.metrics(&mut metrics);
        metrics.contains("\nmultus_pods_without_networks 1\n")
    }
}

#[test]
fn a_pod_that_runs_without_its_networks_is_told_once() {
    let api = FakeApi::tls().unwrap();
    api.add_pod(pod("bare", |_| {}));
    let bed = bed(api);
    let events = bed.look(1);
    assert_eq!(events.len(), 1);
    let event = &events[0];
    assert_eq!((event.event_type.as_str(), event.reason.as_str()), ("Warning", "NetworksMissing"));
    assert_eq!((event.about.as_str(), event.about_uid.as_str()), ("Pod a/bare", "uid-bare"));
    assert!(event.message.starts_with("the pod runs without a/net1, b/net2, which "), "{}", event.message);
    assert!(bed.gauge());
    assert_eq!(bed.look(1).len(), 1, "told once");
}

#[test]
fn only_pods_that_run_on_a_network_of_their_own_are_told() {
    let api = FakeApi::tls().unwrap();
    api.add_pod(pod("host", |pod| pod["spec"]["hostNetwork"] = true.into()));
    api.add_pod(pod("starting", |pod| pod["status"] = json!({"phase": "Pending"})));
    api.add_pod(pod("over", |pod| pod["status"]["phase"] = "Succeeded".into()));
    api.add_pod(pod("leaving", |pod| pod["metadata"]["deletionTimestamp"] = "2026-01-02T03:04:05Z".into()));
    api.add_pod(pod("whole", |pod| {
        pod["metadata"]["annotations"][STATUS_ANNOTATION] = r#"[{"name":"a/net1"},{"name":"b/net2"}]"#.into();
    }));
    let bed = bed(api);
    assert_eq!(bed.look(5), []);
}

#[test]
fn a_pod_whose_record_is_on_its_way_is_not_told() {
    let api = FakeApi::tls().unwrap();
    api.add_pod(pod("late", |_| {}));
    api.add_fault(testbed::apiserver::Fault {
        method: "PATCH".to_owned(),
        path: "/pods/late/".to_owned(),
        times: usize::MAX,
        kind: testbed::apiserver::FaultKind::Status(400, "BadRequest".to_owned(), "no".to_owned()),
    });
    let bed = bed(api);
    let pod = PodRef { namespace: "a".to_owned(), name: "late".to_owned(), uid: Some("uid-late".to_owned()) };
    let record = engine::Record { pod, status: Some("[]".to_owned()), events: Vec::new() };
    engine::spool::leave(&bed.dir.path().join("spool"), "c1", &record).unwrap();
    assert_eq!(bed.look(1), []);
    engine::spool::forget(&bed.dir.path().join("spool"), "c1");
    // An attempt to write it may still be under way.
    testbed::wait::until("the word", Duration::from_secs(30), || (bed.look(1).len() == 1).then_some(()))
        .unwrap();
}

#[test]
fn an_event_that_is_stored_already_counts_as_told() {
    let api = FakeApi::tls().unwrap();
    api.add_pod(pod("bare", |_| {}));
    api.add_fault(testbed::apiserver::Fault {
        method: "POST".to_owned(),
        path: "/events".to_owned(),
        times: 1,
        kind: testbed::apiserver::FaultKind::Status(409, "AlreadyExists".to_owned(), "exists".to_owned()),
    });
    let bed = bed(api);
    assert_eq!(bed.look(1), []);
    assert_eq!(bed.look(1), [], "not again");
    let posts: Vec<_> = bed.api.requests().into_iter().filter(|request| request.method == "POST").collect();
    assert_eq!(posts.len(), 1);
    let body: Value = serde_json::from_slice(&posts[0].body).unwrap();
    assert_eq!(body["metadata"]["name"], "bare.networks-missing-uidbare");
}
