//! `multus-daemon` as a program, before those who mean no good: at its socket, in NetworkAttachmentDefinitions, in annotations. It goes
//! on, it stays small, and its log holds lines of its own alone.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bed;

use std::fs;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use bed::{Daemon, LONG, Node};
use engine::{Cluster, PodRef, Query, Record};
use plan::{NadLookup, NadRef, PlanEvent};
use protocol::message::Caller;
use protocol::{LOOKUP, NOTICES, RECORD, SocketCluster, Versions, socket_path};
use rustix::thread::{Uid, set_thread_res_uid};
use serde_json::json;
use testbed::apiserver::{FakeApi, Fault, FaultKind};

/// What the daemon may take at most, whatever is done to it: the chart's limit for the whole container, files' pages included.
const MOST_MEMORY: u64 = 50 << 20;
const SMALL: &str = r#"{"cniVersion":"1.0.0","type":"macvlan"}"#;

/// A daemon that has an ordinary NAD to tell of, `test/lan`.
fn ordinary(prepare: impl FnOnce(&FakeApi)) -> (Node, Daemon) {
    let node = Node::new();
    node.api.add_nad_with("test", "lan", SMALL);
    prepare(&node.api);
    let daemon = node.started();
    (node, daemon)
}

/// The daemon lives, has stayed small, and others' pods are looked up.
fn is_well(node: &Node, daemon: &mut Daemon) {
    assert!(daemon.child.try_wait().unwrap().is_none(), "it ended: {}", daemon.log());
    assert!(matches!(node.nad("lan"), NadLookup::Found(_)));
    let peak = peak_memory(daemon);
    assert!(peak < MOST_MEMORY, "{} KiB", peak >> 10);
    assert_only_lines(&daemon.log());
}

/// The most memory of its own that the daemon ever had. The pages of its file do not count: a program of a test build has many.
fn peak_memory(daemon: &Daemon) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.child.id())).unwrap();
    let kib = |name: &str| -> u64 {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    };
    (kib("VmHWM:") - kib("RssFile:").min(kib("VmHWM:"))) << 10
}

/// Each line is one that the daemon began, and nothing in it moves a cursor.
fn assert_only_lines(log: &str) {
    for line in log.lines() {
        assert!(!line.contains(char::is_control), "{line:?}");
        let time = line.split(' ').next().unwrap_or_default();
        let is_time = time.len() == "2026-01-02T03:04:05Z".len() && time.ends_with('Z');
        assert!(is_time && line.contains("Z ["), "no line of the daemon's: {line:?}");
    }
}

fn connect(node: &Node) -> UnixStream {
    let stream = UnixStream::connect(socket_path(&node.path("run"))).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    stream.set_write_timeout(Some(LONG)).unwrap();
    stream
}

/// Sends `bytes` as far as the daemon takes them, and reads what it says until it hangs up.
fn say(node: &Node, bytes: &[u8]) -> String {
    let mut stream = connect(node);
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(Shutdown::Write);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

/// Sends a request that is complete, and reads the answer. Without hanging up first: the daemon drops what nobody waits for.
fn ask(node: &Node, bytes: &[u8]) -> String {
    let mut stream = connect(node);
    stream.write_all(bytes).unwrap();
    let mut answer = Vec::new();
    // What it did not read of the request makes the end of the answer an error.
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

fn post(path: &str, body: &str) -> Vec<u8> {
    format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

#[test]
fn nobody_but_root_gets_to_the_socket() {
    let (node, mut daemon) = ordinary(|_| {});
    let mode = |name: &str| fs::symlink_metadata(node.path(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("run"), mode("run/multus.sock"), mode("run/notices.sock")), (0o700, 0o600, 0o600));
    let as_nobody = || -> std::io::Result<String> {
        let path = socket_path(&node.path("run"));
        thread::spawn(move || {
            // Of this thread alone.
            let nobody = Uid::from_raw(65534);
            set_thread_res_uid(nobody, nobody, nobody)?;
            let mut stream = UnixStream::connect(path)?;
            stream.write_all(&post("/healthz", ""))?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        })
        .join()
        .unwrap()
    };
    let error = as_nobody().unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied);

    // Nor where somebody has opened the folder.
    for (name, mode) in [("", 0o755), ("run", 0o755), ("run/multus.sock", 0o666)] {
        fs::set_permissions(node.path(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    for _ in 0..3 {
        let answer = as_nobody();
        assert!(answer.as_ref().map_or(true, String::is_empty), "{answer:?}");
    }
    daemon.says("a process of user 65534 was refused at the socket");
    assert_eq!(daemon.log().matches("was refused").count(), 1, "a flood of strangers is no flood of lines");
    is_well(&node, &mut daemon);
}

#[test]
fn clients_that_send_slowly_or_nothing_are_hung_up_on_and_others_are_answered() {
    let (node, mut daemon) = ordinary(|_| {});
    // More than are served at once: the others wait in the kernel's queue, and so does the shim after them.
    let silent: Vec<_> = (0..200).map(|_| connect(&node)).collect();
    let mut slow = connect(&node);
    slow.write_all(b"POST /v1/lookup HTTP/1.1\r\n").unwrap();
    let trickle = thread::spawn(move || {
        testbed::wait::until("the daemon to hang up", LONG, || {
            slow.write_all(b"X: y\r\n").is_err().then_some(())
        })
        .unwrap();
    });
    assert!(matches!(node.nad("lan"), NadLookup::Found(_)));
    trickle.join().unwrap();
    for mut stream in silent {
        // Each is hung up on in its turn.
        let mut said = Vec::new();
        let _ = stream.read_to_end(&mut said);
    }
    is_well(&node, &mut daemon);
}

#[test]
fn whatever_is_no_request_of_ours_is_refused() {
    let (node, mut daemon) = ordinary(|_| {});
    let body = r#"{"version":1,"timeoutMillis":1000}"#;
    let chunked = format!("POST {LOOKUP} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
    let head = |more: &str| format!("POST {LOOKUP} HTTP/1.1\r\nHost: x\r\n{more}\r\n\r\n{body}").into_bytes();
    let chunks = |one: &str, count: usize| [chunked.as_bytes(), one.repeat(count).as_bytes()].concat();
    for (what, bytes) in [
        ("a header without an end", head(&format!("X: {}", "a".repeat(1 << 20)))),
        ("very many headers", head(&vec!["X: y"; 10_000].join("\r\n"))),
        ("a path without an end", format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(1 << 20)).into_bytes()),
        ("two lengths", head(&format!("Content-Length: {}\r\nContent-Length: 1", body.len()))),
        ("a length below nothing", head("Content-Length: -1")),
        ("a length beyond numbers", head("Content-Length: 99999999999999999999999")),
        ("a length that is a lie", head("Content-Length: 1000000")),
        ("a chunk beyond memory", chunks("FFFFFFFFFFFFFFFF\r\n", 1)),
        ("chunks without an end", chunks("1\r\n[\r\n", 2 << 20)),
        ("chunks that are none", chunks("z\r\n", 100)),
        ("extensions of a chunk", chunks(&format!("1;{}\r\n[\r\n", "a".repeat(1 << 20)), 1)),
        ("trailers", [chunks("0\r\n", 1), "X: y\r\n".repeat(100_000).into_bytes()].concat()),
        ("bytes", (0..=255).collect()),
        ("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec()),
        ("deep JSON", post(LOOKUP, &"[".repeat(500_000))),
        ("deep JSON inside", post(RECORD, &format!(r#"{{"version":1,"x":{}"#, "{\"x\":".repeat(100_000)))),
        (
            "no UTF-8",
            [b"POST /v1/lookup HTTP/1.1\r\nContent-Length: 2\r\n\r\n".as_slice(), b"\xff\xfe"].concat(),
        ),
        ("another version", post(LOOKUP, r#"{"version":4000000000,"timeoutMillis":1}"#)),
        ("a version beyond numbers", post(LOOKUP, r#"{"version":1e400,"timeoutMillis":1}"#)),
    ] {
        let answer = say(&node, &bytes);
        let refused =
            answer.is_empty() || answer.starts_with("HTTP/1.1 4") || answer.starts_with("HTTP/1.1 5");
        assert!(refused, "{what}: {answer:.200}");
    }
    // One request a connection: what follows the first is not even read.
    let two = [post(LOOKUP, body), post(LOOKUP, body)].concat();
    assert_eq!(ask(&node, &two).matches("HTTP/1.1 ").count(), 1);
    is_well(&node, &mut daemon);
}

/// Sixteen of the largest requests that are read, all at once and all but their last byte, keep none of a small one's room.
#[test]
fn large_requests_that_do_not_end_are_held_within_a_budget() {
    let (node, mut daemon) = ordinary(|_| {});
    let large = post(LOOKUP, &" ".repeat(1 << 20));
    let waiting: Vec<_> = (0..100)
        .map(|_| {
            let mut stream = connect(&node);
            let bytes = large[..large.len() - 1].to_vec();
            thread::spawn(move || {
                let _ = stream.write_all(&bytes);
                let mut answer = Vec::new();
                let _ = stream.read_to_end(&mut answer);
            })
        })
        .collect();
    assert!(matches!(node.nad("lan"), NadLookup::Found(_)));
    waiting.into_iter().for_each(|thread| thread.join().unwrap());
    is_well(&node, &mut daemon);
}

#[test]
fn names_of_sandboxes_and_pods_lead_nowhere_and_begin_no_line() {
    let (node, mut daemon) = ordinary(|_| {});
    fs::write(node.path("outside"), "[]").unwrap();
    let hostile = ["../outside", "..", "a/b", "a\nb", "a\u{1b}[2Jb", "\0", &"/".repeat(10_000)];
    for id in hostile {
        let env = json!({"CNI_COMMAND": "DEL", "CNI_CONTAINERID": id, "CNI_NETNS": "", "CNI_ARGS": ""});
        let answer = ask(&node, &post("/cni", &json!({"env": env, "config": "e30="}).to_string()));
        assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("is none"), "{id:?}: {answer}");
        assert!(answer.len() < 4096, "it repeats what it was sent");
    }
    let name = "x\n2026-01-01T00:00:00Z [panic] forged\u{9b}31m".to_owned();
    let caller = Caller { program: name.clone(), sandbox: name.clone(), pod: name.clone() };
    let shim = SocketCluster::speaking(&socket_path(&node.path("run")), caller, Versions::OURS, LONG);
    let record = Record {
        pod: PodRef { namespace: "../../nodes".to_owned(), name, uid: None },
        status: Some("[]".to_owned()),
        events: Vec::new(),
    };
    shim.record(&record, Instant::now() + LONG).unwrap_err();
    assert!(node.api.requests().iter().all(|request| request.method == "GET"), "it left its path");
    is_well(&node, &mut daemon);
}

#[test]
fn ten_thousand_large_networks_leave_it_small_and_others_are_still_looked_up() {
    let (node, mut daemon) = ordinary(|api| {
        let config = json!({"cniVersion": "1.0.0", "type": "x", "filler": "x".repeat(4_000)}).to_string();
        (0..10_000).for_each(|number| api.add_nad_with("flood", &format!("n{number:05}"), &config));
    });
    is_well(&node, &mut daemon);
    // Those that there was no room for are asked for when a pod needs them.
    for number in [0, 5_000, 9_999] {
        let nad = NadRef::new("flood", format!("n{number:05}"));
        let query = Query { pod: None, nads: vec![nad.clone()], deadline: Instant::now() + LONG };
        let found = node.shim().lookup(&query).unwrap().nads.remove(&nad).unwrap();
        assert!(matches!(found, NadLookup::Found(_)), "{found:?}");
    }
    // And when it has to list them all again.
    node.api.clear_requests();
    node.api.expire_watches();
    node.api.end_watches();
    daemon.wait("another list", || {
        let lists = node.api.requests().into_iter().filter(|request| request.query.contains("continue="));
        (lists.count() >= 19).then_some(())
    });
    is_well(&node, &mut daemon);
}

/// One that may be as large as the API server stores, asked for by as many pods as a node has, at once.
#[test]
fn networks_as_large_as_the_api_server_stores_do_not_add_up() {
    let large = json!({"cniVersion": "1.0.0", "type": "x", "filler": "x".repeat(1_400_000)}).to_string();
    let names: Vec<_> = (0..8).map(|number| format!("huge{number}")).collect();
    let (node, mut daemon) =
        ordinary(|api| names.iter().for_each(|name| api.add_nad_with("test", name, &large)));
    // Larger than its ration in the cache, and complete all the same.
    let NadLookup::Found(found) = node.nad("huge0") else { panic!("not found") };
    assert_eq!(found.config.len(), large.len());
    let asked: Vec<NadRef> = names.iter().map(|name| NadRef::new("test", name.as_str())).collect();
    let hostile: Vec<_> = (0..100)
        .map(|_| {
            let (socket, asked) = (socket_path(&node.path("run")), asked.clone());
            thread::spawn(move || {
                let shim = SocketCluster::speaking(&socket, Caller::default(), Versions::OURS, LONG);
                let query =
                    Query { pod: None, nads: asked, deadline: Instant::now() + Duration::from_secs(5) };
                shim.lookup(&query).map(drop).unwrap_err().to_string()
            })
        })
        .collect();
    assert!(matches!(node.nad("lan"), NadLookup::Found(_)));
    // One that was made a moment ago, so that it is asked for live as those are.
    node.api.add_nad_with("test", "new", SMALL);
    assert!(matches!(node.nad("new"), NadLookup::Found(_)));
    // Too large or too late: none gets them, and none of them costs the daemon its life.
    hostile.into_iter().for_each(|thread| drop(thread.join().unwrap()));
    let query = Query { pod: None, nads: asked, deadline: Instant::now() + LONG };
    let error = node.shim().lookup(&query).unwrap_err().to_string();
    assert!(error.contains("larger than 4 MiB"), "{error}");
    is_well(&node, &mut daemon);
}

#[test]
fn objects_that_no_api_server_should_hold_are_passed_over() {
    let deep = "[".repeat(100_000);
    let (node, mut daemon) = ordinary(|api| {
        api.add_nad_with("test", "deep", &deep);
        api.add_nad_with("test", "odd", "\u{0}\u{1b}[2J\n\u{202e}");
        api.add_nad_with("a\nb", "..\u{1b}[2J/../x", SMALL);
        api.add_nad_with("test", &"n".repeat(100_000), SMALL);
        for spec in [
            json!(null),
            json!([]),
            json!({"config": null}),
            json!({"config": 5}),
            json!({"config": {"a": []}}),
        ] {
            let name = format!("spec{}", spec.to_string().len());
            api.add_nad(json!({"metadata": {"namespace": "test", "name": name}, "spec": spec}));
        }
        api.add_nad(json!({"metadata": {"namespace": "test", "name": "annotated", "annotations": {"k8s.v1.cni.cncf.io/resourceName": {"a": 1}}}}));
    });
    assert!(matches!(node.nad("deep"), NadLookup::Found(_)), "what it means is the shim's to find out");
    is_well(&node, &mut daemon);
    let more = |number: usize| node.api.add_nad_with("test", &format!("more{number}"), SMALL);
    for (number, raw) in [
        "\u{0}\n".to_owned(),
        "null\n".to_owned(),
        "{\"type\":\"ADDED\"}\n".to_owned(),
        "{\"type\":\"BOGUS\\n\\u001b[2J\",\"object\":{}}\n".to_owned(),
        format!("{{\"type\":\"ADDED\",\"object\":{}\n", "{\"spec\":".repeat(100_000)),
        format!("{{\"type\":\"ADDED\",\"object\":{{\"x\":\"{}\"}}}}\n", "y".repeat(5 << 20)),
    ]
    .iter()
    .enumerate()
    {
        node.api.tell_watches(raw);
        more(number);
        // It goes on with what comes after, by a new list where it has to.
        daemon.wait("the next object", || {
            node.api.clear_requests();
            let found = matches!(node.nad(&format!("more{number}")), NadLookup::Found(_));
            let live = node.api.requests().iter().any(|request| request.path.contains("/more"));
            (found && !live).then_some(())
        });
    }
    is_well(&node, &mut daemon);
}

#[test]
fn annotations_of_pods_are_read_without_trust() {
    let many: Vec<_> = (0..1000).map(|number| json!({"name": format!("n{number}")})).collect();
    let annotations = [
        "[".repeat(200_000),
        format!(r#"[{{"name":"a","cni-args":{}"#, "{\"a\":".repeat(40_000)),
        format!(r#"[{{"name":"a","cni-args":{{"a":{}{}}}}}]"#, "[".repeat(100_000), "]".repeat(100_000)),
        serde_json::to_string(&many).unwrap(),
        vec!["n"; 100_000].join(","),
        "x".repeat(250_000),
        "a\n2026-01-01T00:00:00Z [panic] forged\u{1b}[2J".to_owned(),
    ];
    let (node, mut daemon) = ordinary(|api| {
        for (number, text) in annotations.iter().enumerate() {
            api.add_pod(json!({
                "metadata": {"namespace": "test", "name": format!("p{number}"), "uid": "u", "annotations": {
                    "k8s.v1.cni.cncf.io/networks": text, "k8s.v1.cni.cncf.io/network-status": text}},
                "spec": {"nodeName": "node1"},
            }));
        }
    });
    let known = || {
        let answer = ask(&node, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
        answer.lines().any(|line| line == r#"multus_cache_objects{object="pod"} 7"#).then_some(())
    };
    daemon.wait("the pods", known);
    is_well(&node, &mut daemon);
}

#[test]
fn what_others_say_reaches_the_log_as_text_and_events_within_their_length() {
    let (node, mut daemon) = ordinary(|api| api.add_pod_with("test", "pod", "u1", &[]));
    let forged = "no\n2026-01-01T00:00:00Z [panic] forged\u{1b}[2J\u{9b}31m\r";
    node.api.add_fault(Fault {
        method: "GET".to_owned(),
        path: "/network-attachment-definitions/evil".to_owned(),
        times: usize::MAX,
        kind: FaultKind::Status(403, "Forbidden".to_owned(), forged.to_owned()),
    });
    let evil = Query { pod: None, nads: vec![NadRef::new("test", "evil")], deadline: Instant::now() + LONG };
    node.shim().lookup(&evil).unwrap_err();
    daemon.says("forged");

    let message = format!("{forged}{}", "ä".repeat(100_000));
    let record = Record {
        pod: PodRef { namespace: "test".to_owned(), name: "pod".to_owned(), uid: Some("u1".to_owned()) },
        status: Some("[]".to_owned()),
        events: vec![PlanEvent::warning("Evil", message)],
    };
    node.shim().record(&record, Instant::now() + LONG).unwrap();
    let told =
        daemon.wait("the event", || node.api.events().into_iter().find(|event| event.reason == "Evil"));
    assert!(told.message.len() <= 1024 && !told.message.contains(char::is_control), "{told:?}");
    is_well(&node, &mut daemon);
}

#[test]
fn notices_that_nobody_s_shim_sends_make_no_metrics_grow() {
    let (node, mut daemon) = ordinary(|_| {});
    let socket = std::os::unix::net::UnixDatagram::unbound().unwrap();
    for number in 0..1_000 {
        let (network, plugin_type) = (format!("{}{number}", "n".repeat(10_000)), "t".repeat(10_000));
        let plugin = json!({"verb": "ADD", "network": network, "type": plugin_type, "micros": 1});
        let notice = json!({"version": 1, "verb": format!("V{number}"), "micros": 1, "plugins": [plugin]});
        let text = notice.to_string();
        daemon.wait("room", || socket.send_to(text.as_bytes(), node.path("run").join(NOTICES)).ok());
    }
    let metrics = ask(&node, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(metrics.len() < 256 << 10, "{} bytes", metrics.len());
    is_well(&node, &mut daemon);
}

/// What is in a NAD may be a password, what is in the kubeconfig is one: neither is anybody's to read in a log or an event.
#[test]
fn no_secret_is_in_a_log_an_event_or_an_error() {
    let node = Node::new();
    node.write_config(json!({"logLevel": "debug", "logToStderr": true}));
    let secret =
        r#"{"cniVersion":"1.0.0","type":"x","password":"hunter2","ipam":{"kubernetes":{"token":"hunter2"}}}"#;
    node.api.add_nad_with("test", "lan", secret);
    node.api.add_nad(json!({"metadata": {"namespace": "test", "name": "wrong"}, "spec": {"config": {"password": "hunter2"}}}));
    node.api.add_nad(json!({"metadata": {"namespace": "test", "name": "worse"}, "spec": "hunter2"}));
    let mut daemon = node.start("log");
    daemon.wait("the configuration", || node.conf().exists().then_some(()));
    let mut told = String::new();
    let mut ask = |name: &str| {
        told.push_str(&format!(
            "{:?}\n",
            node.shim()
                .lookup(&Query {
                    pod: None,
                    nads: vec![NadRef::new("test", name)],
                    deadline: Instant::now() + Duration::from_secs(2),
                })
                .map(|answer| answer
                    .nads
                    .into_values()
                    .filter(|nad| !matches!(nad, NadLookup::Found(_)))
                    .collect::<Vec<_>>())
        ))
    };
    ["lan", "wrong", "worse", "none"].into_iter().for_each(&mut ask);
    node.api.require_token(Some("another"));
    node.api.end_watches();
    daemon.says("Unauthorized");
    ask("none");
    let shown = format!("{told}{}{:?}", daemon.log(), node.api.events());
    assert!(!shown.contains("hunter2") && !shown.contains("testbed-token"), "{shown}");
    assert!(daemon.child.try_wait().unwrap().is_none());
}
