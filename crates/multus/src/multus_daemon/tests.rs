//! Flags, and what becomes of a configuration.

use daemon::Config;
use node_config::{Origin, Primary};

use super::arguments::{Asked, Question};
use super::settings::{Environment, node_files};

fn asked(arguments: &[&str]) -> Asked {
    Asked::read(&arguments.iter().map(|argument| (*argument).to_owned()).collect::<Vec<_>>())
}

#[test]
fn flags_are_read_as_go_reads_them() {
    let default = Asked::Run("/etc/cni/net.d/multus.d/daemon-config.json".into());
    assert_eq!(asked(&[]), default);
    for given in [&["-config=/c"][..], &["--config", "/c"], &["-config", "/c"]] {
        assert_eq!(asked(given), Asked::Run("/c".into()), "{given:?}");
    }
    assert_eq!(asked(&["-version"]), Asked::Version);
    assert_eq!(asked(&["--help"]), Asked::Help);
    let probe = Asked::Probe { question: Question::Node, config: "/c".into() };
    assert_eq!(asked(&["-probe=node", "-config=/c"]), probe);
    for wrong in [&["-config"][..], &["-probe", "x"], &["-nothing"], &["word"]] {
        assert!(matches!(asked(wrong), Asked::Unknown(_)), "{wrong:?}");
    }
}

fn named(config: &str, primary: &str) -> (String, String) {
    let config = Config::parse(config.as_bytes()).unwrap();
    let environment = Environment { node: Some("node1".to_owned()) };
    let options = node_files(&config, &environment).unwrap();
    let primary =
        Primary::parse(Origin::File("/n/10-a.conflist".into()), primary.as_bytes().to_vec()).unwrap();
    let generated = options.template.generate(&primary).unwrap();
    (generated.file_name, generated.text)
}

fn generated(config: &str, primary: &str) -> serde_json::Value {
    let (name, text) = named(config, primary);
    assert_eq!(name, "00-multus.conf");
    serde_json::from_str(&text).unwrap()
}

const PRIMARY: &str = r#"{"cniVersion":"1.0.0","name":"kindnet","plugins":[{"type":"ptp","capabilities":{"portMappings":true}}]}"#;

#[test]
fn the_configuration_calls_the_shim_with_the_primary_in_it_and_all_that_the_daemon_is_told_for_it() {
    let conf = generated(
        r#"{"cniVersion":"0.3.1","chrootDir":"/hostroot","socketDir":"/host/run/multus/","logLevel":"verbose",
            "logToStderr":true,"confDir":"/host/etc/cni/multus/net.d","defaultNetworks":["a"],"namespaceIsolation":true,
            "daemonSet":"kube-system/kube-multus-ds"}"#,
        PRIMARY,
    );
    assert_eq!((&conf["type"], &conf["cniVersion"]), (&"multus-shim".into(), &"1.0.0".into()));
    assert_eq!(conf["capabilities"]["portMappings"], true);
    assert_eq!(conf["capabilities"]["io.kubernetes.cri.pod-annotations"], true);
    assert_eq!(conf["delegates"][0]["name"], "kindnet");
    assert_eq!(
        (&conf["confDir"], &conf["namespaceIsolation"]),
        (&"/etc/cni/multus/net.d".into(), &true.into())
    );
    assert_eq!(conf["defaultNetworks"][0], "a");
    assert_eq!(conf["multus-rs"]["owner"], "kube-system/kube-multus-ds");
    for absent in ["socketDir", "chrootDir", "daemonSet", "kubeconfig", "daemonSocketDir", "clusterNetwork"] {
        assert!(conf.get(absent).is_none(), "{absent} is in {conf}");
    }
    let conf = plan::NetConf::parse(conf.to_string().as_bytes()).unwrap();
    assert_eq!(conf.daemon_socket_dir, std::path::Path::new("/run/multus"));
}

/// Upstream's thin mode calls its file so; one of ours that sorted before it would go on calling a shim without a daemon.
#[test]
fn the_name_follows_the_version_where_it_is_told_to() {
    let auto = r#"{"configFileName":"auto"}"#;
    assert_eq!(named(auto, PRIMARY).0, "00-multus.conflist");
    assert_eq!(named(auto, &PRIMARY.replace("1.0.0", "0.3.1")).0, "00-multus.conf");
    assert_eq!(named(r#"{"configFileName":"05-m.conf"}"#, PRIMARY).0, "05-m.conf");
}

#[test]
fn settings_that_contradict_each_other_are_refused() {
    let error = |config: &str, node: Option<&str>| {
        let config = Config::parse(config.as_bytes()).unwrap();
        node_files(&config, &Environment { node: node.map(str::to_owned) }).unwrap_err()
    };
    let both = error(r#"{"multusMasterCNI":"a","defaultNetwork":"b"}"#, None);
    assert!(both.contains("set one of them"), "{both}");
    assert!(error(r#"{"requireDefaultNetwork":true}"#, None).contains("needs defaultNetwork"));
    assert!(error(r#"{"daemonSet":"a/b"}"#, None).contains("MULTUS_NODE_NAME"));
    assert!(error(r#"{"daemonSet":"../x"}"#, Some("n")).contains("is not NAMESPACE/NAME"));
}
