use proptest::prelude::*;

use super::*;

fn parse(text: &str) -> Network {
    Network::parse(text.as_bytes()).unwrap()
}

fn refused(text: &str) -> String {
    Network::parse(text.as_bytes()).unwrap_err().to_string()
}

#[test]
fn a_top_level_type_makes_a_single_configuration() {
    let single = parse(r#"{"type":"bridge","name":"n","cniVersion":"0.4.0","plugins":[{"type":"x"}]}"#);
    assert_eq!((single.form, single.plugins.len()), (Form::Single, 1));
    assert_eq!(single.plugins[0].plugin_type, "bridge");
    let list = parse(r#"{"type":"","name":"n","plugins":[{"type":"x"},{"type":"y"}]}"#);
    assert_eq!((list.form, list.plugins.len()), (Form::List, 2));
    assert_eq!(list.version(), Version::V0_1_0);
}

#[test]
fn names_may_be_missing_and_are_filled_in() {
    for text in [r#"{"type":"x","k":1}"#, r#"{"plugins":[{"type":"x"}],"k":1}"#] {
        let mut network = parse(text);
        assert_eq!((network.name.as_str(), network.cni_version.as_str()), ("", ""));
        network.set_name_if_missing("given");
        network.set_name_if_missing("again");
        network.set_version_if_missing("0.3.1");
        let again = Network::parse(&network.to_bytes()).unwrap();
        assert_eq!((again.name.as_str(), again.cni_version.as_str()), ("given", "0.3.1"));
        assert_eq!(again.object().get("k").unwrap().get(), "1");
    }
}

#[test]
fn c7_unchanged_configurations_give_back_their_bytes() {
    for text in [
        "{ \"type\": \"x\",\n \"name\":\"n\", \"n\": 9007199254740993, \"n\": 1.50 }",
        "{\"plugins\" : [ {\"type\":\"x\",\"f\":1e2} ],\t\"Name\":\"n\", \"disableCheck\":\"TRUE\"}",
    ] {
        assert_eq!(parse(text).to_bytes(), text.as_bytes());
    }
}

#[test]
fn c7_changed_configurations_lose_nothing() {
    let mut list =
        parse(r#"{"x":{"b":1.50},"plugins":[{"type":"a","n":9007199254740993},{"type":"b"}],"name":"n"}"#);
    list.set_in_every_plugin("deviceID", "0000:00:1f.6");
    list.disable_gc = true;
    assert_eq!(
        String::from_utf8(list.to_bytes()).unwrap(),
        r#"{"disableGC":true,"name":"n","plugins":[{"deviceID":"0000:00:1f.6","n":9007199254740993,"type":"a"},{"deviceID":"0000:00:1f.6","type":"b"}],"x":{"b":1.50}}"#
    );
    let mut single = parse(r#"{"type":"a","n":9007199254740993,"Name":"n","cniVersions":["1.0.0"]}"#);
    single.set_in_every_plugin("k", &[1]);
    single.name = "other".to_owned();
    assert_eq!(
        String::from_utf8(single.to_bytes()).unwrap(),
        r#"{"cniVersions":["1.0.0"],"k":[1],"n":9007199254740993,"name":"other","type":"a"}"#
    );
}

#[test]
fn appending_plugins_makes_a_list() {
    let mut network = parse(r#"{"type":"a","name":"n","cniVersion":"1.0.0","own":1}"#);
    network.append_plugins(Vec::new());
    assert_eq!(network.form, Form::Single);
    network.append_plugins(vec![Plugin::parse(br#"{"type":"b","x":1}"#).unwrap()]);
    let again = Network::parse(&network.to_bytes()).unwrap();
    assert_eq!((again.form, again.name.as_str(), again.cni_version.as_str()), (Form::List, "n", "1.0.0"));
    assert_eq!(again.plugins, network.plugins);
    assert_eq!(again.plugins[0].object.get("own").unwrap().get(), "1");
}

#[test]
fn c1_the_highest_supported_version_is_chosen_in_both_forms() {
    let chosen = |versions: &str| {
        let single = parse(&format!(r#"{{"type":"x",{versions}}}"#)).cni_version;
        let list = parse(&format!(r#"{{"plugins":[{{"type":"x"}}],{versions}}}"#)).cni_version;
        assert_eq!(single, list);
        single
    };
    assert_eq!(chosen(r#""cniVersion":"0.3.1""#), "0.3.1");
    assert_eq!(chosen(r#""cniVersion":"0.3.1","cniVersions":["0.4.0","1.0.0","0.2.0"]"#), "1.0.0");
    assert_eq!(chosen(r#""cniVersion":"1.1.0","cniVersions":["0.4.0"]"#), "1.1.0");
    assert_eq!(chosen(r#""cniVersions":["2.0.0","1.0.0"]"#), "1.0.0");
    assert_eq!(chosen(r#""cniVersion":"9.0.0","cniVersions":["1.0.0"]"#), "1.0.0");
    assert_eq!(chosen(r#""cniVersion":"9.0.0","cniVersions":["8.0.0"]"#), "9.0.0");
    assert_eq!(chosen(r#""cniVersion":"9.3.1""#), "9.3.1");
    assert_eq!(chosen(r#""cniVersion":null,"cniVersions":null"#), "");
    assert!(
        refused(r#"{"type":"x","cniVersion":"v1"}"#).contains("invalid cniVersion: failed to convert major")
    );
    assert!(refused(r#"{"type":"x","cniVersions":["x"]}"#).contains("invalid cniVersions entry"));
    assert!(refused(r#"{"type":"x","cniVersions":"1.0.0"}"#).contains("invalid cniVersions type string"));
}

#[test]
fn c85_booleans_are_also_read_from_strings() {
    let with = |value: &str| {
        Network::parse(
            format!(r#"{{"plugins":[{{"type":"x"}}],"disableCheck":{value},"DisableGC":{value}}}"#)
                .as_bytes(),
        )
    };
    for (value, expected) in [("true", true), (r#""True""#, true), ("false", false), (r#""FALSE""#, false)] {
        let network = with(value).unwrap();
        assert_eq!((network.disable_check, network.disable_gc), (expected, expected));
    }
    let text = with(r#""yes""#).unwrap_err().to_string();
    assert_eq!(
        text,
        r#"error parsing configuration list: invalid value "yes" for disableCheck: write true or false"#
    );
    assert!(with("1").is_err());
}

#[test]
fn c5_load_only_inlined_plugins_needs_plugins() {
    let text = r#"{"name":"n","loadOnlyInlinedPlugins":"true"}"#;
    let told = Network::parse_list(text.as_bytes()).unwrap_err().to_string();
    assert!(told.contains("`loadOnlyInlinedPlugins` is true, and no 'plugins' key"), "{told}");
    assert!(parse(r#"{"loadOnlyInlinedPlugins":true,"plugins":[{"type":"x"}]}"#).load_only_inlined_plugins);
}

#[test]
fn c6_every_plugin_of_a_list_is_checked() {
    assert_eq!(
        refused(r#"{"name":"n","plugins":[{"type":"x"},{"name":"y"}]}"#),
        "failed to parse plugin config 1: error parsing configuration: missing 'type'"
    );
    assert_eq!(refused(r#"{"plugins":[]}"#), "error parsing configuration list: no plugins in list");
    for text in [
        "{}",
        "",
        "[]",
        "null",
        "7",
        "{",
        r#"{"plugins":null}"#,
        r#"{"plugins":{}}"#,
        r#"{"plugins":[null]}"#,
        r#"{"plugins":[[]]}"#,
        r#"{"type":7}"#,
        r#"{"name":"n"}"#,
        r#"{"type":"x","name":7}"#,
        r#"{"plugins":[{"type":"x"}],"name":[]}"#,
        r#"{"type":"x","capabilities":[]}"#,
        r#"{"type":"x","capabilities":{"a":"true"}}"#,
        r#"{"type":"x","cniVersion":1}"#,
    ] {
        assert!(Network::parse(text.as_bytes()).is_err(), "{text}");
    }
}

#[test]
fn c64_capabilities_that_are_true() {
    let network =
        parse(r#"{"plugins":[{"type":"x","Capabilities":{"a":true,"b":false,"c":null}},{"type":"y"}]}"#);
    assert_eq!(network.plugins[0].capabilities().into_iter().collect::<Vec<_>>(), ["a"]);
    assert!(network.declares("a") && !network.declares("b") && !network.declares("d"));
    assert!(network.plugins[1].capabilities().is_empty());
}

#[test]
fn hostile_configurations_cost_little_and_change_nothing() {
    let deep = format!(r#"{{"type":"x","d":{}{}}}"#, "[".repeat(1 << 19), "]".repeat(1 << 19));
    assert_eq!(parse(&deep).to_bytes(), deep.as_bytes());
    let deep = format!(r#"{{"plugins":{}{}}}"#, "[".repeat(1 << 19), "]".repeat(1 << 19));
    assert!(Network::parse(deep.as_bytes()).is_err());
    let many = format!(r#"{{"plugins":[{}{{"type":"x"}}]}}"#, r#"{"type":"x"},"#.repeat(2000));
    assert!(refused(&many).contains("1000 at most are allowed"));
    assert!(Network::parse(b"{\"type\":\"x\0\"}").is_err());
    // The last of duplicate keys wins, as in Go.
    assert_eq!(parse(r#"{"type":"x","type":"y","name":"a","name":"b"}"#).name, "b");
    let long = format!(r#"{{"type":"x","cniVersion":"{}"}}"#, "9".repeat(1 << 20));
    assert!(refused(&long).len() < 1000);
}

proptest! {
    #[test]
    fn c7_any_change_is_read_back(
        name in "[a-z]{0,5}", version in prop_oneof![Just(""), Just("0.3.1"), Just("1.1.0")],
        check in any::<bool>(), gc in any::<bool>(), single in any::<bool>(), value in any::<i64>()
    ) {
        let mut network = parse(if single { r#"{"type":"a","u":1.0}"# } else { r#"{"plugins":[{"type":"a","u":1.0}],"t":2.0}"# });
        network.name = name;
        network.cni_version = version.to_owned();
        if !single {
            network.disable_check = check;
            network.disable_gc = gc;
        }
        network.set_in_every_plugin("v", &value);
        let again = Network::parse(&network.to_bytes()).unwrap();
        let expected = Network { plugins: again.plugins.clone(), ..network.clone() };
        prop_assert!(again.is_same(&expected));
        prop_assert_eq!(again.plugins[0].object.get("u").unwrap().get(), "1.0");
        prop_assert_eq!(again.plugins[0].object.get_as::<i64>("v").unwrap(), Some(value));
        prop_assert_eq!(again.to_bytes(), network.to_bytes());
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Network::parse(&bytes);
        let _ = Plugin::parse(&bytes);
    }
}
