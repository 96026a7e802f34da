//! What an answer of the API server may cost, whoever wrote what is in it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::{Duration, Instant};

use engine::{Cluster, ClusterError, PodRef, Query, Record, Recorded};
use kube_cluster::{Api, Error, KubeCluster, Source};
use plan::{NadLookup, NadRef, PlanEvent};
use testbed::apiserver::{FakeApi, Fault, FaultKind};

const MEBIBYTE: usize = 1 << 20;

struct Bed {
    api: FakeApi,
    source: Source,
    _dir: tempfile::TempDir,
}

fn bed() -> Bed {
    let dir = tempfile::tempdir().unwrap();
    let api = FakeApi::tls().unwrap();
    let source = Source::Kubeconfig(api.write_kubeconfig(&dir.path().join("kubeconfig")).unwrap());
    Bed { api, source, _dir: dir }
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(120)
}

fn nads(count: usize) -> Vec<NadRef> {
    (0..count).map(|number| NadRef::new("ns", format!("n{number}"))).collect()
}

#[test]
fn the_networks_of_one_pod_together_have_a_largest_size() {
    let bed = bed();
    for nad in nads(8) {
        bed.api.add_nad_with("ns", &nad.name, &"x".repeat(MEBIBYTE));
    }
    let cluster = KubeCluster::new(bed.source.clone()).unwrap();
    let query = |count| Query { pod: None, nads: nads(count), deadline: soon() };
    assert_eq!(cluster.lookup(&query(3)).unwrap().nads.len(), 3);
    let error = cluster.lookup(&query(8)).unwrap_err();
    assert!(matches!(error, ClusterError::Config { .. }), "trying again does not help: {error}");
    assert!(error.to_string().contains("larger than 4 MiB"), "{error}");
}

#[test]
fn an_answer_that_is_larger_than_wanted_is_an_error_of_its_own_and_the_next_one_is_read() {
    let bed = bed();
    bed.api.add_nad_with("ns", "n0", &"x".repeat(MEBIBYTE));
    bed.api.add_nad_with("ns", "n1", "{}");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let api = Api::new(bed.source.clone()).unwrap();
        let asked = nads(2);
        let error = api.nad(&asked[0], 64 << 10, soon()).await.unwrap_err();
        assert!(matches!(error, Error::TooLarge { limit: 65_536, .. }), "{error}");
        assert!(error.to_string().contains("ns/n0"), "{error}");
        assert!(matches!(api.nad(&asked[1], 64 << 10, soon()).await.unwrap(), NadLookup::Found(_)));
        assert!(matches!(api.nad(&asked[0], 2 * MEBIBYTE, soon()).await.unwrap(), NadLookup::Found(_)));
    });
}

/// A write is answered with the whole pod, which its author made as large as he liked.
#[test]
fn what_a_write_is_answered_with_is_not_held_however_large_it_is() {
    let bed = bed();
    bed.api.add_pod_with("ns", "a", "u1", &[]);
    for method in ["PATCH", "POST"] {
        bed.api.add_fault(Fault {
            method: method.to_owned(),
            path: String::new(),
            times: usize::MAX,
            kind: FaultKind::Garbage("x".repeat(20 * MEBIBYTE)),
        });
    }
    let pod = PodRef { namespace: "ns".to_owned(), name: "a".to_owned(), uid: Some("u1".to_owned()) };
    let events = vec![PlanEvent::normal("R", "m")];
    let record = Record { pod, status: Some("[]".to_owned()), events };
    let cluster = KubeCluster::new(bed.source.clone()).unwrap();
    assert_eq!(cluster.record(&record, soon()).unwrap(), Recorded::Written);
}
