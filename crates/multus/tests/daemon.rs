//! `multus-daemon` as a program: with an API server that has faults, a node's folders, and the shim's side of the socket.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bed;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use bed::{LONG, Node};
use engine::{Cluster, PodRef, Query, Record, Recorded, spool};
use plan::{NadLookup, NadRef};
use protocol::message::Caller;
use protocol::{SocketCluster, Versions, socket_path};
use rustix::process::Signal;
use serde_json::{Value, json};

fn record(status: &str) -> Record {
    let pod = PodRef { namespace: "test".to_owned(), name: "pod".to_owned(), uid: Some("u1".to_owned()) };
    Record { pod, status: Some(status.to_owned()), events: Vec::new() }
}

fn status(node: &Node) -> Option<String> {
    node.api.annotation("test", "pod", plan::STATUS_ANNOTATION)
}

#[test]
fn it_serves_before_the_configuration_calls_anybody_and_leaves_all_in_place_on_a_restart() {
    let node = Node::new();
    node.api.add_nad_with("test", "lan", "{}");
    node.api.add_pod_with("test", "pod", "u1", &[]);
    let daemon = node.started();
    assert!(matches!(node.nad("lan"), NadLookup::Found(_)));
    let recorded = node.shim().record(&record("[1]"), Instant::now() + LONG).unwrap();
    assert_eq!((recorded, status(&node).as_deref()), (Recorded::Written, Some("[1]")));
    let conf: Value = serde_json::from_str(&fs::read_to_string(node.conf()).unwrap()).unwrap();
    assert_eq!((&conf["type"], &conf["delegates"][0]["name"]), (&json!("multus-shim"), &json!("kindnet")));
    assert_eq!(conf["daemonSocketDir"], json!(node.path("run")));
    assert_eq!(fs::metadata(node.path("run")).unwrap().permissions().mode() & 0o777, 0o700);
    assert!(node.command(&["-probe=readyz"]).status().unwrap().success());

    let before = fs::metadata(node.conf()).unwrap().ino();
    assert_eq!(daemon.stop().code(), Some(0));
    assert!(node.conf().exists() && node.inode().is_none());
    assert!(!node.command(&["-probe=healthz"]).stdout(Stdio::null()).status().unwrap().success());
    let daemon = node.start("log2");
    daemon.says("serving at");
    daemon.says("multus config file is created");
    assert_eq!(fs::metadata(node.conf()).unwrap().ino(), before, "an identical file is not written again");
}

#[test]
fn records_of_plain_pods_are_taken_from_the_spool() {
    let node = Node::new();
    node.api.add_pod_with("test", "pod", "u1", &[]);
    let daemon = node.started();
    spool::leave(&node.path("run/spool"), "sandbox1", &record("[2]")).unwrap();
    daemon.wait("the status", || (status(&node).as_deref() == Some("[2]")).then_some(()));
    daemon.wait("the file to go", || (!node.path("run/spool/sandbox1").exists()).then_some(()));
}

#[test]
fn a_new_daemon_takes_the_socket_over_and_the_old_one_ends_without_taking_anything_away() {
    let node = Node::new();
    node.api.add_nad_with("test", "lan", "{}");
    let old = node.started();
    let inode = node.inode();
    let new = node.start("log2");
    new.wait("the socket of the new one", || (node.inode() != inode).then_some(()));
    let inode = node.inode();
    old.says("another daemon has taken");
    // A shim that asks meanwhile is answered by one of them.
    assert!(matches!(node.nad("lan"), NadLookup::Found(_)));
    assert_eq!(old.stop().code(), Some(0));
    assert_eq!(node.inode(), inode, "the old one removed the new one's socket");
    assert!(node.conf().exists());
    assert!(matches!(node.nad("lan"), NadLookup::Found(_)));
    assert_eq!(new.stop().code(), Some(0));
}

#[test]
fn a_daemon_whose_caches_are_empty_does_not_take_over_from_one_whose_caches_are_full() {
    let mut node = Node::new();
    node.api.add_nad_with("test", "lan", "{}");
    let old = node.started();
    let inode = node.inode();
    node.api.refuse();
    let new = node.start("log2");
    assert!(matches!(node.nad("lan"), NadLookup::Found(_)), "from the cache of the old one");
    assert_eq!(node.inode(), inode);
    node.api.resume().unwrap();
    new.wait("the take-over", || (node.inode() != inode).then_some(()));
    assert_eq!(old.stop().code(), Some(0));
    assert!(matches!(node.nad("lan"), NadLookup::Found(_)));
}

#[test]
fn a_daemon_killed_loses_nothing() {
    let node = Node::new();
    node.api.add_nad_with("test", "lan", "{}");
    let mut daemon = node.started();
    daemon.signal(Signal::KILL);
    daemon.ended();
    assert!(node.conf().exists() && node.inode().is_some(), "a socket that nobody answers");
    let _daemon = node.start("log2");
    assert!(matches!(node.nad("lan"), NadLookup::Found(_)), "the shim waits for it");
}

#[test]
fn a_node_that_had_its_configuration_keeps_it_while_the_api_server_is_away() {
    let mut node = Node::new();
    let daemon = node.started();
    assert_eq!(daemon.stop().code(), Some(0));
    node.api.refuse();
    fs::remove_file(node.conf()).unwrap();
    let daemon = node.start("log2");
    daemon.wait("the configuration", || node.conf().exists().then_some(()));
    let query = Query { pod: None, nads: vec![NadRef::new("test", "lan")], deadline: Instant::now() + LONG };
    let shim = SocketCluster::speaking(
        &socket_path(&node.path("run")),
        Caller::default(),
        Versions::OURS,
        Duration::from_secs(1),
    );
    let error = shim.lookup(&query).unwrap_err().to_string();
    assert!(error.contains("network-attachment-definition"), "{error}");
}

#[test]
fn a_node_that_never_had_one_gets_none_before_lookups_can_be_answered() {
    let mut node = Node::new();
    node.api.refuse();
    node.write_config(json!({}));
    let daemon = node.start("log");
    daemon.says("serving at");
    assert!(!node.conf().exists());
    node.api.resume().unwrap();
    daemon.wait("the configuration", || node.conf().exists().then_some(()));
}

#[test]
fn a_configuration_that_is_damaged_is_put_back_and_one_whose_shim_is_missing_is_withdrawn() {
    let node = Node::new();
    let daemon = node.started();
    let text = fs::read_to_string(node.conf()).unwrap();
    let is_back = || (fs::read_to_string(node.conf()).ok().as_deref() == Some(&text)).then_some(());
    fs::rename(node.conf(), node.path("net.d/00-multus.conf.cilium_bak")).unwrap();
    daemon.wait("the file", is_back);
    daemon.says("cni.exclusive=false");
    fs::write(node.conf(), "").unwrap();
    daemon.wait("the text", is_back);

    fs::rename(node.path("bin/multus-shim"), node.path("bin/elsewhere")).unwrap();
    daemon.wait("the withdrawal", || (!node.conf().exists()).then_some(()));
    fs::rename(node.path("bin/elsewhere"), node.path("bin/multus-shim")).unwrap();
    daemon.wait("the configuration", is_back);
}

#[test]
fn n95_the_configuration_follows_the_readiness_indicator() {
    let node = Node::new();
    node.write_config(json!({"readinessindicatorfile": node.path("ready")}));
    let daemon = node.start("log");
    daemon.says("does not exist");
    assert!(!node.conf().exists());
    fs::write(node.path("ready"), "").unwrap();
    daemon.wait("the configuration", || node.conf().exists().then_some(()));
    fs::remove_file(node.path("ready")).unwrap();
    daemon.wait("its withdrawal", || (!node.conf().exists()).then_some(()));
    assert!(!daemon.log().contains("cannot"), "{}", daemon.log());
}

#[test]
fn q4_a_configuration_of_one_s_own_is_installed_and_the_daemon_goes_on() {
    let node = Node::new();
    let own = json!({"cniVersion": "1.0.0", "name": "mine", "type": "multus-shim", "clusterNetwork": "/x"});
    fs::write(node.path("70-mine.conf"), own.to_string()).unwrap();
    node.write_config(json!({"multusConfigFile": node.path("70-mine.conf")}));
    let mut daemon = node.start("log");
    let target = node.path("net.d/70-mine.conf");
    daemon.wait("the copy", || target.exists().then_some(()));
    assert_eq!(fs::read_to_string(&target).unwrap(), own.to_string());
    fs::remove_file(&target).unwrap();
    daemon.wait("the copy again", || target.exists().then_some(()));
    assert!(daemon.child.try_wait().unwrap().is_none());
}

#[test]
fn a_folder_of_the_socket_that_is_deleted_ends_it_and_a_socket_that_is_deleted_is_made_again() {
    let node = Node::new();
    let mut daemon = node.started();
    fs::remove_file(socket_path(&node.path("run"))).unwrap();
    daemon.wait("another socket", || node.inode());
    // The daemon may be writing into it at this moment.
    daemon.wait("the folder to go", || fs::remove_dir_all(node.path("run")).ok());
    assert_eq!(daemon.ended().code(), Some(3), "{}", daemon.log());
    assert!(daemon.log().contains("was deleted"), "{}", daemon.log());
    assert!(node.conf().exists());
}

#[test]
fn what_cannot_be_used_ends_it_with_upstream_s_code_and_the_reason() {
    let node = Node::new();
    let ended = |flags: &[&str]| {
        let output = node.command(flags).output().unwrap();
        (output.status.code().unwrap(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, text) = ended(&[]);
    assert!(code == 1 && text.contains("cannot read the configuration"), "{text}");
    node.write_config(json!({"connectionLimit": 0}));
    let (code, text) = ended(&[]);
    assert!(code == 1 && text.contains("connection limit must be greater than 0, got 0"), "{text}");
    node.write_config(json!({"cniConfigDir": "/nowhere"}));
    let (code, text) = ended(&[]);
    assert!(code == 2 && text.contains("cniConfigDir is not found"), "{text}");
    fs::write(node.path("file"), "").unwrap();
    node.write_config(json!({"socketDir": node.path("file")}));
    let (code, text) = ended(&[]);
    assert!(code == 3 && text.contains("cannot create"), "{text}");
    node.write_config(json!({"kubeconfig": "/nowhere/kubeconfig"}));
    let (code, text) = ended(&[]);
    assert!(code != 0 && text.contains("/nowhere/kubeconfig"), "{code} {text}");
    assert_eq!(ended(&["-version"]).0, 4);
    assert_eq!(ended(&["-no-such-flag"]).0, 2);
}

#[test]
fn lines_are_text_or_json_and_hold_no_secret() {
    let node = Node::new();
    node.write_config(json!({"logFormat": "json", "logLevel": "debug", "logFile": node.path("daemon.log"), "logToStderr": true}));
    node.api.add_nad_with("test", "lan", r#"{"type":"x","password":"hunter2"}"#);
    let daemon = node.start("log");
    daemon.wait("the configuration", || node.conf().exists().then_some(()));
    let caller = Caller {
        program: "test".to_owned(),
        sandbox: "c1".to_owned(),
        pod: "test/pod\n{\"level\":\"panic\"}".to_owned(),
    };
    let shim = SocketCluster::speaking(&socket_path(&node.path("run")), caller, Versions::OURS, LONG);
    shim.lookup(&Query {
        pod: None,
        nads: vec![NadRef::new("test", "lan")],
        deadline: Instant::now() + LONG,
    })
    .unwrap();
    daemon.says("looked up");
    let log = daemon.log();
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let lookup = lines.iter().find(|line| line["sandbox"] == "c1").unwrap();
    assert_eq!(lookup["network"], "test/lan");
    assert!(!log.contains("hunter2") && !log.contains("testbed-token"), "{log}");
    // A line comes to stderr a moment before it comes to the file.
    daemon.wait("the file to have it all", || {
        fs::read_to_string(node.path("daemon.log")).ok().filter(|file| file.starts_with(&log))
    });
}

#[test]
fn metrics_are_served_where_a_port_is_set() {
    let node = Node::new();
    node.write_config(json!({"metricsPort": 19_713, "metricsAddress": "127.0.0.1"}));
    let daemon = node.start("log");
    daemon.wait("the configuration", || node.conf().exists().then_some(()));
    node.nad("lan");
    let metrics = {
        use std::io::{Read, Write};
        let mut stream = std::net::TcpStream::connect("127.0.0.1:19713").unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    };
    for name in [
        "multus_server_request_total{code=\"200\",handler=\"/v1/lookup\",method=\"post\"} 1",
        "multus_cache_age_seconds",
    ] {
        assert!(metrics.contains(name), "{metrics}");
    }
}

#[test]
fn the_install_s_end_takes_the_configuration_away_and_a_restart_does_not() {
    let node = Node::new();
    let daemon_set =
        json!({"metadata": {"name": "kube-multus-ds", "namespace": "kube-system"}, "spec": {}, "status": {}});
    node.api.add_daemon_set(daemon_set);
    node.write_config(json!({"daemonSet": "kube-system/kube-multus-ds"}));
    let daemon = node.start("log");
    daemon.wait("the configuration", || node.conf().exists().then_some(()));
    assert_eq!(daemon.stop().code(), Some(0));
    assert!(node.conf().exists());
    node.api.clear_requests();
    let daemon = node.start("log2");
    let is_watched = |request: &testbed::apiserver::Request| {
        request.path.ends_with("/daemonsets") && request.query.contains("watch")
    };
    daemon.wait("the watch", || node.api.requests().iter().any(is_watched).then_some(()));
    node.api.delete_daemon_set("kube-system", "kube-multus-ds");
    daemon.says("has been deleted");
    daemon.signal(Signal::TERM);
    daemon.says("removed from the node");
    daemon.says("left on it: the plugin multus-shim (for the program to remove that has installed it)");
    daemon.wait("the configuration to go", || (!node.conf().exists()).then_some(()));
    daemon.wait("the socket to go", || node.inode().is_none().then_some(()));
    daemon.wait("the spool to go", || (!node.path("run/spool").exists()).then_some(()));
    assert!(Path::new(&node.path("net.d/10-kindnet.conflist")).exists());
    assert!(node.path("bin/multus-shim").exists(), "another container's to remove");
}

#[test]
fn what_a_pod_before_it_left_goes_with_the_install_also_where_this_one_never_came_to_keep_it() {
    let node = Node::new();
    drop(node.started());
    assert!(node.conf().exists());
    let absent = node.path("absent");
    node.write_config(json!({"daemonSet": "kube-system/kube-multus-ds", "readinessindicatorfile": absent}));
    let daemon = node.start("log2");
    daemon.says("the default network is not ready");
    daemon.says("there is no DaemonSet kube-system/kube-multus-ds");
    daemon.signal(Signal::TERM);
    daemon.says("removed from the node: ");
    daemon.wait("the configuration to go", || (!node.conf().exists()).then_some(()));
}

/// A call of upstream's real shim: exit code and standard output.
fn upstream_shim(node: &Node, verb: &str) -> (Option<i32>, String) {
    use std::io::Write;
    let netconf = json!({
        "cniVersion": "1.1.0", "name": "multus-cni-network", "type": "multus-shim",
        "daemonSocketDir": node.path("run"), "clusterNetwork": "/x",
    });
    let mut child = Command::new(testbed::parts::upstream_multus().unwrap().join("multus-shim"))
        .env("CNI_COMMAND", verb)
        .env("CNI_CONTAINERID", "sandbox1")
        .env("CNI_NETNS", "/run/netns/none")
        .env("CNI_IFNAME", "eth0")
        .env("CNI_PATH", "/opt/cni/bin")
        .env("CNI_ARGS", "IgnoreUnknown=1;K8S_POD_NAMESPACE=test;K8S_POD_NAME=pod;K8S_POD_UID=u1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(netconf.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

#[test]
fn upstream_s_real_shim_is_told_what_to_do_and_nothing_of_its_sandbox_is_forgotten() {
    let node = Node::new();
    let daemon = node.started();
    let (code, text) = upstream_shim(&node, "ADD");
    assert!(code == Some(1) && text.contains("upstream's multus-shim (Multus 4"), "{text}");
    assert!(text.contains("multus-daemon v4.0.0 (multus-rs)") && text.contains("install_multus"), "{text}");
    // An error would make the node NotReady.
    assert_eq!(upstream_shim(&node, "STATUS"), (Some(0), String::new()));
    fs::create_dir(node.path("cni")).unwrap();
    fs::write(node.path("cni/sandbox1"), "[]").unwrap();
    // Whatever it is answered, upstream's shim reports success. So what is not done is said in the log, and its journal stays.
    assert_eq!(upstream_shim(&node, "DEL").0, Some(0));
    daemon.says("nothing was detached yet");
    assert!(node.path("cni/sandbox1").exists());
}
