//! The shim as a program: flags, VERSION, and its other name.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[allow(dead_code, reason = "each test program uses a part of it")]
mod node;

use std::process::Command;

use node::{run, shim};

#[test]
fn version_needs_no_configuration() {
    let mut command = Command::new(shim());
    command.env("CNI_COMMAND", "VERSION");
    let ended = run(command, b"");
    assert_eq!(ended.code, Some(0));
    assert_eq!(ended.json()["supportedVersions"][6], "1.1.0");
}

#[test]
fn flags_are_upstream_s() {
    for flag in ["-v", "--version", "-version"] {
        let mut command = Command::new(shim());
        command.arg(flag);
        let ended = run(command, b"");
        assert!(ended.code == Some(0) && ended.stdout.starts_with("multus-shim: version:v"), "{ended:?}");
    }
    let mut command = Command::new(shim());
    command.arg("--no-such-flag");
    assert_eq!(run(command, b"").code, Some(2));
    let about = run(Command::new(shim()), b"");
    assert!(about.code == Some(0) && about.stderr.contains("CNI protocol versions supported"), "{about:?}");
}

#[test]
fn called_as_passthru_it_passes_through() {
    let dir = tempfile::tempdir().unwrap();
    let passthru = dir.path().join("passthru");
    std::os::unix::fs::symlink(shim(), &passthru).unwrap();
    let node = node::Node::new();
    let ended =
        run(node.command(&passthru, "ADD"), br#"{"cniVersion":"1.0.0","name":"n","type":"passthru"}"#);
    assert_eq!(ended.result(), serde_json::json!({"cniVersion": "1.0.0"}));
}

#[test]
fn a_wrong_configuration_is_an_error_object_and_names_no_secret() {
    let node = node::Node::new();
    let mut netconf = node.netconf(serde_json::json!({"password": "hunter2"}));
    netconf["delegates"] = serde_json::json!([]);
    let ended = node.call("ADD", &netconf);
    let (code, text) = ended.error();
    assert!(code == 7 && text.contains("at least one delegate"), "{text}");
    assert!(!ended.stdout.contains("hunter2"), "Q43");
}
