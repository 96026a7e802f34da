//! Chains and verbs with recording plugins.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::error::{CniError, Error};
use crate::testing::{Bed, attachment, network};
use crate::{CniResult, GcAttachment, Network, Object};

const PASS: &str = r#"sed -n 's/,"runtimeConfig":.*/,"type"/; s/.*"prevResult":\({.*}\),"type".*/\1/p' "$dir/$type.$CNI_COMMAND.stdin""#;

fn first(version: &str) -> String {
    format!(
        r#"echo '{{"cniVersion":"{version}","ips":[{{"address":"10.1.2.3/24"}}],"unknown":9007199254740993}}'"#
    )
}

fn fail(code: u32, msg: &str) -> String {
    format!(r#"echo '{{"code":{code},"msg":"{msg}","details":"why"}}'; exit 1"#)
}

/// A list of two, the second with a name and a capability.
fn chain(version: &str) -> Network {
    network(&format!(
        r#"{{"cniVersion":"{version}","name":"net1","extra":1,"plugins":[
            {{"type":"one","big":9007199254740993,"deep":{{"b":1.50,"a":[1e2]}}}},
            {{"type":"two","name":"own","capabilities":{{"portMappings":true,"ips":false,"mac":true}}}}]}}"#
    ))
}

fn chain_bed(version: &str) -> Bed {
    let bed = Bed::new();
    bed.plugin("one", &first(version)).plugin("two", PASS);
    bed
}

fn cache_file(bed: &Bed) -> std::path::PathBuf {
    bed.path("cache/results/net1-cid1-eth0")
}

#[test]
fn c21_c65_results_go_down_the_chain() {
    let bed = chain_bed("1.0.0");
    let result = bed.runtime.add(&chain("1.0.0"), &attachment()).unwrap();
    assert_eq!(bed.calls(), ["ADD one", "ADD two"]);
    assert_eq!(bed.stdin("one.ADD").get("prevResult"), None);
    let expected =
        json!({"cniVersion":"1.0.0","ips":[{"address":"10.1.2.3/24"}],"unknown":9007199254740993_u64});
    assert_eq!(bed.stdin("two.ADD")["prevResult"], expected);
    assert_eq!(serde_json::from_slice::<Value>(result.bytes()).unwrap(), expected);
    assert_eq!(result.ips()[0].address.to_string(), "10.1.2.3/24");
}

#[test]
fn c7_c63_unknown_keys_and_exact_numbers_reach_the_plugin_on_add_and_del() {
    let bed = chain_bed("1.0.0");
    bed.runtime.add(&chain("1.0.0"), &attachment()).unwrap();
    bed.runtime.del(&chain("1.0.0"), &attachment()).unwrap();
    let add = r#"{"big":9007199254740993,"cniVersion":"1.0.0","deep":{"b":1.50,"a":[1e2]},"name":"net1","type":"one"}"#;
    assert_eq!(bed.stdin_text("one.ADD"), add);
    assert!(bed.stdin_text("one.DEL").starts_with(r#"{"big":9007199254740993,"cniVersion":"1.0.0","deep":{"b":1.50,"a":[1e2]},"name":"net1","prevResult":{"#));
    assert!(bed.stdin_text("one.DEL").contains("9007199254740993}"), "the result's own numbers too");
}

#[test]
fn c64_only_capabilities_that_are_declared_true_are_handed_on() {
    let bed = chain_bed("1.0.0");
    let mut attachment = attachment();
    attachment.capability_args.set("portMappings", &[1, 2]);
    attachment.capability_args.set("ips", &["10.0.0.1"]);
    attachment.capability_args.set("bandwidth", &1);
    bed.runtime.add(&chain("1.0.0"), &attachment).unwrap();
    bed.runtime.check(&chain("1.0.0"), &attachment).unwrap();
    bed.runtime.del(&chain("1.0.0"), &attachment).unwrap();
    for verb in ["ADD", "CHECK", "DEL"] {
        assert_eq!(bed.stdin(&format!("one.{verb}")).get("runtimeConfig"), None);
        assert_eq!(bed.stdin(&format!("two.{verb}"))["runtimeConfig"], json!({"portMappings": [1, 2]}));
    }
    // The cache keeps what was offered, not what one plugin got.
    let bed = chain_bed("1.0.0");
    bed.runtime.add(&chain("1.0.0"), &attachment).unwrap();
    let entry = bed.runtime.cache.read("net1", "cid1", "eth0").unwrap().unwrap();
    assert_eq!(entry.capability_args, attachment.capability_args);
}

#[test]
fn c22_c23_add_stops_at_the_first_error_and_names_the_plugin() {
    let bed = Bed::new();
    bed.plugin("one", &first("1.0.0")).plugin("two", &fail(11, "busy"));
    let error = bed.runtime.add(&chain("1.0.0"), &attachment()).unwrap_err();
    assert_eq!(error.cni().unwrap(), &CniError::new(11, "busy", "why"));
    let told = error.to_cni();
    assert_eq!(told, CniError::new(11, r#"plugin type="two" name="own" failed (add): busy"#, "why"));
    assert_eq!(error.to_string(), r#"plugin type="two" name="own" failed (add): busy; why"#);
    assert!(!cache_file(&bed).exists());

    bed.plugin("one", &fail(0, "no code"));
    let error = bed.runtime.add(&chain("1.0.0"), &attachment()).unwrap_err();
    assert_eq!(error.to_cni().code, CniError::INTERNAL);
    assert_eq!(error.to_cni().msg, r#"plugin type="one" failed (add): no code"#);
    assert_eq!(bed.calls(), ["ADD one", "ADD two", "ADD one"]);
}

#[test]
fn c23_a_single_configuration_has_no_prefix() {
    let bed = Bed::new();
    bed.plugin("one", &fail(7, "bad"));
    let single = network(r#"{"cniVersion":"1.0.0","name":"net1","type":"one"}"#);
    assert_eq!(bed.runtime.add(&single, &attachment()).unwrap_err().to_cni(), CniError::new(7, "bad", "why"));
    assert_eq!(bed.runtime.del(&single, &attachment()).unwrap_err().to_string(), "bad; why");
}

#[test]
fn c25_del_goes_backwards_with_the_final_result() {
    let bed = chain_bed("0.4.0");
    bed.runtime.add(&chain("0.4.0"), &attachment()).unwrap();
    assert!(cache_file(&bed).exists());
    bed.runtime.del(&chain("0.4.0"), &attachment()).unwrap();
    assert_eq!(bed.calls()[2..], ["DEL two", "DEL one"]);
    for plugin in ["one.DEL", "two.DEL"] {
        assert_eq!(bed.stdin(plugin)["prevResult"]["ips"][0]["address"], "10.1.2.3/24");
    }
    assert!(!cache_file(&bed).exists());
    // C-30: a repeated DEL is no error; nothing is left to hand on.
    bed.runtime.del(&chain("0.4.0"), &attachment()).unwrap();
    assert_eq!(bed.stdin("one.DEL").get("prevResult"), None);
}

#[test]
fn c27_del_stops_at_the_first_error_and_keeps_the_cache() {
    let bed = chain_bed("0.4.0");
    bed.runtime.add(&chain("0.4.0"), &attachment()).unwrap();
    bed.plugin("two", &fail(5, "stuck"));
    let error = bed.runtime.del(&chain("0.4.0"), &attachment()).unwrap_err();
    assert_eq!(error.to_cni().msg, r#"plugin type="two" name="own" failed (delete): stuck"#);
    assert_eq!(bed.calls()[2..], ["DEL two"]);
    assert!(cache_file(&bed).exists());
}

#[test]
fn c87_del_goes_on_without_a_result_when_the_cache_is_corrupt() {
    for content in [
        "",
        "{",
        "[]",
        "{\"kind\":\"cniCacheV1\",\"config\":\"!\"}",
        "{\"kind\":\"cniCacheV1\",\"result\":7}",
    ] {
        let bed = chain_bed("1.0.0");
        bed.runtime.add(&chain("1.0.0"), &attachment()).unwrap();
        fs::write(cache_file(&bed), content).unwrap();
        assert!(bed.runtime.check(&chain("1.0.0"), &attachment()).is_err(), "{content}");
        bed.runtime.del(&chain("1.0.0"), &attachment()).unwrap();
        assert_eq!(bed.stdin("one.DEL").get("prevResult"), None, "{content}");
        assert!(!cache_file(&bed).exists());
    }
}

#[test]
fn c87_configurations_before_0_4_0_get_no_result_on_del() {
    let bed = chain_bed("0.3.1");
    bed.runtime.add(&chain("0.3.1"), &attachment()).unwrap();
    bed.runtime.del(&chain("0.3.1"), &attachment()).unwrap();
    assert_eq!(bed.stdin("one.DEL").get("prevResult"), None);
}

#[test]
fn c25_del_needs_nothing_but_what_it_is_given() {
    let bed = chain_bed("1.0.0");
    let prev =
        CniResult::parse(br#"{"cniVersion":"0.3.1","ips":[{"version":"4","address":"10.9.9.9/24"}]}"#, "")
            .unwrap();
    bed.runtime.del_with(&chain("1.0.0"), &attachment(), Some(&prev)).unwrap();
    assert_eq!(
        bed.stdin("two.DEL")["prevResult"],
        json!({"cniVersion":"1.0.0","ips":[{"address":"10.9.9.9/24"}]})
    );
    bed.runtime.del_with(&chain("1.0.0"), &attachment(), None).unwrap();
    assert_eq!(bed.stdin("two.DEL").get("prevResult"), None);
}

#[test]
fn c39_c40_check_gets_the_result_of_the_add_and_stops_at_the_first_error() {
    let bed = chain_bed("1.0.0");
    bed.runtime.add(&chain("1.0.0"), &attachment()).unwrap();
    bed.runtime.check(&chain("1.0.0"), &attachment()).unwrap();
    assert_eq!(bed.calls()[2..], ["CHECK one", "CHECK two"]);
    assert_eq!(bed.stdin("one.CHECK")["prevResult"]["unknown"], 9007199254740993_u64);
    bed.plugin("one", &fail(100, "gone"));
    let error = bed.runtime.check(&chain("1.0.0"), &attachment()).unwrap_err();
    assert_eq!(error.to_cni(), CniError::new(100, "gone", "why"));
    assert_eq!(bed.calls().len(), 5);
}

#[test]
fn c3_disabled_check_is_success_without_a_call() {
    let bed = chain_bed("1.0.0");
    let mut network = chain("1.0.0");
    network.disable_check = true;
    bed.runtime.check(&network, &attachment()).unwrap();
    bed.runtime.check_with(&network, &attachment(), None).unwrap();
    assert_eq!(bed.calls(), Vec::<String>::new());
}

#[test]
fn c88_check_before_0_4_0_is_an_error() {
    let bed = chain_bed("0.3.1");
    let mut old = chain("0.3.1");
    old.disable_check = true;
    let error = bed.runtime.check(&old, &attachment()).unwrap_err();
    assert_eq!(error.to_string(), r#"configuration version "0.3.1" does not support the CHECK command"#);
    assert_eq!(error.to_cni().code, CniError::INCOMPATIBLE_VERSION);
}

#[test]
fn c47_status_in_order_first_error_as_it_is_skipped_before_1_1_0() {
    let bed = Bed::new();
    bed.plugin("one", "").plugin("two", &fail(50, "no addresses"));
    bed.runtime.status(&chain("1.0.0")).unwrap();
    assert_eq!(bed.calls(), Vec::<String>::new());
    let error = bed.runtime.status(&chain("1.1.0")).unwrap_err();
    assert_eq!(error.to_cni(), CniError::new(50, "no addresses", "why"));
    assert_eq!(bed.calls(), ["STATUS one", "STATUS two"]);
    assert!(bed.env("one.STATUS").contains(&"CNI_CONTAINERID=".to_owned()));
    assert_eq!(bed.stdin("one.STATUS")["name"], "net1");
}

#[test]
fn c48_c51_gc_names_the_valid_attachments_and_returns_every_error() {
    let bed = Bed::new();
    bed.plugin("one", &fail(5, "a")).plugin("two", &fail(5, "b"));
    let valid = [GcAttachment { container_id: "c".to_owned(), if_name: "eth0".to_owned() }];
    let errors = bed.runtime.gc(&chain("1.1.0"), &valid).unwrap_err();
    let texts: Vec<String> = errors.iter().map(Error::to_string).collect();
    assert_eq!(texts, ["failed to GC plugin one: a; why", "failed to GC plugin two: b; why"]);
    let expected = json!([{"containerID": "c", "ifname": "eth0"}]);
    assert_eq!(bed.stdin("one.GC")["cni.dev/valid-attachments"], expected);
    assert_eq!(bed.stdin("one.GC")["cni.dev/attachments"], expected);
    bed.plugin("one", "").plugin("two", "");
    bed.runtime.gc(&chain("1.1.0"), &[]).unwrap();
    assert_eq!(bed.stdin("two.GC")["cni.dev/valid-attachments"], json!([]));
}

#[test]
fn c4_c81_gc_is_not_run_when_disabled_or_older() {
    let bed = chain_bed("1.1.0");
    let mut network = chain("1.1.0");
    network.disable_gc = true;
    bed.runtime.gc(&network, &[]).unwrap();
    bed.runtime.gc(&chain("1.0.0"), &[]).unwrap();
    assert_eq!(bed.calls(), Vec::<String>::new());
}

#[test]
fn c57_c91_validation_asks_every_plugin_for_its_versions() {
    let bed = Bed::new();
    let lists =
        |versions: &str| format!(r#"echo '{{"cniVersion":"1.1.0","supportedVersions":[{versions}]}}'"#);
    bed.plugin("one", &lists(r#""0.4.0","1.0.0""#)).plugin("two", &lists(r#""1.0.0""#));
    let capabilities = bed.runtime.validate(&chain("1.0.0")).unwrap();
    assert_eq!(capabilities.into_iter().collect::<Vec<_>>(), ["mac", "portMappings"]);
    assert_eq!(bed.stdin("one.VERSION"), json!({"cniVersion": "1.1.0"}));
    let error = bed.runtime.validate(&chain("1.1.0")).unwrap_err();
    let expected = r#"[plugin one does not support config version "1.1.0" plugin two does not support config version "1.1.0"]"#;
    assert_eq!(error.to_string(), expected);

    // Plugins that are older than VERSION, or than its list.
    let old = r#"echo '{"code":4,"msg":"unknown CNI_COMMAND: VERSION"}'; exit 1"#;
    bed.plugin("one", old).plugin("two", r#"echo '{"cniVersion":"0.2.0"}'"#);
    bed.runtime.validate(&network(r#"{"name":"n","plugins":[{"type":"one"},{"type":"two"}]}"#)).unwrap();
    for answer in ["{}", r#"{"cniVersion":"1.0.0"}"#, "x", ""] {
        bed.plugin("one", &format!("echo '{answer}'"));
        let error = bed.runtime.validate(&chain("1.0.0")).unwrap_err().to_string();
        assert!(error.starts_with("[decoding version info: "), "{error}");
    }
    assert!(bed.runtime.validate(&network(r#"{"name":"n","type":"absent"}"#)).is_err());
}

#[test]
fn c57_any_program_can_be_asked_for_its_versions_within_a_time() {
    let bed = Bed::new();
    let ask = |limit| crate::plugin_versions(&bed.path("bin/one"), Instant::now() + limit);
    bed.plugin("one", r#"echo '{"cniVersion":"1.1.0","supportedVersions":["1.0.0","1.1.0"]}'"#);
    assert_eq!(ask(Duration::from_secs(60)).unwrap(), ["1.0.0", "1.1.0"]);
    bed.raw_plugin("one", "#!/bin/sh\nexec sleep 60\n");
    assert!(matches!(ask(Duration::from_millis(100)), Err(Error::TimedOut { .. })));
    bed.raw_plugin("one", "no program");
    assert!(matches!(ask(Duration::from_secs(60)), Err(Error::Spawn { .. })));
}

#[test]
fn c92_names_are_checked_before_the_first_plugin_runs() {
    let bed = chain_bed("1.0.0");
    let code = |change: &dyn Fn(&mut crate::Attachment)| {
        let mut attachment = attachment();
        change(&mut attachment);
        bed.runtime.add(&chain("1.0.0"), &attachment).unwrap_err().to_cni().code
    };
    assert_eq!(code(&|a| a.container_id.clear()), 3);
    assert_eq!(code(&|a| a.container_id = "../x".to_owned()), 4);
    assert_eq!(code(&|a| a.if_name = "a/b".to_owned()), 4);
    let unnamed = network(r#"{"cniVersion":"1.0.0","plugins":[{"type":"one"}]}"#);
    assert_eq!(bed.runtime.add(&unnamed, &attachment()).unwrap_err().to_cni().msg, "missing network name:");
    assert_eq!(bed.calls(), Vec::<String>::new());
}

#[test]
fn c76_a_result_of_another_version_is_converted_for_the_next_plugin() {
    let bed = chain_bed("0.3.1");
    bed.plugin("two", r#"echo '{"cniVersion":"1.0.0"}'"#);
    let result = bed.runtime.add(&chain("1.0.0"), &attachment()).unwrap();
    assert_eq!(bed.stdin("two.ADD")["prevResult"]["cniVersion"], "1.0.0");
    assert_eq!(result.version(), "1.0.0");
}

#[test]
fn c86_a_cache_that_cannot_be_written_fails_the_add() {
    let bed = chain_bed("1.0.0");
    fs::write(bed.path("cache"), "a file where a folder should be").unwrap();
    let error = bed.runtime.add(&chain("1.0.0"), &attachment()).unwrap_err();
    assert!(matches!(error, Error::Cache { .. }));
    assert_eq!(error.to_cni().code, CniError::IO);
    assert!(error.to_string().contains("net1-cid1-eth0"), "{error}");
    bed.runtime.del(&chain("1.0.0"), &attachment()).unwrap();
}

#[test]
fn c86_the_cache_holds_what_a_del_needs() {
    let bed = chain_bed("1.0.0");
    let network = chain("1.0.0");
    bed.runtime.add(&network, &attachment()).unwrap();
    let entry = bed.runtime.cache.read("net1", "cid1", "eth0").unwrap().unwrap();
    assert_eq!(entry.config, network.to_bytes());
    assert_eq!(entry.netns, "/run/netns/p1");
    assert_eq!(entry.cni_args, attachment().args);
    assert_eq!(entry.capability_args, Object::default());
    assert_eq!(entry.cni_result().unwrap().unwrap().ips().len(), 1);
}

#[test]
fn an_observer_hears_of_every_plugin_that_ran_and_of_its_code() {
    let bed = chain_bed("1.0.0");
    let heard = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let hears = std::sync::Arc::clone(&heard);
    let observer = crate::Observer(Some(std::sync::Arc::new(move |ran: &crate::Ran<'_>| {
        hears
            .lock()
            .unwrap()
            .push(format!("{} {} {} {:?}", ran.verb, ran.network, ran.plugin_type, ran.code));
    })));
    let runtime = crate::Runtime { observer, ..bed.runtime.clone() };
    runtime.add(&chain("1.0.0"), &attachment()).unwrap();
    bed.plugin("two", &fail(117, "no"));
    runtime.add(&chain("1.0.0"), &attachment()).unwrap_err();
    let expected = ["ADD net1 one None", "ADD net1 two None", "ADD net1 one None", "ADD net1 two Some(117)"];
    assert_eq!(*heard.lock().unwrap(), expected);
}
