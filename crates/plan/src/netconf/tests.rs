//! Every key, and what Go's leniency makes of it.

use proptest::prelude::*;

use super::*;
use crate::testing::{netconf, says};

#[track_caller]
fn refuses(json: &str, prefix: &str, parts: &[&str]) {
    says(&NetConf::parse(json.as_bytes()).expect_err(json), 7, prefix, parts);
}

/// A configuration with a default network and these keys.
#[track_caller]
fn with(keys: &str) -> NetConf {
    netconf(&format!(r#"{{"clusterNetwork":"net",{keys}}}"#))
}

#[track_caller]
fn refuses_key(keys: &str, part: &str) {
    let json = format!(r#"{{"clusterNetwork":"net",{keys}}}"#);
    refuses(&json, "LoadNetConf: failed to load netconf: key ", &[part]);
}

#[test]
fn n1_defaults() {
    let conf = netconf(r#"{"clusterNetwork":"net"}"#);
    assert_eq!(conf.conf_dir, Path::new("/etc/cni/multus/net.d"));
    assert_eq!(conf.cni_dir, Path::new("/var/lib/cni/multus"));
    assert_eq!(conf.bin_dir, Path::new("/opt/cni/bin"));
    assert_eq!((conf.multus_namespace.as_str(), conf.kubeconfig.as_str()), ("kube-system", ""));
    assert_eq!(
        (conf.system_namespaces, conf.global_namespaces),
        (vec!["kube-system".into()], vec!["default".into()])
    );
    assert!(conf.log_to_stderr.is_none() && !conf.namespace_isolation && !conf.retry_delete_on_error);
    assert_eq!(conf.log_options, LogOptions { max_age: 5, max_size: 100, max_backups: 5, compress: true });
    assert_eq!((conf.spec_mode, conf.manifests), (SpecMode::Compat, None));
    assert_eq!((conf.add_timeout.as_secs(), conf.delete_timeout.as_secs()), (90, 50));
    assert_eq!(conf.daemon_socket_dir, Path::new("/run/multus"));
    assert!(conf.runtime_config.is_empty() && conf.delegates.is_empty() && conf.valid_attachments.is_none());
}

#[test]
fn n1_every_key_is_read_in_any_case() {
    let conf = netconf(
        r#"{"CNIVersion":"1.1.0","NAME":"m","Type":"multus","Capabilities":{"a":true},"ConfDir":"/c","CNIDir":"/d",
            "BinDir":"/b","ClusterNetwork":"net","DefaultNetworks":["x"],"KubeConfig":"/k","LogFile":"/l",
            "LogLevel":"Debug","LogToStderr":false,"LogOptions":{"MaxAge":1,"maxsize":2,"maxBackups":null,"compress":false},
            "RuntimeConfig":{"k":[1]},"readinessIndicatorFile":"/r","NamespaceIsolation":true,
            "GlobalNamespaces":" foo,bar ,default","SystemNamespaces":["s"],"MultusNamespace":"m",
            "RetryDeleteOnError":true,"AuxiliaryCNIChainName":"aux","SpecMode":"Strict","Manifests":"/m",
            "AddTimeoutSeconds":10,"DeleteTimeoutSeconds":20,"DaemonSocketDir":"/s"}"#,
    );
    assert_eq!(
        (conf.cni_version.as_str(), conf.name.as_str(), conf.plugin_type.as_str()),
        ("1.1.0", "m", "multus")
    );
    assert_eq!(conf.capabilities.get("a"), Some(&true));
    assert_eq!((conf.conf_dir, conf.cni_dir, conf.bin_dir), ("/c".into(), "/d".into(), "/b".into()));
    assert_eq!((conf.cluster_network.as_str(), conf.default_networks), ("net", vec!["x".into()]));
    assert_eq!(
        (conf.kubeconfig.as_str(), conf.log_file.as_str(), conf.log_level.as_str()),
        ("/k", "/l", "Debug")
    );
    assert!(conf.log_to_stderr == Some(false) && conf.namespace_isolation && conf.retry_delete_on_error);
    assert_eq!(conf.log_options, LogOptions { max_age: 1, max_size: 2, max_backups: 5, compress: false });
    assert_eq!(conf.runtime_config.get("k").map(RawValue::get), Some("[1]"));
    assert_eq!((conf.readiness_indicator_file.as_str(), conf.auxiliary_chain_name.as_str()), ("/r", "aux"));
    assert_eq!(conf.global_namespaces, ["foo", "bar", "default"]);
    assert_eq!((conf.system_namespaces, conf.multus_namespace.as_str()), (vec!["s".into()], "m"));
    assert_eq!((conf.spec_mode, conf.manifests), (SpecMode::Strict, Some("/m".into())));
    assert_eq!((conf.add_timeout.as_secs(), conf.delete_timeout.as_secs()), (10, 20));
    assert_eq!(conf.daemon_socket_dir, Path::new("/s"));
}

#[test]
fn n1_null_duplicates_and_unknown_keys() {
    assert_eq!(with(r#""systemNamespaces":null"#).system_namespaces, [""; 0]);
    assert_eq!(with(r#""binDir":null"#).bin_dir, Path::new("/opt/cni/bin"));
    assert_eq!(with(r#""multusNamespace":"""#).multus_namespace, "kube-system");
    assert_eq!(with(r#""cniDir":"/a","cniDir":"/b""#).cni_dir, Path::new("/b"));
    assert_eq!(with(r#""cniConf":"/x","dataDir":{"y":[]}"#).cluster_network, "net");
}

#[test]
fn n1_wrong_types_name_the_key_and_not_the_configuration() {
    refuses_key(r#""cniDir":5,"x":"secret""#, "key \"cniDir\": ");
    refuses_key(r#""systemNamespaces":"kube-system""#, "key \"systemNamespaces\": ");
    refuses_key(r#""namespaceIsolation":"true""#, "found a string");
    refuses_key(r#""runtimeConfig":[]"#, "key \"runtimeConfig\" must be an object, found an array");
    refuses_key(r#""delegates":[5]"#, "element 0 is a number");
    refuses_key(r#""delegates":{}"#, "key \"delegates\": ");
    refuses_key(
        r#""specMode":"loose""#,
        "key \"specMode\" must be \"compat\" or \"strict\", found \"loose\"",
    );
    refuses_key(
        r#""addTimeoutSeconds":0"#,
        "key \"addTimeoutSeconds\" must be a whole number of seconds from 1",
    );
    refuses_key(r#""deleteTimeoutSeconds":86401"#, "key \"deleteTimeoutSeconds\" must be");
    refuses_key(r#""addTimeoutSeconds":1.5"#, "key \"addTimeoutSeconds\": ");
    let error = NetConf::parse(br#"{"clusterNetwork":"n","cniDir":5,"x":"secret"}"#).unwrap_err().to_string();
    assert!(!error.contains("secret"), "{error}");
    for json in ["", "[]", "null", "{", "{\"a\":\"\\ud800\"}x", "\u{feff}{}"] {
        refuses(json, "LoadNetConf: failed to load netconf: ", &[]);
    }
}

#[test]
fn n91_a_default_network_is_needed() {
    for json in
        ["{}", r#"{"kubeconfig":"/k"}"#, r#"{"delegates":[]}"#, r#"{"delegates":null,"clusterNetwork":""}"#]
    {
        refuses(json, "LoadNetConf: at least one delegate/clusterNetwork must be specified", &["; set "]);
    }
}

#[test]
fn n12_delegates_are_single_or_list() {
    let conf = netconf(
        r#"{"delegates":[{"name":"a","type":"t","plugins":[{"type":"u"}]},{"name":"b","plugins":[{"type":"u"},{"type":"v"}]}]}"#,
    );
    let plugins: Vec<usize> = conf.delegates.iter().map(|d| d.plugins.len()).collect();
    assert_eq!(plugins, [1, 2]);
    // Not even looked at beside a clusterNetwork.
    assert!(with(r#""delegates":[{}]"#).delegates.is_empty());

    let failed = "LoadDelegateNetConf: failed with: LoadDelegateNetConfList: ";
    for (delegates, at, why) in [
        (r#"[{"name":"a"}]"#, 0, "delegate must have the 'type' or 'plugin' field"),
        (
            r#"[{"type":"t"},{"type":"","plugins":null}]"#,
            1,
            "delegate must have the 'type' or 'plugin' field",
        ),
        (r#"[null]"#, 0, "delegate must have the 'type' or 'plugin' field"),
        (r#"[{"plugins":[]}]"#, 0, "a plugin delegate must have the 'type' field"),
        (r#"[{"plugins":[{"name":"x"}]}]"#, 0, "a plugin delegate must have the 'type' field"),
    ] {
        let prefix = format!("LoadNetConf: failed to load delegate {at} config: {failed}{why}");
        refuses(&format!(r#"{{"delegates":{delegates}}}"#), &prefix, &[]);
    }
}

#[test]
fn n1_a_previous_result_must_be_one() {
    with(r#""prevResult":{"ips":[]}"#);
    with(r#""prevResult":null"#);
    refuses(
        r#"{"clusterNetwork":"n","cniVersion":"1.0.0","prevResult":{"ips":[{"address":"bogus"}]}}"#,
        "LoadNetConf: could not parse prevResult: ",
        &[],
    );
}

#[test]
fn n1_what_the_runtime_holds_valid_at_gc() {
    let both = |key: &str| {
        with(&format!(r#""{key}":[{{"containerID":"c","ifname":"eth0"}}]"#)).valid_attachments.map(|list| {
            list.into_iter().map(|a| format!("{}/{}", a.container_id, a.if_name)).collect::<Vec<_>>()
        })
    };
    assert_eq!(both("cni.dev/valid-attachments"), Some(vec!["c/eth0".to_owned()]));
    assert_eq!(both("cni.dev/attachments"), Some(vec!["c/eth0".to_owned()]));
    // `null` is how Go writes a list of nothing; without the key nothing is known.
    for nothing in ["[]", "null"] {
        for key in ["cni.dev/valid-attachments", "cni.dev/attachments"] {
            assert_eq!(with(&format!(r#""{key}":{nothing}"#)).valid_attachments, Some(Vec::new()), "{key}");
        }
    }
    let either =
        r#""cni.dev/valid-attachments":null,"cni.dev/attachments":[{"containerID":"c","ifname":"eth0"}]"#;
    assert_eq!(with(either).valid_attachments.map(|list| list.len()), Some(1));
    assert_eq!(with(r#""x":1"#).valid_attachments, None);
}

#[test]
fn n18_annotations_from_the_runtime() {
    let given = |value: &str| {
        with(&format!(r#""runtimeConfig":{{"io.kubernetes.cri.pod-annotations":{value}}}"#)).pod_annotations()
    };
    assert_eq!(given(r#"{"a":"b"}"#), Some([("a".to_owned(), "b".to_owned())].into()));
    assert_eq!(given("{}"), Some(BTreeMap::new()));
    for other in ["null", "[]", r#"{"a":1}"#, "5"] {
        assert_eq!(given(other), None, "{other}");
    }
    assert_eq!(netconf(r#"{"clusterNetwork":"n"}"#).pod_annotations(), None);
}

#[test]
fn hostile_configurations_are_refused_or_passed_on_unread() {
    let deep = format!("{}1{}", "[".repeat(200_000), "]".repeat(200_000));
    with(&format!(r#""unknown":{deep}"#));
    with(&format!(r#""runtimeConfig":{{"x":{deep}}}"#));
    for key in ["delegates", "capabilities", "logOptions", "cniDir", "prevResult", "defaultNetworks"] {
        let json = format!(r#"{{"clusterNetwork":"n","{key}":{deep}}}"#);
        refuses(&json, "LoadNetConf: ", &[]);
    }
    refuses(&"{\"a\":".repeat(1 << 18), "LoadNetConf: ", &[]);
    assert_eq!(with(&format!(r#""logFile":"{}""#, "x".repeat(4 << 20))).log_file.len(), 4 << 20);
}

proptest! {
    #[test]
    fn n1_any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = NetConf::parse(&bytes);
    }

    #[test]
    fn n1_any_values_are_read_or_refused(
        key in "(clusterNetwork|delegates|runtimeConfig|prevResult|logOptions|addTimeoutSeconds|systemNamespaces|specMode)",
        value in r#"(null|1|-1|1e400|""|"x"|\[\]|\[1\]|\[null\]|\{\}|\{"type":1\}|\[\{"type":"a"\}\]|true)"#,
    ) {
        let _ = NetConf::parse(format!(r#"{{"{key}":{value}}}"#).as_bytes());
    }
}
