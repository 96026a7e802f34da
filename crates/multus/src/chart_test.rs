//! What the pods of `helm test` run: whether the DaemonSet is ready on all its nodes, and whether a pod got the network that it asks
//! for.

mod rollout;

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::thin_entrypoint::flags::{self, Flag, HELP, Values, text};
use crate::thin_entrypoint::stop::Stop;

const FLAGS: [Flag; 5] = [
    text("daemonset", "", "namespace/name of the DaemonSet that has to be ready on all its nodes"),
    text("interface", "", "interface that this pod has to have"),
    text("status-file", "", "file with this pod's network-status, which has to name that interface"),
    text("timeout", "120", "seconds until either has to be so"),
    HELP,
];
/// Where the kernel lists this pod's interfaces.
const INTERFACES: &str = "/sys/class/net";
const TICK: Duration = Duration::from_secs(1);

/// Runs the program.
pub(crate) fn run(arguments: &[String]) -> ExitCode {
    let values = match flags::parse(&FLAGS, arguments) {
        Ok(values) => values,
        Err(error) => return flags::unknown(&error),
    };
    if values.is_on("help") {
        let _ = io::stdout().write_all(flags::usage("chart_test", &FLAGS).as_bytes());
        return ExitCode::SUCCESS;
    }
    let tested = Stop::on_signals()
        .map_err(|error| format!("cannot listen for signals: {error}"))
        .and_then(|stop| test(&values, &stop));
    match tested {
        Ok(said) => {
            let _ = writeln!(io::stdout(), "{said}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            let _ = writeln!(io::stderr(), "{error}");
            ExitCode::FAILURE
        }
    }
}

fn test(values: &Values, stop: &Stop) -> Result<String, String> {
    let timeout = values.text("timeout");
    let seconds = timeout.parse().map_err(|_| format!("--timeout {timeout:?} is no number of seconds"))?;
    let deadline = Instant::now() + Duration::from_secs(seconds);
    let (daemonset, interface) = (values.text("daemonset"), values.text("interface"));
    match (daemonset.as_str(), interface.as_str()) {
        ("", "") => Err("neither --daemonset nor --interface says what to test".to_owned()),
        (daemonset, "") => rollout::wait(daemonset, stop, deadline),
        (_, interface) => {
            attached(Path::new(INTERFACES), interface, Path::new(&values.text("status-file")), stop, deadline)
        }
    }
}

/// The interface was made before this process started; the status may reach the file a little later.
fn attached(
    interfaces: &Path,
    interface: &str,
    status: &Path,
    stop: &Stop,
    deadline: Instant,
) -> Result<String, String> {
    if !interfaces.join(interface).exists() {
        return Err(format!(
            "this pod asks for a network, and has no interface {interface}; it has {}. Multus was not called for it: see `kubectl \
             describe` on this pod, and the log of Multus's pod on this node",
            names(interfaces).join(", ")
        ));
    }
    loop {
        let text = fs::read_to_string(status).unwrap_or_default();
        if names_interface(&text, interface) {
            return Ok(format!("{interface} is there, and the pod's network-status has it:\n{text}"));
        }
        if Instant::now() >= deadline || stop.within(TICK) {
            let text = if text.is_empty() { "nothing" } else { &text };
            return Err(format!(
                "{interface} is there, but this pod's annotation k8s.v1.cni.cncf.io/network-status does not name it. It holds: {text}. \
                 May Multus's service account patch pods/status?"
            ));
        }
    }
}

fn names(interfaces: &Path) -> Vec<String> {
    let listed = fs::read_dir(interfaces).into_iter().flatten().flatten();
    let mut names: Vec<String> =
        listed.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn names_interface(status: &str, interface: &str) -> bool {
    let entries: Vec<Value> = serde_json::from_str(status).unwrap_or_default();
    entries.iter().any(|entry| entry["interface"] == interface)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(interfaces: &[&str], status: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for interface in interfaces {
            fs::create_dir_all(dir.path().join("net").join(interface)).unwrap();
        }
        fs::write(dir.path().join("status"), status).unwrap();
        dir
    }

    fn judge(pod: &tempfile::TempDir) -> Result<String, String> {
        let (stop, _asks) = Stop::by_hand().unwrap();
        attached(&pod.path().join("net"), "net1", &pod.path().join("status"), &stop, Instant::now())
    }

    #[test]
    fn a_pod_with_interface_and_status_passes() {
        let status = r#"[{"name":"cbr0","interface":"eth0"},{"name":"ns/a","interface":"net1"}]"#;
        assert!(judge(&pod(&["eth0", "net1"], status)).is_ok());
    }

    #[test]
    fn a_missing_interface_is_told_with_those_that_are_there() {
        let error = judge(&pod(&["eth0", "lo"], "")).unwrap_err();
        assert!(error.contains("net1") && error.contains("eth0, lo"), "{error}");
    }

    #[test]
    fn a_status_without_the_interface_fails() {
        let error = judge(&pod(&["net1"], r#"[{"interface":"eth0"}]"#)).unwrap_err();
        assert!(error.contains("pods/status"), "{error}");
    }

    #[test]
    fn it_says_what_it_needs_to_know() {
        let none = flags::parse(&FLAGS, &[]).unwrap();
        let (stop, _asks) = Stop::by_hand().unwrap();
        assert!(test(&none, &stop).unwrap_err().contains("--daemonset"));
    }
}
