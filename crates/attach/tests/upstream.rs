//! Journals both ways: what upstream v4.3.0 wrote is undone by us as if we had added it, and ours is readable by its rules.
#![allow(clippy::unwrap_used, reason = "tests may unwrap")]

mod node;

use std::fs;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use node::{Node, Pod, single};
use serde_json::{Value, json};
use testbed::apiserver::FakeApi;

const NOTHING: [&str; 0] = [];

/// Runs upstream's own program for the pod.
fn upstream(pod: &Pod<'_>, verb: &str, keys: &Value) {
    let node = pod.node;
    let mut config = json!({"cniVersion": "1.0.0", "name": "m", "type": "multus", "cniDir": node.host.cni_dir,
        "binDir": node.recorder.dir, "confDir": node.dir.path()});
    config.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
    let stdin = node.dir.path().join("stdin");
    fs::write(&stdin, config.to_string()).unwrap();
    let output = Command::new(testbed::parts::upstream_multus().unwrap().join("multus"))
        .env("CNI_COMMAND", verb)
        .env("CNI_CONTAINERID", &pod.sandbox.container_id)
        .env("CNI_NETNS", &pod.sandbox.netns)
        .env("CNI_IFNAME", "eth0")
        .env("CNI_PATH", &node.recorder.dir)
        .env("CNI_ARGS", libcni::args::join(&pod.sandbox.args))
        .stdin(fs::File::open(stdin).unwrap())
        .output()
        .unwrap();
    assert!(output.status.success(), "{verb}: {output:?}");
}

/// What the plugin was told in its only call of `verb`, but for the result of before.
fn told(node: &Node, verb: &str, plugin_type: &str) -> Value {
    let calls = node.calls(verb);
    let mut mine = calls.iter().filter(|call| call.plugin_type == plugin_type);
    let mut config = mine.next().unwrap().config();
    assert!(mine.next().is_none(), "{plugin_type} was called more than once");
    config.as_object_mut().unwrap().remove("prevResult");
    config
}

/// `CNI_ARGS` of the plugin's call, sorted: upstream leaves their order to chance.
fn args_of(node: &Node, verb: &str, plugin_type: &str) -> Vec<String> {
    let calls = node.calls(verb);
    let call = calls.iter().find(|call| call.plugin_type == plugin_type).unwrap();
    let mut args: Vec<_> = call.env("CNI_ARGS").split(';').map(str::to_owned).collect();
    args.sort();
    args
}

fn prev_result(node: &Node, plugin_type: &str) -> Value {
    let calls = node.calls("DEL");
    calls.iter().find(|call| call.plugin_type == plugin_type).unwrap().config()["prevResult"].clone()
}

fn list(plugin_type: &str) -> Value {
    let mut plugin =
        single(plugin_type, json!({"ipam": {"type": "host-local", "dataDir": "/x"}, "mtu": 1500}));
    let name = plugin["name"].take();
    let object = plugin.as_object_mut().unwrap();
    object.remove("name");
    object.remove("cniVersion");
    json!({"cniVersion": "1.0.0", "name": name, "plugins": [plugin]})
}

/// Each plugin gets at our DEL what it got at upstream's ADD, whatever form its network has.
#[test]
fn what_upstream_added_is_undone_with_what_it_was_added_with() {
    let mut without_version = list("two");
    without_version.as_object_mut().unwrap().remove("cniVersion");
    let mut single_without_version = single("three", json!({}));
    single_without_version.as_object_mut().unwrap().remove("cniVersion");
    let node = Node::new();
    let file = node.dir.path().join("10-main.conflist");
    fs::write(&file, list("main").to_string()).unwrap();
    let api = FakeApi::tls().unwrap();
    let kubeconfig = api.write_kubeconfig(&node.dir.path().join("kubeconfig")).unwrap();
    let selection = json!([{"name": "able", "namespace": "test", "mac": "02:00:00:00:00:07", "ips": ["10.0.0.9/24"],
        "interface": "data", "portMappings": [{"hostPort": 1, "containerPort": 2}], "bandwidth": {"ingressRate": 2048, "ingressBurst": 1600}}]);
    api.add_pod_with("test", "p1", "u1", &[(plan::NETWORKS_ANNOTATION, &selection.to_string())]);
    let capabilities = json!({"mac": true, "ips": true, "portMappings": true, "bandwidth": true});
    api.add_nad_with("test", "able", &single("one", json!({"capabilities": capabilities})).to_string());
    let args = [
        ("IgnoreUnknown", "1"),
        ("K8S_POD_NAMESPACE", "test"),
        ("K8S_POD_NAME", "p1"),
        ("K8S_POD_UID", "u1"),
    ];
    let args: Vec<_> = args.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    for (keys, args, types) in [
        (
            json!({"delegates": [list("main"), single("one", json!({"kept": 1.5})), without_version]}),
            vec![],
            vec!["two", "one", "main"],
        ),
        (json!({"delegates": [list("main"), single_without_version]}), vec![], vec!["three", "main"]),
        (json!({"clusterNetwork": file, "kubeconfig": kubeconfig}), args, vec!["one", "main"]),
    ] {
        let mut pod = node.pod();
        pod.sandbox.args = args;
        upstream(&pod, "ADD", &keys);
        let journal = node.journal_json("pod1");
        let called: Vec<_> = pod
            .del()
            .map(|_| node.calls("DEL").iter().map(|call| call.plugin_type.clone()).collect())
            .unwrap();
        assert_eq!(called, types, "{journal}");
        for plugin_type in types {
            assert_eq!(told(&node, "DEL", plugin_type), told(&node, "ADD", plugin_type), "{journal}");
            assert_eq!(args_of(&node, "DEL", plugin_type), args_of(&node, "ADD", plugin_type), "{journal}");
            // Before 0.4.0, and so without a version, DEL knows no previous result.
            let versioned = !told(&node, "DEL", plugin_type)["cniVersion"].as_str().unwrap().is_empty();
            assert_eq!(prev_result(&node, plugin_type).is_object(), versioned, "{plugin_type}: {journal}");
        }
        assert_eq!(pod.netns.link_names().unwrap(), NOTHING);
        assert_eq!(node.files(), NOTHING);
        node.recorder.clear().unwrap();
    }
}

/// And the other way round.
#[test]
fn what_we_added_is_undone_by_upstream() {
    let node = Node::new();
    let pod = node
        .pod()
        .default_network(list("main"))
        .nad("one", single("one", json!({"kept": 1.5})))
        .nad("two", list("two"))
        .selects(json!([
            {"name": "one", "namespace": "test"},
            {"name": "two", "namespace": "test", "interface": "data"},
        ]));
    pod.add().unwrap();
    upstream(&pod, "DEL", &json!({"delegates": [list("main")]}));
    assert_eq!(node.called("DEL"), ["two data", "one net1", "main eth0"]);
    for plugin_type in ["main", "one", "two"] {
        assert_eq!(told(&node, "DEL", plugin_type), told(&node, "ADD", plugin_type));
    }
    assert_eq!(pod.netns.link_names().unwrap(), NOTHING);
    assert!(!node.journal("pod1").exists());
}

/// What is left after a failed DEL keeps its interface name for upstream, whose names go by the place in the file.
#[test]
fn what_our_del_left_is_undone_by_upstream() {
    let node = Node::new();
    let stuck = single("two", json!({"x-error": {"code": 5, "msg": "stuck", "on": ["DEL"], "times": 1}}));
    let pod = node.pod().nad("one", single("one", json!({}))).nad("two", stuck).selects(json!([
        {"name": "one", "namespace": "test"},
        {"name": "two", "namespace": "test"},
    ]));
    pod.add().unwrap();
    pod.del().unwrap_err();
    assert_eq!(pod.netns.link_names().unwrap(), ["net2", "pnet2"]);
    upstream(&pod, "DEL", &json!({"delegates": [list("main")]}));
    assert_eq!(node.called("DEL").last().unwrap(), "two net2");
    assert!(!node.journal("pod1").exists());
}

/// The text of upstream v4.3.0 (and, for the last element, of its main branch, which leaves a key out).
#[test]
fn c31_upstreams_text_is_read() {
    let node = Node::new();
    let pod = node.pod();
    let nothing = r#""CNINetworkConfigList":{"Name":"","CNIVersion":"","DisableCheck":false,"DisableGC":false,"LoadOnlyInlinedPlugins":false,"Plugins":null,"Bytes":null}"#;
    let main = STANDARD.encode(single("main", json!({})).to_string());
    let one = STANDARD.encode(list("one").to_string());
    let lossy = STANDARD.encode(
        r#"{"cniVersion":"1.0.0","name":"two-net","plugins":[{"ipam":{"type":"host-local"},"type":"two"}]}"#,
    );
    let two = list("two");
    let whole = STANDARD.encode(two.to_string());
    let plugin = STANDARD.encode(two["plugins"][0].to_string());
    let three = STANDARD.encode(list("three").to_string());
    let text = format!(
        r#"[{{"Conf":{{"cniVersion":"1.0.0","ipam":{{}},"name":"main-net","type":"main"}},"ConfList":{{}},{nothing},"Name":"main-net","IsFilterV4Gateway":false,"IsFilterV6Gateway":false,"Bytes":"{main}"}},
 {{"Conf":{{"cniVersion":"1.0.0","ipam":{{}},"name":"one-net"}},"ConfList":{{"cniVersion":"1.0.0","name":"one-net","plugins":[{{"ipam":{{"type":"host-local"}},"type":"one"}}]}},{nothing},"Name":"test/one","macRequest":"02:00:00:00:00:07","IsFilterV4Gateway":false,"IsFilterV6Gateway":true,"Bytes":"{one}"}},
 {{"Conf":{{"ipam":{{}}}},"ConfList":{{"cniVersion":"1.0.0","name":"two-net","plugins":[{{"ipam":{{"type":"host-local"}},"type":"two"}}]}},"CNINetworkConfigList":{{"Name":"two-net","CNIVersion":"1.0.0","DisableCheck":false,"DisableGC":false,"LoadOnlyInlinedPlugins":false,"Plugins":[{{"Network":{{"ipam":{{"type":"host-local"}},"type":"two"}},"Bytes":"{plugin}"}}],"Bytes":"{whole}"}},"Name":"two-net","IsFilterV4Gateway":false,"IsFilterV6Gateway":false,"Bytes":"{lossy}"}},
 {{"Conf":{{"ipam":{{}}}},"ConfList":{{"cniVersion":"1.0.0","name":"three-net","plugins":[{{"ipam":{{"type":"host-local"}},"type":"three"}}]}},"Name":"test/three","ifnameRequest":"data","IsFilterV4Gateway":false,"IsFilterV6Gateway":false,"Bytes":"{three}"}}]"#
    );
    fs::create_dir_all(&node.host.cni_dir).unwrap();
    fs::write(node.journal("pod1"), text).unwrap();
    pod.del().unwrap();
    assert_eq!(node.called("DEL"), ["three data", "two net2", "one net1", "main eth0"]);
    for plugin_type in ["one", "two", "three"] {
        let config = told(&node, "DEL", plugin_type);
        assert_eq!((&config["ipam"]["dataDir"], &config["mtu"]), (&json!("/x"), &json!(1500)), "{config}");
        assert_eq!(config["name"], format!("{plugin_type}-net"));
    }
    assert_eq!(node.calls("DEL")[2].env("CNI_ARGS"), "MAC=02:00:00:00:00:07");
    assert_eq!(node.files(), NOTHING);
}
