use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::version::SUPPORTED;

fn parse(text: &str) -> CniResult {
    CniResult::parse(text.as_bytes(), "").unwrap()
}

fn converted(text: &str, version: &str) -> Value {
    serde_json::from_slice(&parse(text).as_version(version).unwrap()).unwrap()
}

fn refused(text: &str) -> String {
    CniResult::parse(text.as_bytes(), "1.0.0").unwrap_err().to_string()
}

const NEW: &str = r#"{"cniVersion":"1.1.0","interfaces":[{"name":"br0","mac":"02:00:00:00:00:01","mtu":1500},
    {"name":"eth0","sandbox":"/ns","socketPath":"/s","pciID":"0000:00:01.0"}],
    "ips":[{"address":"10.1.2.3/24","gateway":"10.1.2.1","interface":1},{"address":"fd00::5/64"},{"address":"10.1.2.4/24"}],
    "routes":[{"dst":"0.0.0.0/0","gw":"10.1.2.1","mtu":1400,"advmss":1360,"priority":10,"table":0,"scope":253},
    {"dst":"fd01::/64"}],"dns":{"nameservers":["10.0.0.10"],"search":["a"]},"own":9007199254740993}"#;

const OLD: &str = r#"{"cniVersion":"0.2.0","ip4":{"ip":"10.1.2.3/24","gateway":"10.1.2.1","routes":[{"dst":"0.0.0.0/0","gw":"10.1.2.1"}]},
    "ip6":{"ip":"fd00::5/64","routes":[{"dst":"::/0"}]},"dns":{"domain":"d"}}"#;

#[test]
fn c72_every_field_of_1_1_0_is_read() {
    let result = parse(NEW);
    assert_eq!(result.interfaces()[0].mtu, 1500);
    assert_eq!(result.interfaces()[1].pci_id, "0000:00:01.0");
    assert_eq!(result.ips()[0].interface, Some(1));
    assert_eq!(result.ips()[1].gateway, None);
    let route = &result.routes()[0];
    assert_eq!((route.mtu, route.advmss, route.priority), (Some(1400), Some(1360), Some(10)));
    assert_eq!((route.table, route.scope), (Some(0), Some(253)));
    assert_eq!(result.dns().search, ["a"]);
    assert!(CniResult::empty().dns().is_empty());
}

#[test]
fn c76_the_version_comes_from_the_result_then_the_configuration_then_0_1_0() {
    let version = |text: &str, fallback: &str| {
        CniResult::parse(text.as_bytes(), fallback).unwrap().version().to_owned()
    };
    assert_eq!(version(r#"{"cniVersion":"0.3.1"}"#, "1.0.0"), "0.3.1");
    assert_eq!(version("{}", "1.0.0"), "1.0.0");
    assert_eq!(version(r#"{"cniVersion":""}"#, "0.4.0"), "0.4.0");
    assert_eq!(version(r#"{"cniVersion":7}"#, "0.4.0"), "0.4.0");
    assert_eq!(version("{}", ""), "0.1.0");
    assert_eq!(CniResult::parse(b" null ", "1.0.0").unwrap().bytes(), br#"{"cniVersion":"1.0.0"}"#);
    assert_eq!(refused(r#"{"cniVersion":"1.2.0"}"#), r#"unsupported CNI result version "1.2.0""#);
    assert!(CniResult::parse(b"{}", "9.9.9").is_err());
}

#[test]
fn c7_the_same_version_gives_back_the_bytes() {
    assert_eq!(parse(NEW).as_version("1.1.0").unwrap(), NEW.as_bytes());
    assert_eq!(parse(OLD).as_version("0.2.0").unwrap(), OLD.as_bytes());
}

#[test]
fn c79_between_1_0_0_and_1_1_0_only_the_version_changes() {
    let mut expected: Value = serde_json::from_str(NEW).unwrap();
    expected["cniVersion"] = "1.0.0".into();
    assert_eq!(converted(NEW, "1.0.0"), expected);
    let bytes = parse(NEW).as_version("1.0.0").unwrap();
    assert!(String::from_utf8(bytes).unwrap().contains(r#""own":9007199254740993"#));
}

#[test]
fn c78_c79_the_way_down_to_0_4_0_names_families_and_drops_what_it_does_not_know() {
    for version in ["0.3.0", "0.3.1", "0.4.0"] {
        let expected = json!({
            "cniVersion": version,
            "interfaces": [{"name":"br0","mac":"02:00:00:00:00:01"}, {"name":"eth0","sandbox":"/ns"}],
            "ips": [
                {"version":"4","address":"10.1.2.3/24","gateway":"10.1.2.1","interface":1},
                {"version":"6","address":"fd00::5/64"}, {"version":"4","address":"10.1.2.4/24"}],
            "routes": [
                {"dst":"0.0.0.0/0","gw":"10.1.2.1","mtu":1400,"advmss":1360,"priority":10,"table":0,"scope":253},
                {"dst":"fd01::/64"}],
            "dns": {"nameservers":["10.0.0.10"],"search":["a"]},
        });
        assert_eq!(converted(NEW, version), expected);
    }
}

#[test]
fn c77_the_way_down_to_0_2_0_keeps_one_address_of_each_family() {
    for version in ["0.1.0", "0.2.0", ""] {
        let expected = json!({
            "cniVersion": if version.is_empty() { "0.1.0" } else { version },
            "ip4": {"ip":"10.1.2.3/24","gateway":"10.1.2.1","routes":[{"dst":"0.0.0.0/0","gw":"10.1.2.1"}]},
            "ip6": {"ip":"fd00::5/64","routes":[{"dst":"fd01::/64"}]},
            "dns": {"nameservers":["10.0.0.10"],"search":["a"]},
        });
        assert_eq!(converted(NEW, version), expected);
    }
    for text in [r#"{"cniVersion":"1.0.0"}"#, r#"{"cniVersion":"0.4.0","ips":[{"address":"10.0.0.1/8"}]}"#] {
        let told = parse(text).as_version("0.2.0").unwrap_err().to_string();
        assert_eq!(told, "cannot convert: no valid IP addresses");
    }
    // Routes of a family without an address have no place.
    let v4 = r#"{"cniVersion":"1.0.0","ips":[{"address":"10.0.0.1/8"}],"routes":[{"dst":"::/0"}]}"#;
    assert_eq!(converted(v4, "0.2.0"), json!({"cniVersion":"0.2.0","ip4":{"ip":"10.0.0.1/8"},"dns":{}}));
}

#[test]
fn c77_the_way_up_from_0_2_0() {
    let expected = json!({
        "cniVersion": "1.1.0",
        "ips": [{"address":"10.1.2.3/24","gateway":"10.1.2.1"}, {"address":"fd00::5/64"}],
        "routes": [{"dst":"0.0.0.0/0","gw":"10.1.2.1"}, {"dst":"::/0"}],
        "dns": {"domain":"d"},
    });
    assert_eq!(converted(OLD, "1.1.0"), expected);
    let middle = converted(OLD, "0.3.1");
    assert_eq!(middle["ips"][0]["version"], "4");
    assert_eq!(middle["ips"][1]["version"], "6");
    assert_eq!(converted(OLD, "0.1.0")["ip6"]["ip"], "fd00::5/64");
    let empty = r#"{"cniVersion":"0.2.0","ip4":{"ip":"10.0.0.1/8"},"ip6":{}}"#;
    assert_eq!(converted(empty, "1.0.0")["ips"], json!([{"address":"10.0.0.1/8"}]));
    // 0.1.0 and 0.2.0 differ in nothing else, so that even no address is no error.
    assert_eq!(converted("{}", "0.2.0"), json!({"cniVersion":"0.2.0"}));
}

#[test]
fn c78_a_stated_family_is_kept_sideways_used_on_the_way_down_and_ignored_on_the_way_up() {
    let odd =
        r#"{"cniVersion":"0.3.1","ips":[{"version":"6","address":"10.0.0.1/8"},{"address":"10.0.0.2/8"}]}"#;
    let sideways = converted(odd, "0.4.0");
    assert_eq!(sideways["ips"][0]["version"], "6");
    assert_eq!(sideways["ips"][1]["version"], "");
    assert_eq!(converted(odd, "0.2.0"), json!({"cniVersion":"0.2.0","ip6":{"ip":"10.0.0.1/8"},"dns":{}}));
    let early = r#"{"cniVersion":"0.4.0","interfaces":[{"name":"i","mtu":9,"socketPath":"s","pciID":"p"}]}"#;
    assert_eq!(converted(early, "1.0.0")["interfaces"], json!([{"name":"i"}]));
    assert_eq!(converted(odd, "1.0.0")["ips"], json!([{"address":"10.0.0.1/8"},{"address":"10.0.0.2/8"}]));
}

#[test]
fn c80_an_empty_dns_is_omitted_from_1_0_0_on() {
    let text = r#"{"cniVersion":"0.4.0","dns":{}}"#;
    assert_eq!(converted(text, "1.0.0"), json!({"cniVersion":"1.0.0"}));
    assert_eq!(converted(r#"{"cniVersion":"1.0.0"}"#, "0.4.0"), json!({"cniVersion":"0.4.0","dns":{}}));
}

#[test]
fn c76_there_is_no_conversion_to_an_unknown_version() {
    let told = parse(NEW).as_version("1.2.0").unwrap_err().to_string();
    assert_eq!(told, "no converter for CNI result version 1.1.0 to 1.2.0");
}

#[test]
fn routes_are_replaced_and_all_else_stays() {
    let dst = |text: &str| text.parse().unwrap();
    let routes =
        vec![Route::new(dst("0.0.0.0/0"), Some("10.9.9.9".parse().unwrap())), Route::new(dst("::/0"), None)];
    let result = parse(NEW).with_routes(routes.clone());
    let mut expected: Value = serde_json::from_str(NEW).unwrap();
    expected["routes"] = json!([{"dst":"0.0.0.0/0","gw":"10.9.9.9"},{"dst":"::/0"}]);
    assert_eq!(serde_json::from_slice::<Value>(result.bytes()).unwrap(), expected);
    assert!(String::from_utf8_lossy(result.bytes()).contains("9007199254740993"));
    assert_eq!(result.routes(), routes);

    let old = parse(OLD).with_routes(routes);
    let bytes: Value = serde_json::from_slice(old.bytes()).unwrap();
    assert_eq!(bytes["ip4"]["routes"], json!([{"dst":"0.0.0.0/0","gw":"10.9.9.9"}]));
    assert_eq!(bytes["ip6"]["routes"], json!([{"dst":"::/0"}]));
    let none = parse(OLD).with_routes(Vec::new());
    assert!(!String::from_utf8_lossy(none.bytes()).contains("routes"));
    assert_eq!(none.routes(), []);
    assert!(!String::from_utf8_lossy(parse(NEW).with_routes(Vec::new()).bytes()).contains("routes"));
}

#[test]
fn keys_are_read_in_any_case_and_null_is_nothing() {
    let result = parse(
        r#"{"cniVersion":"1.0.0","IPs":[{"Address":"10.0.0.1/8","GATEWAY":"","interface":null}],
        "Interfaces":null,"routes":null,"dns":null}"#,
    );
    assert_eq!(result.ips().len(), 1);
    assert_eq!(result.ips()[0].gateway, None);
    let mapped = parse(r#"{"cniVersion":"1.0.0","ips":[{"address":"::ffff:10.0.0.1/104"}]}"#);
    assert_eq!(mapped.ips()[0].address.to_string(), "10.0.0.1/8");
}

#[test]
fn hostile_results_are_refused() {
    for text in [
        "",
        "{",
        "[]",
        "7",
        r#""x""#,
        "{} {}",
        r#"{"ips":{}}"#,
        r#"{"ips":[null]}"#,
        r#"{"ips":[{}]}"#,
        r#"{"ips":[{"address":"10.0.0.1"}]}"#,
        r#"{"ips":[{"address":7}]}"#,
        r#"{"ips":[{"address":"10.0.0.1/8","gateway":"x"}]}"#,
        r#"{"interfaces":[7]}"#,
        r#"{"interfaces":[null]}"#,
        r#"{"interfaces":[[]]}"#,
        r#"{"routes":[{"dst":""}]}"#,
        r#"{"routes":[{"dst":"::/0","mtu":"1"}]}"#,
        r#"{"routes":[{"dst":"::/0","mtu":1e30}]}"#,
        r#"{"dns":[]}"#,
        r#"{"dns":{"nameservers":"x"}}"#,
        r#"{"ips":[{"address":"10.0.0.1/8","interface":"0"}]}"#,
    ] {
        assert!(refused(text).len() < 300, "{text}");
    }
    assert!(CniResult::parse(br#"{"ip4":{"ip":""}}"#, "0.2.0").is_err());
    assert!(refused(&format!(r#"{{"ips":[{{"address":"{}"}}]}}"#, "1".repeat(1 << 20))).len() < 200);
    let deep = |key: &str| format!(r#"{{"{key}":{}{}}}"#, "[".repeat(1 << 19), "]".repeat(1 << 19));
    assert!(CniResult::parse(deep("ips").as_bytes(), "1.0.0").is_err());
    // Of no interest to us, and so never parsed.
    assert!(CniResult::parse(deep("unknown").as_bytes(), "1.0.0").is_ok());
}

prop_compose! {
    fn any_cidr()(v4 in any::<u32>(), v6 in any::<u128>(), four in any::<bool>(), prefix in 0u8..=32) -> IpNet {
        // Addresses of IPv4 written in IPv6 become IPv4, and are left out here.
        let v6 = std::net::Ipv6Addr::from(v6 | 1 << 127);
        if four { IpNet::new(IpAddr::V4(v4.into()), prefix) } else { IpNet::new(IpAddr::V6(v6), prefix * 4) }.unwrap()
    }
}

prop_compose! {
    fn any_route()(
        dst in any_cidr(), gw in proptest::option::of(any_cidr()), mtu in proptest::option::of(1i64..9000),
        table in proptest::option::of(0i64..300), scope in proptest::option::of(0i64..255)
    ) -> Route {
        Route { mtu, table, scope, ..Route::new(dst, gw.map(|gw| gw.addr())) }
    }
}

prop_compose! {
    fn any_result()(
        names in proptest::collection::vec(("[a-z]{0,5}", "[a-z:]{0,5}", "[/a-z]{0,5}"), 0..4),
        ips in proptest::collection::vec((any_cidr(), proptest::option::of(any_cidr()), proptest::option::of(0i64..3)), 0..4),
        routes in proptest::collection::vec(any_route(), 0..4),
        nameservers in proptest::collection::vec("[a-z]{0,4}", 0..3),
        version in proptest::sample::select(SUPPORTED),
        mtu in 0i64..9000,
    ) -> CniResult {
        let interface = |(name, mac, sandbox)| Interface { name, mac, sandbox, mtu, ..Interface::default() };
        let full = CniResult {
            interfaces: names.into_iter().map(interface).collect(),
            labels: ips.iter().map(|(address, ..)| Label::of(address)).collect(),
            ips: ips.into_iter().map(|(address, gateway, interface)| {
                Ip { address, gateway: gateway.map(|gw| gw.addr()), interface }
            }).collect(),
            routes,
            dns: Dns { nameservers, ..Dns::default() },
            ..CniResult::empty()
        };
        let shape = Shape::of(version).unwrap();
        match write::result(&full, shape, version) {
            Ok(bytes) => CniResult::parse(&bytes, "").unwrap(),
            Err(_) => CniResult::empty(),
        }
    }
}

proptest! {
    #[test]
    fn c76_what_is_converted_can_be_read(result in any_result(), to in proptest::sample::select(SUPPORTED)) {
        match result.as_version(to) {
            Ok(bytes) => {
                let read = CniResult::parse(&bytes, "").unwrap();
                prop_assert_eq!(read.version(), to);
                prop_assert_eq!(read.dns(), result.dns());
            }
            Err(error) => {
                let no_address = matches!(error, ResultError::NoAddress);
                prop_assert!(no_address);
                prop_assert!(result.ips().is_empty());
            }
        }
    }

    #[test]
    fn c76_the_way_up_and_back_loses_nothing(result in any_result(), to in proptest::sample::select(SUPPORTED)) {
        let lossless = Version::parse(to).unwrap() >= Version::parse(result.version()).unwrap()
            || Shape::of(to) == Some(result.shape) && result.shape != Shape::Old;
        prop_assume!(lossless && to != result.version());
        let there = result.converted(to).unwrap();
        prop_assert_eq!(there.ips(), result.ips());
        prop_assert_eq!(there.routes(), result.routes());
        if let Ok(back) = there.converted(result.version()) {
            prop_assert_eq!(back.ips(), result.ips());
            prop_assert_eq!(back.routes(), result.routes());
            prop_assert_eq!(back.interfaces(), result.interfaces());
        }
    }

    #[test]
    fn routes_that_were_set_are_there(result in any_result(), routes in proptest::collection::vec(any_route(), 0..4)) {
        let changed = result.with_routes(routes.clone());
        prop_assert_eq!(changed.version(), result.version());
        prop_assert_eq!(changed.ips(), result.ips());
        let read = CniResult::parse(changed.bytes(), "").unwrap();
        prop_assert_eq!(read.routes(), changed.routes());
        if changed.shape != Shape::Old {
            prop_assert_eq!(changed.routes(), routes);
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200), to in ".{0,8}") {
        if let Ok(result) = CniResult::parse(&bytes, "1.0.0") {
            let _ = result.as_version(&to);
        }
    }

    #[test]
    fn any_result_text_is_read_or_refused(
        version in proptest::sample::select(SUPPORTED), key in "(ips|routes|interfaces|dns|ip4|ip6)", address in "[0-9a-f.:/]{0,20}",
        to in proptest::sample::select(SUPPORTED),
    ) {
        let text = json!({"cniVersion": version, key: [{"address": address, "dst": address, "ip": address}]}).to_string();
        if let Ok(result) = CniResult::parse(text.as_bytes(), "") {
            let _ = result.as_version(to);
        }
    }
}
