use plan::SpecMode;
use serde_json::{Value, json};

use crate::testing::{Node, network, parsed, soon};
use crate::{Error, check, status};

fn differing(plugin_type: &str) -> Value {
    network(
        plugin_type,
        json!({"x-error": {"code": 100, "msg": "not as it was", "details": "d", "on": ["CHECK"]}}),
    )
}

#[test]
fn c37_c39_check_asks_with_the_result_as_it_was_left() {
    let node = Node::new(&["a", "b"]);
    node.add(&node.plan(&[network("a", json!({})), network("b", json!({}))])).unwrap();
    node.recorder.clear().unwrap();
    for mode in [SpecMode::Compat, SpecMode::Strict] {
        assert!(check(&node.host, &node.sandbox, mode, soon()).unwrap().differences.is_empty());
    }
    assert_eq!(node.sequence(), ["CHECK a/eth0", "CHECK b/net1", "CHECK a/eth0", "CHECK b/net1"]);
    assert_eq!(node.calls()[1].config()["prevResult"]["interfaces"][0]["name"], "net1");
}

#[test]
fn c41_a_secondary_that_differs_is_an_event_in_compat_and_an_error_in_strict() {
    let node = Node::new(&["a", "b"]);
    node.add(&node.plan(&[network("a", json!({})), differing("b")])).unwrap();
    let checked = check(&node.host, &node.sandbox, SpecMode::Compat, soon()).unwrap();
    assert!(checked.differences[0].message.contains("conf-b") && checked.differences.len() == 1);
    let error = check(&node.host, &node.sandbox, SpecMode::Strict, soon()).unwrap_err().to_cni();
    assert_eq!((error.code, error.details.as_str()), (100, "d"));
}

#[test]
fn q3_a_default_network_that_differs_fails_the_check() {
    let node = Node::new(&["a"]);
    node.add(&node.plan(&[differing("a")])).unwrap();
    let error = check(&node.host, &node.sandbox, SpecMode::Compat, soon()).unwrap_err();
    assert_eq!((error.to_cni().code, error.to_cni().msg.as_str()), (100, "not as it was"));
}

#[test]
fn c3_c88_networks_that_disable_or_do_not_know_check_pass() {
    let node = Node::new(&["a", "b"]);
    let mut disabled = differing("a");
    disabled["disableCheck"] = json!(true);
    let mut old = differing("b");
    old["cniVersion"] = json!("0.3.1");
    old["plugins"][0]["x-result"] = json!({"cniVersion": "0.3.1", "interfaces": [{"name": "net1"}]});
    node.add(&node.plan(&[disabled, old])).unwrap();
    node.recorder.clear().unwrap();
    check(&node.host, &node.sandbox, SpecMode::Strict, soon()).unwrap();
    assert_eq!(node.sequence(), Vec::<String>::new());
}

#[test]
fn c38_nothing_is_checked_before_an_add() {
    let node = Node::new(&["a"]);
    assert!(matches!(check(&node.host, &node.sandbox, SpecMode::Compat, soon()), Err(Error::Unknown(_))));
    assert_eq!(node.sequence(), Vec::<String>::new());
    assert_eq!(node.files(), Vec::<String>::new(), "not even a lock");
}

#[test]
fn c46_q20_status_asks_the_default_network_and_keeps_its_code() {
    let node = Node::new(&["a"]);
    let mut config = network("a", json!({"x-error": {"code": 50, "msg": "not ready", "on": ["STATUS"]}}));
    // Before 1.1.0 there is no STATUS.
    status(&node.host, &parsed(&config), soon()).unwrap();
    config["cniVersion"] = json!("1.1.0");
    assert_eq!(status(&node.host, &parsed(&config), soon()).unwrap_err().to_cni().code, 50);
    assert_eq!(node.sequence(), ["STATUS a/"]);
}
