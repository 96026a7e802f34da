//! The status annotation, byte by byte, and back.

use proptest::prelude::*;

use super::*;
use crate::events;
use crate::testing::Case;

/// Plan of the default network and of `test/net1`, which carries this key.
fn planned(primary: bool, key: &str) -> Planned {
    let case = Case::new().selects(&format!(r#"[{{"name":"net1"{key}}}]"#)).able("test/net1");
    case.plan().attachments.remove(usize::from(!primary))
}

fn result(json: &str) -> CniResult {
    CniResult::parse(json.as_bytes(), "1.0.0").unwrap()
}

/// The status of one attachment, without white space.
fn status(planned: &Planned, json: &str, mode: SpecMode) -> String {
    let text = text(&entries(planned, &result(json), None, mode), mode);
    text.split_whitespace().collect()
}

const BRIDGE: &str = r#"{"cniVersion":"1.1.0","interfaces":[{"name":"br0","mac":"0a:00:00:00:00:01"},{"name":"veth1"},
    {"name":"eth0","mac":"0a:58:0a:f4:02:06","mtu":1450,"sandbox":"/run/netns/x"}],
    "ips":[{"address":"10.1.2.3/24","gateway":"10.1.2.1","interface":2}],"routes":[{"dst":"0.0.0.0/0","gw":"10.1.2.1"}],
    "dns":{"nameservers":["10.96.0.10"],"search":["a.local"]}}"#;

#[track_caller]
fn both(primary: bool, key: &str, json: &str, compat: &str, strict: &str) {
    let planned = planned(primary, key);
    assert_eq!(status(&planned, json, SpecMode::Compat), format!("[{compat}]"), "compat");
    assert_eq!(status(&planned, json, SpecMode::Strict), format!("[{strict}]"), "strict");
}

#[test]
fn n72_the_text_is_upstreams_byte_for_byte() {
    let json = r#"{"cniVersion":"1.0.0","interfaces":[{"name":"eth0","mac":"0a:58:0a:f4:02:06","sandbox":"/x"}],
        "ips":[{"address":"10.1.2.3/24","gateway":"10.1.2.1","interface":0}],"routes":[{"dst":"0.0.0.0/0","gw":"10.1.2.1"}]}"#;
    let mut all = entries(&planned(true, ""), &result(json), None, SpecMode::Compat);
    all.extend(entries(&planned(false, ""), &result("{}"), None, SpecMode::Compat));
    let expected = r#"[{
    "name": "cbr0",
    "interface": "eth0",
    "ips": [
        "10.1.2.3"
    ],
    "mac": "0a:58:0a:f4:02:06",
    "default": true,
    "dns": {},
    "gateway": [
        "10.1.2.1"
    ]
},{
    "name": "test/net1",
    "default": false,
    "dns": {}
}]"#;
    assert_eq!(text(&all, SpecMode::Compat), expected);
    assert_eq!(text(&[], SpecMode::Compat), "[]");
}

#[test]
fn n74_n78_n80_n87_n90_a_bridges_result_in_both_forms() {
    both(
        true,
        "",
        BRIDGE,
        r#"{"name":"cbr0","interface":"eth0","ips":["10.1.2.3"],"mac":"0a:58:0a:f4:02:06","mtu":1450,"default":true,"dns":{"nameservers":["10.96.0.10"],"search":["a.local"]},"gateway":["10.1.2.1"]}"#,
        r#"{"name":"kube-system/cbr0","interface":"eth0","ips":["10.1.2.3/24"],"mac":"0a:58:0a:f4:02:06","default":true,"dns":{"nameservers":["10.96.0.10"],"search":["a.local"]}}"#,
    );
}

#[test]
fn n74_n82_several_sandbox_interfaces() {
    let json = r#"{"cniVersion":"1.0.0","interfaces":[{"name":"a","sandbox":"/x"},{"name":"host"},{"name":"b","sandbox":"/x"}],
        "ips":[{"address":"10.0.0.1/24","interface":0},{"address":"10.0.1.1/24","gateway":"10.0.1.254","interface":2},
               {"address":"10.0.2.1/24"},{"address":"10.0.3.1/24","interface":1}]}"#;
    both(
        true,
        "",
        json,
        r#"{"name":"cbr0","interface":"a","ips":["10.0.0.1"],"default":false,"dns":{}},{"name":"cbr0","interface":"b","ips":["10.0.1.1","10.0.2.1"],"default":true,"dns":{}}"#,
        r#"{"name":"kube-system/cbr0","interface":"a","ips":["10.0.0.1/24"],"default":true}"#,
    );
    both(
        false,
        "",
        json,
        r#"{"name":"test/net1","interface":"a","ips":["10.0.0.1"],"default":false,"dns":{}},{"name":"test/net1","interface":"b","ips":["10.0.1.1","10.0.2.1"],"default":false,"dns":{}}"#,
        r#"{"name":"test/net1","interface":"a","ips":["10.0.0.1/24"],"default":false}"#,
    );
}

#[test]
fn n82_strict_takes_the_first_address_without_an_index() {
    let json = r#"{"cniVersion":"1.0.0","interfaces":[{"name":"a","sandbox":"/x"}],
        "ips":[{"address":"10.0.0.1/24"},{"address":"10.0.0.2/24"}]}"#;
    both(
        false,
        "",
        json,
        r#"{"name":"test/net1","interface":"a","ips":["10.0.0.1","10.0.0.2"],"default":false,"dns":{}}"#,
        r#"{"name":"test/net1","interface":"a","ips":["10.0.0.1/24"],"default":false}"#,
    );
}

#[test]
fn n75_n76_n81_n83_results_without_interfaces() {
    let nothing = r#"{"cniVersion":"1.0.0"}"#;
    both(
        false,
        "",
        nothing,
        r#"{"name":"test/net1","default":false,"dns":{}}"#,
        r#"{"name":"test/net1","default":false}"#,
    );
    let old = r#"{"cniVersion":"0.2.0","ip4":{"ip":"10.0.0.1/24"},"ip6":{"ip":"fd00::1/64"}}"#;
    both(
        true,
        "",
        old,
        r#"{"name":"cbr0","interface":"eth0","ips":["10.0.0.1","fd00::1"],"default":true,"dns":{}}"#,
        r#"{"name":"kube-system/cbr0","interface":"eth0","ips":["10.0.0.1/24","fd00::1/64"],"default":true}"#,
    );
    let host_only = r#"{"cniVersion":"1.0.0","interfaces":[{"name":"h1"},{"name":"h2"}],"ips":[{"address":"10.0.0.1/24","interface":0}]}"#;
    both(
        false,
        "",
        host_only,
        r#"{"name":"test/net1","default":false,"dns":{}}"#,
        r#"{"name":"test/net1","default":false}"#,
    );
}

#[test]
fn n84_no_mac_without_an_interface() {
    let json = r#"{"cniVersion":"1.0.0","interfaces":[{"name":"h","mac":"0a:00:00:00:00:01"}],"ips":[{"address":"10.0.0.1/24"}]}"#;
    both(
        false,
        "",
        json,
        r#"{"name":"test/net1","ips":["10.0.0.1"],"default":false,"dns":{}}"#,
        r#"{"name":"test/net1","ips":["10.0.0.1/24"],"default":false}"#,
    );
}

#[test]
fn n88_q23_gateways_and_default_route() {
    let json = r#"{"cniVersion":"1.0.0","interfaces":[{"name":"a","sandbox":"/x"}],
        "routes":[{"dst":"0.0.0.0/0"},{"dst":"0.0.0.0/1","gw":"10.0.0.1"},{"dst":"::/0","gw":"fd00::1"}]}"#;
    both(
        false,
        r#","default-route":["10.0.0.254"]"#,
        json,
        r#"{"name":"test/net1","interface":"a","default":false,"dns":{},"gateway":["fd00::1"],"default-route":["10.0.0.254"]}"#,
        r#"{"name":"test/net1","interface":"a","default":false,"default-route":["10.0.0.254"]}"#,
    );
    both(
        false,
        r#","default-route":[]"#,
        r#"{"cniVersion":"1.0.0"}"#,
        r#"{"name":"test/net1","default":false,"dns":{},"default-route":[]}"#,
        r#"{"name":"test/net1","default":false,"default-route":[]}"#,
    );
}

#[test]
fn n77_n86_an_index_outside_of_the_result_does_no_harm() {
    for index in ["-1", "7", "9223372036854775807"] {
        let json = format!(
            r#"{{"cniVersion":"1.0.0","interfaces":[{{"name":"a","sandbox":"/x"}},{{"name":"b","sandbox":"/x"}}],
                "ips":[{{"address":"10.0.0.1/24","gateway":"10.0.0.2","interface":{index}}}]}}"#
        );
        for mode in [SpecMode::Compat, SpecMode::Strict] {
            let all = entries(&planned(true, ""), &result(&json), None, mode);
            assert_eq!(all.iter().filter(|entry| entry.default).count(), 1, "{index}");
        }
    }
}

#[test]
fn n118_device_info() {
    let info =
        RawValue::from_string(r#"{"type":"pci","pci":{"pci-address":"0000:01:02.3"}}"#.into()).unwrap();
    let all =
        entries(&planned(false, ""), &result(r#"{"cniVersion":"1.0.0"}"#), Some(&info), SpecMode::Compat);
    let text: String = text(&all, SpecMode::Compat).split_whitespace().collect();
    assert!(
        text.contains(r#""dns":{},"device-info":{"type":"pci","pci":{"pci-address":"0000:01:02.3"}}"#),
        "{text}"
    );
}

#[test]
fn n73_a_status_is_read_back_and_foreign_keys_stay() {
    let planned = planned(true, r#","default-route":["10.0.0.1"]"#);
    for mode in [SpecMode::Compat, SpecMode::Strict] {
        let written = text(&entries(&planned, &result(BRIDGE), None, mode), mode);
        assert_eq!(text(&parse(&written).unwrap(), mode), written);
    }
    let foreign = parse(r#"[{"name":"a","Interface":"x","example.com/k":{"v":1.50},"mac":null}]"#).unwrap();
    let text: String = text(&foreign, SpecMode::Strict).split_whitespace().collect();
    assert_eq!(text, r#"[{"name":"a","interface":"x","default":false,"example.com/k":{"v":1.50}}]"#);
    assert!(parse("").unwrap().is_empty() && parse("null").unwrap().is_empty());
}

#[test]
fn n72_what_go_escapes_is_escaped() {
    let entry = Entry { name: "<&>\u{2028}\"ä".into(), ..Entry::default() };
    let written = text(std::slice::from_ref(&entry), SpecMode::Strict);
    assert!(written.contains(r#""name": "\u003c\u0026\u003e\u2028\"ä""#), "{written}");
    assert_eq!(parse(&written).unwrap()[0].name, entry.name);
}

#[test]
fn n73_a_malformed_status_is_refused() {
    for (text, part) in [
        ("{}", "no list of objects"),
        ("[1]", "no list of objects"),
        (r#"[{"name":"a"},{"ips":"x"}]"#, "key \"ips\" of entry 2"),
        (r#"[{"mtu":"x"}]"#, "key \"mtu\" of entry 1"),
        (r#"[{"dns":[]}]"#, "key \"dns\" of entry 1"),
    ] {
        let error = parse(text).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
    assert!(parse(&"[".repeat(1 << 20)).is_err());
    let deep = format!(r#"[{{"ips":{}{}}}]"#, "[".repeat(100_000), "]".repeat(100_000));
    assert!(parse(&deep).is_err());
}

#[test]
fn added_interface_says_what_upstream_says() {
    let of = |primary, json: &str| {
        events::added_interface(&planned(primary, ""), &result(json)).map(|e| e.message)
    };
    assert_eq!(of(true, BRIDGE).as_deref(), Some("Add eth0 [10.1.2.3/24] from cbr0"));
    let two = r#"{"cniVersion":"1.0.0","ips":[{"address":"10.0.0.1/24"},{"address":"fd00::1/64"}]}"#;
    assert_eq!(of(false, two).as_deref(), Some("Add net1 [10.0.0.1/24 fd00::1/64] from test/net1"));
    let none = r#"{"cniVersion":"1.0.0","interfaces":[{"name":"a"}]}"#;
    assert_eq!(of(false, none).as_deref(), Some("Add net1 [] from test/net1"));
    assert_eq!(of(false, r#"{"cniVersion":"1.0.0"}"#), None);
    let mut unnamed = planned(true, "");
    unnamed.name.clear();
    let event = events::added_interface(&unnamed, &result(BRIDGE)).unwrap();
    assert_eq!(
        (event.kind.as_str(), event.reason.as_str(), event.message.as_str()),
        ("Normal", "AddedInterface", "Add eth0 [10.1.2.3/24]")
    );
}

proptest! {
    #[test]
    fn n73_any_text_is_read_or_refused(text in r#"([\[\]{}",: a-z0-9]|"name"|"ips"|null|\PC){0,40}"#) {
        if let Ok(entries) = parse(&text) {
            prop_assert!(parse(&super::text(&entries, SpecMode::Compat)).is_ok());
        }
    }
}
