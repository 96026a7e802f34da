use std::os::unix::fs::PermissionsExt;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn cache() -> (tempfile::TempDir, Cache) {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::new(dir.path().join("cni"));
    (dir, cache)
}

fn entry() -> Entry {
    Entry {
        container_id: "cid1".to_owned(),
        network_name: "net-1".to_owned(),
        if_name: "eth0".to_owned(),
        netns: "/run/netns/p1".to_owned(),
        config: br#"{"name":"net-1"}"#.to_vec(),
        cni_args: vec![("IgnoreUnknown".to_owned(), "true".to_owned())],
        capability_args: Object::parse(br#"{"mac":"02:00:00:00:00:01"}"#).unwrap(),
        result: Some(
            RawValue::from_string(r#"{"cniVersion":"1.0.0","n":9007199254740993}"#.to_owned()).unwrap(),
        ),
    }
}

#[test]
fn c86_the_file_is_libcnis() {
    let (_dir, cache) = cache();
    cache.write(&entry()).unwrap();
    let path = cache.path_of("net-1", "cid1", "eth0").unwrap();
    assert_eq!(path, cache.results_dir().join("net-1-cid1-eth0"));
    let expected = concat!(
        r#"{"kind":"cniCacheV1","containerId":"cid1","config":"eyJuYW1lIjoibmV0LTEifQ==","ifName":"eth0","#,
        r#""networkName":"net-1","netns":"/run/netns/p1","cniArgs":[["IgnoreUnknown","true"]],"#,
        r#""capabilityArgs":{"mac":"02:00:00:00:00:01"},"result":{"cniVersion":"1.0.0","n":9007199254740993}}"#
    );
    assert_eq!(fs::read_to_string(&path).unwrap(), expected);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&path), mode(&cache.results_dir())), (0o600, 0o700));
    assert_eq!(fs::read_dir(cache.results_dir()).unwrap().count(), 1, "no temporary file is left");
}

#[test]
fn c86_what_is_empty_is_left_out() {
    let bare = Entry { network_name: "n".to_owned(), ..Entry::default() };
    let file: Value = serde_json::from_slice(&bare.to_bytes()).unwrap();
    let expected = json!({"kind":"cniCacheV1","containerId":"","config":"","ifName":"","networkName":"n"});
    assert_eq!(file, expected);
}

#[test]
fn c86_what_was_written_is_read_until_it_is_removed() {
    let (_dir, cache) = cache();
    assert!(cache.read("net-1", "cid1", "eth0").unwrap().is_none());
    cache.remove("net-1", "cid1", "eth0").unwrap();
    cache.write(&entry()).unwrap();
    let read = cache.read("net-1", "cid1", "eth0").unwrap().unwrap();
    assert_eq!(read.to_bytes(), entry().to_bytes());
    assert_eq!(read.cni_result().unwrap().unwrap().version(), "1.0.0");
    let changed = Entry { netns: "/other".to_owned(), ..entry() };
    cache.write(&changed).unwrap();
    assert_eq!(cache.read("net-1", "cid1", "eth0").unwrap().unwrap().netns, "/other");
    cache.remove("net-1", "cid1", "eth0").unwrap();
    assert!(cache.read("net-1", "cid1", "eth0").unwrap().is_none());
}

#[test]
fn c86_an_interrupted_write_leaves_the_old_entry_and_is_cleaned_up() {
    let (_dir, cache) = cache();
    cache.write(&entry()).unwrap();
    let half = cache.results_dir().join(".net-1-cid1-eth0.t");
    fs::write(&half, "{\"kind\":\"cniCa").unwrap();
    assert!(cache.read("net-1", "cid1", "eth0").unwrap().is_some());
    assert_eq!((cache.list().unwrap().entries.len(), cache.list().unwrap().unreadable), (1, 0));
    cache.write(&entry()).unwrap();
    assert!(!half.exists());
    fs::write(&half, "{\"kind\":\"cniCa").unwrap();
    cache.remove("net-1", "cid1", "eth0").unwrap();
    assert_eq!(fs::read_dir(cache.results_dir()).unwrap().count(), 0);
}

#[test]
fn c86_a_failed_write_keeps_the_old_entry() {
    let (_dir, cache) = cache();
    cache.write(&entry()).unwrap();
    // Root writes where permissions forbid it; a directory in the way stops everyone.
    fs::create_dir(cache.results_dir().join(".net-1-cid1-eth0.t")).unwrap();
    let told = cache.write(&Entry::default()).unwrap_err().to_string();
    assert!(told.starts_with("cannot name the result cache file"), "{told}");
    let told = cache.write(&entry()).unwrap_err().to_string();
    assert!(
        told.starts_with("cannot write the result cache file") && told.contains("net-1-cid1-eth0"),
        "{told}"
    );
    assert!(cache.read("net-1", "cid1", "eth0").unwrap().is_some());
}

#[test]
fn c86_older_files_hold_the_bare_result() {
    let (_dir, cache) = cache();
    fs::create_dir_all(cache.results_dir()).unwrap();
    let path = cache.path_of("n", "c", "eth0").unwrap();
    fs::write(&path, r#"{"cniVersion":"0.3.1","ips":[{"version":"4","address":"10.0.0.1/8"}]}"#).unwrap();
    let read = cache.read("n", "c", "eth0").unwrap().unwrap();
    assert_eq!(
        (read.network_name.as_str(), read.container_id.as_str(), read.if_name.as_str()),
        ("n", "c", "eth0")
    );
    assert_eq!(read.cni_result().unwrap().unwrap().ips().len(), 1);
    assert_eq!((cache.list().unwrap().entries.len(), cache.list().unwrap().unreadable), (0, 1));
}

#[test]
fn c86_a_file_written_by_libcni_is_read() {
    let text = concat!(
        r#"{"kind":"cniCacheV1","containerId":"cid1","config":"e30=","ifName":"eth0","networkName":"default-cni","#,
        r#""netns":"/run/netns/p1","cniArgs":[["IgnoreUnknown","true"],["K8S_POD_NAMESPACE","test"]],"#,
        r#""result":{"cniVersion":"0.3.1","dns":{},"interfaces":[{"mac":"02:00:00:00:00:01","name":"eth0","#,
        r#""sandbox":"/run/netns/p1"}],"ips":[{"address":"10.1.2.3/24","gateway":"10.1.2.1","interface":0,"#,
        r#""version":"4"}],"routes":[{"dst":"0.0.0.0/0","gw":"10.1.2.1"}]}}"#
    );
    let entry = Entry::parse(text.as_bytes()).unwrap();
    assert_eq!(entry.config, b"{}");
    assert_eq!(entry.cni_args[1], ("K8S_POD_NAMESPACE".to_owned(), "test".to_owned()));
    assert_eq!(entry.cni_result().unwrap().unwrap().interfaces()[0].name, "eth0");
    assert_eq!(String::from_utf8(entry.to_bytes()).unwrap(), text);
}

#[test]
fn c87_corrupt_files_are_errors_and_counted() {
    let (_dir, cache) = cache();
    assert!(cache.list().unwrap().entries.is_empty());
    cache.write(&entry()).unwrap();
    let contents = [
        "",
        "{",
        "null",
        "[]",
        "{}x",
        r#"{"kind":"other"}"#,
        r#"{"kind":"cniCacheV1","config":"%"}"#,
        r#"{"kind":"cniCacheV1","cniArgs":{}}"#,
        r#"{"kind":7}"#,
        "\0\0\0",
    ];
    for (index, content) in contents.iter().enumerate() {
        let path = cache.path_of("bad", &format!("c{index}"), "eth0").unwrap();
        fs::write(path, content).unwrap();
    }
    fs::create_dir(cache.results_dir().join("folder")).unwrap();
    for index in [0, 1, 3, 4, 6, 7, 8, 9] {
        assert!(cache.read("bad", &format!("c{index}"), "eth0").is_err(), "{}", contents[index]);
    }
    let listing = cache.list().unwrap();
    assert_eq!((listing.entries.len(), listing.unreadable), (1, contents.len() + 1));
}

#[test]
fn c2_names_do_not_lead_out_of_the_folder() {
    let (_dir, cache) = cache();
    let long = "x".repeat(1 << 20);
    for (network, container, interface) in [
        ("../x", "c", "i"),
        ("n", "a/b", "i"),
        ("n", "c", "/"),
        ("", "c", "i"),
        ("n", "", "i"),
        ("n", "c", ""),
        ("n\0", "c", "i"),
        (long.as_str(), "c", "i"),
    ] {
        assert!(cache.path_of(network, container, interface).is_err());
        assert!(cache.remove(network, container, interface).unwrap_err().to_string().len() < 1000);
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Entry::parse(&bytes);
    }

    #[test]
    fn c86_entries_are_read_back(
        names in proptest::collection::vec(".{0,9}", 4), config in proptest::collection::vec(any::<u8>(), 0..99),
        args in proptest::collection::vec((".{0,5}", ".{0,5}"), 0..4),
    ) {
        let [container_id, network_name, if_name, netns] = <[String; 4]>::try_from(names).unwrap();
        let written = Entry { container_id, network_name, if_name, netns, config, cni_args: args, ..entry() };
        let read = Entry::parse(&written.to_bytes()).unwrap();
        prop_assert_eq!(read.to_bytes(), written.to_bytes());
        prop_assert_eq!(read.config, written.config);
    }
}
