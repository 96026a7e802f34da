use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::testing::parsed;

fn elements() -> Vec<Element> {
    let list = json!({"cniVersion": "1.0.0", "name": "conf", "own": [1.50], "plugins": [{"type": "a", "ipam": {"type": "host-local", "x": 1}, "capabilities": {"mac": true}}]});
    let single = json!({"cniVersion": "0.3.1", "name": "one", "type": "b", "big": 12345678901234567890123_u128.to_string()});
    let own = Own {
        state: State::Adding,
        boot_id: "boot".to_owned(),
        netns: "/run/netns/p".to_owned(),
        netns_id: Some("4:5".to_owned()),
        if_name: "eth0".to_owned(),
        args: vec![("A".to_owned(), "b=\"c\"".to_owned())],
        primary: true,
        ..Own::default()
    };
    let requests = Requests {
        if_name: "data".to_owned(),
        mac: "02:00:00:00:00:01".to_owned(),
        infiniband_guid: "24:8a".to_owned(),
        ips: vec!["10.0.0.9/24".to_owned()],
        default_route: vec!["10.9.9.1".to_owned()],
        filter_v6: true,
        device_id: "0000:01:02.3".to_owned(),
        resource_name: "intel.com/sriov".to_owned(),
        ..Requests::default()
    };
    vec![
        Element {
            name: "conf".to_owned(),
            network: parsed(&list),
            requests: Requests::default(),
            own: Some(own.clone()),
        },
        Element {
            name: "ns/one".to_owned(),
            network: parsed(&single),
            requests,
            own: Some(Own { state: State::Deleting, tries: 3, parked: true, ..own }),
        },
    ]
}

fn load(store: &Store<'_>) -> Vec<Element> {
    match store.load("pod") {
        Loaded::Found(elements) => elements,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_written_is_read_back_byte_for_byte() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::new(dir.path());
    let written = elements();
    store.write("pod", &written).unwrap().sync().unwrap();
    for (read, written) in load(&store).iter().zip(&written) {
        assert_eq!(read.network.to_bytes(), written.network.to_bytes());
        assert_eq!((&read.name, &read.requests, &read.own), (&written.name, &written.requests, &written.own));
    }
    assert_eq!(store.container_ids().unwrap(), ["pod"]);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

/// Upstream's keys and order, so that its program can DEL what we added.
#[test]
fn the_text_is_upstreams_with_one_key_more() {
    let dir = tempfile::tempdir().unwrap();
    Store::new(dir.path()).write("pod", &elements()).unwrap();
    let text = fs::read_to_string(dir.path().join("pod")).unwrap();
    let single = text.split_once(r#"},{"Conf":"#).unwrap().1;
    let expected = r#"{"cniVersion":"0.3.1","ipam":{},"name":"one","type":"b"},"ConfList":{},"CNINetworkConfigList":{"Name":"","CNIVersion":"","DisableCheck":false,"DisableGC":false,"LoadOnlyInlinedPlugins":false,"Plugins":null,"Bytes":null},"Name":"ns/one","ifnameRequest":"data","macRequest":"02:00:00:00:00:01","infinibandGUIDRequest":"24:8a","ipRequest":["10.0.0.9/24"],"default-route":["10.9.9.1"],"IsFilterV4Gateway":false,"IsFilterV6Gateway":true,"deviceID":"0000:01:02.3","resourceName":"intel.com/sriov","Bytes":"#;
    assert!(single.starts_with(expected), "{single}");
    let list: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        list[0]["ConfList"],
        json!({"cniVersion": "1.0.0", "name": "conf", "plugins": [{"capabilities": {"mac": true}, "ipam": {"type": "host-local"}, "type": "a"}]})
    );
    assert_eq!(list[0]["Conf"], json!({"cniVersion": "1.0.0", "ipam": {}, "name": "conf"}));
}

#[test]
fn a_state_is_changed_in_place_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::new(dir.path());
    let saved = store.write("pod", &elements()).unwrap();
    let length = fs::metadata(dir.path().join("pod")).unwrap().len();
    for state in [State::Added, State::Deleting, State::Adding] {
        saved.mark(0, state).unwrap();
        let read = load(&store);
        assert_eq!(read[0].own.as_ref().unwrap().state, state);
        assert_eq!(read[1].own, elements()[1].own);
        assert_eq!(fs::metadata(dir.path().join("pod")).unwrap().len(), length);
    }
    saved.mark(2, State::Added).unwrap_err();
}

#[test]
fn a_key_of_ours_that_cannot_be_read_leaves_upstreams() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::new(dir.path());
    store.write("pod", &elements()).unwrap();
    let mut text: Value = serde_json::from_slice(&fs::read(dir.path().join("pod")).unwrap()).unwrap();
    text[0][OWN_KEY]["args"] = json!(7);
    text[1].as_object_mut().unwrap().remove(OWN_KEY);
    text[1]["ipRequest"] = Value::Null;
    fs::write(dir.path().join("pod"), text.to_string()).unwrap();
    let read = load(&store);
    assert!(read.iter().all(|element| element.own.is_none()));
    assert_eq!(read[1].requests.ips, Vec::<String>::new());
    assert_eq!(read[1].requests.mac, "02:00:00:00:00:01");
}

#[test]
fn a_list_that_upstream_took_from_a_file_is_read_whole() {
    use base64::Engine as _;
    let encode = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
    let file = r#"{"cniVersion":"1.0.0","name":"conf","disableCheck":true,"other":1.50,"plugins":[{"type":"a","mtu":1500}]}"#;
    let mut element = json!({
        "Conf": {"ipam": {}}, "ConfList": {"name": "conf", "plugins": [{"type": "a"}, {"type": "sub"}]}, "Name": "conf",
        "IsFilterV4Gateway": false, "IsFilterV6Gateway": false, "Bytes": encode(r#"{"name":"conf","plugins":[{"type":"a"}]}"#),
        "CNINetworkConfigList": {"Name": "conf", "CNIVersion": "1.0.0", "DisableCheck": true, "DisableGC": false, "LoadOnlyInlinedPlugins": false,
            "Plugins": [{"Network": {}, "Bytes": encode(r#"{"type":"a","mtu":1500.0}"#)}, {"Network": {}, "Bytes": encode(r#"{"type":"sub"}"#)}],
            "Bytes": encode(file)},
    });
    for with_file in [true, false] {
        if !with_file {
            element["CNINetworkConfigList"]["Bytes"] = Value::Null;
        }
        let text = Value::from(vec![element.clone()]).to_string();
        let read = read::journal(text.as_bytes()).unwrap();
        let network = &read[0].network;
        assert_eq!(
            (network.name.as_str(), network.cni_version.as_str(), network.disable_check),
            ("conf", "1.0.0", true)
        );
        assert_eq!(network.plugins.len(), 2);
        assert_eq!(network.plugins[0].object.get("mtu").unwrap().get(), "1500.0");
        assert_eq!(network.object().get("other").is_some(), with_file);
    }
}

#[test]
fn a_file_without_an_attachment_is_told_from_none() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::new(dir.path());
    assert!(matches!(store.load("pod"), Loaded::Missing));
    for text in ["", "[]", "null", "[1]", "[{}]", "{}"] {
        fs::write(dir.path().join("pod"), text).unwrap();
        assert!(matches!(store.load("pod"), Loaded::Broken(_)), "{text}");
    }
    assert!(matches!(
        Store::new(dir.path().parent().unwrap()).load(dir.path().file_name().unwrap().to_str().unwrap()),
        Loaded::Broken(_)
    ));
    store.remove("pod").unwrap();
    store.remove("pod").unwrap();
}

#[test]
fn the_cut_of_a_file_at_any_byte_is_no_journal_and_no_panic() {
    let whole = write::journal(&elements()).bytes;
    assert_eq!(read::journal(&whole).unwrap().len(), 2);
    for end in 0..whole.len() {
        read::journal(&whole[..end]).unwrap_err();
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse_journal(&bytes);
    }

    #[test]
    fn any_change_of_a_journal_is_read_without_a_panic(at in 0usize..2000, byte in any::<u8>()) {
        let mut bytes = write::journal(&elements()).bytes;
        let at = at % bytes.len();
        bytes[at] = byte;
        let _ = parse_journal(&bytes);
    }

    #[test]
    fn any_names_and_arguments_come_back(name in ".*", key in ".*", value in ".*", reason in ".*") {
        let mut written = elements();
        written[0].name = name;
        let own = written[0].own.as_mut().unwrap();
        own.args = vec![(key, value)];
        own.last_error = reason;
        let read = read::journal(&write::journal(&written).bytes).unwrap();
        prop_assert_eq!(&read[0].name, &written[0].name);
        prop_assert_eq!(&read[0].own, &written[0].own);
    }
}
