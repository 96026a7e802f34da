//! Both forms, every key, every check.

use proptest::prelude::*;

use super::*;
use crate::testing::says;

const JSON: &str =
    "parsePodNetworkAnnotation: failed to parse pod Network Attachment Selection Annotation JSON format: ";
const SHORT: &str = "parsePodNetworkAnnotation: parsePodNetworkObjectName: ";

fn networks(text: &str) -> Result<Vec<Selection>, PlanError> {
    parse(text, Annotation::Networks, "test")
}

#[track_caller]
fn one(text: &str) -> Selection {
    let mut items = networks(text).unwrap_or_else(|e| panic!("{text}: {e}"));
    assert_eq!(items.len(), 1, "{text}");
    items.remove(0)
}

/// An item with this key is taken.
#[track_caller]
fn takes(key: &str) -> Selection {
    one(&format!(r#"[{{"name":"net1",{key}}}]"#))
}

/// An item with this key, the second of two, is refused with a text that says so.
#[track_caller]
fn refuses(key: &str, prefix: &str, part: &str) {
    let text = format!(r#"[{{"name":"net0"}},{{"name":"net1","namespace":"ns",{key}}}]"#);
    let error = networks(&text).expect_err(&text);
    let place = format!(r#"item 2 ("ns/net1") of annotation {NETWORKS_ANNOTATION}"#);
    says(&error, 7, prefix, &[part, &place, ": "]);
}

#[track_caller]
fn short_names(text: &str, expected: &[(&str, &str, Option<&str>)]) {
    let items = networks(text).unwrap_or_else(|e| panic!("{text}: {e}"));
    let found: Vec<_> =
        items.iter().map(|i| (i.namespace.as_str(), i.name.as_str(), i.interface.as_deref())).collect();
    assert_eq!(found, expected, "{text}");
}

#[track_caller]
fn short_fails(text: &str, what: &str, item: usize) {
    let error = networks(text).expect_err(text);
    let place = format!("item {item} (");
    says(&error, 7, &format!("{SHORT}{what}"), &[&place, NETWORKS_ANNOTATION]);
}

#[test]
fn n11_n20_n21_short_form() {
    short_names("net1", &[("test", "net1", None)]);
    short_names("net1,other/net2", &[("test", "net1", None), ("other", "net2", None)]);
    short_names(" ns / net1 @ eth5 , net2 ", &[("ns", "net1", Some("eth5")), ("test", "net2", None)]);
    short_names("default/net1@my_interface", &[("default", "net1", Some("my_interface"))]);
    short_names("net1@", &[("test", "net1", None)]);
    short_names("null", &[("test", "null", None)]);
    short_names("", &[]);
    short_names(&"a".repeat(70), &[("test", &"a".repeat(70), None)]);
}

#[test]
fn n9_n21_short_form_errors_are_upstreams_and_name_the_item() {
    short_fails("root@a/root@b/root@c", "Invalid network object (failed at '/')", 1);
    short_fails("a,root@someIP/root@b@c", "Invalid network object (failed at '@')", 2);
    short_fails("root@someIP/root@b", "Failed to parse: one or more items did not match", 1);
    short_fails("net.1", "Failed to parse: one or more items did not match", 1);
    short_fails("net1,Net2", "Failed to parse: one or more items did not match", 2);
    short_fails("-a", "Failed to parse: one or more items did not match", 1);
    short_fails("default/net1@myIfc Name", "Failed to parse interface name: must be less than 15 chars", 1);
    short_fails("default/net1@very_long_interface_name", "Failed to parse interface name", 1);
    let error = networks("net.1").unwrap_err().to_string();
    assert!(error.contains("mismatch @ 'net.1'; item 1"), "{error}");
    assert!(error.ends_with("names with a dot need the JSON form"), "{error}");
}

#[test]
fn n25_a_name_is_required() {
    for (text, item) in
        [("net1,", 2), (r#"[{"name":"a"},{"interface":"x"}]"#, 2), (r#"[{"name":""}]"#, 1), (",", 1)]
    {
        let error = networks(text).expect_err(text);
        let place = format!("; item {item} of annotation {NETWORKS_ANNOTATION} has no name: ");
        says(
            &error,
            7,
            "GetNetworkDelegates: failed getting the delegate: getKubernetesDelegate: cannot find a \
             network-attachment-definition () in namespace (test): resource name may not be empty",
            &[&place],
        );
    }
}

#[test]
fn n22_json_form_is_a_list_of_objects() {
    assert_eq!(networks("[]").unwrap(), []);
    for (text, part) in [
        (r#"{"name":"net1"}"#, "found object in place of the list"),
        (r#""net1""#, "found string in place of the list"),
        ("[1]", "item 1 of annotation"),
        (r#"[{"name":"a"},"net1"]"#, "item 2 of annotation"),
        ("[null]", "is null"),
        ("[{\"name\":\"a\"}", "EOF"),
        (r#"[{"name":"a"}] x"#, "trailing"),
        ("[asdf]", "expected value"),
        ("[{\"name\":\"a\0\"}]", "control character"),
    ] {
        says(&networks(text).expect_err(text), 7, JSON, &[part, NETWORKS_ANNOTATION]);
    }
}

#[test]
fn n23_keys_are_read_as_go_reads_them() {
    let item =
        one(r#"[{"NAME":"a","name":"net1","IPS":["10.0.0.1"],"Interface":"foo0","x":{"y":[]},"mac":null}]"#);
    assert_eq!((item.name.as_str(), item.interface.as_deref()), ("net1", Some("foo0")));
    assert_eq!((item.ips.as_slice(), item.mac.as_deref()), (["10.0.0.1".to_owned()].as_slice(), None));
    assert_eq!(one(r#"[{"name":"a","name":"net1"}]"#).name, "net1");
    refuses(r#""interface":5"#, JSON, "key \"interface\": ");
    refuses(r#""ips":"10.0.0.1""#, JSON, "key \"ips\": ");
    refuses(r#""bandwidth":[]"#, JSON, "key \"bandwidth\": ");
}

#[test]
fn n26_the_namespace_defaults_to_the_pods() {
    assert_eq!(takes(r#""namespace":"""#).namespace, "test");
    assert_eq!(takes(r#""namespace":"ns""#).namespace, "ns");
    assert_eq!(takes(r#""namespace":"ns""#).full_name(), "ns/net1");
}

#[test]
fn n9_names_cannot_leave_the_path_of_an_api_call() {
    assert_eq!(one(r#"[{"name":"my.net"}]"#).name, "my.net");
    for (name, namespace) in
        [("../pods/x", "ns"), ("..", "ns"), ("a?b", "ns"), ("A", "ns"), ("a", ".."), ("a", "a.b")]
    {
        let text = format!(r#"[{{"name":"{name}","namespace":"{namespace}"}}]"#);
        says(&networks(&text).expect_err(&text), 7, &format!("{JSON}invalid n"), &["item 1 ("]);
    }
}

#[test]
fn n27_n28_ips() {
    let item = takes(r#""ips":["10.0.0.9/24","fd00::9","10.1.1.1"]"#);
    assert_eq!(item.ips, ["10.0.0.9/24", "fd00::9", "10.1.1.1"]);
    assert!(takes(r#""ips":null"#).ips.is_empty());
    refuses(r#""ips":[]"#, JSON, "\"ips\" is empty");
    refuses(r#""ips":["10.0.0.9/33"]"#, "failed to parse CIDR \"10.0.0.9/33\": invalid CIDR address", "");
    refuses(r#""ips":["10.0.0.1","bogus"]"#, "failed to parse IP address \"bogus\"", "");
    refuses(r#""ips":[""]"#, "failed to parse IP address \"\"", "");
    refuses(r#""ips":[null]"#, "failed to parse IP address \"\"", "");
}

#[test]
fn n34_mac() {
    assert_eq!(takes(r#""mac":"02:00:00:00:00:01""#).mac.as_deref(), Some("02:00:00:00:00:01"));
    assert_eq!(takes(r#""mac":"""#).mac, None);
    let prefix = "parsePodNetworkAnnotation: failed to mac: address ";
    refuses(r#""mac":"bogus""#, prefix, "address bogus: invalid MAC address");
    refuses(r#""mac":"24:8a:07:03:00:8d:ae:2e""#, prefix, "six octets");
}

#[test]
fn n64_infiniband_guid() {
    let guid = "24:8a:07:03:00:8d:ae:2e";
    assert_eq!(takes(&format!(r#""infiniband-guid":"{guid}""#)).infiniband_guid.as_deref(), Some(guid));
    let prefix = "parsePodNetworkAnnotation: failed to validate infiniband GUID: address ";
    refuses(r#""infiniband-guid":"02:00:00:00:00:01""#, prefix, "eight octets");
}

#[test]
fn n37_n38_interface() {
    assert_eq!(takes(r#""interface":"eth1""#).interface.as_deref(), Some("eth1"));
    assert_eq!(takes(r#""interfaceRequest":"eth1""#).interface.as_deref(), Some("eth1"));
    assert_eq!(takes(r#""interfaceRequest":"a","interface":"b""#).interface.as_deref(), Some("b"));
    assert_eq!(takes(r#""interface":"äöüäöüx""#).interface.as_deref(), Some("äöüäöüx"));
    let prefix = "parsePodNetworkAnnotation: Failed to parse interface name: ";
    for name in
        ["sixteen-bytes-xx", "äöüäöüäö", "a/b", "a b", "a:b", ".", "..", "lo", "a\\tb", "net%d", "a\\u0000b"]
    {
        refuses(&format!(r#""interface":"{name}""#), prefix, "interface name '");
    }
}

#[test]
fn n46_n47_n48_port_mappings() {
    let item = takes(
        r#""portMappings":[{"hostPort":8080,"containerPort":80},
            {"hostPort":1,"containerPort":65535,"protocol":"SCTP","hostIP":"10.0.0.1"}]"#,
    );
    let text = serde_json::to_string(&item.port_mappings).unwrap();
    assert_eq!(
        text,
        r#"[{"hostPort":8080,"containerPort":80,"protocol":"tcp"},{"hostPort":1,"containerPort":65535,"protocol":"sctp","hostIP":"10.0.0.1"}]"#
    );
    for (mapping, part) in [
        ("", "\"portMappings\" is empty"),
        (r#"{"hostPort":70000,"containerPort":80}"#, "\"hostPort\" of port mapping 1 is 70000"),
        (r#"{"hostPort":80,"containerPort":0}"#, "\"containerPort\" of port mapping 1 is 0"),
        (r#"{"hostPort":-1,"containerPort":1}"#, "is -1"),
        (r#"{"hostPort":1,"containerPort":1},{"hostPort":1}"#, "port mapping 2 has no \"containerPort\""),
        (r#"{"containerPort":1}"#, "port mapping 1 has no \"hostPort\""),
        (r#"{"hostPort":1,"containerPort":1,"protocol":"icmp"}"#, "is \"icmp\""),
        (r#"{"hostPort":1,"containerPort":1,"hostIP":"x"}"#, "\"hostIP\" of port mapping 1"),
        (r#"{"hostPort":"1","containerPort":1}"#, "key \"portMappings\": "),
        (r#"{"hostPort":1.5,"containerPort":1}"#, "key \"portMappings\": "),
    ] {
        refuses(&format!(r#""portMappings":[{mapping}]"#), JSON, part);
    }
}

#[test]
fn n53_a_zero_is_no_limit_but_to_the_letter_no_value() {
    let item = r#""bandwidth":{"ingressRate":1,"ingressBurst":2,"egressRate":0,"egressBurst":0}"#;
    let limits = Bandwidth { ingress_rate: 1, ingress_burst: 2, ..Bandwidth::default() };
    assert_eq!(takes(item).bandwidth, Some(limits));
    let text = format!(r#"[{{"name":"net1",{item}}}]"#);
    let error = parse_in(SpecMode::Strict, &text, Annotation::Networks, "test").unwrap_err();
    says(&error, 7, JSON, &["\"egressRate\" of \"bandwidth\" is 0"]);
}

#[test]
fn n52_n53_n54_bandwidth() {
    let item = takes(r#""bandwidth":{"ingressRate":1,"ingressBurst":2,"egressRate":9007199254740993}"#);
    assert_eq!(
        serde_json::to_string(&item.bandwidth).unwrap(),
        r#"{"ingressRate":1,"ingressBurst":2,"egressRate":9007199254740993,"egressBurst":0}"#
    );
    for (limits, part) in [
        ("", "\"bandwidth\" limits nothing"),
        (r#""ingressRate":null"#, "\"bandwidth\" limits nothing"),
        (
            r#""ingressRate":0,"ingressBurst":0,"egressRate":0,"egressBurst":0"#,
            "\"bandwidth\" limits nothing",
        ),
        (r#""ingressRate":0,"ingressBurst":5"#, "ingressBurst without ingressRate"),
        (r#""egressRate":-5"#, "\"egressRate\" of \"bandwidth\" is -5"),
        (r#""ingressBurst":5"#, "ingressBurst without ingressRate"),
        (r#""ingressRate":5,"egressBurst":5"#, "egressBurst without egressRate"),
        (r#""ingressRate":"5""#, "key \"bandwidth\": "),
    ] {
        refuses(&format!(r#""bandwidth":{{{limits}}}"#), JSON, part);
    }
}

#[test]
fn n58_n63_default_route() {
    let gateways = |item: Selection| {
        item.default_route.map(|list| list.iter().map(ToString::to_string).collect::<Vec<_>>())
    };
    assert_eq!(gateways(takes(r#""default-route":[]"#)), Some(vec![]));
    assert_eq!(gateways(takes(r#""default-route":null"#)), None);
    assert_eq!(
        gateways(takes(r#""default-route":["10.0.0.1","fd00::1","10.0.0.2","10.0.0.1","::ffff:10.0.0.3"]"#)),
        Some(["10.0.0.1", "fd00::1", "10.0.0.2", "10.0.0.3"].map(String::from).to_vec())
    );
    refuses(r#""default-route":["10.0.0.1/24"]"#, JSON, "invalid IP address: 10.0.0.1/24");
    refuses(r#""default-route":[""]"#, JSON, "invalid IP address: ");
    refuses(r#""default-route":"10.0.0.1""#, JSON, "key \"default-route\": ");
}

#[test]
fn n61_n62_only_one_item_carries_default_route() {
    let text = r#"[{"name":"a","default-route":[]},{"name":"b"},{"name":"c","default-route":["10.0.0.1"]}]"#;
    let error = networks(text).unwrap_err();
    let parts = [r#"item 1 ("test/a")"#, r#"item 3 ("test/c")"#, "keep it on one of them"];
    says(&error, 7, "multus does not support ECMP for default-route", &parts);
}

#[test]
fn n42_cni_args() {
    let item = takes(r#""cni-args":{"k":"v","n":{"a":[9007199254740993]}}"#);
    assert_eq!(item.cni_args.unwrap().to_bytes(), br#"{"k":"v","n":{"a":[9007199254740993]}}"#);
    refuses(r#""cni-args":"x""#, JSON, "key \"cni-args\": ");
}

#[test]
fn n66_n67_ipam_claim() {
    let item = takes(r#""ipam-claim-reference":"claim""#);
    assert_eq!(item.ipam_claim.as_deref(), Some("claim"));
    refuses(r#""ips":["10.0.0.1"],"ipam-claim-reference":"claim""#, JSON, "exclude each other");
}

#[test]
fn default_network_annotation_must_not_be_empty() {
    let error = parse("", Annotation::DefaultNetwork, "kube-system").unwrap_err();
    let prefix = "parsePodNetworkAnnotation: pod annotation does not have \"network\" as key";
    says(&error, 7, prefix, &[DEFAULT_NETWORK_ANNOTATION]);
}

#[test]
fn hostile_annotations_give_short_errors_at_once() {
    let deep = "[".repeat(1 << 20);
    let nested = format!(r#"[{{"name":"a","mac":{}1{}}}]"#, "[".repeat(100_000), "]".repeat(100_000));
    let long = format!(r#"[{{"name":"{}"}}]"#, "a".repeat(4 << 20));
    for text in [&deep, &nested, &long, &"a,".repeat(1 << 20), &"@".repeat(1 << 20), &"ä".repeat(1 << 20)] {
        says(&networks(text).expect_err("hostile"), 7, "", &[NETWORKS_ANNOTATION]);
    }
    // Arguments are handed on unread: their depth is the plugin's business.
    let args = format!(r#"[{{"name":"a","cni-args":{{"x":{}{}}}}}]"#, "[".repeat(10_000), "]".repeat(10_000));
    assert_eq!(networks(&args).unwrap().len(), 1);
}

proptest! {
    #[test]
    fn n20_any_text_is_read_or_refused(text in r#"([\[\]{}",:/@ a-z0-9.-]|\PC|name|ips|mac|null){0,60}"#) {
        if let Err(error) = networks(&text) {
            prop_assert!(error.to_string().len() < 2048);
        }
        let _ = parse(&text, Annotation::DefaultNetwork, "kube-system");
    }

    #[test]
    fn n20_any_values_are_read_or_refused(
        key in "(name|ips|mac|interface|portMappings|bandwidth|default-route|cni-args|infiniband-guid)",
        value in r#"(null|1|-1|1e400|""|"x"|\[\]|\[1\]|\[null\]|\{\}|\{"hostPort":1\}|\{"ingressRate":1e3\}|true)"#,
    ) {
        let _ = networks(&format!(r#"[{{"name":"a","{key}":{value}}}]"#));
    }

    #[test]
    fn n20_both_forms_agree(ns in "[a-z]{1,5}", name in "[a-z0-9]{1,9}", interface in "[a-z0-9]{3,15}") {
        let short = networks(&format!("{ns}/{name}@{interface}"));
        let json = networks(&format!(r#"[{{"name":"{name}","namespace":"{ns}","interface":"{interface}"}}]"#));
        prop_assert_eq!(short.unwrap(), json.unwrap());
    }
}
