//! Copies the primary network's configuration, alone, into a folder. For upstream's `thin_entrypoint` before 4.1, which takes the
//! first file of a folder for the primary, its own included, and does not wait for one: the chart gives it this folder.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use node_config::{Directory, Primary, Wish, choose, file};

use crate::thin_entrypoint::flags::{self, Flag, HELP, Values, switch, text};
use crate::thin_entrypoint::stop::Stop;

const FLAGS: [Flag; 5] = [
    text("from", "/host/etc/cni/net.d", "directory that the container runtime reads"),
    text("to", "/primary", "directory to copy the primary network's file to"),
    text("default-network", "", "network's or file's name; a plugin type confirms only"),
    switch("require-default-network", false, "wait for that network rather than take another"),
    HELP,
];
/// How long a primary network may take to appear; then the kubelet shows why, and tries again.
const PATIENCE: Duration = Duration::from_secs(120);
const TICK: Duration = Duration::from_secs(1);

/// Runs the program.
pub(crate) fn run(arguments: &[String]) -> ExitCode {
    let values = match flags::parse(&FLAGS, arguments) {
        Ok(values) => values,
        Err(error) => return flags::unknown(&error),
    };
    if values.is_on("help") {
        let _ = io::stdout().write_all(flags::usage("copy_primary", &FLAGS).as_bytes());
        return ExitCode::SUCCESS;
    }
    let copied = Stop::on_signals()
        .map_err(|error| format!("cannot listen for signals: {error}"))
        .and_then(|stop| copy(&values, &stop, PATIENCE, &mut io::stdout()));
    match copied {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "{error}");
            ExitCode::FAILURE
        }
    }
}

fn copy(values: &Values, stop: &Stop, patience: Duration, output: &mut dyn Write) -> Result<(), String> {
    let from = PathBuf::from(values.text("from"));
    let wish = Wish {
        network: values.text("default-network"),
        required: values.is_on("require-default-network"),
        ..Wish::default()
    };
    let primary = wait(&from, &wish, stop, patience, output)?;
    let name = primary.origin.name();
    let target = Path::new(&values.text("to")).join(&name);
    file::replace(&target, &primary.bytes, 0o600)
        .map_err(|error| format!("cannot copy {name} to {}: {error}", target.display()))?;
    let _ = writeln!(output, "the primary network is {:?} of {name}", primary.network());
    Ok(())
}

fn wait(
    from: &Path,
    wish: &Wish,
    stop: &Stop,
    patience: Duration,
    output: &mut dyn Write,
) -> Result<Primary, String> {
    let started = Instant::now();
    let definition = wish.definition().map(|_| {
        Err("a NetworkAttachmentDefinition cannot be the primary network of upstream's Multus".to_owned())
    });
    let mut said = String::new();
    loop {
        let chosen =
            Directory::read(from, &[]).and_then(|directory| choose(&directory, wish, definition.clone()));
        let reason = match chosen {
            Ok(choice) => {
                if let Some(warning) = choice.warning {
                    let _ = writeln!(output, "{warning}");
                }
                return Ok(choice.primary);
            }
            Err(error) => error.to_string(),
        };
        if started.elapsed() >= patience {
            return Err(format!(
                "no primary network after {} s: {reason}. Is {} the directory that the container runtime reads? The chart's value \
                 cni.configDir names it",
                patience.as_secs(),
                from.display()
            ));
        }
        if reason != said {
            let _ = writeln!(output, "waiting for the primary network: {reason}");
            said = reason;
        }
        if stop.within(TICK) {
            return Err(format!("ended while waiting for the primary network: {said}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLANNEL: &str = r#"{"cniVersion":"1.0.0","name":"cbr0","plugins":[{"type":"flannel"}]}"#;
    const OURS: &str = r#"{"cniVersion":"1.0.0","name":"multus-cni-network","type":"multus"}"#;

    fn folders(files: &[(&str, &str)]) -> (tempfile::TempDir, tempfile::TempDir) {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for (name, content) in files {
            std::fs::write(from.path().join(name), content).unwrap();
        }
        (from, to)
    }

    fn run(from: &Path, to: &Path, more: &[&str]) -> Result<String, String> {
        let mut arguments = vec![format!("--from={}", from.display()), format!("--to={}", to.display())];
        arguments.extend(more.iter().map(|&argument| argument.to_owned()));
        let mut output = Vec::new();
        let (stop, _asks) = Stop::by_hand().unwrap();
        copy(&flags::parse(&FLAGS, &arguments).unwrap(), &stop, Duration::ZERO, &mut output)?;
        Ok(String::from_utf8(output).unwrap())
    }

    #[test]
    fn the_primary_is_copied_alone_and_never_our_own_file() {
        let (from, to) = folders(&[("00-multus.conf", OURS), ("10-flannel.conflist", FLANNEL)]);
        run(from.path(), to.path(), &[]).unwrap();
        let copied: Vec<_> =
            std::fs::read_dir(to.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(copied, ["10-flannel.conflist"]);
        assert_eq!(std::fs::read_to_string(to.path().join("10-flannel.conflist")).unwrap(), FLANNEL);
    }

    #[test]
    fn a_plugin_type_that_is_not_there_costs_nobody_the_network() {
        let (from, to) = folders(&[("10-flannel.conflist", FLANNEL)]);
        let said = run(from.path(), to.path(), &["--default-network=macvlan"]).unwrap();
        assert!(said.contains("macvlan") && to.path().join("10-flannel.conflist").exists(), "{said}");
    }

    #[test]
    fn a_required_network_is_waited_for() {
        let (from, to) = folders(&[("10-flannel.conflist", FLANNEL)]);
        let error = run(from.path(), to.path(), &["--default-network=calico", "--require-default-network"]);
        assert!(error.unwrap_err().contains("calico"));
    }

    #[test]
    fn an_empty_folder_says_which_value_names_it() {
        let (from, to) = folders(&[]);
        let error = run(from.path(), to.path(), &[]).unwrap_err();
        assert!(error.contains("cni.configDir"), "{error}");
    }
}
