//! The program on the node. One file with several names, as an image and a host want few and small ones:
//!
//! | called as | is |
//! |---|---|
//! | `multus`, or anything not listed | the CNI plugin, with an API server or a directory of manifests behind it |
//! | `thin_entrypoint` | installs the plugin, its kubeconfig and its configuration on a node, and keeps them right |
//! | `multus-daemon` | answers the plugin of thick mode, `multus-shim`, and keeps the node's configuration right |
//! | `install_multus` | copies the plugin to the node, and keeps it there on request |
//! | `install_plugins` | copies plugins to the node that its own set lacks |
//! | `copy_primary` | copies the primary network's configuration, for old releases of upstream's `thin_entrypoint` |
//! | `chart_test` | what the pods of `helm test` run |
//! | `kubeconfig_generator` | keeps a client certificate and writes a kubeconfig that uses it |
//! | `cert-approver` | approves what nodes ask for such certificates with, and nothing else |
//! | `passthru` | a CNI plugin that does nothing, first in an auxiliary chain |
//!
//! Start reading at `thin.rs`.

mod cert_approver;
mod chart_test;
mod copy_primary;
mod install_multus;
mod install_plugins;
mod kubeconfig_generator;
mod multus_daemon;
mod thin;
mod thin_entrypoint;

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().map(|argument| argument.to_string_lossy().into_owned());
    let called = arguments.next().unwrap_or_default();
    let arguments: Vec<String> = arguments.collect();
    match Path::new(&called).file_name().and_then(|name| name.to_str()) {
        Some("multus-daemon") => multus_daemon::run(&arguments),
        Some("thin_entrypoint") => thin_entrypoint::run(&arguments),
        Some("install_multus") => install_multus::run(&arguments),
        Some("install_plugins") => install_plugins::run(&arguments),
        Some("copy_primary") => copy_primary::run(&arguments),
        Some("chart_test") => chart_test::run(&arguments),
        Some("kubeconfig_generator") => kubeconfig_generator::run(&arguments),
        Some("cert-approver") => cert_approver::run(&arguments),
        Some("passthru") => plugin_process::passthru::run(),
        _ => thin::run(&arguments),
    }
}
