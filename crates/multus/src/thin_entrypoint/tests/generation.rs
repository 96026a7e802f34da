//! What is generated, and the kubeconfig.

use super::*;

const ANNOTATIONS: &str = r#""capabilities": {"io.kubernetes.cri.pod-annotations":true},"#;

fn generated(node: &Node, more: &[&str]) -> Result<(String, String), String> {
    let options = node.options(more);
    let made = Directory::read(&options.autoconfig_dir, &[])
        .and_then(|directory| choose(&directory, &options.wish, None))
        .and_then(|choice| options.template.generate(&choice.primary));
    made.map(|made| (made.file_name, made.text)).map_err(|error| error.to_string())
}

/// Upstream's text, with the capability that is ours.
#[test]
fn a_conf_has_upstreams_bytes() {
    let node = Node::with_primary("10-testcni.conf", OLD_PRIMARY);
    let (name, text) = generated(&node, &["--multus-log-to-stderr=false"]).unwrap();
    assert_eq!(name, "00-multus.conf");
    let expected = format!(
        r#"{{
        "cniVersion": "0.3.1",
        "name": "multus-cni-network",
        "type": "multus",
        {ANNOTATIONS}
        "logToStderr": false,
        "kubeconfig": "/etc/foobar_kubeconfig",
        "delegates": [
                {{"cniVersion":"0.3.1","name":"test1","type":"cnitesttype"}}
        ]
}}
"#
    );
    assert_eq!(text, expected);
}

#[test]
fn a_conflist_has_upstreams_bytes() {
    for version in ["1.0.0", "1.1.0"] {
        let node = Node::with_primary("10-testcni.conf", &NEW_PRIMARY.replace("1.0.0", version));
        let (name, text) = generated(&node, &["--multus-log-to-stderr=false"]).unwrap();
        assert_eq!(name, "00-multus.conflist");
        let expected = format!(
            r#"{{
    "cniVersion": "{version}",
    "name": "multus-cni-network",
    "plugins": [ {{
        "type": "multus",
        {ANNOTATIONS}
        "logToStderr": false,
        "kubeconfig": "/etc/foobar_kubeconfig",
        "delegates": [
            {{"cniVersion":"{version}","name":"test1","type":"cnitesttype"}}
        ]
    }}]
}}
"#
        );
        assert_eq!(text, expected);
    }
}

#[test]
fn q33_all_options_are_written_in_upstreams_order_and_confdir_by_its_name() {
    let node = Node::with_primary(
        "10-testcni.conf",
        &OLD_PRIMARY.replace(
            "\"type\"",
            "\"capabilities\": {\"portMappings\": false, \"bandwidth\": true}, \"type\"",
        ),
    );
    let (_, text) = generated(
        &node,
        &[
            "--namespace-isolation",
            "--global-namespaces=foobar,barfoo",
            "--multus-log-to-stderr=false",
            "--multus-log-level=DEBUG",
            "--multus-log-file=/tmp/foobar.log",
            "--additional-bin-dir=/tmp/add_bin_dir",
            "--readiness-indicator-file=/var/lib/foobar_indicator",
            "--override-network-name",
            "--multus-cni-conf-dir=/host/etc/cni/multus/net.d",
        ],
    )
    .unwrap();
    let expected = r#"{
        "cniVersion": "0.3.1",
        "name": "test1",
        "type": "multus",
        "capabilities": {"bandwidth":true,"io.kubernetes.cri.pod-annotations":true,"portMappings":false},
        "namespaceIsolation": true,
        "globalNamespaces": "foobar,barfoo",
        "logToStderr": false,
        "logLevel": "debug",
        "logFile": "/tmp/foobar.log",
        "binDir": "/tmp/add_bin_dir",
        "confDir": "/etc/cni/multus/net.d",
        "readinessindicatorfile": "/var/lib/foobar_indicator",
        "kubeconfig": "/etc/foobar_kubeconfig",
        "delegates": [
"#;
    assert!(text.starts_with(expected), "{text}");
    plan::NetConf::parse(text.as_bytes()).unwrap();
}

#[test]
fn capabilities_of_a_list_are_those_of_its_plugins() {
    let node = Node::with_primary(
        "10-a.conflist",
        r#"{"cniVersion":"1.0.0","name":"n","plugins":[{"type":"a","capabilities":{"ips":true}},{"type":"b","capabilities":{"mac":true}}]}"#,
    );
    let (_, text) = generated(&node, &[]).unwrap();
    assert!(text.contains(r#"{"io.kubernetes.cri.pod-annotations":true,"ips":true,"mac":true}"#), "{text}");
}

#[test]
fn versions_must_agree_unless_forced() {
    let node = Node::with_primary("10-testcni.conf", OLD_PRIMARY);
    assert_eq!(
        generated(&node, &["--cni-version=1.0.0"]).unwrap_err(),
        "Multus cni version is \"1.0.0\" while master plugin cni version is \"0.3.1\""
    );
    let (name, text) = generated(&node, &["--cni-version=1.0.0", "--force-cni-version"]).unwrap();
    assert_eq!(name, "00-multus.conflist");
    assert_eq!(text.matches("\"1.0.0\"").count(), 2, "{text}");
    assert_eq!(node.conf("10-testcni.conf"), OLD_PRIMARY);
}

#[test]
fn the_primary_is_the_named_file_or_the_first_that_is_one() {
    let node = Node::with_primary("10-testcni.conf", OLD_PRIMARY);
    node.write("00-multus.conflist", r#"{"cniVersion":"1.0.0","name":"x","plugins":[{"type":"multus"}]}"#);
    node.write("05-other.yaml", NEW_PRIMARY);
    node.write("20-second.conf", &OLD_PRIMARY.replace("test1", "second"));
    assert!(generated(&node, &[]).unwrap().1.contains("test1"));
    for flag in [
        "--multus-master-cni-file-name=20-second.conf",
        "--default-network=20-second.conf",
        "--default-network=second",
    ] {
        assert!(generated(&node, &[flag]).unwrap().1.contains("second"), "{flag}");
    }
    let error = generated(&node, &["--multus-master-cni-file-name=00-multus.conflist"]).unwrap_err();
    assert!(error.contains("calls multus itself"), "{error}");
}

#[test]
fn keys_are_merged_and_the_mark_says_whose_it_is() {
    let node = Node::with_primary("10-testcni.conf", NEW_PRIMARY);
    let (name, text) = generated(
        &node,
        &[
            "--netconf-merge={\"defaultNetworks\":[\"a\"],\"specMode\":\"strict\"}",
            "--owner=kube-system/multus",
            "--conf-file-name=00-multus.conf",
        ],
    )
    .unwrap();
    assert_eq!(name, "00-multus.conf", "as it is called in the chart's values, whatever the version");
    let netconf = plan::NetConf::parse(text.as_bytes()).unwrap();
    assert_eq!(netconf.default_networks, ["a"]);
    let node_config::Owner::Marked { mark, intact: true } = node_config::Owner::of(text.as_bytes()) else {
        panic!("{text}")
    };
    assert_eq!((mark.owner.as_str(), mark.primary.as_str()), ("kube-system/multus", "10-testcni.conf"));
}

#[test]
fn primaries_that_cannot_be_used_are_named() {
    for text in [
        "",
        "{",
        "[]",
        "7",
        "{}",
        "{\"type\":\"a\"}",
        "{\"type\":\"a\",\"cniVersion\":7}",
        "{\"type\":\"a\",\"cniVersion\":\"0.3.1\",\"capabilities\":{\"a\":\"yes\"}}",
        "{\"cniVersion\":\"1.0.0\",\"plugins\":[1]}",
    ] {
        let node = Node::with_primary("10-a.conf", text);
        let error = generated(&node, &[]).unwrap_err();
        assert!(error.contains("10-a.conf"), "{text:?}: {error}");
    }
}

#[test]
fn the_kubeconfig_has_upstreams_bytes_and_follows_the_token() {
    let node = Node::new();
    let options = node.options(&[]);
    assert!(kubeconfig::follow(&options).unwrap());
    assert!(!kubeconfig::follow(&options).unwrap());
    let text = node.conf("multus.d/multus.kubeconfig");
    let expected = "# Kubeconfig file for Multus CNI plugin.\napiVersion: v1\nkind: Config\nclusters:\n- name: local\n  cluster:\n    \
         server: https://[fd00::1]:6443\n    certificate-authority-data: Q0E=\nusers:\n- name: multus\n  user:\n    \
         token: \"t0ken\"\ncontexts:\n- name: multus-context\n  context:\n    cluster: local\n    user: multus\n\
         current-context: multus-context\n";
    assert_eq!(text, expected);
    let path = options.kubeconfig_path();
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    fs::write(node.path("account/token"), "fresh").unwrap();
    assert!(kubeconfig::follow(&options).unwrap());
    let access = kube_cluster::kubeconfig::Access::read(&path).unwrap();
    assert_eq!(access.credentials, kube_cluster::kubeconfig::Credentials::Token("fresh".to_owned()));
    assert!(kubeconfig::follow(&node.options(&["--skip-tls-verify"])).unwrap());
    assert!(node.conf("multus.d/multus.kubeconfig").contains("insecure-skip-tls-verify: true"));
}
