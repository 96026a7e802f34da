//! Shim and daemon of different versions, and daemons that come, go and fail.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use engine::{Cluster, ClusterError, PodRef, Query, Record, Recorded};
use plan::{NadLookup, NadRef};
use protocol::message::{Caller, Envelope, Failure, FailureKind, Lookup};
use protocol::{SocketCluster, Versions, socket_path};
use testbed::peer::{Asked, Peer, Reply};

/// Long enough for a loaded machine; no test waits for its end unless it says so.
const LONG: Duration = Duration::from_secs(30);
const SHORT: Duration = Duration::from_millis(100);

fn socket() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = socket_path(dir.path());
    (dir, path)
}

fn shim(socket: &Path, newest: u32, patience: Duration) -> SocketCluster {
    let caller = Caller { program: "multus-shim v9".to_owned(), ..Caller::default() };
    SocketCluster::speaking(socket, caller, Versions { newest, oldest: newest }, patience)
}

fn query() -> Query {
    Query { pod: None, nads: vec![NadRef::new("test", "lan")], deadline: Instant::now() + LONG }
}

fn record() -> Record {
    let pod = PodRef { namespace: "test".to_owned(), name: "pod".to_owned(), uid: None };
    Record { pod, status: Some("[]".to_owned()), events: Vec::new() }
}

/// What a daemon of these versions answers to a lookup of one network.
fn daemon(versions: Versions) -> impl Fn(&Asked) -> Reply {
    move |asked| {
        let Envelope { version } = serde_json::from_slice(&asked.body).unwrap();
        if !versions.serve(version) {
            return fail(FailureKind::Version, versions.newest, "");
        }
        found(version)
    }
}

fn found(version: u32) -> Reply {
    let body = format!(
        r#"{{"version":{version},"networks":[{{"status":{{"reason":"NotFound","message":"no lan"}}}}]}}"#
    );
    Reply::Answer(200, body.into_bytes())
}

fn fail(failure: FailureKind, version: u32, reason: &str) -> Reply {
    let failure = Failure {
        version,
        program: "multus-daemon v3".to_owned(),
        failure,
        attempt: String::new(),
        reason: reason.to_owned(),
    };
    Reply::Answer(failure.failure.http_status(), serde_json::to_vec(&failure).unwrap())
}

fn reason(error: ClusterError) -> String {
    error.to_string()
}

#[test]
fn a_daemon_serves_its_own_version_and_the_one_before() {
    let (_dir, socket) = socket();
    let _daemon = Peer::start(&socket, daemon(Versions { newest: 2, oldest: 1 })).unwrap();
    for version in [1, 2] {
        let answer = shim(&socket, version, LONG).lookup(&query()).unwrap();
        assert_eq!(answer.nads[&NadRef::new("test", "lan")], NadLookup::Missing("no lan".to_owned()));
    }
}

#[test]
fn a_shim_that_meets_an_older_daemon_says_both_versions() {
    let (_dir, socket) = socket();
    let _daemon = Peer::start(&socket, daemon(Versions { newest: 1, oldest: 1 })).unwrap();
    let text = reason(shim(&socket, 2, SHORT).lookup(&query()).unwrap_err());
    assert!(text.contains("multus-shim v9 speaks version 2"), "{text}");
    assert!(text.contains("multus-daemon v3 speaks version 1"), "{text}");
}

#[test]
fn a_shim_that_is_older_than_the_daemon_serves_says_both_versions_too() {
    let (_dir, socket) = socket();
    let _daemon = Peer::start(&socket, daemon(Versions { newest: 3, oldest: 2 })).unwrap();
    let text = reason(shim(&socket, 1, SHORT).lookup(&query()).unwrap_err());
    assert!(text.contains("speaks version 1") && text.contains("speaks version 3"), "{text}");
}

#[test]
fn a_daemon_of_the_right_version_that_takes_over_meanwhile_is_used() {
    let (_dir, socket) = socket();
    let calls = AtomicUsize::new(0);
    let daemon = Peer::start(&socket, move |asked| {
        let newest = if calls.fetch_add(1, Ordering::Relaxed) < 2 { 1 } else { 2 };
        daemon(Versions { newest, oldest: 1 })(asked)
    })
    .unwrap();
    shim(&socket, 2, LONG).lookup(&query()).unwrap();
    assert_eq!(daemon.asked().len(), 3);
}

#[test]
fn upstream_s_daemon_is_recognised_by_its_404() {
    let (_dir, socket) = socket();
    let upstream = Peer::start(&socket, |_| Reply::Answer(404, Vec::new())).unwrap();
    let cluster = shim(&socket, 1, LONG);
    cluster.record(&record(), Instant::now() + LONG).unwrap_err();
    assert!(!cluster.is_upstream(), "a record comes after the attachments; nobody else may do them then");
    cluster.lookup(&query()).unwrap_err();
    assert!(cluster.is_upstream());
    assert_eq!(upstream.asked().len(), 2, "it is not asked again and again");
}

#[test]
fn a_404_of_ours_is_not_taken_for_upstream_s() {
    let (_dir, socket) = socket();
    let _daemon = Peer::start(&socket, |_| {
        let Reply::Answer(_, body) = fail(FailureKind::Malformed, 1, "no such path") else { unreachable!() };
        Reply::Answer(404, body)
    })
    .unwrap();
    let cluster = shim(&socket, 1, LONG);
    assert!(reason(cluster.lookup(&query()).unwrap_err()).contains("no such path"));
    assert!(!cluster.is_upstream());
}

#[test]
fn a_lookup_waits_for_a_daemon_that_comes_and_says_what_it_waited_for() {
    let (_dir, socket) = socket();
    let text = reason(shim(&socket, 1, SHORT).lookup(&query()).unwrap_err());
    assert!(text.contains("is the multus daemon of this node") && text.contains("waited"), "{text}");

    let begun = std::thread::spawn({
        let socket = socket.clone();
        move || shim(&socket, 1, LONG).lookup(&query()).map(drop)
    });
    let _daemon = Peer::start(&socket, daemon(Versions::OURS)).unwrap();
    begun.join().unwrap().unwrap();
}

#[test]
fn all_questions_of_one_call_share_one_wait() {
    let (_dir, socket) = socket();
    let cluster = shim(&socket, 1, SHORT);
    cluster.lookup(&query()).unwrap_err();
    let _daemon = Peer::start(&socket, daemon(Versions::OURS)).unwrap();
    let pod = PodRef { namespace: "test".to_owned(), name: "pod".to_owned(), uid: None };
    // The daemon answers; once the wait is used up, the call has no time left for its answers.
    let clone = cluster.clone();
    let used_up = || clone.devices(&pod, Instant::now() + LONG).is_err().then_some(());
    testbed::wait::until("the wait to be used up", LONG, used_up).unwrap();
}

#[test]
fn a_daemon_that_dies_in_the_middle_of_a_lookup_is_asked_again() {
    let (_dir, socket) = socket();
    let calls = AtomicUsize::new(0);
    let daemon = Peer::start(&socket, move |asked| match calls.fetch_add(1, Ordering::Relaxed) {
        0 => Reply::Close,
        1 => fail(FailureKind::NotReady, 1, "caches are not here yet"),
        2 => fail(FailureKind::Busy, 1, "too many calls"),
        _ => daemon(Versions::OURS)(asked),
    })
    .unwrap();
    shim(&socket, 1, LONG).lookup(&query()).unwrap();
    assert_eq!(daemon.asked().len(), 4);
}

#[test]
fn a_daemon_that_is_stopped_costs_the_wait_and_no_more() {
    let (_dir, socket) = socket();
    let stopped = Peer::start(&socket, |_| Reply::Silence).unwrap();
    let text = reason(shim(&socket, 1, SHORT).lookup(&query()).unwrap_err());
    assert!(text.contains("no answer in time"), "{text}");
    assert_eq!(stopped.asked().len(), 1);
}

#[test]
fn the_daemon_is_told_how_long_it_has() {
    let (_dir, socket) = socket();
    let daemon = Peer::start(&socket, daemon(Versions::OURS)).unwrap();
    shim(&socket, 1, Duration::from_secs(5)).lookup(&query()).unwrap();
    let asked: Lookup = serde_json::from_slice(&daemon.asked()[0].body).unwrap();
    assert!((1..=5000).contains(&asked.timeout_millis), "{asked:?}");
}

#[test]
fn a_record_is_asked_once_and_never_waits_for_a_daemon() {
    let (_dir, socket) = socket();
    let cluster = shim(&socket, 1, LONG);
    cluster.record(&record(), Instant::now() + LONG).unwrap_err();
    let busy = Peer::start(&socket, |_| fail(FailureKind::Busy, 1, "too many calls")).unwrap();
    cluster.record(&record(), Instant::now() + LONG).unwrap_err();
    assert_eq!(busy.asked().len(), 1);
    drop(busy);
    for (word, ending) in [
        ("written", Recorded::Written),
        ("podGone", Recorded::PodGone),
        ("podReplaced", Recorded::PodReplaced),
    ] {
        let _daemon = Peer::start(&socket, move |asked| {
            assert_eq!((asked.method.as_str(), asked.path.as_str()), ("POST", protocol::RECORD));
            Reply::Answer(200, format!(r#"{{"version":1,"recorded":"{word}"}}"#).into_bytes())
        })
        .unwrap();
        assert_eq!(cluster.record(&record(), Instant::now() + LONG).unwrap(), ending);
    }
}

#[test]
fn what_the_cluster_said_to_the_daemon_is_what_the_engine_hears() {
    let (_dir, socket) = socket();
    for (kind, expected) in [
        (FailureKind::Denied, "the ClusterRole"),
        (FailureKind::Config, "smoke"),
        (FailureKind::Unavailable, "smoke"),
        (FailureKind::Malformed, "smoke"),
    ] {
        let daemon = Peer::start(&socket, move |_| fail(kind, 1, "smoke")).unwrap();
        let error = shim(&socket, 1, LONG).lookup(&query()).unwrap_err();
        assert_eq!(matches!(error, ClusterError::Denied { .. }), kind == FailureKind::Denied);
        assert_eq!(matches!(error, ClusterError::Config { .. }), kind == FailureKind::Config);
        assert!(reason(error).contains(expected));
        assert_eq!(daemon.asked().len(), 1);
    }
}

#[test]
fn an_answer_that_is_garbage_is_an_error_and_no_panic() {
    let (_dir, socket) = socket();
    for body in ["", "null", "[]", "{}", r#"{"version":1}"#, "\u{0}", &"[".repeat(100_000)] {
        let body = body.as_bytes().to_vec();
        let _daemon = Peer::start(&socket, move |_| Reply::Answer(200, body.clone())).unwrap();
        shim(&socket, 1, LONG).lookup(&query()).unwrap_err();
    }
}
