//! What the node's files say: the auxiliary chain, ourselves among them, and files that cannot be read.

use libcni::Verb;

use crate::testing::{CLUSTER, Case, shape};

#[test]
fn the_auxiliary_chain_comes_last() {
    let keys = r#""auxiliaryCNIChainName":"vendor""#;
    let case = Case::new().with_keys(keys).selects("a").able("test/a").aux_plugin("one").aux_plugin("two");
    let plan = case.plan();
    assert_eq!(shape(&plan), [("cbr0", "eth0"), ("test/a", "net1"), ("vendor", "net2")]);
    let bytes = String::from_utf8(plan.attachments[2].network.to_bytes()).unwrap();
    assert_eq!(
        bytes,
        r#"{"cniVersion":"1.0.0","name":"vendor","plugins":[{"name":"passthru-cni","type":"passthru"},{"type":"one"},{"type":"two"}]}"#
    );
    assert_eq!(Case::new().with_keys(keys).plan().attachments.len(), 1);
    let bare = r#"{"clusterNetwork":"c","auxiliaryCNIChainName":"vendor"}"#;
    Case::new().netconf(bare).able("kube-system/c").fails(
        7,
        "Multus: [test/p1/u1]: auxiliary chain used but ClusterNetwork must be a path, and it is not a path: c",
        &[],
    );
}

#[test]
fn we_are_never_our_own_delegate() {
    let shim = r#"{"name":"x","cniVersion":"1.0.0","plugins":[{"type":"t"},{"type":"multus-shim"}]}"#;
    let itself = |mut case: Case, label: &str, own: &str| {
        for verb in [Verb::Add, Verb::Del, Verb::Status, Verb::Gc] {
            case.verb = verb;
            case.fails(
                7,
                "[test/p1/u1:x]: error adding container to network \"x\": ",
                &[label, own, "call itself"],
            );
        }
    };
    let delegate = Case::new().netconf(r#"{"delegates":[{"name":"x","type":"multus"}]}"#);
    itself(delegate, "element 0 of delegates", "\"multus\"");
    let renamed = Case::new().netconf(r#"{"type":"meta","clusterNetwork":"x"}"#);
    itself(renamed.nad("kube-system/x", r#"{"type":"meta"}"#), "clusterNetwork", "\"meta\"");
    let mut own = Case::new();
    own.disk.paths.insert(CLUSTER.into(), Ok(libcni::Network::parse(shim.as_bytes()).unwrap()));
    itself(own, "clusterNetwork", "\"multus-shim\"");
    let selected = Case::new().selects("x").nad("test/x", shim);
    selected.fails(7, "[test/p1/u1:x]: ", &["item 1 (\"test/x\")", "call itself"]);
    // Our own file may have the primary's name.
    let named = Case::new()
        .netconf(r#"{"clusterNetwork":"cbr0"}"#)
        .missing("kube-system", "cbr0")
        .file("00-multus.conf", r#"{"name":"cbr0","type":"multus"}"#)
        .file("10-cbr0.conf", r#"{"name":"cbr0","type":"bridge"}"#);
    assert_eq!(named.plan().attachments[0].network.plugins[0].plugin_type, "bridge");
}

#[test]
fn an_auxiliary_chain_that_cannot_be_read_is_left_out_with_a_warning_and_an_error_to_the_letter() {
    let broken = |mode: &str| {
        let keys = format!(r#""auxiliaryCNIChainName":"vendor","specMode":"{mode}""#);
        let mut case = Case::new().with_keys(&keys);
        case.disk.aux_chain_error = Some("vendor/1.conf: missing 'type'".to_owned());
        case
    };
    let plan = broken("compat").plan();
    assert_eq!(shape(&plan), [("cbr0", "eth0")]);
    let [warning] = &plan.warnings[..] else { panic!("{:?}", plan.warnings) };
    assert_eq!((warning.kind.as_str(), warning.reason.as_str()), ("Warning", "AuxiliaryChainLeftOut"));
    assert!(warning.message.contains("vendor/1.conf: missing 'type'"), "{}", warning.message);
    let prefix =
        "Multus: [test/p1/u1]: auxiliary chain \"vendor\" cannot be read: vendor/1.conf: missing 'type'";
    broken("strict").fails(7, prefix, &["correct or remove"]);
}

#[test]
fn n13_a_file_that_cannot_be_read_hides_no_other_and_is_named_when_nothing_is_found() {
    let unreadable = |mut case: Case, name: &str, why: &str| {
        case.disk.conf_dir.insert(0, (name.to_owned(), Err(why.to_owned())));
        case
    };
    let named = |name: &str| Case::new().netconf(&format!(r#"{{"clusterNetwork":"{name}","confDir":"/c"}}"#));
    let there = named("a").missing("kube-system", "a").file("20.conf", r#"{"name":"a","type":"t"}"#);
    assert_eq!(shape(&unreadable(there, "10.conf", "Permission denied").plan()), [("a", "eth0")]);
    let absent = named("b").missing("kube-system", "b").file("20.conf", r#"{"name":"a","type":"t"}"#);
    let prefix = "Multus: [test/p1/u1]: failed to get clusterNetwork/defaultNetworks: ";
    unreadable(absent, "10.conf", "Permission denied").fails(11, prefix, &["/c/10.conf: Permission denied"]);
    let folder = unreadable(named("b").missing("kube-system", "b"), "", "Not a directory");
    folder.fails(11, prefix, &["/c/: Not a directory"]);
}
