use super::*;
use crate::{Origin, Owner};

const PRIMARY: &str = r#"{"cniVersion":"0.3.1","name":"p","type":"bridge","capabilities":{"ips":true}}"#;

fn primary(text: &str) -> Primary {
    Primary::parse(Origin::File("/net.d/10-p.conf".into()), text.as_bytes().to_vec()).unwrap()
}

fn template(merge: &str) -> Template {
    Template {
        plugin_type: "multus".to_owned(),
        members: vec![Member::new("logLevel", "error"), Member::new("kubeconfig", "/k")],
        merge: merge_from(merge).unwrap(),
        ..Template::default()
    }
}

fn text(template: &Template, text: &str) -> String {
    template.generate(&primary(text)).unwrap().text
}

#[test]
fn what_is_merged_replaces_in_place_or_comes_last() {
    let merged = r#"{"LogLevel":"debug","defaultNetworks":["ns/a"],"capabilities":{"mac":true,"ips":null},"kubeconfig":null}"#;
    assert_eq!(
        text(&template(merged), PRIMARY),
        r#"{
        "cniVersion": "0.3.1",
        "name": "multus-cni-network",
        "type": "multus",
        "capabilities": {"io.kubernetes.cri.pod-annotations":true,"mac":true},
        "logLevel": "debug",
        "defaultNetworks": ["ns/a"],
        "delegates": [
                {"capabilities":{"ips":true},"cniVersion":"0.3.1","name":"p","type":"bridge"}
        ]
}
"#
    );
}

#[test]
fn every_setting_of_the_plugin_can_be_merged() {
    let merged = r#"{"namespaceIsolation":true,"globalNamespaces":"a,b","specMode":"strict","logOptions":{"maxSize":5},"cniDir":"/c",
        "multusNamespace":"x","systemNamespaces":["y"],"addTimeoutSeconds":60}"#;
    let made = text(&template(merged), PRIMARY);
    let netconf = NetConf::parse(made.as_bytes()).unwrap();
    assert!(netconf.namespace_isolation);
    assert_eq!(netconf.global_namespaces, ["a", "b"]);
    assert_eq!(netconf.spec_mode, plan::SpecMode::Strict);
    assert_eq!(netconf.multus_namespace, "x");
}

#[test]
fn what_would_change_the_network_cannot_be_merged() {
    for key in ["type", "Type", "name", "cniVersion", "DELEGATES", "clusterNetwork", "plugins", "multus-rs"] {
        let error = merge_from(&format!("{{\"{key}\": 1}}")).unwrap_err().to_string();
        assert!(error.contains(&format!("{key:?} cannot be merged")), "{error}");
    }
    for text in ["", "[]", "null", "{"] {
        assert!(matches!(merge_from(text), Err(Error::Setting(_))), "{text:?}");
    }
}

#[test]
fn what_the_plugin_could_not_read_is_never_installed() {
    for merged in [r#"{"specMode":"loose"}"#, r#"{"defaultNetworks":"a"}"#, r#"{"addTimeoutSeconds":-1}"#] {
        let error = template(merged).generate(&primary(PRIMARY)).unwrap_err();
        assert!(matches!(&error, Error::Setting(text) if text.contains("could not read")), "{error}");
    }
}

#[test]
fn a_mark_says_whose_it_is_and_what_it_was_made_of() {
    for version in ["0.3.1", "1.0.0"] {
        let template = Template { owner: Some("kube-system/multus".to_owned()), ..template("{}") };
        let made = text(&template, &PRIMARY.replace("0.3.1", version));
        let Owner::Marked { mark, intact: true } = Owner::of(made.as_bytes()) else { panic!("{made}") };
        assert_eq!((mark.owner.as_str(), mark.primary.as_str()), ("kube-system/multus", "10-p.conf"));
        let unmarked = text(&Template { owner: None, ..template }, &PRIMARY.replace("0.3.1", version));
        let without: String =
            made.lines().filter(|line| !line.contains("multus-rs")).map(|l| format!("{l}\n")).collect();
        assert_eq!(without, unmarked, "the mark is a line of its own");
    }
}

#[test]
fn a_text_that_looks_like_a_mark_is_left_alone() {
    let imitation = Mark::new("a/b", "10-p.conf").member();
    let merged = serde_json::json!({"logFile": imitation, "x": {"multus-rs": {"owner": "a/b"}}}).to_string();
    let template = Template { owner: Some("a/b".to_owned()), ..template(&merged) };
    let made = text(&template, PRIMARY);
    assert!(matches!(Owner::of(made.as_bytes()), Owner::Marked { intact: true, .. }), "{made}");
    assert!(made.contains(&serde_json::Value::from(imitation).to_string()), "{made}");
}

#[test]
fn a_files_name_that_is_given_says_which_form_it_has() {
    for (file_name, version, list) in [
        ("00-multus.conf", "1.1.0", false),
        ("05-mine.conflist", "0.3.1", true),
        ("05-mine.conf", "0.4.0", false),
    ] {
        let template = Template { file_name: file_name.to_owned(), ..template("{}") };
        let made = template.generate(&primary(&PRIMARY.replace("0.3.1", version))).unwrap();
        assert_eq!(made.file_name, file_name);
        assert_eq!(made.text.contains("\"plugins\": ["), list);
        let network = libcni::Network::parse(made.text.as_bytes()).unwrap();
        assert_eq!(
            (network.cni_version.as_str(), network.plugins[0].plugin_type.as_str()),
            (version, "multus")
        );
    }
}
