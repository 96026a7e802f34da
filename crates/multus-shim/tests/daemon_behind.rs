//! The shim with a daemon behind the socket, and with none.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[allow(dead_code, reason = "each test program uses a part of it")]
mod node;

use libcni::CniError;
use node::{Knowing, Node, annotated, second};
use serde_json::{Value, json};
use testbed::peer::Reply;

#[test]
fn a_plain_pod_needs_no_daemon_and_its_record_is_left_for_one() {
    let node = Node::new();
    let result = node.call("ADD", &node.netconf(annotated(""))).result();
    assert_eq!(result["ips"][0]["address"], "10.1.2.3/24");
    assert_eq!(
        (node.calls(), node.spooled()),
        (vec!["ADD primary eth0".to_owned()], vec!["sandbox1".into()])
    );
    node.call("DEL", &node.netconf(annotated(""))).code.filter(|code| *code == 0).unwrap();
    assert!(node.spooled().is_empty(), "a sandbox that is gone has nothing to say");
}

#[test]
fn a_plain_pod_does_not_even_ask_a_daemon_that_is_there() {
    let node = Node::new();
    let stopped = node.peer(|_| Reply::Silence);
    node.call("ADD", &node.netconf(annotated(""))).result();
    assert_eq!((stopped.asked().len(), node.spooled().len()), (0, 1));
}

#[test]
fn a_pod_with_networks_costs_one_lookup_of_them_and_one_record() {
    let node = Node::new();
    let daemon = Knowing::default().nad("lan", second());
    let peer = node.peer(daemon.answer());
    node.call("ADD", &node.netconf(annotated("lan"))).result();
    assert_eq!(node.calls(), ["ADD primary eth0", "ADD second net1"]);
    assert_eq!(peer.asked().len(), 2);
    let lookup = &daemon.lookups()[0];
    assert!(lookup.pod.is_none() && lookup.networks.len() == 1, "{lookup:?}");
    let caller = &lookup.caller;
    assert!(caller.program.starts_with("multus-shim v"), "{caller:?}");
    assert_eq!((caller.sandbox.as_str(), caller.pod.as_str()), ("sandbox1", "test/pod"));
    let record = &daemon.records()[0];
    assert_eq!((record.pod.name.as_str(), record.pod.uid.as_deref()), ("pod", Some("uid1")));
    let status: Value = serde_json::from_str(record.network_status.as_ref().unwrap()).unwrap();
    assert_eq!((&status[0]["default"], &status[1]["name"]), (&json!(true), &json!("test/lan")));
    let events: Vec<_> = record.events.iter().map(|event| event.message.as_str()).collect();
    assert_eq!(events, ["Add eth0 [10.1.2.3/24] from default", "Add net1 [10.1.2.3/24] from test/lan"]);
    assert!(node.spooled().is_empty());
}

#[test]
fn an_older_runtime_that_hands_no_annotations_over_has_the_pod_looked_up() {
    let node = Node::new();
    let daemon = Knowing::default().nad("lan", second()).pod("pod", "lan");
    let _peer = node.peer(daemon.answer());
    node.call("ADD", &node.netconf(json!({}))).result();
    assert_eq!(node.calls(), ["ADD primary eth0", "ADD second net1"]);
    let asked: Vec<_> = daemon.lookups().iter().map(|l| (l.pod.is_some(), l.networks.len())).collect();
    assert_eq!(asked, [(true, 0), (false, 1)]);
}

#[test]
fn q6_a_pod_that_is_not_there_is_code_11() {
    let node = Node::new();
    let _peer = node.peer(Knowing::default().answer());
    let (code, text) = node.call("ADD", &node.netconf(json!({}))).error();
    assert_eq!(code, u64::from(CniError::TRY_AGAIN), "{text}");
    assert!(node.calls().is_empty());
}

#[test]
fn a_missing_network_is_told_to_the_pod() {
    let node = Node::new();
    let daemon = Knowing::default();
    let _peer = node.peer(daemon.answer());
    let (_, text) = node.call("ADD", &node.netconf(annotated("lan"))).error();
    assert!(
        text.contains("cannot find a network-attachment-definition (lan) in namespace (test): no lan"),
        "{text}"
    );
    let record = &daemon.records()[0];
    assert_eq!(
        (record.events[0].reason.as_str(), record.events[0].kind.as_str()),
        ("NoNetworkFound", "Warning")
    );
    assert!(record.network_status.is_none() && node.calls().is_empty());
}

#[test]
fn devices_come_from_the_daemon() {
    let node = Node::new();
    let daemon = Knowing::default().nad("lan", second()).device("lan", "intel.com/sriov", &["0000:01:02.3"]);
    let _peer = node.peer(daemon.answer());
    node.call("ADD", &node.netconf(annotated("lan"))).result();
    assert!(daemon.lookups()[1].devices_of.as_ref().is_some_and(|pod| pod.name == "pod"));
    assert_eq!(node.recorder.calls().unwrap()[1].config()["deviceID"], "0000:01:02.3");
}

#[test]
fn without_a_daemon_a_pod_with_networks_gets_code_11_and_the_reason() {
    let node = Node::new();
    let (code, text) = node.call("ADD", &node.netconf(annotated("lan"))).error();
    assert_eq!(code, u64::from(CniError::TRY_AGAIN), "{text}");
    assert!(text.starts_with("Multus: [test/pod/uid1]: cannot look up what the pod needs: "), "{text}");
    assert!(text.contains("kube-multus-ds") && text.contains("waited"), "{text}");
    assert!(node.calls().is_empty() && node.spooled().is_empty());
}

#[test]
fn a_daemon_of_another_protocol_is_code_11_with_both_versions() {
    let node = Node::new();
    let _peer = node.peer(|_| {
        let failure =
            r#"{"version":9,"program":"multus-daemon v9.0.0 (multus-rs)","failure":"version","reason":"x"}"#;
        Reply::Answer(400, failure.into())
    });
    let (code, text) = node.call("ADD", &node.netconf(annotated("lan"))).error();
    assert_eq!(code, u64::from(CniError::TRY_AGAIN), "{text}");
    assert!(text.contains("multus-shim v") && text.contains("speaks version 1"), "{text}");
    assert!(text.contains("multus-daemon v9.0.0 (multus-rs) speaks version 9"), "{text}");
}

#[test]
fn a_record_that_the_daemon_does_not_take_waits_in_the_spool_and_the_pod_starts() {
    let node = Node::new();
    let daemon = Knowing::default().nad("lan", second()).answer();
    let _peer = node.peer(move |asked| match asked.path.as_str() {
        protocol::RECORD => Reply::Close,
        _ => daemon(asked),
    });
    node.call("ADD", &node.netconf(annotated("lan"))).result();
    assert_eq!(node.spooled(), ["sandbox1"]);
}

#[test]
fn a_daemon_that_dies_during_the_attachments_leaves_a_journal_that_del_needs_no_daemon_for() {
    let node = Node::new();
    let peer = node.peer(Knowing::default().nad("lan", second()).answer());
    node.call("ADD", &node.netconf(annotated("lan"))).result();
    drop(peer);
    node.recorder.clear().unwrap();
    let ended = node.call("DEL", &node.netconf(json!({})));
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), ""));
    assert_eq!(node.calls(), ["DEL second net1", "DEL primary eth0"]);
    assert!(!node.path("cni/sandbox1").exists());
}

#[test]
fn n99_a_del_that_fails_says_so_where_upstream_s_shim_hides_it() {
    let node = Node::new();
    node.call("ADD", &node.netconf(annotated(""))).result();
    let mut netconf = node.netconf(annotated(""));
    netconf["delegates"][0]["x-error"] = json!({"code": 117, "msg": "busy", "on": ["DEL"]});
    node.call("DEL", &netconf).code.filter(|code| *code == 0).unwrap();
    // What DEL is given comes from the journal, so the failure has to be in there.
    node.call("ADD", &netconf).result();
    let (code, text) = node.call("DEL", &netconf).error();
    assert!(code == 117 && text.contains("busy"), "{code} {text}");
}

#[test]
fn c42_status_without_a_daemon_is_success_and_keeps_the_plugin_s_code() {
    let node = Node::new();
    let mut netconf = node.netconf(json!({}));
    assert_eq!(node.call("STATUS", &netconf).code, Some(0));
    assert_eq!(node.calls(), ["STATUS primary "]);
    netconf["delegates"][0]["x-error"] = json!({"code": 50, "msg": "not now", "on": ["STATUS"]});
    assert_eq!(node.call("STATUS", &netconf).error(), (50, "not now".to_owned()), "Q20");
    // Where the default network is a name in the cluster, there is nobody to ask.
    let named = node.netconf(json!({"delegates": null, "clusterNetwork": "lan"}));
    assert_eq!(node.call("STATUS", &named).code, Some(0));
}

#[test]
fn c37_c49_check_and_gc_need_no_daemon() {
    let node = Node::new();
    node.call("ADD", &node.netconf(annotated(""))).result();
    node.recorder.clear().unwrap();
    assert_eq!(node.call("CHECK", &node.netconf(json!({}))).code, Some(0));
    assert_eq!(node.calls(), ["CHECK primary eth0"]);
    let listed = json!({"cni.dev/valid-attachments": [{"containerID": "sandbox1", "ifname": "eth0"}]});
    assert_eq!(node.call("GC", &node.netconf(listed)).code, Some(0));
    assert!(node.path("cni/sandbox1").exists());
    assert_eq!(node.calls(), ["CHECK primary eth0", "GC primary "]);
}

#[test]
fn what_check_finds_is_told_to_the_daemon_that_is_there() {
    let node = Node::new();
    let mut failing = second();
    failing["x-error"] = json!({"code": 100, "msg": "link is gone", "on": ["CHECK"]});
    let daemon = Knowing::default().nad("lan", failing);
    let _peer = node.peer(daemon.answer());
    node.call("ADD", &node.netconf(annotated("lan"))).result();
    assert_eq!(node.call("CHECK", &node.netconf(json!({}))).code, Some(0));
    let told = daemon.records().pop().unwrap();
    assert!(told.network_status.is_none() && told.events[0].message.contains("link is gone"), "{told:?}");
}

#[test]
fn keys_are_read_in_any_case_and_the_log_is_silent_unless_told() {
    let node = Node::new();
    let silent = node.call("ADD", &node.netconf(annotated("")));
    assert_eq!(silent.stderr, "");
    node.call("DEL", &node.netconf(annotated("")));
    let mut more = annotated("lan");
    more["daemonSocketDir"] = Value::Null;
    more["DAEMONSOCKETDIR"] = json!(node.path("run"));
    more["LogLEVEL"] = json!("verbose");
    more["logfile"] = json!(node.path("log/shim.log"));
    more["LOGTOSTDERR"] = json!(true);
    let daemon = Knowing::default().nad("lan", second());
    let _peer = node.peer(daemon.answer());
    let told = node.call("ADD", &node.netconf(more));
    told.result();
    assert_eq!(daemon.lookups().len(), 1);
    let log = std::fs::read_to_string(node.path("log/shim.log")).unwrap();
    assert!(log.contains("Add: test:pod:uid1:test/lan") && told.stderr == log, "{told:?}");
}

#[test]
fn n95_the_readiness_indicator_is_waited_for() {
    let node = Node::new();
    let more = json!({"readinessINDICATORfile": node.path("ready"), "addTimeoutSeconds": 1});
    let mut netconf = node.netconf(more);
    netconf["runtimeConfig"] = annotated("")["runtimeConfig"].clone();
    let (code, text) = node.call("ADD", &netconf).error();
    assert_eq!(code, u64::from(CniError::TRY_AGAIN));
    assert!(text.contains("still waiting for readinessindicatorfile"), "{text}");
    std::fs::write(node.path("ready"), "").unwrap();
    node.call("ADD", &netconf).result();
}

#[test]
fn the_daemon_hears_what_each_call_came_to_and_nobody_waits_for_it() {
    use std::os::unix::net::UnixDatagram;
    use std::time::Duration;
    let node = Node::new();
    let socket = UnixDatagram::bind(node.path("run").join(protocol::NOTICES)).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let heard = || {
        let mut text = vec![0; protocol::LARGEST_NOTICE];
        let size = socket.recv(&mut text).unwrap();
        serde_json::from_slice::<protocol::message::Notice>(&text[..size]).unwrap()
    };
    node.call("ADD", &node.netconf(annotated(""))).result();
    let notice = heard();
    assert_eq!((notice.verb.as_str(), notice.code, notice.plugins.len()), ("ADD", None, 1));
    let ran = &notice.plugins[0];
    assert_eq!((ran.network.as_str(), ran.plugin_type.as_str(), ran.code), ("default", "primary", None));
    assert!(ran.micros <= notice.micros);
    let mut failing = node.netconf(json!({}));
    failing["delegates"][0]["x-error"] = json!({"code": 50, "msg": "no", "on": ["STATUS"]});
    node.call("STATUS", &failing).error();
    assert_eq!(heard().code, Some(50));
    // Nobody reads any more, and the queue is full after some calls.
    for _ in 0..40 {
        assert_eq!(node.call("STATUS", &node.netconf(json!({}))).code, Some(0));
    }
}
