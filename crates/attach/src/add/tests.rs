use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use libcni::CniError;
use serde_json::{Value, json};
use testbed::Netns;

use crate::journal::State;
use crate::testing::{Node, identity, network, soon};
use crate::{Error, add};

fn cause(error: &Error) -> &CniError {
    match error {
        Error::Add { cause, .. } => cause,
        other => panic!("not a failed ADD: {other}"),
    }
}

#[test]
fn n97_n98_c26_the_first_failure_undoes_in_reverse_with_the_failing_network_and_tries_no_later_one() {
    let node = Node::new(&["a", "b", "c"]);
    let plan = node.plan(&[
        network("a", json!({"kept": 1.50})),
        network("b", json!({"x-error": {"code": 7, "msg": "no", "on": ["ADD"]}})),
        network("c", json!({})),
    ]);
    let error = node.add(&plan).unwrap_err();
    assert_eq!(node.sequence(), ["ADD a/eth0", "ADD b/net1", "DEL b/net1", "DEL a/eth0"]);
    assert_eq!(
        error.to_cni().msg,
        "[ns/pod/u1:conf-b]: error adding container to network \"conf-b\": plugin type=\"b\" failed (add): no"
    );
    let calls = node.calls();
    // Each DEL has the configuration and arguments of its own ADD (C-62, Q2).
    for (added, deleted) in [(&calls[0], &calls[3]), (&calls[1], &calls[2])] {
        let mut config = deleted.config();
        config.as_object_mut().unwrap().remove("prevResult");
        assert_eq!(config, added.config());
        assert_eq!(deleted.env("CNI_ARGS"), added.env("CNI_ARGS"));
        assert_eq!(deleted.env("CNI_NETNS"), added.env("CNI_NETNS"));
    }
    assert_eq!(calls[3].config()["prevResult"]["interfaces"][0]["name"], "eth0");
    assert_eq!(node.files(), Vec::<String>::new());
}

#[test]
fn c23_the_plugins_code_and_details_reach_the_caller() {
    let node = Node::new(&["a"]);
    let plan =
        node.plan(&[network("a", json!({"x-error": {"code": 11, "msg": "later", "details": "busy"}}))]);
    let error = node.add(&plan).unwrap_err().to_cni();
    assert_eq!((error.code, error.details.as_str()), (11, "busy"));
}

#[test]
fn n98_what_the_rollback_cannot_undo_is_named_and_stays_until_a_del_undoes_it() {
    let node = Node::new(&["a", "b"]);
    let plan = node.plan(&[
        network("a", json!({"x-error": {"code": 5, "msg": "stuck", "on": ["DEL"], "times": 1}})),
        network("b", json!({"x-error": {"code": 7, "msg": "no", "on": ["ADD"]}})),
    ]);
    let error = node.add(&plan).unwrap_err();
    assert!(error.to_string().contains("not undone yet") && error.to_string().contains("stuck"), "{error}");
    let journal = node.journal().unwrap();
    assert_eq!(journal.len(), 1);
    assert_eq!(
        (journal[0].name.as_str(), journal[0].own.as_ref().unwrap().state),
        ("conf-a", State::Deleting)
    );
    node.recorder.clear().unwrap();
    // The recorder counts anew: this DEL fails once more, and the next one succeeds.
    node.del().unwrap_err();
    node.del().unwrap();
    assert_eq!(node.sequence(), ["DEL a/eth0", "DEL a/eth0"]);
    assert_eq!(node.files(), Vec::<String>::new());
}

#[test]
fn c19_an_interface_that_is_there_already_fails_the_add_and_is_left_alone() {
    let node = Node::new(&["a", "b"]);
    node.netns.run("ip", &["link", "add", "net1", "type", "veth", "peer", "name", "other"]).unwrap();
    let single = json!({"cniVersion": "1.0.0", "name": "conf-b", "type": "b"});
    let error = node.add(&node.plan(&[network("a", json!({})), single])).unwrap_err();
    assert_eq!(
        cause(&error).msg,
        "DelegateAdd: cannot set \"b\" interface name to \"net1\": validateIfName: interface name net1 already exists"
    );
    assert_eq!(node.sequence(), ["ADD a/eth0", "DEL a/eth0"]);
    assert_eq!(node.netns.link_names().unwrap(), ["net1", "other"]);
}

#[test]
fn c58_a_namespace_that_is_not_there_or_is_none_is_named() {
    let mut node = Node::new(&["a"]);
    let plan = node.plan(&[network("a", json!({}))]);
    node.sandbox.netns = "/run/netns/nowhere".to_owned();
    let error = node.add(&plan).unwrap_err();
    let expected = "validateIfName: no net namespace /run/netns/nowhere found: failed to Statfs \"/run/netns/nowhere\": no such file or directory";
    assert!(cause(&error).msg.ends_with(expected), "{error}");
    node.sandbox.netns = "/tmp".to_owned();
    let error = node.add(&plan).unwrap_err();
    assert!(cause(&error).msg.contains("unknown FS magic on \"/tmp\""), "{error}");
    assert_eq!(node.sequence(), Vec::<String>::new());
}

#[test]
fn c20_a_second_add_without_a_del_changes_nothing() {
    let node = Node::new(&["a"]);
    let plan = node.plan(&[network("a", json!({}))]);
    node.add(&plan).unwrap();
    let before = fs::read(node.journal_path()).unwrap();
    assert!(matches!(node.add(&plan), Err(Error::Attached(_))));
    assert_eq!(node.sequence(), ["ADD a/eth0"]);
    assert_eq!(fs::read(node.journal_path()).unwrap(), before);
}

#[test]
fn c20_an_add_in_a_new_namespace_undoes_first_what_the_old_one_had() {
    let mut node = Node::new(&["a"]);
    node.add(&node.plan(&[network("a", json!({}))])).unwrap();
    let old = std::mem::replace(&mut node.netns, Netns::unique("at").unwrap());
    node.sandbox.netns = node.netns.path().display().to_string();
    node.add(&node.plan(&[network("a", json!({}))])).unwrap();
    let calls = node.calls();
    assert_eq!(node.sequence(), ["ADD a/eth0", "DEL a/eth0", "ADD a/eth0"]);
    assert_eq!(calls[1].env("CNI_NETNS"), old.path().display().to_string());
    assert_eq!(calls[2].env("CNI_NETNS"), node.sandbox.netns);
}

#[test]
fn c20_a_journal_of_an_earlier_boot_is_undone_even_if_the_namespace_looks_the_same() {
    let mut node = Node::new(&["a"]);
    let plan = node.plan(&[network("a", json!({}))]);
    node.add(&plan).unwrap();
    node.host.boot_id = "another boot".to_owned();
    node.add(&plan).unwrap();
    assert_eq!(node.sequence(), ["ADD a/eth0", "DEL a/eth0", "ADD a/eth0"]);
    // The namespace of the earlier boot is gone whatever lies at its path now.
    assert_eq!(node.calls()[1].env("CNI_NETNS"), "");
}

#[test]
fn c24_the_journal_is_complete_before_the_first_plugin_and_says_added_afterwards() {
    let node = Node::new(&["a", "b"]);
    let seen = node.dir.path().join("seen");
    let copy = json!({"x-run": [["cp", node.journal_path(), seen]]});
    node.add(&node.plan(&[network("a", copy), network("b", json!({}))])).unwrap();
    let states = |text: &[u8]| -> Vec<Value> {
        let elements: Vec<Value> = serde_json::from_slice(text).unwrap();
        elements.iter().map(|element| element["multus-rs"]["state"].clone()).collect()
    };
    assert_eq!(states(&fs::read(&seen).unwrap()), ["adding", "adding"]);
    assert_eq!(states(&fs::read(node.journal_path()).unwrap()), ["added", "added"]);
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&node.host.cni_dir), mode(&node.journal_path())), (0o700, 0o600));
}

#[test]
fn a_journal_that_cannot_be_written_means_that_no_plugin_runs() {
    let mut node = Node::new(&["a"]);
    let plan = node.plan(&[network("a", json!({}))]);
    // The place of the journal is taken by a folder.
    fs::create_dir_all(node.host.cni_dir.join("pod1/full")).unwrap();
    let error = node.add(&plan).unwrap_err();
    assert!(matches!(error, Error::State { .. }), "{error}");
    node.host.cni_dir = "/proc/nowhere".into();
    assert!(matches!(node.add(&plan).unwrap_err(), Error::State { .. }));
    assert_eq!(node.sequence(), Vec::<String>::new());
}

#[test]
fn an_add_that_is_over_its_time_is_ended_and_undone() {
    let node = Node::new(&["a", "b"]);
    let plan = node.plan(&[network("a", json!({})), network("b", json!({"x-hang": true}))]);
    let begun = Instant::now();
    let deadline = Instant::now() + Duration::from_secs(2);
    let error = add(&node.host, &plan, &node.sandbox, &identity(), deadline).unwrap_err();
    assert!(cause(&error).msg.contains("timed out"), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(20), "took {:?}", begun.elapsed());
    assert_eq!(node.sequence(), ["ADD a/eth0", "ADD b/net1", "DEL b/net1", "DEL a/eth0"]);
    assert_eq!(node.files(), Vec::<String>::new());
}

/// Each of the two plugins waits for the other, so that only plugins that run at the same time come through.
#[test]
fn n100_attachments_that_may_run_side_by_side_do_and_others_do_not() {
    let node = Node::new(&["a", "b", "c"]);
    let pipe = node.dir.path().join("pipe");
    crate::testing::run("mkfifo", &[pipe.to_str().unwrap()]);
    let shell = |line: String| json!({"x-run": [["sh", "-c", line]]});
    let mut plan = node.plan(&[
        network("a", json!({})),
        network("b", shell(format!("echo > {}", pipe.display()))),
        network("c", shell(format!("cat {}", pipe.display()))),
    ]);
    plan.attachments[1].parallel = true;
    plan.attachments[2].parallel = true;
    let attached = node.add(&plan).unwrap();
    assert_eq!(attached.attachments.iter().map(|done| done.index).collect::<Vec<_>>(), [0, 1, 2]);
    assert_eq!(node.sequence()[0], "ADD a/eth0");
}

#[test]
fn n98_a_failure_beside_others_undoes_all_of_them_but_one_whose_plugin_never_ran() {
    let node = Node::new(&["a", "b", "c", "d"]);
    node.netns.run("ip", &["link", "add", "net1", "type", "veth", "peer", "name", "other"]).unwrap();
    let error = json!({"x-error": {"code": 9, "msg": "no", "on": ["ADD"]}});
    let mut plan = node.plan(&[
        network("a", json!({})),
        network("b", json!({})),
        network("c", json!({})),
        network("d", error),
    ]);
    plan.attachments.iter_mut().skip(1).for_each(|planned| planned.parallel = true);
    node.add(&plan).unwrap_err();
    let dels: Vec<_> = node.sequence().into_iter().filter(|call| call.starts_with("DEL")).collect();
    assert_eq!(dels, ["DEL d/net3", "DEL c/net2", "DEL a/eth0"]);
    assert_eq!(node.files(), Vec::<String>::new());
}

#[test]
fn n115_n118_q32_device_info_is_copied_collected_and_removed() {
    let node = Node::new(&["a"]);
    let source = node.dir.path().join("dp.json");
    fs::write(&source, r#"{"type":"pci","version":"1.1.0","pci":{"pci-address":"0000:01:02.3"}}"#).unwrap();
    let target = node.host.devinfo_root.join("cni/ns-a-pod1_eth0");
    let mut plan = node.plan(&[network("a", json!({}))]);
    plan.attachments[0].device_info_source = Some(source);
    plan.attachments[0].device_info = Some(target.clone());
    let attached = node.add(&plan).unwrap();
    let info: Value =
        serde_json::from_str(attached.attachments[0].device_info.as_ref().unwrap().get()).unwrap();
    assert_eq!(info["pci"]["pci-address"], "0000:01:02.3");
    let mode = fs::metadata(target.parent().unwrap()).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o755);
    node.del().unwrap();
    assert!(!target.exists());
}

/// bridge + host-local with a default route each.
fn bridged(node: &Node, name: &str, subnets: &[&str], gateways: &[&str]) -> Value {
    let ranges: Vec<_> = subnets.iter().map(|subnet| json!([{"subnet": subnet}])).collect();
    let routes: Vec<_> = gateways.iter().map(|dst| json!({"dst": dst})).collect();
    json!({"cniVersion": "1.0.0", "name": name, "plugins": [{
        "type": "bridge", "bridge": format!("{name}{}", std::process::id() % 10000), "isGateway": true,
        "ipam": {"type": "host-local", "dataDir": node.dir.path().join("leases"), "ranges": ranges, "routes": routes},
    }]})
}

fn default_routes(node: &Node, family: &str) -> Vec<(String, String)> {
    let text = node.netns.run("ip", &[family, "-j", "route", "show", "default"]).unwrap();
    let routes: Vec<Value> = serde_json::from_str(text.trim()).unwrap_or_default();
    let text = |route: &Value, key: &str| route[key].as_str().unwrap_or_default().to_owned();
    routes.iter().map(|route| (text(route, "dev"), text(route, "gateway"))).collect()
}

#[test]
fn q1_n58_n59_the_default_routes_move_to_the_network_that_asks_for_them() {
    let node = Node::new(&[]);
    let mut plan = node.plan(&[
        bridged(&node, "qa", &["10.61.0.0/24", "fd61::/64"], &["0.0.0.0/0", "::/0", "10.99.0.0/16"]),
        bridged(&node, "qb", &["10.62.0.0/24", "fd62::/64"], &["0.0.0.0/0"]),
    ]);
    plan.clears_default_routes = true;
    plan.attachments[0].filter_v4 = true;
    plan.attachments[0].filter_v6 = true;
    let gateways: [IpAddr; 3] =
        ["10.62.0.77", "10.62.0.78", "fd62::77"].map(|gateway| gateway.parse().unwrap());
    plan.attachments[1].default_route = Some(gateways.to_vec());
    let attached = node.add(&plan).unwrap();

    let net1 = |gateway: &str| ("net1".to_owned(), gateway.to_owned());
    assert_eq!(default_routes(&node, "-4"), [net1("10.62.0.77"), net1("10.62.0.78")]);
    assert_eq!(default_routes(&node, "-6"), [net1("fd62::77")]);
    // Other routes stay.
    assert!(node.netns.run("ip", &["route"]).unwrap().contains("10.99.0.0/16"));
    // What the plugin said goes to the status, what is so goes to CHECK and DEL.
    assert!(attached.attachments[0].result.routes().iter().any(|route| route.dst.prefix_len() == 0));
    let cached = |network: &str, if_name: &str| -> BTreeMap<String, String> {
        let entry = node.host.cache().read(network, "pod1", if_name).unwrap().unwrap();
        let result = entry.cni_result().unwrap().unwrap();
        let gateway = |route: &libcni::Route| route.gw.map(|gw| gw.to_string()).unwrap_or_default();
        result.routes().iter().map(|route| (gateway(route), route.dst.to_string())).collect()
    };
    assert_eq!(cached("qa", "eth0").into_values().collect::<Vec<_>>(), ["10.99.0.0/16"]);
    let expected = [("10.62.0.77", "0.0.0.0/0"), ("10.62.0.78", "0.0.0.0/0"), ("fd62::77", "::/0")];
    assert_eq!(cached("qb", "net1"), expected.map(|(gw, dst)| (gw.to_owned(), dst.to_owned())).into());
    // CHECK sees the pod as it was left.
    crate::check(&node.host, &node.sandbox, plan::SpecMode::Strict, soon()).unwrap();
    node.del().unwrap();
    assert_eq!(node.netns.link_names().unwrap(), Vec::<String>::new());
}

#[test]
fn q14_a_default_route_that_cannot_be_set_undoes_the_add() {
    let node = Node::new(&[]);
    let mut plan = node.plan(&[bridged(&node, "qc", &["10.63.0.0/24"], &[])]);
    plan.clears_default_routes = true;
    plan.attachments[0].default_route = Some(vec!["192.0.2.1".parse().unwrap()]);
    let error = node.add(&plan).unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains(
            "error setting default gateway: cannot add the default route via 192.0.2.1 over \"eth0\""
        ),
        "{text}"
    );
    assert!(!text.contains("RouteMessage"), "{text}");
    assert_eq!(node.netns.link_names().unwrap(), Vec::<String>::new());
    assert_eq!(node.files(), Vec::<String>::new());
}

#[test]
fn q24_a_result_that_the_runtime_cannot_be_told_is_undone() {
    let node = Node::new(&["a", "b"]);
    // Its result has no address, and CNI before 0.3.0 knows no other result.
    let mut plan = node.plan(&[network("a", json!({})), network("b", json!({}))]);
    plan.cni_version = "0.2.0".to_owned();
    let error = node.add(&plan).unwrap_err().to_cni();
    let prefix = "[ns/pod/u1:conf-a]: error adding container to network \"conf-a\": the default network's result cannot \
                  be given as CNI \"0.2.0\": cannot convert: no valid IP addresses";
    assert_eq!((error.msg.as_str(), error.code), (prefix, 999));
    assert_eq!(node.sequence(), ["ADD a/eth0", "DEL a/eth0"]);
    assert_eq!(node.files(), Vec::<String>::new());
}
