use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const FULL: [(&str, &str); 6] = [
    ("CNI_CONTAINERID", "cid"),
    ("CNI_NETNS", "/ns"),
    ("CNI_IFNAME", "eth0"),
    ("CNI_ARGS", "A=1"),
    ("CNI_PATH", "/bin"),
    ("CNI_NETNS_OVERRIDE", "TRUE"),
];
const CONFIG: &str = r#"{"cniVersion":"1.1.0","name":"n"}"#;

fn call_with(command: &str, change: &[(&str, &str)], stdin: &str) -> Result<Call, CniError> {
    let mut env: BTreeMap<&str, &str> = FULL.into_iter().chain([("CNI_COMMAND", command)]).collect();
    env.extend(change.iter().copied());
    parse_call(&|name| env.get(name).map(|value| (*value).to_owned()), stdin.as_bytes().to_vec())
}

fn refused(command: &str, change: &[(&str, &str)], stdin: &str) -> (u32, String) {
    let error = call_with(command, change, stdin).unwrap_err();
    (error.code, error.to_string())
}

fn told(code: u32, text: &str) -> (u32, String) {
    (code, text.to_owned())
}

#[test]
fn c12_a_complete_call_is_read() {
    for (text, command) in [
        ("ADD", Verb::Add),
        ("DEL", Verb::Del),
        ("CHECK", Verb::Check),
        ("STATUS", Verb::Status),
        ("GC", Verb::Gc),
    ] {
        let call = call_with(text, &[], CONFIG).unwrap();
        assert_eq!((call.command, call.container_id.as_str(), call.netns.as_str()), (command, "cid", "/ns"));
        assert_eq!((call.if_name.as_str(), call.args.as_str(), call.path.as_str()), ("eth0", "A=1", "/bin"));
        assert_eq!((call.stdin.as_slice(), call.cni_version.as_str()), (CONFIG.as_bytes(), "1.1.0"));
        assert!(call.netns_override);
    }
    assert!(!call_with("ADD", &[("CNI_NETNS_OVERRIDE", "0")], CONFIG).unwrap().netns_override);
    assert_eq!(call_with("ADD", &[], r#"{"Name":"n"}"#).unwrap().cni_version, "0.1.0");
}

#[test]
fn c75_missing_variables_are_named_in_the_order_of_their_declaration() {
    let empty: [(&str, &str); 5] =
        ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_ARGS", "CNI_PATH"].map(|v| (v, ""));
    let missing = |command: &str| refused(command, &empty, CONFIG);
    let all = "required env variables [CNI_CONTAINERID,CNI_NETNS,CNI_IFNAME,CNI_PATH] missing";
    assert_eq!(missing("ADD"), told(4, all));
    assert_eq!(missing("CHECK"), told(4, all));
    assert_eq!(
        missing("DEL"),
        told(4, "required env variables [CNI_CONTAINERID,CNI_IFNAME,CNI_PATH] missing")
    );
    assert_eq!(missing("GC"), told(4, "required env variables [CNI_PATH] missing"));
    assert_eq!(missing("STATUS"), told(4, "required env variables [CNI_PATH] missing"));
    assert_eq!(missing(""), told(4, "required env variables [CNI_COMMAND] missing"));
    assert!(call_with("DEL", &[("CNI_NETNS", ""), ("CNI_ARGS", "")], CONFIG).is_ok());
}

#[test]
fn c92_values_are_checked_while_scanning() {
    // The first failure wins, even over variables that are missing further down or up.
    let change = [("CNI_CONTAINERID", "a/b"), ("CNI_PATH", ""), ("CNI_NETNS", "")];
    assert_eq!(refused("ADD", &change, ""), told(4, "invalid characters in containerID; a/b"));
    assert_eq!(refused("DEL", &[("CNI_IFNAME", "..")], ""), told(4, "interface name is . or .."));
    let long = told(4, "interface name is too long; interface name should be less than 16 characters");
    assert_eq!(refused("CHECK", &[("CNI_IFNAME", "a234567890123456")], ""), long);
    // Where they are not needed, they are not looked at.
    assert!(call_with("GC", &[("CNI_CONTAINERID", "a/b"), ("CNI_IFNAME", "..")], CONFIG).is_ok());
}

#[test]
fn c75_the_network_name_is_checked_before_the_command() {
    let (code, text) = refused("ADD", &[], "{");
    assert_eq!(code, 6);
    assert!(text.starts_with("error unmarshall network config: "), "{text}");
    assert_eq!(refused("ADD", &[], "").0, 6);
    assert_eq!(refused("ADD", &[], r#"{"name":7}"#).0, 6);
    for text in ["{}", "null", r#"{"name":""}"#, r#"{"name":null}"#] {
        assert_eq!(refused("NONSENSE", &[], text), told(7, "missing network name"));
    }
    let invalid = told(7, "invalid characters found in network name; a b");
    assert_eq!(refused("DEL", &[], r#"{"name":"a b"}"#), invalid);
    assert_eq!(refused("add", &[], CONFIG), told(4, "unknown CNI_COMMAND: add"));
}

#[test]
fn c81_versions_are_matched_exactly_and_bound_the_command() {
    let with = |version: &str| format!(r#"{{"cniVersion":"{version}","name":"n"}}"#);
    assert_eq!(refused("CHECK", &[], &with("0.3.1")), told(1, "config version does not allow CHECK"));
    assert_eq!(refused("GC", &[], &with("1.0.0")), told(1, "config version does not allow GC"));
    assert_eq!(refused("STATUS", &[], &with("")), told(1, "config version does not allow STATUS"));
    assert_eq!(refused("CHECK", &[], &with("9.3.1")), told(1, "plugin version does not allow CHECK"));
    assert!(call_with("CHECK", &[], &with("0.4.0")).is_ok());
    let list = r#"["0.1.0" "0.2.0" "0.3.0" "0.3.1" "0.4.0" "1.0.0" "1.1.0"]"#;
    let text = format!(r#"incompatible CNI versions; config is "9.3.1", plugin supports {list}"#);
    assert_eq!(refused("ADD", &[], &with("9.3.1")), told(1, &text));
    assert_eq!(refused("ADD", &[], &with("1.0")).0, 1);
    assert_eq!(refused("CHECK", &[], &with("x")).0, 6);
    assert_eq!(refused("ADD", &[], r#"{"cniVersion":1,"name":"n"}"#).0, 6);
}

#[test]
fn c57_version_needs_nothing() {
    let env = |name: &str| (name == "CNI_COMMAND").then(|| "VERSION".to_owned());
    let call = parse_call(&env, b"nonsense".to_vec()).unwrap();
    assert_eq!((call.command, call.stdin.len()), (Verb::Version, 0));
    let expected = "{\"cniVersion\":\"1.1.0\",\"supportedVersions\":[\"0.1.0\",\"0.2.0\",\"0.3.0\",\"0.3.1\",\"0.4.0\",\"1.0.0\",\"1.1.0\"]}\n";
    assert_eq!(String::from_utf8(version_answer()).unwrap(), expected);
}

#[test]
fn c74_errors_and_results_are_printed_as_skel_prints_them() {
    let text = |error: &CniError| String::from_utf8(print_error(error)).unwrap();
    let full = CniError::new(11, "later \"x\"", "d");
    assert_eq!(
        text(&full),
        "{\n    \"code\": 11,\n    \"msg\": \"later \\\"x\\\"\",\n    \"details\": \"d\"\n}"
    );
    assert_eq!(text(&CniError::new(4, "m", "")), "{\n    \"code\": 4,\n    \"msg\": \"m\"\n}");
    let result = pretty_result(br#"{"cniVersion":"1.0.0","ips":[]}"#);
    assert_eq!(String::from_utf8(result).unwrap(), "{\n    \"cniVersion\": \"1.0.0\",\n    \"ips\": []\n}");
}

#[test]
fn hostile_calls_are_refused_with_short_texts() {
    let long = "/".repeat(1 << 20);
    for (variable, value) in
        [("CNI_CONTAINERID", long.as_str()), ("CNI_IFNAME", &long), ("CNI_COMMAND", &long)]
    {
        assert!(refused("ADD", &[(variable, value)], CONFIG).1.len() < 500);
    }
    assert!(refused("ADD", &[], &format!(r#"{{"name":"{long}"}}"#)).1.len() < 500);
    assert!(refused("ADD", &[], &format!(r#"{{"name":"n","cniVersion":"{long}"}}"#)).1.len() < 500);
    let deep = format!(r#"{{"name":"n","x":{}{}}}"#, "[".repeat(1 << 19), "]".repeat(1 << 19));
    assert!(call_with("ADD", &[], &deep).is_ok());
    assert_eq!(refused("ADD", &[], &format!(r#"{{"name":{}"#, "[".repeat(1 << 19))).0, 6);
}

proptest! {
    #[test]
    fn any_call_is_read_or_refused(
        values in proptest::collection::btree_map("CNI_(COMMAND|CONTAINERID|NETNS|IFNAME|PATH)", "(ADD|GC|.{0,9})", 0..6),
        stdin in proptest::collection::vec(any::<u8>(), 0..99),
    ) {
        let _ = parse_call(&|name| values.get(name).cloned(), stdin);
    }
}
