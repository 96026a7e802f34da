//! `kubeconfig_generator` as a process: what a signal does to it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::process::{Child, Command};
use std::time::Duration;

const CERTIFICATE: &str = include_str!("../src/kubeconfig_generator/tests/certificate.pem");
const BOOTSTRAP: &str = "clusters: [{name: c, cluster: {server: 'https://127.0.0.1:1'}}]\ncontexts: [{name: x, context: {cluster: c}}]\n";

/// A test that fails leaves no process.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The signal interrupts the very wait that it is to end, and a wait that was interrupted is not one that has ended: taken for that, it
/// would have a certificate renewed, for minutes.
#[test]
fn u1_sigterm_ends_it_at_once_and_the_kubeconfig_goes() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    fs::write(path("multus-client-current.pem"), CERTIFICATE).unwrap();
    fs::write(path("bootstrap"), BOOTSTRAP).unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_multus"), path("kubeconfig_generator")).unwrap();
    let started = Command::new(path("kubeconfig_generator"))
        .args([
            format!("--certdir={}", dir.path().display()),
            format!("--bootstrap-config={}", path("bootstrap").display()),
            format!("--kubeconfig={}", path("kubeconfig").display()),
        ])
        .env("MULTUS_NODE_NAME", "node")
        .spawn();
    let mut generator = Running(started.unwrap());
    let minute = Duration::from_secs(60);
    testbed::wait::until("the kubeconfig", minute, || path("kubeconfig").exists().then_some(())).unwrap();
    let pid = generator.0.id().to_string();
    let asleep =
        || fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default().contains(") S ").then_some(());
    testbed::wait::until("the generator to wait", minute, asleep).unwrap();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    let status =
        testbed::wait::until("the generator to end", minute, || generator.0.try_wait().unwrap()).unwrap();
    assert!(status.success(), "{status}");
    assert!(!path("kubeconfig").exists());
}
