//! The shim with upstream's daemon behind the socket, as on a node that goes back to upstream.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[allow(dead_code, reason = "each test program uses a part of it")]
mod node;

use libcni::CniError;
use node::{Node, annotated};
use protocol::upstream::{CNI, Request};
use serde_json::json;
use testbed::peer::{Asked, Reply};

/// A daemon of upstream's: it knows `/cni`, and answers all else with 404.
fn upstream(status: u16, body: &'static str) -> impl Fn(&Asked) -> Reply + Send + Sync {
    move |asked| match asked.path.as_str() {
        CNI => Reply::Answer(status, body.into()),
        _ => Reply::Answer(404, Vec::new()),
    }
}

const RESULT: &str = r#"{"Result":{"cniVersion":"1.1.0","interfaces":[{"name":"eth0","sandbox":"/run/netns/x"}],"ips":[{"address":"10.9.9.9/24","interface":0}]}}"#;

#[test]
fn add_is_handed_over_and_the_result_has_the_version_of_the_configuration() {
    let node = Node::new();
    let peer = node.peer(upstream(200, RESULT));
    let netconf = node.netconf(json!({"cniVersion": "0.3.1"}));
    let mut command = node.command(&node::shim(), "ADD");
    command.env("SOME_SECRET", "hunter2");
    let result = node::run(command, netconf.to_string().as_bytes()).result();
    assert_eq!((&result["cniVersion"], &result["ips"][0]["version"]), (&json!("0.3.1"), &json!("4")));
    assert!(node.calls().is_empty(), "upstream's daemon runs the plugins");
    let asked = peer.asked().pop().unwrap();
    assert_eq!((asked.method.as_str(), asked.path.as_str()), ("POST", CNI));
    let request = Request::parse(&asked.body).unwrap();
    assert_eq!(request, Request::new(request.env.clone(), netconf.to_string().as_bytes()));
    for (name, value) in [("CNI_COMMAND", "ADD"), ("CNI_CONTAINERID", "sandbox1"), ("CNI_IFNAME", "eth0")] {
        assert_eq!(request.variable(name), value);
    }
    assert!(request.variable("CNI_ARGS").contains("K8S_POD_NAME=pod"));
    assert!(!String::from_utf8(asked.body).unwrap().contains("hunter2"));
}

#[test]
fn a_refusal_is_passed_on_with_its_code_where_it_has_one() {
    let node = Node::new();
    {
        let _peer = node.peer(upstream(400, r#"{"code":7,"msg":"no such thing","details":"d"}"#));
        let (code, text) = node.call("ADD", &node.netconf(json!({}))).error();
        assert_eq!((code, text.as_str()), (7, "CmdAdd (shim): no such thing"));
    }
    let _peer = node.peer(upstream(400, "ERRORED: boom\n"));
    let (code, text) = node.call("ADD", &node.netconf(json!({}))).error();
    assert_eq!(code, u64::from(CniError::INTERNAL));
    assert_eq!(text, "CmdAdd (shim): CNI request failed with status 400: 'ERRORED: boom\n'");
}

#[test]
fn an_answer_without_a_result_is_an_error_where_upstream_s_shim_panics() {
    let node = Node::new();
    for body in ["", "{}", r#"{"Result":null}"#, "[", r#"{"Result":{"cniVersion":"7.0.0"}}"#] {
        let _peer = node.peer(upstream(200, body));
        let (code, text) = node.call("ADD", &node.netconf(json!({}))).error();
        assert!(
            code == u64::from(CniError::DECODE) && text.contains("failed to unmarshal response"),
            "{text}"
        );
    }
}

#[test]
fn del_check_status_and_gc_are_done_here_and_not_handed_over() {
    let node = Node::new();
    node.call("ADD", &node.netconf(annotated(""))).result();
    node.recorder.clear().unwrap();
    let peer = node.peer(upstream(200, ""));
    let valid = json!({"cni.dev/valid-attachments": [{"containerID": "sandbox1", "ifname": "eth0"}]});
    for verb in ["CHECK", "STATUS", "GC", "DEL"] {
        assert_eq!(node.call(verb, &node.netconf(valid.clone())).code, Some(0), "{verb}");
    }
    assert!(peer.asked().is_empty());
    let verbs: Vec<_> = node.recorder.calls().unwrap().into_iter().map(|call| call.verb).collect();
    assert_eq!(verbs, ["CHECK", "STATUS", "GC", "DEL"]);
}

#[test]
fn the_default_network_s_file_is_found_where_upstream_s_daemon_sees_it_under_host() {
    let node = Node::new();
    let file = node.path("10-default.conf");
    let network = json!({"cniVersion": "1.1.0", "name": "default", "type": "primary"});
    std::fs::write(&file, network.to_string()).unwrap();
    let seen = format!("/host{}", file.display());
    let netconf = node.netconf(json!({"delegates": null, "clusterNetwork": seen}));
    // Of this sandbox nothing is recorded: the default network is all that is known.
    assert_eq!(node.call("DEL", &netconf).code, Some(0));
    assert_eq!(node.call("STATUS", &netconf).code, Some(0));
    assert_eq!(node.calls(), ["DEL primary eth0", "STATUS primary "]);
}
