//! The server as clients see it: the shim, upstream's shim, and those that mean no good.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;

use engine::{Answer, Cluster, ClusterError, PodLookup, PodRef, Query, Record, Recorded, Silent};
use plan::{Nad, NadLookup, NadRef, Pod};
use protocol::http::{self, Response as Answered};
use protocol::message::{Caller, Envelope, Found, Lookup, Notice, PluginCall, Reference};
use protocol::{LARGEST_ANSWER, SocketCluster, socket_path};
use tokio::sync::oneshot;

use super::*;
use crate::Socket;
use crate::backend::Devices;

const LONG: Duration = Duration::from_secs(30);

/// A cluster of which tests decide what it says.
#[derive(Default)]
struct Told {
    nad: String,
    unready: Mutex<Option<String>>,
    refuses: Mutex<Option<ClusterError>>,
    hangs: bool,
    asked: Mutex<Vec<Query>>,
    records: Mutex<Vec<Record>>,
    /// Lookups that were dropped before they were answered.
    dropped: Arc<AtomicUsize>,
    begun: Arc<AtomicUsize>,
}

struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Backend for Arc<Told> {
    async fn lookup(&self, query: Query) -> Result<Answer, ClusterError> {
        self.begun.fetch_add(1, Ordering::Relaxed);
        if self.hangs {
            let _counted = Counted(Arc::clone(&self.dropped));
            std::future::pending::<()>().await;
        }
        if let Some(error) = self.refuses.lock().unwrap().clone() {
            return Err(error);
        }
        self.asked.lock().unwrap().push(query.clone());
        let found =
            |nad: NadRef| (nad.clone(), NadLookup::Found(Nad::new(nad, &self.nad, Default::default())));
        let pod = query.pod.map_or(PodLookup::NotAsked, |pod| {
            PodLookup::Found(Pod::new(pod.namespace, pod.name, pod.uid, Default::default()))
        });
        Ok(Answer { pod, nads: query.nads.into_iter().map(found).collect() })
    }

    async fn devices(&self, _: PodRef, _: Instant) -> Result<Devices, ClusterError> {
        Ok(Devices::from([("intel.com/x".to_owned(), vec!["id1".to_owned()])]))
    }

    async fn record(&self, record: Record, _: Instant) -> Result<Recorded, ClusterError> {
        if let Some(error) = self.refuses.lock().unwrap().clone() {
            return Err(error);
        }
        self.records.lock().unwrap().push(record);
        Ok(Recorded::Written)
    }

    fn ready(&self) -> Result<(), String> {
        self.unready.lock().unwrap().clone().map_or(Ok(()), Err)
    }

    fn metrics(&self, out: &mut String) {
        out.push_str("behind 1\n");
    }
}

/// A daemon in a thread; dropped, it ends.
struct Daemon {
    dir: tempfile::TempDir,
    told: Arc<Told>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Daemon {
    fn new(told: Told) -> Self {
        Self::with(told, |_| {})
    }

    fn with(told: Told, change: impl FnOnce(&mut ServerOptions)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut options = ServerOptions {
            program: "multus-daemon v1 (multus-rs)".to_owned(),
            versions: Versions::OURS,
            calls_at_once: None,
            cni_dir: Some(dir.path().join("cni")),
        };
        change(&mut options);
        let told = Arc::new(told);
        let (socket, arriving) = Socket::bind(dir.path()).unwrap();
        let (stop, stopped) = oneshot::channel();
        let server = Server::new(Arc::clone(&told), options, Arc::new(Silent));
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = tokio::net::UnixListener::from_std(arriving.calls).unwrap();
                let notices = tokio::net::UnixDatagram::from_std(arriving.notices).unwrap();
                tokio::select! {
                    () = server.serve_socket(&listener) => {}
                    () = server.count_notices(&notices) => {}
                    _ = stopped => {}
                }
                server.drain(LONG).await;
            });
            drop(socket);
        });
        Self { dir, told, stop: Some(stop), thread: Some(thread) }
    }

    fn socket(&self) -> PathBuf {
        socket_path(self.dir.path())
    }

    fn shim(&self) -> SocketCluster {
        shim(&self.socket(), LONG)
    }

    fn call(&self, method: &str, path: &str, body: &[u8]) -> Answered {
        call(&self.socket(), method, path, body).unwrap()
    }

    fn text(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let answer = self.call(method, path, body.as_bytes());
        (answer.status, String::from_utf8(answer.body).unwrap())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        drop(self.stop.take());
        let ended = self.thread.take().unwrap().join();
        assert!(ended.is_ok() || std::thread::panicking(), "the daemon panicked");
    }
}

fn shim(socket: &Path, patience: Duration) -> SocketCluster {
    SocketCluster::speaking(socket, Caller::default(), Versions::OURS, patience)
}

fn call(socket: &Path, method: &str, path: &str, body: &[u8]) -> Result<Answered, http::Error> {
    let deadline = Instant::now() + LONG;
    http::call(socket, &http::Request { method, path, body, largest_answer: 32 << 20, deadline })
}

fn query(nads: &[&str]) -> Query {
    let nads = nads.iter().map(|name| NadRef::new("test", *name)).collect();
    Query { pod: None, nads, deadline: Instant::now() + LONG }
}

fn pod() -> PodRef {
    PodRef { namespace: "test".to_owned(), name: "pod".to_owned(), uid: Some("u".to_owned()) }
}

fn unavailable() -> ClusterError {
    ClusterError::Unavailable { attempt: "get nad".to_owned(), reason: "connection refused".to_owned() }
}

#[test]
fn the_shim_is_answered() {
    let daemon = Daemon::new(Told { nad: "{}".to_owned(), ..Told::default() });
    let names: Vec<String> = (0..20).map(|number| format!("n{number}")).collect();
    let mut asked = query(&names.iter().map(String::as_str).collect::<Vec<_>>());
    asked.pod = Some(pod());
    let answer = daemon.shim().lookup(&asked).unwrap();
    assert_eq!(answer.nads.len(), 20);
    assert!(matches!(answer.pod, PodLookup::Found(found) if found.uid.as_deref() == Some("u")));
    let behind: Vec<_> =
        daemon.told.asked.lock().unwrap().iter().map(|q| (q.pod.is_some(), q.nads.len())).collect();
    assert_eq!(behind, [(true, 8), (false, 8), (false, 4)], "the pod is asked for once");
    assert_eq!(daemon.shim().devices(&pod(), Instant::now() + LONG).unwrap()["intel.com/x"], ["id1"]);
    let record = Record { pod: pod(), status: Some("[]".to_owned()), events: Vec::new() };
    assert_eq!(daemon.shim().record(&record, Instant::now() + LONG).unwrap(), Recorded::Written);
    assert_eq!(*daemon.told.records.lock().unwrap(), [record]);
}

#[test]
fn what_the_cluster_says_reaches_the_shim() {
    let denied = ClusterError::Denied { attempt: "get nad".to_owned(), reason: "no".to_owned() };
    let daemon = Daemon::new(Told { refuses: Mutex::new(Some(denied)), ..Told::default() });
    assert!(
        matches!(daemon.shim().lookup(&query(&["a"])), Err(ClusterError::Denied { reason, .. }) if reason == "no")
    );
    *daemon.told.refuses.lock().unwrap() = Some(unavailable());
    let error = daemon.shim().lookup(&query(&["a"])).unwrap_err().to_string();
    assert!(error.contains("connection refused"), "{error}");
    let record = Record { pod: pod(), status: None, events: Vec::new() };
    daemon.shim().record(&record, Instant::now() + LONG).unwrap_err();
}

#[test]
fn while_lookups_cannot_be_answered_the_shim_waits_and_hears_why() {
    let told = Told {
        refuses: Mutex::new(Some(unavailable())),
        unready: Mutex::new(Some("caches wait for the API server since 3 s".to_owned())),
        ..Told::default()
    };
    let daemon = Daemon::new(told);
    assert_eq!(
        daemon.text("GET", "/readyz", ""),
        (503, "caches wait for the API server since 3 s\n".to_owned())
    );
    assert_eq!(daemon.text("GET", "/healthz", ""), (200, String::new()));
    let socket = daemon.socket();
    let error = shim(&socket, Duration::from_millis(100)).lookup(&query(&["a"])).unwrap_err().to_string();
    assert!(error.contains("caches wait for the API server") && error.contains("waited"), "{error}");
    let waiting = std::thread::spawn(move || shim(&socket, LONG).lookup(&query(&["a"])).map(drop));
    testbed::wait::until("a second try", LONG, || {
        (daemon.told.begun.load(Ordering::Relaxed) > 3).then_some(())
    })
    .unwrap();
    *daemon.told.refuses.lock().unwrap() = None;
    waiting.join().unwrap().unwrap();
}

#[test]
fn the_version_before_is_served_and_no_other() {
    let daemon =
        Daemon::with(Told::default(), |options| options.versions = Versions { newest: 3, oldest: 2 });
    for (version, status) in [(1, 400), (2, 200), (3, 200), (4, 400)] {
        let body = format!(r#"{{"version":{version},"timeoutMillis":1000,"whatIsNewInIt":{{}}}}"#);
        let answer = daemon.call("POST", LOOKUP, body.as_bytes());
        assert_eq!(answer.status, status, "{version}");
        let Envelope { version: answered } = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(answered, if status == 200 { version } else { 3 });
    }
    let error =
        shim(&daemon.socket(), Duration::from_millis(100)).lookup(&query(&[])).unwrap_err().to_string();
    assert!(
        error.contains("speaks version 1") && error.contains("v1 (multus-rs) speaks version 3"),
        "{error}"
    );
}

#[test]
fn what_makes_no_sense_is_refused_and_named() {
    let daemon = Daemon::new(Told::default());
    for body in
        ["", "null", "[]", "{}", r#"{"version":1}"#, r#"{"version":-1}"#, "\u{0}", &"[".repeat(100_000)]
    {
        let (status, text) = daemon.text("POST", LOOKUP, body);
        assert!(status == 400 && text.contains("read the request"), "{body:.40}: {status} {text}");
        assert_eq!(daemon.text("POST", RECORD, body).0, 400);
    }
    assert_eq!(daemon.text("GET", LOOKUP, "").0, 405);
    assert_eq!(daemon.text("DELETE", "/healthz", ""), (405, "Method not allowed\n".to_owned()));
    let (status, text) = daemon.text("GET", "/nowhere\u{20}\u{22}", "");
    assert!(matches!(status, 400 | 404), "{status} {text}");
    assert_eq!(daemon.text("POST", "/v2/lookup", "").0, 404);
}

#[test]
fn requests_and_answers_are_bounded() {
    let daemon = Daemon::new(Told { nad: "x".repeat(1 << 20), ..Told::default() });
    let large = vec![b' '; LARGEST_REQUEST + 1];
    assert_eq!(daemon.call("POST", LOOKUP, &large).status, 400);
    // Three fit into an answer, five do not, and nobody holds more than that in memory for it.
    assert_eq!(daemon.shim().lookup(&query(&["a", "b", "c"])).unwrap().nads.len(), 3);
    let error = daemon.shim().lookup(&query(&["a", "b", "c", "d", "e"])).unwrap_err();
    assert!(
        matches!(error, ClusterError::Config { .. }) && error.to_string().contains("larger than"),
        "{error}"
    );
    let many: Vec<_> =
        (0..2000).map(|n| Reference { namespace: n.to_string(), name: "n".to_owned(), uid: None }).collect();
    let lookup = Lookup {
        version: 1,
        caller: Caller::default(),
        timeout_millis: 1000,
        pod: None,
        networks: many,
        devices_of: None,
    };
    let answer = daemon.call("POST", LOOKUP, &serde_json::to_vec(&lookup).unwrap());
    assert_eq!(answer.status, 500);
    assert!(answer.body.len() < LARGEST_ANSWER);
}

#[test]
fn a_flood_of_large_answers_is_told_to_come_back_and_small_ones_go_on() {
    let daemon = Daemon::new(Told { nad: "x".repeat(3 << 20), ..Told::default() });
    // Clients that ask and do not read: what they were answered stays in the daemon's memory.
    let body = r#"{"version":1,"timeoutMillis":20000,"networks":[{"namespace":"test","name":"a"}]}"#;
    let head = format!("POST {LOOKUP} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let clients: Vec<_> = (0..20)
        .map(|_| {
            let mut stream = UnixStream::connect(daemon.socket()).unwrap();
            stream.write_all(head.as_bytes()).unwrap();
            stream
        })
        .collect();
    testbed::wait::until("all to be answered", LONG, || {
        let metrics = daemon.text("GET", "/metrics", "").1;
        let answered = |code| metrics.contains(&format!("code=\"{code}\",handler=\"{LOOKUP}\""));
        (answered(200) && answered(429)).then_some(())
    })
    .unwrap();
    drop(clients);
    assert_eq!(daemon.shim().devices(&pod(), Instant::now() + LONG).unwrap().len(), 1);
    daemon.shim().lookup(&query(&["a"])).unwrap();
}

#[test]
fn a_client_that_goes_away_takes_its_lookup_along() {
    let daemon = Daemon::new(Told { hangs: true, ..Told::default() });
    let body = r#"{"version":1,"timeoutMillis":20000,"networks":[{"namespace":"test","name":"a"}]}"#;
    let mut stream = UnixStream::connect(daemon.socket()).unwrap();
    write!(stream, "POST {LOOKUP} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}", body.len())
        .unwrap();
    let count = |counter: &AtomicUsize| (counter.load(Ordering::Relaxed) == 1).then_some(());
    testbed::wait::until("the lookup to begin", LONG, || count(&daemon.told.begun)).unwrap();
    drop(stream);
    testbed::wait::until("the lookup to be dropped", LONG, || count(&daemon.told.dropped)).unwrap();
}

#[test]
fn slow_and_silent_clients_do_not_keep_others_from_being_answered() {
    let daemon = Daemon::with(Told::default(), |options| options.calls_at_once = Some(1));
    let _silent: Vec<_> = (0..60).map(|_| UnixStream::connect(daemon.socket()).unwrap()).collect();
    let mut half = UnixStream::connect(daemon.socket()).unwrap();
    half.write_all(b"POST /v1/lookup HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{").unwrap();
    assert_eq!(daemon.text("GET", "/healthz", "").0, 200);
    daemon.shim().lookup(&query(&["a"])).unwrap();
    // Whoever does not finish is hung up on.
    let mut rest = Vec::new();
    half.set_read_timeout(Some(LONG)).unwrap();
    half.read_to_end(&mut rest).unwrap();
    assert!(String::from_utf8_lossy(&rest).contains("did not arrive"), "{rest:?}");
}

#[test]
fn garbage_on_the_socket_ends_its_own_connection_and_nothing_else() {
    let daemon = Daemon::new(Told::default());
    for garbage in [&b"\0\0\0\0"[..], b"GET\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &[b'A'; 100_000]] {
        let mut stream = UnixStream::connect(daemon.socket()).unwrap();
        let _ = stream.write_all(garbage);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let _ = stream.read_to_end(&mut Vec::new());
    }
    daemon.shim().lookup(&query(&["a"])).unwrap();
}

#[test]
fn calls_that_are_going_on_are_finished_when_the_daemon_stops() {
    let mut daemon = Daemon::new(Told::default());
    let mut begun = UnixStream::connect(daemon.socket()).unwrap();
    let body = r#"{"version":1,"timeoutMillis":20000}"#;
    write!(begun, "POST {LOOKUP} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", body.len()).unwrap();
    // It is accepted when a later one has been answered.
    assert_eq!(daemon.text("GET", "/healthz", "").0, 200);
    drop(daemon.stop.take());
    begun.write_all(body.as_bytes()).unwrap();
    let mut answer = String::new();
    begun.read_to_string(&mut answer).unwrap();
    let found: Found = serde_json::from_str(answer.split("\r\n\r\n").nth(1).unwrap()).unwrap();
    assert_eq!(found.version, 1);
}

#[test]
fn an_add_of_upstream_s_shim_is_code_11_and_names_both() {
    let daemon = Daemon::new(Told::default());
    let request = |verb: &str| {
        format!(
            r#"{{"env":{{"CNI_COMMAND":"{verb}","CNI_CONTAINERID":"c1","CNI_NETNS":"/n","CNI_IFNAME":"eth0","CNI_ARGS":"K8S_POD_NAMESPACE=t;K8S_POD_NAME=p"}},"config":"e30="}}"#
        )
    };
    for verb in ["ADD", "CHECK", "GC", "BOGUS"] {
        let (status, text) = daemon.text("POST", CNI, &request(verb));
        let error: libcni::CniError = serde_json::from_str(&text).unwrap();
        assert_eq!((status, error.code), (400, libcni::CniError::TRY_AGAIN));
        assert!(
            error.msg.contains("upstream's multus-shim (Multus 4") && error.msg.contains("multus-daemon v1"),
            "{text}"
        );
    }
    // An error would make the node NotReady.
    assert_eq!(daemon.text("POST", CNI, &request("STATUS")), (200, String::new()));
    assert_eq!(daemon.text("POST", CNI, "null").0, 400);
    assert_eq!(daemon.text("POST", CNI, "{").0, 400);
    assert_eq!(daemon.text("GET", CNI, ""), (405, "Method not allowed\n".to_owned()));
    assert_eq!(daemon.text("POST", "/healthz", "null").0, 200, "upstream's shim asks so");
}

#[test]
fn a_del_of_upstream_s_shim_is_never_a_silent_success() {
    let daemon = Daemon::new(Told::default());
    let del = |id: &str| {
        let body = format!(
            r#"{{"env":{{"CNI_COMMAND":"DEL","CNI_CONTAINERID":"{id}","CNI_NETNS":"","CNI_ARGS":""}},"config":"e30="}}"#
        );
        daemon.text("POST", CNI, &body)
    };
    let (status, text) = del("c1");
    assert!(status == 400 && text.contains("does not exist"), "{text}");
    std::fs::create_dir(daemon.dir.path().join("cni")).unwrap();
    std::fs::write(daemon.dir.path().join("cni/c1"), "[]").unwrap();
    let (status, text) = del("c1");
    assert!(status == 400 && text.contains("cni/c1 stays"), "{text}");
    let (status, text) = del("../../etc/passwd");
    assert!(status == 400 && text.contains("is none"), "{text}");
}

#[test]
fn hot_plug_is_501_with_what_to_set() {
    let daemon = Daemon::new(Told::default());
    let (status, text) = daemon.text("POST", DELEGATE, "{}");
    assert!(status == 501 && text.contains("agent.enabled"), "{text}");
    assert_eq!(daemon.text("GET", DELEGATE, "").0, 405);
}

#[test]
fn upstream_s_counter_keeps_its_name_and_labels() {
    let daemon = Daemon::new(Told::default());
    daemon.text("POST", "/healthz", "null");
    daemon.text("POST", DELEGATE, "{}");
    daemon.text("GET", "/nowhere", "");
    let (status, text) = daemon.text("GET", "/metrics", "");
    assert_eq!(status, 200);
    for line in [
        "# HELP multus_server_request_total Counter of HTTP requests",
        "# TYPE multus_server_request_total counter",
        r#"multus_server_request_total{code="200",handler="/healthz",method="post"} 1"#,
        r#"multus_server_request_total{code="501",handler="/delegate",method="post"} 1"#,
        r#"multus_server_request_total{code="404",handler="NotFound",method="get"} 1"#,
        r#"multus_server_request_duration_seconds_count{handler="/healthz"} 1"#,
        r#"multus_server_request_duration_seconds_bucket{handler="/healthz",le="+Inf"} 1"#,
        "behind 1",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
}

#[test]
fn what_calls_of_the_shim_came_to_is_counted_by_verb_network_and_plugin_type() {
    let daemon = Daemon::new(Told::default());
    let ran = |network: &str, code| PluginCall {
        verb: "ADD".to_owned(),
        network: network.to_owned(),
        plugin_type: "macvlan".to_owned(),
        micros: 2000,
        code,
    };
    let notice = Notice {
        version: 1,
        verb: "ADD".to_owned(),
        micros: 7000,
        code: None,
        plugins: vec![ran("lan", None), ran("evil\"} 1\nforged", Some(11))],
    };
    protocol::notify(daemon.dir.path(), &notice);
    protocol::notify(
        daemon.dir.path(),
        &Notice { code: Some(999), verb: "BOGUS".to_owned(), ..Notice::default() },
    );
    let garbage = std::os::unix::net::UnixDatagram::unbound().unwrap();
    garbage.send_to(b"\0{", daemon.dir.path().join(protocol::NOTICES)).unwrap();
    // A flood of made-up networks does not become a flood of series.
    for number in 0..2000 {
        let plugins = vec![ran(&format!("n{number}"), None)];
        let notice = Notice { version: 1, verb: "DEL".to_owned(), micros: 1, code: None, plugins };
        testbed::wait::until("room", LONG, || {
            let text = serde_json::to_vec(&notice).unwrap();
            let socket = std::os::unix::net::UnixDatagram::unbound().unwrap();
            socket.send_to(&text, daemon.dir.path().join(protocol::NOTICES)).ok()
        })
        .unwrap();
    }
    let text = testbed::wait::until("the metrics", LONG, || {
        let text = daemon.text("GET", "/metrics", "").1;
        text.contains(r#"multus_calls_total{code="0",verb="DEL"} 2000"#).then_some(text)
    })
    .unwrap();
    for line in [
        r#"multus_calls_total{code="0",verb="ADD"} 1"#,
        r#"multus_calls_total{code="999",verb="other"} 1"#,
        r#"multus_call_duration_seconds_bucket{verb="ADD",le="0.025"} 1"#,
        r#"multus_plugin_calls_total{code="0",network="lan",type="macvlan",verb="ADD"} 1"#,
        r#"multus_plugin_calls_total{code="11",network="evil\"} 1\nforged",type="macvlan",verb="ADD"} 1"#,
        r#"multus_plugin_duration_seconds_count{type="macvlan",verb="ADD"} 2002"#,
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text:.4000}");
    }
    assert!(text.lines().count() < 600, "{}", text.lines().count());
}

#[test]
fn journals_and_parked_deletions_are_counted() {
    let daemon = Daemon::new(Told::default());
    let dir = daemon.dir.path().join("cni");
    std::fs::create_dir_all(&dir).unwrap();
    let upstream = r#"[{"Conf":{"name":"n","type":"t"},"ConfList":{},"Name":"n","Bytes":"eyJjbmlWZXJzaW9uIjoiMS4wLjAiLCJuYW1lIjoibiIsInR5cGUiOiJ0In0="}]"#;
    std::fs::write(dir.join("c1"), upstream).unwrap();
    std::fs::write(dir.join("c2"), "{").unwrap();
    let text = daemon.text("GET", "/metrics", "").1;
    for line in ["multus_journal_sandboxes 1", "multus_journal_broken 1", "multus_parked_deletions 0"] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
}

#[test]
fn over_the_network_there_is_health_and_metrics_and_nothing_else() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let options = ServerOptions {
        program: String::new(),
        versions: Versions::OURS,
        calls_at_once: None,
        cni_dir: None,
    };
    let server = Server::new(Arc::new(Told::default()), options, Arc::new(Silent));
    let listener = runtime.block_on(tokio::net::TcpListener::bind(("127.0.0.1", 0))).unwrap();
    let address = listener.local_addr().unwrap();
    let client = std::thread::spawn(move || {
        let status = |method: &str, path: &str| {
            let mut stream = std::net::TcpStream::connect(address).unwrap();
            write!(stream, "{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n").unwrap();
            http::read_response(&mut stream, 1 << 20).unwrap().status
        };
        [
            ("GET", "/healthz"),
            ("GET", "/readyz"),
            ("GET", "/metrics"),
            ("POST", LOOKUP),
            ("POST", RECORD),
            ("POST", CNI),
            ("POST", DELEGATE),
        ]
        .map(|(method, path)| status(method, path))
    });
    let serving = async {
        tokio::select! {
            () = server.serve_port(&listener) => {}
            () = async { while !client.is_finished() { tokio::time::sleep(Duration::from_millis(5)).await } } => {}
        }
    };
    runtime.block_on(serving);
    assert_eq!(client.join().unwrap(), [200, 200, 200, 404, 404, 404, 404]);
}
