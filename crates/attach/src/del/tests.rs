use std::fs;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use libcni::{Cache, Entry, Object};
use plan::{Sandbox, SpecMode};
use serde_json::{Value, json};

use crate::journal::State;
use crate::testing::{Node, network, run};
use crate::{DelRequest, Error, Outcome, del};

fn failing(plugin_type: &str) -> Value {
    network(plugin_type, json!({"x-error": {"code": 5, "msg": "device not Found", "on": ["DEL"]}}))
}

#[test]
fn c25_c30_del_runs_in_reverse_with_the_final_results_and_again_succeeds() {
    let node = Node::new(&["a", "b"]);
    let plan = node.plan(&[network("a", json!({})), network("b", json!({}))]);
    node.add(&plan).unwrap();
    node.recorder.clear().unwrap();
    let deleted = node.del().unwrap();
    let names: Vec<_> = deleted.attachments.iter().map(|one| one.if_name.as_str()).collect();
    assert_eq!(names, ["eth0", "net1"]);
    assert_eq!(node.sequence(), ["DEL b/net1", "DEL a/eth0"]);
    assert_eq!(node.calls()[0].config()["prevResult"]["interfaces"][0]["name"], "net1");
    assert_eq!(node.files(), Vec::<String>::new());
    // C-31: without any record the default network is asked to undo what it may have.
    node.recorder.clear().unwrap();
    node.del_as(&node.sandbox, SpecMode::Compat, &|| Some(node.plan(&[network("a", json!({}))]))).unwrap();
    assert_eq!(node.sequence(), ["DEL a/eth0"]);
    assert_eq!(node.files(), Vec::<String>::new());
}

#[test]
fn n98_n99_every_network_is_tried_and_the_failed_ones_are_returned_and_kept() {
    let node = Node::new(&["a", "b", "c"]);
    node.add(&node.plan(&[network("a", json!({})), failing("b"), network("c", json!({}))])).unwrap();
    node.recorder.clear().unwrap();
    let error = node.del().unwrap_err();
    assert_eq!(node.sequence(), ["DEL c/net2", "DEL b/net1", "DEL a/eth0"]);
    assert!(matches!(&error, Error::Del(failures) if failures.len() == 1 && failures[0].if_name == "net1"));
    assert_eq!(error.to_cni().code, 5);
    let journal = node.journal().unwrap();
    let own = journal[0].own.as_ref().unwrap();
    assert_eq!((journal.len(), own.state, own.tries), (1, State::Deleting, 1));
    // Its place in the file no longer says which interface it is.
    assert_eq!(journal[0].requests.if_name, "net1");
    node.recorder.clear().unwrap();
    node.del().unwrap_err();
    assert_eq!(node.sequence(), ["DEL b/net1"]);
}

#[test]
fn a_retryable_error_never_says_what_runtimes_take_for_success() {
    let node = Node::new(&["a"]);
    node.add(&node.plan(&[failing("a")])).unwrap();
    let text = node.del().unwrap_err().to_cni().msg;
    assert!(!text.to_lowercase().contains("not found") && text.contains("device missing"), "{text}");
}

#[test]
fn a_failing_secondary_is_set_aside_after_five_tries_in_compat_and_never_in_strict() {
    for mode in [SpecMode::Compat, SpecMode::Strict] {
        let node = Node::new(&["a", "b"]);
        node.add(&node.plan(&[network("a", json!({})), failing("b")])).unwrap();
        for _ in 1..5 {
            node.del_as(&node.sandbox, mode, &|| None).unwrap_err();
        }
        let fifth = node.del_as(&node.sandbox, mode, &|| None);
        let own = node.journal().unwrap()[0].own.clone().unwrap();
        assert_eq!(own.tries, 5);
        if mode == SpecMode::Strict {
            fifth.unwrap_err();
            assert!(!own.parked);
            continue;
        }
        assert!(
            matches!(&fifth.unwrap().attachments[0].outcome, Outcome::Parked(why) if why.contains("device"))
        );
        assert!(own.parked && own.next_try.is_some());
        let held = crate::held(&node.host.cni_dir).unwrap();
        assert_eq!((held.sandboxes, held.attachments, held.parked, held.broken), (1, 1, 1, 0));
        // Another DEL tries again and does not fail either.
        node.del().unwrap();
        assert_eq!(node.journal().unwrap().len(), 1);
    }
}

#[test]
fn n99_a_failing_default_network_is_never_set_aside() {
    let node = Node::new(&["a"]);
    node.add(&node.plan(&[failing("a")])).unwrap();
    for _ in 0..7 {
        node.del().unwrap_err();
    }
    assert!(!node.journal().unwrap()[0].own.as_ref().unwrap().parked);
}

#[test]
fn q10_an_unusable_journal_is_replaced_by_the_result_cache_and_goes() {
    let deep = "[".repeat(100_000);
    let megabytes = format!("[\"{}\"]", "x".repeat(4 << 20));
    for text in
        ["", "[", "[]", "null", "{}", "[null]", "[{}]", "\0\0\0", "[{\"Bytes\":\"!\"}]", &deep, &megabytes]
    {
        let node = Node::new(&["a", "b"]);
        node.add(&node.plan(&[network("a", json!({"kept": 1.50})), network("b", json!({}))])).unwrap();
        node.recorder.clear().unwrap();
        node.write_journal(text);
        let deleted = node.del().unwrap();
        assert_eq!(node.sequence(), ["DEL b/net1", "DEL a/eth0"], "{text:.20}");
        assert!(deleted.notes.iter().any(|note| note.contains("the result cache serves in its place")));
        let call = &node.calls()[1];
        assert_eq!(call.config()["kept"], 1.50);
        assert_eq!(call.env("CNI_NETNS"), node.sandbox.netns);
        assert_eq!(node.files(), Vec::<String>::new());
    }
}

#[test]
fn a_pod_older_than_the_install_is_undone_by_the_runtimes_own_records() {
    let node = Node::new(&["a", "multus"]);
    let cache = Cache::new(&node.host.runtime_cache);
    let entry = |name: &str, config: &Value| Entry {
        container_id: "pod1".to_owned(),
        network_name: name.to_owned(),
        if_name: "eth0".to_owned(),
        netns: node.sandbox.netns.clone(),
        config: config.to_string().into_bytes(),
        cni_args: vec![("K8S_POD_NAME".to_owned(), "old".to_owned())],
        capability_args: Object::default(),
        result: serde_json::from_str(r#"{"cniVersion":"1.0.0","interfaces":[{"name":"old0"}]}"#).ok(),
    };
    cache.write(&entry("conf-a", &network("a", json!({})))).unwrap();
    cache.write(&entry("multus", &network("multus", json!({})))).unwrap();
    let strange = Entry { container_id: "pod2".to_owned(), ..entry("conf-a", &network("a", json!({}))) };
    cache.write(&strange).unwrap();
    node.del_as(&node.sandbox, SpecMode::Compat, &|| panic!("there is a record")).unwrap();
    assert_eq!(node.sequence(), ["DEL a/eth0"]);
    let call = &node.calls()[0];
    assert_eq!(call.config()["prevResult"]["interfaces"][0]["name"], "old0");
    assert_eq!(call.env("CNI_ARGS"), "K8S_POD_NAME=old");
    // What is undone is gone from the runtime's records; the runtime will look for its own network, not for this one.
    let left: Vec<_> =
        cache.list().unwrap().entries.into_iter().map(|e| (e.network_name, e.container_id)).collect();
    assert_eq!(left, [("conf-a".to_owned(), "pod2".to_owned()), ("multus".to_owned(), "pod1".to_owned())]);
}

#[test]
fn a_missing_plugin_is_named_and_the_others_are_freed() {
    let node = Node::new(&["a", "b"]);
    node.add(&node.plan(&[network("a", json!({})), network("b", json!({}))])).unwrap();
    fs::remove_file(node.recorder.dir.join("b")).unwrap();
    node.recorder.clear().unwrap();
    let text = node.del().unwrap_err().to_string();
    assert!(text.contains("failed to find plugin \"b\""), "{text}");
    assert_eq!(node.sequence(), ["DEL a/eth0"]);
    node.recorder.install("b").unwrap();
    node.del().unwrap();
    assert_eq!(node.files(), Vec::<String>::new());
}

#[test]
fn c29_a_namespace_that_is_gone_or_another_one_by_now_is_not_given_to_plugins() {
    let node = Node::new(&["a"]);
    node.add(&node.plan(&[network("a", json!({}))])).unwrap();
    node.recorder.clear().unwrap();
    run("ip", &["netns", "delete", node.netns.name()]);
    run("ip", &["netns", "add", "in-between"]);
    run("ip", &["netns", "add", node.netns.name()]);
    run("ip", &["netns", "delete", "in-between"]);
    node.del().unwrap();
    assert_eq!(node.calls()[0].env("CNI_NETNS"), "");

    let node = Node::new(&["a"]);
    node.add(&node.plan(&[network("a", json!({}))])).unwrap();
    node.recorder.clear().unwrap();
    run("ip", &["netns", "delete", node.netns.name()]);
    node.del().unwrap();
    assert_eq!(node.calls()[0].env("CNI_NETNS"), "");
}

#[test]
fn a_read_only_or_full_disk_keeps_no_pod() {
    for fault in ["read-only", "full"] {
        let node = Node::new(&["a", "b"]);
        fs::create_dir_all(&node.host.cni_dir).unwrap();
        let disk = node.host.cni_dir.to_str().unwrap().to_owned();
        run("mount", &["-t", "tmpfs", "-o", "size=1m", "tmpfs", &disk]);
        node.add(&node.plan(&[network("a", json!({})), network("b", json!({}))])).unwrap();
        node.recorder.clear().unwrap();
        if fault == "full" {
            let filled = fs::write(node.host.cni_dir.join(".filler"), vec![0; 2 << 20]);
            assert!(filled.is_err());
        } else {
            testbed::mounts::read_only(&node.host.cni_dir, &[]).unwrap();
        }
        let deleted = node.del();
        let left = node.files();
        run("umount", &["-l", &disk]);
        let deleted = deleted.unwrap();
        assert_eq!(node.sequence(), ["DEL b/net1", "DEL a/eth0"]);
        match fault {
            "full" => assert_eq!(left, [".filler"]),
            _ => assert!(
                deleted.notes.iter().any(|note| note.contains("is out of date")),
                "{:?}",
                deleted.notes
            ),
        }
    }
}

#[test]
fn a_plugin_that_hangs_does_not_use_up_the_time_of_the_others() {
    let node = Node::new(&["a", "b"]);
    node.add(&node.plan(&[network("a", json!({})), network("b", json!({"x-hang": true, "x-on": ["DEL"]}))]))
        .unwrap();
    node.recorder.clear().unwrap();
    let request = DelRequest {
        sandbox: &node.sandbox,
        mode: SpecMode::Compat,
        runtime_config: &Object::default(),
        without_records: &|| None,
        deadline: Instant::now() + Duration::from_secs(6),
    };
    let error = del(&node.host, &request).unwrap_err();
    assert!(error.to_string().contains("timed out"), "{error}");
    assert_eq!(node.sequence(), ["DEL b/net1", "DEL a/eth0"]);
    assert_eq!(node.journal().unwrap().len(), 1);
}

/// What upstream v4.3.0 writes, with the own record of libcni that it leaves beside it.
fn of_upstream(elements: &[(&str, Value, Value)]) -> String {
    let nothing = json!({"Name": "", "CNIVersion": "", "DisableCheck": false, "DisableGC": false,
        "LoadOnlyInlinedPlugins": false, "Plugins": null, "Bytes": null});
    let element = |(name, config, more): &(&str, Value, Value)| {
        let list = config.get("plugins").is_some();
        let mut element = json!({
            "Conf": {"cniVersion": config["cniVersion"], "ipam": {}, "name": config["name"]},
            "ConfList": if list { json!({"name": config["name"], "plugins": config["plugins"]}) } else { json!({}) },
            "CNINetworkConfigList": nothing, "Name": name, "IsFilterV4Gateway": false, "IsFilterV6Gateway": false,
            "Bytes": STANDARD.encode(config.to_string()),
        });
        element.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        element
    };
    Value::from(elements.iter().map(element).collect::<Vec<_>>()).to_string()
}

#[test]
fn what_upstream_added_is_undone() {
    let node = Node::new(&["a", "b", "c"]);
    let complete = network("c", json!({"ipam": {"type": "host-local", "dataDir": "/x"}, "mtu": 1500}));
    let stripped = json!({"cniVersion": "1.0.0", "name": "conf-c", "plugins": [{"type": "c", "ipam": {"type": "host-local"}}]});
    let list = json!({"CNINetworkConfigList": {"Name": "conf-c", "CNIVersion": "1.0.0", "DisableCheck": false, "DisableGC": false,
        "LoadOnlyInlinedPlugins": false, "Bytes": STANDARD.encode(complete.to_string()),
        "Plugins": [{"Network": {"type": "c"}, "Bytes": STANDARD.encode(complete["plugins"][0].to_string())}]}});
    let requests = json!({"ifnameRequest": "data", "macRequest": "02:00:00:00:00:01", "ipRequest": ["10.0.0.9/24", "fd00::9"],
        "default-route": ["10.9.9.1"], "deviceID": "0000:01:02.3", "resourceName": "intel.com/sriov"});
    let caps =
        json!({"capabilities": {"mac": true, "ips": true, "deviceID": true, "CNIDeviceInfoFile": true}});
    node.write_journal(&of_upstream(&[
        ("conf-c", stripped, list),
        ("ns/a", json!({"cniVersion": "1.0.0", "name": "conf-a", "type": "a", "kept": 1.50}), json!({})),
        ("ns/b", network("b", caps), requests),
    ]));
    node.del().unwrap();
    assert_eq!(node.sequence(), ["DEL b/data", "DEL a/net1", "DEL c/eth0"]);
    let calls = node.calls();
    let config = calls[0].config();
    assert_eq!(
        config["runtimeConfig"],
        json!({"mac": "02:00:00:00:00:01", "ips": ["10.0.0.9/24", "fd00::9"], "deviceID": "0000:01:02.3",
            "CNIDeviceInfoFile": node.host.devinfo_root.join("cni/ns-b-pod1_data")})
    );
    assert_eq!(calls[0].env("CNI_ARGS"), "K8S_POD_NAMESPACE=ns;MAC=02:00:00:00:00:01;IP=10.0.0.9/24,fd00::9");
    assert_eq!(calls[1].config()["kept"], 1.50);
    // Q2: the plugin gets what it was added with, not upstream's stripped copy.
    assert_eq!(
        (&calls[2].config()["ipam"]["dataDir"], &calls[2].config()["mtu"]),
        (&json!("/x"), &json!(1500))
    );
    assert_eq!(node.files(), Vec::<String>::new());
}

#[test]
fn q18_what_upstream_added_with_port_mappings_is_undone_with_them() {
    let node = Node::new(&["a"]);
    let config = network("a", json!({"capabilities": {"portMappings": true}}));
    node.write_journal(&of_upstream(&[("ns/a", config.clone(), json!({}))]));
    let mut capability_args = Object::default();
    capability_args.set("portMappings", &json!([{"hostPort": 1, "containerPort": 2}]));
    let entry = Entry {
        container_id: "pod1".to_owned(),
        network_name: "conf-a".to_owned(),
        if_name: "eth0".to_owned(),
        netns: node.sandbox.netns.clone(),
        config: config.to_string().into_bytes(),
        cni_args: vec![("MAC".to_owned(), "02:00:00:00:00:01".to_owned())],
        capability_args,
        result: None,
    };
    node.host.cache().write(&entry).unwrap();
    node.del().unwrap();
    let call = &node.calls()[0];
    assert_eq!(call.config()["runtimeConfig"]["portMappings"][0]["hostPort"], 1);
    assert_eq!(call.env("CNI_ARGS"), "MAC=02:00:00:00:00:01");
}

/// Upstream's own program against ours, both ways, with real plugins.
#[test]
fn a_node_can_move_to_upstream_and_back_with_pods_running() {
    let node = Node::new(&[]);
    let bridged = |name: &str, third: u8| {
        json!({"cniVersion": "1.0.0", "name": name, "plugins": [{
            "type": "bridge", "bridge": format!("{name}{}", std::process::id() % 10000),
            "ipam": {"type": "host-local", "dataDir": node.dir.path().join("leases"), "subnet": format!("10.88.{third}.0/24")},
        }]})
    };
    let mut single = bridged("xb", 2)["plugins"][0].clone();
    single
        .as_object_mut()
        .unwrap()
        .extend([("cniVersion".into(), "1.0.0".into()), ("name".into(), "xb".into())]);
    let networks = [bridged("xa", 1), single];
    let upstream = |verb: &str| {
        let plugins = testbed::parts::reference_plugins().unwrap();
        let config = json!({"cniVersion": "1.0.0", "name": "m", "type": "multus", "cniDir": node.host.cni_dir,
            "binDir": plugins, "confDir": node.dir.path(), "delegates": networks});
        let multus = testbed::parts::upstream_multus().unwrap().join("multus");
        let stdin = node.dir.path().join("stdin");
        fs::write(&stdin, config.to_string()).unwrap();
        let output = std::process::Command::new(multus)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("CNI_COMMAND", verb)
            .env("CNI_CONTAINERID", "pod1")
            .env("CNI_NETNS", &node.sandbox.netns)
            .env("CNI_IFNAME", "eth0")
            .env("CNI_PATH", plugins)
            .stdin(fs::File::open(stdin).unwrap())
            .output()
            .unwrap();
        assert!(output.status.success(), "{verb}: {output:?}");
    };
    let leases = || -> Vec<String> {
        let found = fs::read_dir(node.dir.path().join("leases")).unwrap().map(Result::unwrap);
        let folders = found.flat_map(|folder| fs::read_dir(folder.path()).unwrap().map(Result::unwrap));
        folders
            .map(|file| file.file_name().into_string().unwrap())
            .filter(|name| name.starts_with("10."))
            .collect()
    };
    let nothing_left = |when: &str| {
        assert_eq!(node.netns.link_names().unwrap(), Vec::<String>::new(), "{when}");
        assert_eq!(leases(), Vec::<String>::new(), "{when}");
        assert!(!node.journal_path().exists(), "{when}");
    };
    node.add(&node.plan(&networks)).unwrap();
    assert_eq!((node.netns.link_names().unwrap().len(), leases().len()), (2, 2));
    upstream("DEL");
    nothing_left("ours, undone by upstream");
    upstream("ADD");
    assert_eq!((node.netns.link_names().unwrap().len(), leases().len()), (2, 2));
    node.del().unwrap();
    nothing_left("upstream's, undone by ours");
}

#[test]
fn c59_a_del_beside_a_call_that_still_runs_is_told_to_come_again() {
    let node = Node::new(&["a"]);
    node.add(&node.plan(&[network("a", json!({}))])).unwrap();
    node.recorder.clear().unwrap();
    let _held = crate::lock::SandboxLock::try_acquire(&node.host.cni_dir, "pod1").unwrap();
    let sandbox: &Sandbox = &node.sandbox;
    let request = DelRequest {
        sandbox,
        mode: SpecMode::Compat,
        runtime_config: &Object::default(),
        without_records: &|| None,
        deadline: Instant::now() + Duration::from_millis(200),
    };
    let error = del(&node.host, &request).unwrap_err();
    assert_eq!(error.to_cni().code, 11);
    assert_eq!(node.sequence(), Vec::<String>::new());
}

#[test]
fn c49_a_del_that_waits_for_locks_keeps_time_for_its_own_work() {
    let now = Instant::now();
    let seconds = |of: u64| now + Duration::from_secs(of);
    // The sandbox's first, then the node's: of 50 seconds 15 remain.
    assert_eq!(super::patience(seconds(50), now), seconds(20));
    assert_eq!(super::patience(seconds(50), seconds(20)), seconds(35));
    assert_eq!(super::patience(seconds(6), now), seconds(3));
    assert_eq!(super::patience(now, seconds(3)), seconds(3));
}
