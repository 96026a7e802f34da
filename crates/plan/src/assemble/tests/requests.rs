//! What a pod asks of its networks, and what the plugins get to see of it.

use libcni::{CniError, Verb};

use super::{IN_ANNOTATIONS, IN_NETWORKS};
use crate::testing::{Case, able_config, json};
use crate::{Device, Plan, Planned};

/// The attachment of the one selected network, `test/net1`, whose plugin declares everything.
fn planned(item: &str) -> Planned {
    let case = Case::new().selects(&format!(r#"[{{"name":"net1",{item}}}]"#)).able("test/net1");
    case.plan().attachments.remove(1)
}

#[test]
fn n32_n36_n51_n57_n65_requests_become_capability_arguments() {
    let all = planned(
        r#""infiniband-guid":"24:8a:07:03:00:8d:ae:2e","mac":"02:00:00:00:00:01","ips":["10.0.0.9/24","fd00::9"],
           "bandwidth":{"ingressRate":1,"ingressBurst":2,"egressRate":3,"egressBurst":4},
           "portMappings":[{"hostPort":1,"containerPort":2}],"deviceID":"0000:01:02.3""#,
    );
    assert_eq!(
        json(&all.capability_args),
        r#"{"CNIDeviceInfoFile":"/var/run/k8s.cni.cncf.io/devinfo/cni/test-net1-cid_net1","bandwidth":{"ingressRate":1,"ingressBurst":2,"egressRate":3,"egressBurst":4},"deviceID":"0000:01:02.3","infinibandGUID":"24:8a:07:03:00:8d:ae:2e","ips":["10.0.0.9/24","fd00::9"],"mac":"02:00:00:00:00:01","portMappings":[{"hostPort":1,"containerPort":2,"protocol":"tcp"}]}"#
    );
    assert_eq!(all.request.ips, ["10.0.0.9/24", "fd00::9"]);
    assert_eq!(all.device, Some(Device { resource: None, id: "0000:01:02.3".into(), from_map: false }));
    assert_eq!(all.device_info_source, None);
    assert!(planned(r#""interface":"a""#).capability_args.is_empty());
}

#[test]
fn n33_n36_n50_n51_n57_n65_a_request_that_no_plugin_declares_fails_where_nothing_else_carries_it() {
    for (item, key, capability) in [
        (r#""ips":["10.0.0.1"]"#, "ips", "ips"),
        (r#""mac":"02:00:00:00:00:01""#, "mac", "mac"),
        (r#""portMappings":[{"hostPort":1,"containerPort":2}]"#, "portMappings", "portMappings"),
        (r#""bandwidth":{"ingressRate":1}"#, "bandwidth", "bandwidth"),
        (r#""infiniband-guid":"24:8a:07:03:00:8d:ae:2e""#, "infiniband-guid", "infinibandGUID"),
    ] {
        for mode in ["compat", "strict"] {
            let without =
                able_config().replace(&format!("\"{capability}\":true"), &format!("\"{capability}\":false"));
            let case = Case::new()
                .with_keys(&format!(r#""specMode":"{mode}""#))
                .selects(&format!(r#"[{{"name":"x"}},{{"name":"a",{item}}}]"#))
                .able("test/x")
                .nad("test/a", &without);
            let asks =
                format!("item 2 (\"test/a\") of annotation k8s.v1.cni.cncf.io/networks asks for \"{key}\"");
            let help = format!("\"capabilities\": {{\"{capability}\": true}}");
            // What CNI_ARGS carry too is for the result to decide.
            match mode == "compat" && matches!(key, "ips" | "mac") {
                true => assert_eq!(case.plan().attachments[2].undeclared.len(), 1, "{key}"),
                false => drop(case.fails(7, &format!("{IN_ANNOTATIONS}{asks}"), &["(mynet)", &help])),
            }
            // Any plugin of the chain will do.
            let chain =
                format!(r#"{{"plugins":[{without},{{"type":"t","capabilities":{{"{capability}":true}}}}]}}"#);
            assert_eq!(case.nad("test/a", &chain).plan().attachments[2].undeclared, []);
        }
    }
}

#[test]
fn the_default_network_annotation_is_not_verified_but_passed_on() {
    let item = r#"[{"name":"d","mac":"02:00:00:00:00:01","ips":["10.0.0.1"]}]"#;
    let case = Case::new().selects_default(item).nad("kube-system/d", r#"{"type":"ovn-k8s-cni-overlay"}"#);
    let primary = case.plan().attachments.remove(0);
    assert_eq!(json(&primary.capability_args), r#"{"ips":["10.0.0.1"],"mac":"02:00:00:00:00:01"}"#);
    assert_eq!(primary.undeclared, []);
    assert!(libcni::args::join(&primary.args).ends_with(";MAC=02:00:00:00:00:01;IP=10.0.0.1"));
}

#[test]
fn n103_q15_q16_the_runtimes_arguments_are_for_the_default_network_only() {
    let keys = r#""defaultNetworks":["d"],"runtimeConfig":{"portMappings":[{"hostPort":1,"containerPort":2,"x":1.0}],
        "dns":{"servers":["1.1.1.1"]},"cgroupPath":"/x","mac":"","ips":[],"bandwidth":null,
        "io.kubernetes.cri.pod-annotations":{"secret":"s"}}"#;
    let plan = Case::new().with_keys(keys).selects("a").able("test/a").able("kube-system/d").plan();
    assert_eq!(
        json(&plan.attachments[0].capability_args),
        r#"{"cgroupPath":"/x","dns":{"servers":["1.1.1.1"]},"portMappings":[{"hostPort":1,"containerPort":2,"x":1.0}]}"#
    );
    assert!(plan.attachments[1].capability_args.is_empty());
    assert!(plan.attachments[2].capability_args.is_empty());

    let wants = r#"{"name":"c","type":"t","capabilities":{"io.kubernetes.cri.pod-annotations":true}}"#;
    let conf = format!(
        r#"{{"delegates":[{wants}],"runtimeConfig":{{"io.kubernetes.cri.pod-annotations":{{"a":"b"}}}}}}"#
    );
    let declared = Case::new().netconf(&conf).plan();
    assert_eq!(
        json(&declared.attachments[0].capability_args),
        r#"{"io.kubernetes.cri.pod-annotations":{"a":"b"}}"#
    );
}

#[test]
fn q17_q18_cni_args() {
    let standard = "IgnoreUnknown=true;K8S_POD_NAMESPACE=test;K8S_POD_NAME=p1;K8S_POD_INFRA_CONTAINER_ID=cid;K8S_POD_UID=u1";
    let of = |plan: &Plan| plan.attachments.iter().map(|a| libcni::args::join(&a.args)).collect::<Vec<_>>();
    let item = r#"[{"name":"a","mac":"02:00:00:00:00:01","ips":["10.0.0.9/24","fd00::9"]},{"name":"a"}]"#;
    let case = Case::new().selects(item).able("test/a").args(&[
        ("IgnoreUnknown", "1"),
        ("K8S_POD_NAMESPACE", "test"),
        ("FOO", "bar"),
        ("BLAHBLAH", "foo=bar"),
        ("MAC", "02:00:00:00:00:ff"),
        ("IP", "10.9.9.9"),
    ]);
    let expected = [
        format!("{standard};FOO=bar;BLAHBLAH=foo=bar;MAC=02:00:00:00:00:ff;IP=10.9.9.9"),
        format!("{standard};FOO=bar;BLAHBLAH=foo=bar;MAC=02:00:00:00:00:01;IP=10.0.0.9/24,fd00::9"),
        format!("{standard};FOO=bar;BLAHBLAH=foo=bar"),
    ];
    assert_eq!(of(&case.plan()), expected);
    let add = case.plan().attachments.remove(1).capability_args;
    let case = case.verb(Verb::Del);
    assert_eq!(of(&case.plan()), expected);
    assert_eq!(case.plan().attachments[1].capability_args, add);

    let mut nobody = Case::new();
    (nobody.pod, nobody.identity) = (None, crate::PodIdentity::default());
    let empty =
        "IgnoreUnknown=true;K8S_POD_NAMESPACE=;K8S_POD_NAME=;K8S_POD_INFRA_CONTAINER_ID=;K8S_POD_UID=";
    assert_eq!(of(&nobody.plan()), [empty]);
}

#[test]
fn n1_identity_from_cni_args() {
    let of = |text: &str| crate::PodIdentity::from_args(&libcni::args::parse(text).unwrap());
    let identity = of(
        "IgnoreUnknown=1;K8S_POD_NAMESPACE=a;K8S_POD_NAME=b;K8S_POD_UID=c;K8S_POD_INFRA_CONTAINER_ID=d;X=y=z",
    );
    assert_eq!(identity.unwrap().prefix(), "[a/b/c]: ");
    assert_eq!(of("IP=10.0.0.1").unwrap().prefix(), "[//]: ");
    assert_eq!(of("").unwrap().prefix(), "[//]: ");
    for (text, prefix) in [
        ("FOO=a", "Multus: error getting k8s args: ARGS: unknown args [\"FOO=a\"]"),
        (
            "IgnoreUnknown=0;k8s_pod_name=x",
            "Multus: error getting k8s args: ARGS: unknown args [\"k8s_pod_name=x\"]",
        ),
        (
            "IgnoreUnknown=maybe",
            "Multus: error getting k8s args: ARGS: error parsing value of pair \"IgnoreUnknown=maybe\"",
        ),
    ] {
        crate::testing::says(&of(text).unwrap_err(), 4, prefix, &["; "]);
    }
}

#[test]
fn n43_n44_cni_args_are_merged_over_those_of_the_nad() {
    let merged = |config: &str| {
        let item = r#"[{"name":"a","cni-args":{"k":"pod","n":9007199254740993}}]"#;
        Case::new().selects(item).nad("test/a", config).plan().attachments.remove(1).network.to_bytes()
    };
    for (config, expected) in [
        (
            r#"{"name":"a","type":"t"}"#,
            r#"{"args":{"cni":{"k":"pod","n":9007199254740993}},"name":"a","type":"t"}"#,
        ),
        (
            r#"{"name":"a","type":"t","args":{"cni":{"k":"nad","l":1.50},"x":{}}}"#,
            r#"{"args":{"cni":{"k":"pod","l":1.50,"n":9007199254740993},"x":{}},"name":"a","type":"t"}"#,
        ),
        (
            r#"{"name":"a","plugins":[{"type":"t"},{"type":"u","args":null}]}"#,
            r#"{"name":"a","plugins":[{"args":{"cni":{"k":"pod","n":9007199254740993}},"type":"t"},{"args":{"cni":{"k":"pod","n":9007199254740993}},"type":"u"}]}"#,
        ),
    ] {
        assert_eq!(String::from_utf8(merged(config)).unwrap(), expected);
    }
    for (args, key) in [("5", "args"), (r#"{"cni":[]}"#, "args.cni")] {
        let config = format!(r#"{{"name":"a","type":"t","args":{args}}}"#);
        let case = Case::new().selects(r#"[{"name":"a","cni-args":{"k":1}}]"#).nad("test/a", &config);
        let prefix =
            format!("{IN_ANNOTATIONS}LoadDelegateNetConf(): failed to add cni-args in NetConfList bytes: ");
        case.fails(7, &prefix, &[&format!("{key:?} of plugin \"t\""), "item 1 (\"test/a\")"]);
    }
}

#[test]
fn n40_names_are_checked_before_anything_runs() {
    for (text, name, first, second) in [
        ("a@x,a@x", "x", "item 1 (\"test/a\")", "item 2 (\"test/a\")"),
        ("a@eth0", "eth0", "clusterNetwork (\"cbr0\")", "item 1 (\"test/a\")"),
        ("a@net2,a", "net2", "item 1 (\"test/a\")", "item 2 (\"test/a\")"),
    ] {
        let case = Case::new().selects(text).nad("test/a", r#"{"type":"t","name":"conf"}"#);
        let prefix = format!(
            "[test/p1/u1:conf]: error adding container to network \"conf\": DelegateAdd: cannot set \"t\" interface \
             name to \"{name}\": validateIfName: interface name {name} already exists; {second}"
        );
        case.fails(7, &prefix, &[first]);
    }
}

#[test]
fn n59_default_routes_of_the_others_go() {
    let filters = |item: &str| {
        let text = format!(r#"[{{"name":"a"}},{{"name":"a",{item}}}]"#);
        let case = Case::new()
            .with_keys(r#""auxiliaryCNIChainName":"x""#)
            .aux_plugin("t")
            .selects(&text)
            .able("test/a");
        let plan = case.plan();
        let flags: Vec<_> = plan.attachments.iter().map(|a| (a.filter_v4, a.filter_v6)).collect();
        (plan.clears_default_routes, flags)
    };
    let (on, off) = ((true, true), (false, false));
    assert_eq!(filters(r#""mac":null"#), (false, vec![off, off, off, off]));
    assert_eq!(filters(r#""default-route":[]"#), (true, vec![on, on, on, off]));
    assert_eq!(filters(r#""default-route":["10.0.0.1"]"#), (true, vec![on, on, (false, true), off]));
    assert_eq!(filters(r#""default-route":["fd00::1"]"#), (true, vec![on, on, (true, false), off]));
    assert_eq!(
        filters(r#""default-route":["10.0.0.1","fd00::1","10.0.0.2"]"#),
        (true, vec![on, on, off, off])
    );
}

#[test]
fn n61_the_default_network_annotation_counts_too() {
    let item = |name: &str| format!(r#"[{{"name":"{name}","default-route":["10.0.0.1"]}}]"#);
    let alone = Case::new().selects_default(&item("d")).able("kube-system/d");
    assert_eq!(alone.plan().attachments[0].default_route, Some(vec!["10.0.0.1".parse().unwrap()]));
    let both = alone.selects(&item("a")).able("test/a");
    both.fails(
        7,
        &format!("{IN_ANNOTATIONS}multus does not support ECMP for default-route"),
        &["test/a", "kube-system/d"],
    );
}

#[test]
fn n114_n116_q30_each_attachment_gets_its_own_device() {
    let plan = Case::new()
        .selects_default("d")
        .selects("a,b,a")
        .device_nad("kube-system/d", "intel.com/sriov")
        .device_nad("test/a", "intel.com/sriov")
        .device_nad("test/b", "other/dev")
        .devices("intel.com/sriov", &["0000:03", "0000:01", "0000:02", "0000:01"])
        .devices("other/dev", &["x/1"])
        .plan();
    let ids: Vec<_> = plan.attachments.iter().map(|a| a.device.as_ref().unwrap().id.as_str()).collect();
    assert_eq!(ids, ["0000:01", "0000:02", "x/1", "0000:03"]);
    let b = &plan.attachments[2];
    assert_eq!(
        b.device_info.as_ref().unwrap().to_str(),
        Some("/var/run/k8s.cni.cncf.io/devinfo/cni/test-b-cid_net2")
    );
    assert_eq!(
        b.device_info_source.as_ref().unwrap().to_str(),
        Some("/var/run/k8s.cni.cncf.io/devinfo/dp/other-dev-x-1-device.json")
    );
    let object = json(&b.network.plugins[0].object);
    assert!(object.contains(r#""deviceID":"x/1""#) && object.contains(r#""pciBusID":"x/1""#), "{object}");
    assert_eq!(b.device.as_ref().unwrap().resource.as_deref(), Some("other/dev"));
}

#[test]
fn q31_a_network_without_its_device_fails() {
    let case = || Case::new().selects("a,a").device_nad("test/a", "intel.com/sriov");
    let prefix = format!("{IN_ANNOTATIONS}getKubernetesDelegate: item ");
    case().fails(
        CniError::TRY_AGAIN,
        &prefix,
        &["item 1", "allocated no device of resource \"intel.com/sriov\"", "request"],
    );
    let one = case().devices("intel.com/sriov", &["x"]);
    one.fails(7, &prefix, &["item 2", "all 1 devices of resource \"intel.com/sriov\""]);
    // A device that the pod names itself will do, and DEL does not insist.
    let own =
        Case::new().selects(r#"[{"name":"a","deviceID":"mine"}]"#).device_nad("test/a", "intel.com/sriov");
    assert_eq!(
        own.plan().attachments[1].device,
        Some(Device { resource: None, id: "mine".into(), from_map: false })
    );
    assert_eq!(case().verb(Verb::Del).plan().attachments.len(), 3);
    // The allocated one wins.
    let both = own.devices("intel.com/sriov", &["x"]).plan();
    assert_eq!(both.attachments[1].device.as_ref().map(|d| d.id.as_str()), Some("x"));
}

#[test]
fn n114_devices_of_a_list_go_into_every_plugin() {
    let list = r#"{"name":"l","plugins":[{"type":"t"},{"type":"u","deviceID":"old"}]}"#;
    let case = Case::new()
        .selects("a")
        .nad_with("test/a", list, &[("k8s.v1.cni.cncf.io/resourceName", "r/s")])
        .devices("r/s", &["x"]);
    assert!(crate::needs_devices(&case.nads) && !crate::needs_devices(&Case::new().able("test/a").nads));
    let bytes = String::from_utf8(case.plan().attachments[1].network.to_bytes()).unwrap();
    assert_eq!(
        bytes,
        r#"{"name":"l","plugins":[{"deviceID":"x","pciBusID":"x","type":"t"},{"deviceID":"x","pciBusID":"x","type":"u"}]}"#
    );
}

#[test]
fn n100_parallel_attach_is_an_opt_in_of_the_network_and_never_strict() {
    let parallel = |keys: &str, value: &str| {
        let annotations = [("multus-rs.github.io/parallel", value)];
        let case = Case::new().with_keys(keys).selects("a").nad_with("test/a", &able_config(), &annotations);
        case.plan().attachments.iter().map(|a| a.parallel).collect::<Vec<_>>()
    };
    assert_eq!(parallel(r#""specMode":"compat""#, "true"), [false, true]);
    assert_eq!(parallel(r#""specMode":"compat""#, "yes"), [false, false]);
    assert_eq!(parallel(r#""specMode":"strict""#, "true"), [false, false]);
}

#[test]
fn on_del_a_request_that_can_no_longer_be_met_does_not_matter() {
    let case = Case::new()
        .selects(r#"[{"name":"a","bandwidth":{"ingressRate":1}}]"#)
        .nad("test/a", r#"{"type":"t"}"#);
    case.fails(7, IN_ANNOTATIONS, &[]);
    case.verb(Verb::Del).plan();
    Case::new().selects("a").missing("test", "a").verb(Verb::Del).fails(11, IN_NETWORKS, &[]);
}
