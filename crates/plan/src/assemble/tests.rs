//! Which networks a pod gets, and what it is told when it gets none.

mod files;
mod requests;
mod secrets;

use libcni::{CniError, Verb};
use proptest::prelude::*;

use crate::testing::{CLUSTER, Case, able_config, shape};
use crate::{EventKind, NadLookup, NadRef, Origin};

const IN_ANNOTATIONS: &str = "Multus: [test/p1/u1]: error loading k8s delegates k8s args: ";
const IN_NETWORKS: &str = "Multus: [test/p1/u1]: error loading k8s delegates k8s args: TryLoadPodDelegates: error in \
    getting k8s network for pod: GetNetworkDelegates: ";
const IN_DEFAULT: &str = "Multus: [test/p1/u1]: error loading k8s delegates k8s args: TryLoadPodDelegates: error in \
    loading K8s cluster default network from pod annotation: tryLoadK8sPodDefaultNetwork: ";
const CONFIGURED: &str = "Multus: [test/p1/u1]: failed to get clusterNetwork/defaultNetworks: ";

#[test]
fn n91_n92_the_default_network_comes_first() {
    let plan = Case::new().selects("a,ns/b@foo").able("test/a").able("ns/b").plan();
    assert_eq!(shape(&plan), [("cbr0", "eth0"), ("test/a", "net1"), ("ns/b", "foo")]);
    let [primary, a, b] = plan.attachments.as_slice() else { panic!("three attachments") };
    assert!(primary.primary && !a.primary && !b.primary);
    assert_eq!((primary.index, a.index, b.index), (0, 1, 2));
    assert_eq!(a.origin, Origin::NetworksAnnotation { item: 1 });
    assert_eq!(primary.qualified_name, "kube-system/cbr0");
    assert!(plan.warnings.is_empty() && !plan.clears_default_routes);
}

#[test]
fn n68_n70_the_same_network_twice_is_two_attachments() {
    let plan = Case::new().selects("a,a").able("test/a").plan();
    assert_eq!(shape(&plan), [("cbr0", "eth0"), ("test/a", "net1"), ("test/a", "net2")]);
}

#[test]
fn n91_delegates_count_for_interface_names() {
    let delegates = r#"{"delegates":[{"name":"a","type":"t"},{"name":"b","type":"t"}]}"#;
    let case = Case::new().netconf(delegates).selects("c").able("test/c");
    assert_eq!(shape(&case.plan()), [("a", "eth0"), ("b", "net1"), ("test/c", "net2")]);
    let status = case.verb(Verb::Status);
    assert_eq!(shape(&status.plan()), [("a", "eth0")]);
}

#[test]
fn n12_n16_n17_the_nads_own_configuration() {
    let unnamed = Case::new().selects("a").nad("test/a", r#"{"type":"mynet","x":1.50}"#).plan();
    let network = &unnamed.attachments[1].network;
    assert_eq!(network.name, "a");
    assert_eq!(String::from_utf8(network.to_bytes()).unwrap(), r#"{"name":"a","type":"mynet","x":1.50}"#);

    let config = r#"{ "type":"mynet", "name":"other", "big":9007199254740993 }"#;
    let named = Case::new().selects("a").nad("test/a", config).plan();
    assert_eq!(named.attachments[1].network.to_bytes(), config.as_bytes());
    assert_eq!(named.attachments[1].name, "test/a");
}

#[test]
fn n13_n14_files_by_name_lists_first() {
    let case = Case::new()
        .selects("a,b")
        .nad("test/a", "")
        .nad("test/b", "")
        .file("10-a.conf", r#"{"name":"a","type":"single"}"#)
        .file("20-b.conf", r#"{"name":"b","type":"single"}"#)
        .file("30-broken.conf", "asdf")
        .file("40-a.conflist", r#"{"name":"a","plugins":[{"type":"list"}]}"#);
    let types: Vec<String> =
        case.plan().attachments.iter().map(|a| a.network.plugins[0].plugin_type.clone()).collect();
    assert_eq!(types, ["bridge", "list", "single"]);
}

#[test]
fn n15_no_configuration_at_all_fails() {
    let case = || Case::new().selects("a").nad("test/a", "");
    let prefix =
        format!("{IN_NETWORKS}failed getting the delegate: GetCNIConfig: err in GetCNIConfigFromFile: ");
    let fails = |case: Case, why: &str| {
        case.fails(7, &format!("{prefix}{why}"), &["item 1 (\"test/a\")", "test/a has no spec.config"]);
    };
    fails(case(), "No networks found in /etc/cni/multus/net.d");
    fails(
        case().file("1.conf", r#"{"name":"b","type":"t"}"#),
        "no network available in the name a in cni dir /etc/cni/multus/net.d",
    );
    let dir = "/etc/cni/multus/net.d";
    let broken = format!("Error loading CNI config file {dir}/1.conf: error parsing configuration: ");
    fails(case().file("1.conf", "asdf"), &broken);
    let list =
        format!("Error loading CNI conflist file {dir}/1.conflist: error parsing configuration list: ");
    fails(case().file("1.conflist", "["), &list);
    let untyped =
        format!("Error loading CNI config file {dir}/1.json: no 'type'; perhaps this is a .conflist?");
    fails(case().file("1.json", r#"{"name":"a"}"#), &untyped);
}

#[test]
fn n12_an_unusable_configuration_names_the_nad() {
    let prefix = format!("{IN_NETWORKS}failed getting the delegate: ");
    for (config, why) in [
        ("nope", "GetCNIConfig: err in getCNIConfigFromSpec: failed to unmarshal Spec.Config: "),
        ("[]", "GetCNIConfig: err in getCNIConfigFromSpec: failed to unmarshal Spec.Config: "),
        (
            "{}",
            "LoadDelegateNetConf: failed with: LoadDelegateNetConfList: delegate must have the 'type' or 'plugin'",
        ),
        (
            r#"{"plugins":[{}]}"#,
            "LoadDelegateNetConf: failed with: LoadDelegateNetConfList: a plugin delegate must",
        ),
        (r#"{"type":5}"#, "LoadDelegateNetConf: "),
        (r#"{"plugins":5}"#, "LoadDelegateNetConf: "),
    ] {
        let case = Case::new().selects("x,a").able("test/x").nad("test/a", config);
        let parts = ["spec.config of NetworkAttachmentDefinition test/a", "item 2 (\"test/a\")"];
        case.fails(7, &format!("{prefix}{why}"), &parts);
    }
}

#[test]
fn n97_a_missing_nad_is_named_and_tried_again() {
    let error = Case::new().selects("net1").missing("test", "net1").fails(
        CniError::TRY_AGAIN,
        &format!(
            "{IN_NETWORKS}failed getting the delegate: getKubernetesDelegate: cannot find a \
             network-attachment-definition (net1) in namespace (test): network-attachment-definitions.k8s.cni.cncf.io \
             \"net1\" not found"
        ),
        &["item 1 (\"test/net1\")", "create that NetworkAttachmentDefinition"],
    );
    let event = error.event().unwrap();
    assert_eq!((event.kind, event.reason.as_str()), (EventKind::Warning, "NoNetworkFound"));
    assert_eq!(
        event.message,
        "cannot find a network-attachment-definition (net1) in namespace (test): \
         network-attachment-definitions.k8s.cni.cncf.io \"net1\" not found"
    );

    let mut case = Case::new().selects("net1");
    case.fails(CniError::TRY_AGAIN, IN_NETWORKS, &["it was not looked up"]);
    case.nads.insert(NadRef::new("test", "net1"), NadLookup::Failed("the API server is away".into()));
    case.fails(CniError::TRY_AGAIN, IN_NETWORKS, &["in namespace (test): the API server is away"]);
}

#[test]
fn n29_n35_n39_strict_ignores_a_malformed_annotation_and_warns() {
    let malformed = [
        r#"[{"name":"a","ips":["bogus"]}]"#,
        r#"[{"name":"a","mac":"bogus"}]"#,
        r#"[{"name":"a","interface":"much too long for it"}]"#,
        r#"[{"name":"a","default-route":[]},{"name":"a","default-route":[]}]"#,
        "a/b/c",
        "a,",
    ];
    for text in malformed {
        let strict = Case::new().with_keys(r#""specMode":"strict""#).selects(text);
        let plan = strict.plan();
        assert_eq!(shape(&plan), [("cbr0", "eth0")], "{text}");
        assert_eq!(plan.warnings[0].kind, EventKind::Warning);
        assert!(
            plan.warnings[0].message.contains("; item ") || plan.warnings[0].message.contains("both item 1"),
            "{}",
            plan.warnings[0].message
        );
        assert!(strict.wanted().unwrap().nads.is_empty(), "{text}");
        Case::new().selects(text).fails(7, IN_ANNOTATIONS, &["item "]);
    }
    // What is well formed and cannot be fulfilled fails in strict mode too.
    let strict = Case::new().with_keys(r#""specMode":"strict""#).selects("a").missing("test", "a");
    strict.fails(CniError::TRY_AGAIN, IN_NETWORKS, &[]);
}

#[test]
fn cluster_network_is_a_nad_else_a_file_else_a_path() {
    let by_name = || Case::new().netconf(r#"{"clusterNetwork":"c","defaultNetworks":["d"]}"#);
    let both = by_name().able("kube-system/c").able("kube-system/d").plan();
    assert_eq!(shape(&both), [("kube-system/c", "eth0"), ("kube-system/d", "net1")]);
    assert_eq!(both.attachments[1].origin, Origin::DefaultNetwork { index: 0 });
    assert_eq!(both.attachments[0].qualified_name, "kube-system/c");

    // Q22: a file is as good as a NAD, and nobody is warned.
    let file = by_name()
        .missing("kube-system", "c")
        .able("kube-system/d")
        .file("1.conf", r#"{"name":"c","type":"t"}"#);
    let plan = file.plan();
    assert_eq!(shape(&plan)[0], ("c", "eth0"));
    assert!(plan.warnings.is_empty());
}

/// Upstream drops them without a word, though its own entrypoint writes the primary network out.
#[test]
fn n92_default_networks_are_attached_beside_a_primary_that_is_written_out() {
    let case = Case::new()
        .netconf(r#"{"delegates":[{"name":"a","type":"t"}],"defaultNetworks":["d"]}"#)
        .able("kube-system/d");
    let plan = case.plan();
    assert_eq!(shape(&plan), [("a", "eth0"), ("kube-system/d", "net1")]);
    assert_eq!(plan.attachments[1].origin, Origin::DefaultNetwork { index: 0 });
}

#[test]
fn n92_a_missing_cluster_network_says_why() {
    let prefix =
        format!("{CONFIGURED}GetDefaultNetworks: failed to get clusterNetwork c in namespace kube-system: ");
    let parts = [
        "getNetDelegate: cannot find network: c: ",
        "\"c\" not found",
        "No networks found in",
        "clusterNetwork has to name",
    ];
    let case = Case::new().netconf(r#"{"clusterNetwork":"c"}"#).missing("kube-system", "c");
    let error = case.fails(CniError::TRY_AGAIN, &prefix, &parts);
    assert_eq!(error.event().unwrap().reason, "NoNetworkFound");

    let mut case = Case::new();
    case.disk.paths.insert(CLUSTER.into(), Err("no such file".into()));
    let prefix = format!(
        "{CONFIGURED}GetDefaultNetworks: failed to get clusterNetwork {CLUSTER} in namespace kube-system: no such"
    );
    case.fails(CniError::TRY_AGAIN, &prefix, &["has to be a CNI configuration file"]);

    let case = Case::new().with_keys(r#""defaultNetworks":["d"]"#).missing("kube-system", "d");
    case.fails(CniError::TRY_AGAIN, &format!("{CONFIGURED}getNetDelegate: cannot find network: d: "), &[]);
}

#[test]
fn q9_the_namespace_makes_a_system_pod_and_not_the_name() {
    let with = |namespace: &str, name: &str| {
        let mut case = Case::new().with_keys(r#""defaultNetworks":["d"]"#).able("kube-system/d");
        let pod = case.pod.as_mut().unwrap();
        (pod.namespace, pod.name) = (namespace.into(), name.into());
        case.plan().attachments.len()
    };
    assert_eq!((with("kube-system", "p"), with("test", "kube-system")), (1, 2));
}

#[test]
fn status_and_gc_concern_the_default_network_without_a_pod() {
    for verb in [Verb::Status, Verb::Gc] {
        let mut case = Case::new()
            .netconf(r#"{"clusterNetwork":"c","defaultNetworks":["d"],"auxiliaryCNIChainName":"x"}"#);
        case = case.able("kube-system/c").verb(verb);
        case.pod = None;
        assert_eq!(shape(&case.plan()), [("kube-system/c", "eth0")]);
    }
}

#[test]
fn a_container_that_is_no_pod_gets_the_default_network() {
    let mut case = Case::new().with_keys(r#""defaultNetworks":["d"]"#);
    case.pod = None;
    assert_eq!(shape(&case.plan()), [("cbr0", "eth0")]);
}

#[test]
fn the_default_network_annotation_replaces_the_first() {
    let case = Case::new().selects_default("d").able("kube-system/d").selects("a").able("test/a");
    assert_eq!(shape(&case.plan()), [("kube-system/d", "eth0"), ("test/a", "net1")]);
    let named = Case::new().selects_default("test/d@foo").able("test/d").plan();
    assert_eq!(shape(&named), [("test/d", "foo")]);
    assert!(named.attachments[0].primary);

    Case::new().selects_default("a,b").fails(
        7,
        &format!("{IN_DEFAULT}more than one default network is specified: a,b"),
        &["2 items"],
    );
    Case::new().selects_default("[]").fails(7, &format!("{IN_DEFAULT}no default network is specified"), &[]);
    let empty = "failed to parse CRD object: parsePodNetworkAnnotation: pod annotation does not have \"network\" as key";
    Case::new().selects_default("").fails(7, &format!("{IN_DEFAULT}{empty}"), &[]);
    let missing = "failed getting the delegate: getKubernetesDelegate: cannot find a network-attachment-definition (d) in \
                   namespace (kube-system): ";
    Case::new().selects_default("d").missing("kube-system", "d").fails(
        11,
        &format!("{IN_DEFAULT}{missing}"),
        &[],
    );
    // Not the specification's annotation: strict mode does not put the pod on another network instead.
    Case::new().with_keys(r#""specMode":"strict""#).selects_default("a/b/c").fails(7, IN_DEFAULT, &[]);
}

#[test]
fn n101_n102_isolation_with_global_namespaces() {
    let isolated = |keys: &str| Case::new().with_keys(&format!(r#""namespaceIsolation":true{keys}"#));
    let violation = "namespace isolation enabled, annotation violates permission, pod is in namespace test but refers to \
                     target namespace other; item 1 (\"other/a\")";
    isolated("").selects("other/a").able("other/a").fails(
        7,
        &format!("{IN_NETWORKS}{violation}"),
        &["(default)"],
    );
    for (keys, text) in [("", "a"), ("", "default/a"), (r#","globalNamespaces":"x, other""#, "other/a")] {
        let case = isolated(keys).selects(text).able("test/a").able("default/a").able("other/a");
        assert_eq!(case.plan().attachments.len(), 2, "{text}");
    }
    // A list of global namespaces replaces the implicit one.
    isolated(r#","globalNamespaces":"x""#).selects("default/a").able("default/a").fails(7, IN_NETWORKS, &[]);
    // Q8: no way around it, but the administrator's own networks stay.
    isolated("").selects_default("other/a").able("other/a").fails(
        7,
        &format!("{IN_DEFAULT}{violation}"),
        &[],
    );
    assert_eq!(isolated("").selects_default("a").able("kube-system/a").plan().attachments.len(), 1);
    // What the node's configuration names is not the pod's doing.
    assert_eq!(isolated(r#","defaultNetworks":["a"]"#).able("kube-system/a").plan().attachments.len(), 2);
}

#[test]
fn n97_another_pod_of_the_same_name() {
    let mut case = Case::new();
    case.pod.as_mut().unwrap().uid = Some("u2".into());
    let prefix = "Multus: [test/p1/u1]: expected pod UID \"u1\" but got \"u2\" from Kube API";
    case.fails(CniError::TRY_AGAIN, prefix, &["pod test/p1"]);
    case.pod.as_mut().unwrap().is_static = true;
    case.plan();
    case.pod.as_mut().unwrap().is_static = false;
    case.identity.uid.clear();
    case.plan();
    // On DEL it counts as no pod.
    case.identity.uid = "u1".into();
    let case = case.selects("a").verb(Verb::Del);
    assert_eq!(shape(&case.plan()), [("cbr0", "eth0")]);
}

#[test]
fn n97_a_missing_pod_is_tried_again() {
    let error = crate::PlanError::pod_missing(&Case::new().identity).to_cni();
    assert_eq!(error.code, CniError::TRY_AGAIN);
    assert!(error.msg.starts_with("Multus: [test/p1/u1]: error waiting for pod: pod test/p1 does not exist"));
    assert!(!error.msg.contains("not found"));
}

#[test]
fn static_pods_are_recognised() {
    for (source, is_static) in [(Some("file"), true), (Some("api"), false), (None, false)] {
        let annotations = source.map(|s| ("kubernetes.io/config.source".to_owned(), s.to_owned()));
        let pod = crate::Pod::new("a", "b", None, annotations.into_iter().collect());
        assert_eq!(pod.is_static, is_static);
    }
}

#[test]
fn n96_a_network_needs_a_name() {
    let case = Case::new().netconf(r#"{"delegates":[{"type":"t"}]}"#);
    case.fails(
        7,
        "[test/p1/u1:]: error adding container to network \"\": missing network name:",
        &["element 0 of delegates"],
    );
    let case = Case::new().selects("a").nad("test/a", r#"{"type":"t","name":"a b"}"#);
    case.fails(7, "[test/p1/u1:a b]: error adding container to network \"a b\": invalid characters found in network name", &[]);
}

#[test]
fn hostile_configurations_in_nads_are_refused_or_passed_on_unread() {
    let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    for (config, good) in [
        (format!(r#"{{"type":"t","x":{deep}}}"#), true),
        (format!(r#"{{"type":"t","args":{deep}}}"#), true),
        (format!(r#"{{"plugins":{deep}}}"#), false),
        (format!(r#"{{"type":{deep}}}"#), false),
        ("{\"a\":".repeat(100_000), false),
        ("\0".repeat(1 << 20), false),
        (format!(r#"{{"type":"t","name":"{}"}}"#, "a b".repeat(1 << 20)), false),
    ] {
        let case = Case::new().selects("a").nad("test/a", &config);
        if good {
            case.plan();
        } else {
            case.fails(7, "", &[]);
        }
    }
}

proptest! {
    #[test]
    fn plans_are_deterministic_and_never_panic(
        networks in r#"(a|b|ns/a|a@x|,|\[\{"name":"a"(,"ips":\["10.0.0.1"\])?(,"cni-args":\{"k":1\})?\}\]|[ -~]){0,6}"#,
        default in proptest::option::of("(a|b/c|,|[ -~]{0,3})"),
        config in r#"(\{"type":"t"(,"args":(1|\{\}|\{"cni":\[\]\}))?\}|\{"plugins":\[\{"type":"t"\}\]\}|[ -~]{0,8})"#,
        strict in any::<bool>(),
    ) {
        let mut case = Case::new().selects(&networks).nad("test/a", &config).able("test/b").nad("ns/a", &able_config());
        if strict {
            case = case.with_keys(r#""specMode":"strict""#);
        }
        if let Some(default) = default {
            case = case.selects_default(&default).able("kube-system/a");
        }
        let (first, second) = (case.try_plan(), case.try_plan());
        prop_assert_eq!(format!("{first:?}"), format!("{second:?}"));
        if let Ok(plan) = first {
            let mut names: Vec<_> = plan.attachments.iter().map(|a| &a.if_name).collect();
            names.sort();
            names.dedup();
            prop_assert_eq!(names.len(), plan.attachments.len());
        }
    }
}
