//! `default-route` in real namespaces, with the reference bridge and host-local (N-58 to N-63, Q1).

#![allow(clippy::unwrap_used, reason = "tests may unwrap")]

mod node;

use node::{Node, single};
use serde_json::json;

const NOTHING: [&str; 0] = [];

#[test]
fn n59_q1_the_default_route_moves_to_the_network_that_asks_for_it() {
    let node = Node::new();
    let (v4, v6) = (node.v4(2, 1), node.v6(2, 1));
    let pod = node
        .pod()
        .default_network(node.bridge("cluster", 1))
        .nad("net1", node.bridge("net1", 2))
        .selects(json!([{"name": "net1", "namespace": "test", "default-route": [v4, v6]}]))
        .strict();
    pod.add().unwrap();
    assert_eq!(pod.default_routes("-4"), [format!("{v4} net1")]);
    assert_eq!(pod.default_routes("-6"), [format!("{v6} net1")]);
    assert_eq!(node.cached_routes("cluster", "eth0"), NOTHING, "eth0's default routes are in its result");
    assert_eq!(node.cached_routes("net1", "net1"), [format!("0.0.0.0/0 via {v4}"), format!("::/0 via {v6}")]);
    // The plugins agree with what the cache says.
    pod.check().unwrap();
    pod.del().unwrap();
    assert_eq!(pod.netns.link_names().unwrap(), NOTHING);
    assert_eq!(node.leases(), NOTHING);
}

#[test]
fn without_the_key_the_default_network_keeps_its_default_route() {
    let node = Node::new();
    let mut net1 = node.bridge("net1", 2);
    net1["plugins"][0]["isDefaultGateway"] = json!(false);
    let pod = node
        .pod()
        .default_network(node.bridge("cluster", 1))
        .nad("net1", net1)
        .selects(json!([{"name": "net1", "namespace": "test"}]));
    pod.add().unwrap();
    assert_eq!(pod.default_routes("-4"), [format!("{} eth0", node.v4(1, 1))]);
    assert_eq!(pod.default_routes("-6"), [format!("{} eth0", node.v6(1, 1))]);
}

#[test]
fn n63_several_gateways_are_preferred_in_their_order() {
    let node = Node::new();
    let gateways = [node.v4(2, 9), node.v4(2, 1), node.v6(2, 9), node.v6(2, 1)];
    let pod = node
        .pod()
        .default_network(node.bridge("cluster", 1))
        .nad("net1", node.bridge("net1", 2))
        .selects(json!([{"name": "net1", "namespace": "test", "default-route": gateways}]))
        .strict();
    pod.add().unwrap();
    assert_eq!(pod.default_routes("-4"), [format!("{} net1", gateways[0]), format!("{} net1", gateways[1])]);
    assert_eq!(pod.default_routes("-6"), [format!("{} net1", gateways[2]), format!("{} net1", gateways[3])]);
    pod.check().unwrap();
    let got = pod.netns.run("ip", &["-4", "route", "get", "192.0.2.1"]).unwrap();
    assert!(got.contains(&format!("via {} dev net1", gateways[0])), "{got}");
}

#[test]
fn n58_an_empty_list_leaves_the_pod_without_a_default_route() {
    let node = Node::new();
    let pod = node
        .pod()
        .default_network(node.bridge("cluster", 1))
        .nad("net1", node.bridge("net1", 2))
        .selects(json!([{"name": "net1", "namespace": "test", "default-route": []}]));
    pod.add().unwrap();
    assert_eq!(pod.default_routes("-4"), NOTHING);
    assert_eq!(pod.default_routes("-6"), NOTHING);
    assert_eq!(node.cached_routes("net1", "net1"), NOTHING);
}

#[test]
fn n59_one_family_asked_for_clears_both_elsewhere() {
    let node = Node::new();
    let v4 = node.v4(2, 1);
    let pod = node
        .pod()
        .default_network(node.bridge("cluster", 1))
        .nad("net1", node.bridge("net1", 2))
        .selects(json!([{"name": "net1", "namespace": "test", "default-route": [v4]}]));
    pod.add().unwrap();
    assert_eq!(pod.default_routes("-4"), [format!("{v4} net1")]);
    assert_eq!(pod.default_routes("-6"), NOTHING);
}

/// The third network's plugin adds its own default routes beside those that were asked for. The kernel makes one IPv6 route with
/// two hops of it.
#[test]
fn n59_a_later_network_does_not_get_a_default_route_of_its_own() {
    let node = Node::new();
    let (v4, v6) = (node.v4(2, 1), node.v6(2, 1));
    let pod = node
        .pod()
        .default_network(node.bridge("cluster", 1))
        .nad("net1", node.bridge("net1", 2))
        .nad("net2", node.bridge("net2", 3))
        .selects(json!([
            {"name": "net1", "namespace": "test", "default-route": [v4, v6]},
            {"name": "net2", "namespace": "test"},
        ]));
    pod.add().unwrap();
    assert_eq!(pod.default_routes("-4"), [format!("{v4} net1")]);
    assert_eq!(pod.default_routes("-6"), [format!("{v6} net1")]);
    assert_eq!(node.cached_routes("net2", "net2"), NOTHING);
}

#[test]
fn n59_beside_parallel_networks_too() {
    let node = Node::new();
    let (v4, v6) = (node.v4(2, 1), node.v6(2, 1));
    let parallel = [(plan::PARALLEL_ANNOTATION, "true")];
    let pod = node
        .pod()
        .default_network(node.bridge("cluster", 1))
        .nad_with("net1", node.bridge("net1", 2), &parallel)
        .nad_with("net2", node.bridge("net2", 3), &parallel)
        .nad_with("net3", node.bridge("net3", 4), &parallel)
        .selects(json!([
            {"name": "net1", "namespace": "test", "default-route": [v4, v6]},
            {"name": "net2", "namespace": "test"},
            {"name": "net3", "namespace": "test"},
        ]));
    pod.add().unwrap();
    assert_eq!(pod.default_routes("-4"), [format!("{v4} net1")]);
    assert_eq!(pod.default_routes("-6"), [format!("{v6} net1")]);
}

#[test]
fn n97_an_unreachable_gateway_fails_the_add_and_undoes_everything() {
    let node = Node::new();
    let pod = node
        .pod()
        .default_network(node.bridge("cluster", 1))
        .nad("net1", node.bridge("net1", 2))
        .nad("net2", single("two", json!({})))
        .selects(json!([
            {"name": "net1", "namespace": "test", "default-route": ["192.0.2.77"]},
            {"name": "net2", "namespace": "test"},
        ]));
    let text = pod.add().unwrap_err().to_string();
    assert!(text.starts_with("Multus: [test/p1/u1]: error setting default gateway: "), "{text}");
    assert!(text.contains("192.0.2.77") && text.contains("net1"), "{text}");
    assert_eq!(pod.netns.link_names().unwrap(), NOTHING);
    assert_eq!(node.leases(), NOTHING);
    assert_eq!(node.files(), NOTHING);
    assert_eq!(node.called("ADD"), NOTHING, "the network after it was tried");
}

/// Routes in other tables, and several hops in one route, as plugins for policy routing make them.
#[test]
fn n60_every_default_route_of_the_main_table_goes_and_no_other() {
    let node = Node::new();
    let keys = json!({"x-run": [
        ["ip", "address", "add", "10.99.0.2/24", "dev", "$IFNAME"],
        ["ip", "address", "add", "10.98.0.2/24", "dev", "$IFNAME"],
        ["ip", "route", "add", "default", "metric", "100", "nexthop", "via", "10.99.0.1", "dev", "$IFNAME", "nexthop", "via", "10.98.0.1", "dev", "$IFNAME"],
        ["ip", "route", "add", "default", "via", "10.99.0.3", "dev", "$IFNAME", "metric", "50"],
        ["ip", "route", "add", "default", "dev", "$IFNAME", "metric", "60"],
        ["ip", "route", "add", "default", "via", "10.99.0.1", "dev", "$IFNAME", "table", "100"],
        ["ip", "route", "add", "192.0.2.0/24", "via", "10.99.0.1", "dev", "$IFNAME"],
    ], "x-result": {"cniVersion": "1.1.0", "interfaces": [{"name": "$IFNAME", "sandbox": "$NETNS"}], "routes": [
        {"dst": "0.0.0.0/0", "gw": "10.99.0.1"}, {"dst": "0.0.0.0/0", "gw": "10.99.0.1", "table": 100},
        {"dst": "192.0.2.0/24", "gw": "10.99.0.1"}]}});
    let mut keys = keys;
    keys["cniVersion"] = json!("1.1.0");
    let v4 = node.v4(2, 1);
    let pod = node
        .pod()
        .default_network(single("main", keys))
        .nad("net1", node.bridge("net1", 2))
        .selects(json!([{"name": "net1", "namespace": "test", "default-route": [v4]}]));
    pod.add().unwrap();
    assert_eq!(pod.default_routes("-4"), [format!("{v4} net1")]);
    let other = pod.netns.run("ip", &["-4", "route", "show", "table", "100"]).unwrap();
    assert!(other.starts_with("default via 10.99.0.1 dev eth0"), "{other}");
    let more = pod.netns.run("ip", &["-4", "route", "show", "192.0.2.0/24"]).unwrap();
    assert!(more.contains("via 10.99.0.1 dev eth0"), "{more}");
    assert_eq!(
        node.cached_routes("main-net", "eth0"),
        ["0.0.0.0/0 via 10.99.0.1", "192.0.2.0/24 via 10.99.0.1"],
        "the route of the other table and the one to a subnet stay"
    );
}

/// Results of before 0.3.0 have their routes in another place.
#[test]
fn n59_the_cached_result_is_rewritten_in_its_own_version() {
    let node = Node::new();
    let mut cluster = node.bridge("cluster", 1);
    let mut net1 = node.bridge("net1", 2);
    for network in [&mut cluster, &mut net1] {
        network["cniVersion"] = json!("0.2.0");
    }
    let v4 = node.v4(2, 1);
    let pod = node
        .pod()
        .default_network(cluster)
        .nad("net1", net1)
        .selects(json!([{"name": "net1", "namespace": "test", "default-route": [v4]}]));
    pod.add().unwrap();
    assert_eq!(pod.default_routes("-4"), [format!("{v4} net1")]);
    assert_eq!(node.cached_routes("cluster", "eth0"), NOTHING);
    assert_eq!(node.cached_routes("net1", "net1"), [format!("0.0.0.0/0 via {v4}")]);
    let raw = node.cached("net1", "net1").unwrap().result.unwrap();
    assert!(raw.get().contains("ip4"), "{raw}");
    pod.del().unwrap();
    assert_eq!(node.leases(), NOTHING);
}
