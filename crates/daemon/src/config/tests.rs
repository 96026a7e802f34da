//! Upstream's configurations, and what becomes of them.

use super::*;

fn config(text: &str) -> Config {
    Config::parse(text.as_bytes()).unwrap()
}

fn error(text: &str) -> String {
    Config::parse(text.as_bytes()).unwrap_err().to_string()
}

fn netconf(text: &str) -> String {
    String::from_utf8(config(text).netconf.to_bytes()).unwrap()
}

/// As upstream's own manifest ships it.
const SHIPPED: &str = r#"{
    "chrootDir": "/hostroot", "cniVersion": "0.3.1", "logLevel": "verbose", "logToStderr": true,
    "cniConfigDir": "/host/etc/cni/net.d", "multusAutoconfigDir": "/host/etc/cni/net.d", "multusConfigFile": "auto",
    "socketDir": "/host/run/multus/"
}"#;

#[test]
fn upstream_s_own_configuration_works() {
    let config = config(SHIPPED);
    assert_eq!(config.socket_dir, std::path::Path::new("/host/run/multus/"));
    assert_eq!(config.cni_config_dir, std::path::Path::new("/host/etc/cni/net.d"));
    assert_eq!(config.config_file, None);
    assert_eq!(
        (config.log.level, config.log.to_stderr, config.log.format),
        (Level::Verbose, true, Format::Text)
    );
    assert!(config.notes[0].contains("cniVersion \"0.3.1\" is not used"), "{:?}", config.notes);
    assert_eq!(netconf(SHIPPED), r#"{"logLevel":"verbose","logToStderr":true}"#);
}

#[test]
fn the_shim_is_looked_for_where_manifests_mount_the_binary_directory() {
    let dirs = |text: &str| -> Vec<String> {
        config(text).shim_dirs.iter().map(|dir| dir.display().to_string()).collect()
    };
    assert_eq!(dirs(SHIPPED), ["/hostroot/opt/cni/bin", "/host/opt/cni/bin", "/opt/cni/bin"]);
    assert_eq!(dirs(r#"{"binDir":"/host/usr/libexec/cni"}"#), ["/host/usr/libexec/cni", "/usr/libexec/cni"]);
    assert_eq!(dirs(r#"{"shimDir":"/s"}"#), ["/s"]);
}

#[test]
fn nothing_at_all_is_a_configuration() {
    let config = config("{}");
    assert_eq!(config.socket_dir, std::path::Path::new("/run/multus"));
    assert_eq!((config.metrics, config.connection_limit), (None, None));
    assert!(config.log.to_stderr, "a daemon that says nothing helps nobody");
    assert_eq!(config.staleness_bound, STALENESS_BOUND);
    assert!(config.netconf.is_empty());
    assert_eq!(config.config_file_name, "00-multus.conf");
}

#[test]
fn keys_are_read_in_any_case_and_unknown_ones_go_to_the_shim() {
    let text = r#"{"SOCKETDIR":"/s","ConnectionLimit":7,"MetricsPort":9091,"metricsaddress":"127.0.0.1","LOGFORMAT":"JSON",
        "defaultNetworks":["a"],"multusNamespace":"m","someday":{"b": 1.50},"configFileName":"05-multus.conf"}"#;
    let config = config(text);
    assert_eq!(config.connection_limit, Some(7));
    assert_eq!(config.metrics, Some("127.0.0.1:9091".parse().unwrap()));
    assert_eq!(config.config_file_name, "05-multus.conf");
    assert_eq!(config.log.format, Format::Json);
    assert_eq!(
        netconf(text),
        r#"{"daemonSocketDir":"/s","defaultNetworks":["a"],"multusNamespace":"m","someday":{"b": 1.50}}"#
    );
}

#[test]
fn paths_of_the_container_become_the_host_s() {
    let text = r#"{"chrootDir":"/hostroot/","binDir":"/host/opt/cni/bin","confDir":"/hostroot/etc/x","cniDir":"/var/lib/cni/multus",
        "logFile":"/host/var/log/multus.log","socketDir":"/host/run/other/"}"#;
    assert_eq!(
        netconf(text),
        r#"{"binDir":"/opt/cni/bin","cniDir":"/var/lib/cni/multus","confDir":"/etc/x","daemonSocketDir":"/run/other","logFile":"/var/log/multus.log"}"#
    );
    assert_eq!(config(text).log.file.as_deref(), Some(std::path::Path::new("/host/var/log/multus.log")));
    let wrong = error(r#"{"binDir":"/hostroot/opt"}"#);
    assert!(wrong.contains("binDir") && wrong.contains("below one of /host"), "{wrong}");
    assert!(error(r#"{"confDir":"relative"}"#).contains("absolute"));
}

#[test]
fn what_the_configuration_decides_itself_is_not_overridden_and_no_kubeconfig_reaches_the_host() {
    let text = r#"{"type":"evil","name":"x","clusterNetwork":"/etc/passwd","delegates":[],"kubeconfig":"/k","perNodeCertificate":
        {"enabled":false},"readinessindicatorfile":"/host/r","owner":"a/b","daemonSet":"kube-system/kube-multus-ds"}"#;
    assert_eq!(netconf(text), "{}");
    let config = config(text);
    assert_eq!(config.readiness_indicator_file.as_deref(), Some(std::path::Path::new("/host/r")));
    assert_eq!(config.kubeconfig.as_deref(), Some(std::path::Path::new("/k")));
}

#[test]
fn a_forced_cni_version_is_used() {
    let config = config(r#"{"cniVersion":"1.0.0","forceCNIVersion":true}"#);
    assert_eq!((config.forced_cni_version.as_str(), config.notes.len()), ("1.0.0", 0));
}

#[test]
fn certificates_need_both_paths() {
    let config = config(
        r#"{"perNodeCertificate":{"enabled":true,"bootstrapKubeconfig":"/b","certDir":"/c","certDuration":"24h"}}"#,
    );
    assert_eq!(
        config.certificate,
        Some(PerNodeCertificate { bootstrap: "/b".into(), dir: "/c".into(), duration: "24h".to_owned() })
    );
    let text = error(r#"{"perNodeCertificate":{"enabled":true}}"#);
    assert!(text.starts_with("failed to configure PerNodeCertificate: enabled: true"), "{text}");
}

#[test]
fn what_is_wrong_is_named_and_not_repeated_where_it_may_be_secret() {
    for (text, expected) in [
        ("", "one JSON object"),
        ("[]", "one JSON object"),
        (r#"{"connectionLimit":0}"#, "connection limit must be greater than 0, got 0"),
        (r#"{"connectionLimit":-1}"#, "got -1"),
        (r#"{"metricsPort":70000}"#, "metricsPort"),
        (r#"{"metricsPort":1,"metricsAddress":"here"}"#, "metricsAddress"),
        (r#"{"logLevel":"info"}"#, "none of panic, error, verbose, debug"),
        (r#"{"logFormat":"xml"}"#, "neither text nor json"),
        (r#"{"events":"some"}"#, "none of each, batched, off"),
        (r#"{"socketDir":{"a":1}}"#, "socketDir"),
        (r#"{"takeOverFrom":"x"}"#, "takeOverFrom"),
        (r#"{"configFileName":"../00-multus.conf"}"#, "configFileName"),
        (r#"{"configFileName":"00-multus.json"}"#, ".conflist"),
    ] {
        let found = error(text);
        assert!(found.contains(expected), "{text}: {found}");
    }
}
