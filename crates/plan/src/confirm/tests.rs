use libcni::CniResult;
use serde_json::{Value, json};

use super::confirm;
use crate::testing::{Case, says};
use crate::{PlanError, PlanEvent};

/// What comes of a request of `test/a`, whose plugin declares nothing, when the plugin's result is this.
fn confirmed(request: &str, result: Value) -> Result<Vec<PlanEvent>, PlanError> {
    let case = Case::new()
        .selects(&format!(r#"[{{"name":"a",{request}}}]"#))
        .nad("test/a", r#"{"cniVersion":"1.0.0","name":"lan","type":"t"}"#);
    let planned = case.plan().attachments.remove(1);
    let result = CniResult::parse(result.to_string().as_bytes(), "1.0.0").unwrap();
    confirm(&planned, &result)
}

#[track_caller]
fn denied(request: &str, result: Value, key: &str, found: &str) {
    let asks = format!("item 1 (\"test/a\") of annotation k8s.v1.cni.cncf.io/networks asks for \"{key}\"");
    let declare = format!("add \"capabilities\": {{\"{key}\": true}} to a plugin that can do it");
    says(
        &confirmed(request, result).unwrap_err(),
        7,
        &asks,
        &["no plugin of network \"lan\" (t)", found, &declare, "NetworkAttachmentDefinition test/a"],
    );
}

#[track_caller]
fn unconfirmed(request: &str, result: Value, key: &str) {
    let events = confirmed(request, result).unwrap();
    let [event] = events.as_slice() else { panic!("{events:?}") };
    assert_eq!((event.kind.as_str(), event.reason.as_str()), ("Warning", "UnconfirmedRequest"));
    let asks = format!("item 1 (\"test/a\") of annotation k8s.v1.cni.cncf.io/networks asks for \"{key}\"");
    assert!(event.message.starts_with(&asks), "{}", event.message);
}

const MAC: &str = r#""mac":"02:00:00:00:00:0A""#;

#[test]
fn n36_an_undeclared_mac_is_met_by_the_interface_of_the_attachment() {
    let interface = |name: &str, sandbox: &str, mac: &str| {
        json!({"interfaces": [
            {"name": "veth1", "mac": "02:00:00:00:00:99"},
            {"name": "other", "sandbox": "/run/netns/x", "mac": "02:00:00:00:00:99"},
            {"name": name, "sandbox": sandbox, "mac": mac},
        ]})
    };
    let sandbox = "/run/netns/x";
    assert_eq!(confirmed(MAC, interface("net1", sandbox, "02:00:00:00:00:0a")), Ok(Vec::new()));
    denied(
        MAC,
        interface("net1", sandbox, "02:00:00:00:00:0b"),
        "mac",
        "has 02:00:00:00:00:0b in place of 02:",
    );
    denied(MAC, interface("net1", sandbox, "nonsense"), "mac", "has nonsense in place of 02:");
    unconfirmed(MAC, interface("net1", sandbox, ""), "mac");
    unconfirmed(MAC, interface("net1", "", "02:00:00:00:00:0b"), "mac");
    unconfirmed(MAC, interface("net2", sandbox, "02:00:00:00:00:0b"), "mac");
    unconfirmed(MAC, json!({}), "mac");
}

#[test]
fn n33_undeclared_ips_are_met_when_the_result_has_all_of_them() {
    let both = r#""ips":["10.0.0.9/24","FD00::9"]"#;
    let result = |ips: &[&str]| {
        let ips: Vec<Value> = ips.iter().map(|ip| json!({"address": ip})).collect();
        json!({"ips": ips})
    };
    assert_eq!(confirmed(both, result(&["fd00::9/64", "10.0.0.9/24"])), Ok(Vec::new()));
    // host-local gives an address with the prefix length of its range.
    assert_eq!(confirmed(both, result(&["10.0.0.9/16", "fd00::9/64", "10.7.0.1/24"])), Ok(Vec::new()));
    denied(both, result(&["10.0.0.9/24"]), "ips", "has 10.0.0.9/24 in place of 10.0.0.9/24, FD00::9");
    denied(both, result(&["10.0.0.2/24", "fd00::9/64"]), "ips", "has 10.0.0.2/24, fd00::9/64 in place of");
    assert_eq!(confirmed(r#""ips":["::ffff:10.0.0.9/120"]"#, result(&["10.0.0.9/24"])), Ok(Vec::new()));
    unconfirmed(both, result(&[]), "ips");
}

#[test]
fn n33_n36_each_request_is_told_of_by_itself() {
    let request = format!(r#"{MAC},"ips":["10.0.0.9"]"#);
    let events = confirmed(&request, json!({})).unwrap();
    assert_eq!(events.len(), 2);
    denied(&request, json!({"ips": [{"address": "10.0.0.8/24"}]}), "ips", "10.0.0.8/24");
}

#[test]
fn n33_n36_what_is_declared_is_not_compared() {
    let config = r#"{"cniVersion":"1.0.0","name":"lan","plugins":[{"type":"t"},{"type":"u","capabilities":{"mac":true}}]}"#;
    let case = Case::new().selects(&format!(r#"[{{"name":"a",{MAC}}}]"#)).nad("test/a", config);
    let planned = case.plan().attachments.remove(1);
    let other = json!({"interfaces": [{"name": "net1", "sandbox": "/x", "mac": "02:00:00:00:00:0b"}]});
    let result = CniResult::parse(other.to_string().as_bytes(), "1.0.0").unwrap();
    assert_eq!(confirm(&planned, &result), Ok(Vec::new()));
}
