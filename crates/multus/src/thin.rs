//! The CNI plugin: environment and standard input in, a result or an error object out.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use engine::{Cluster, ClusterError, Engine, Level, spool};
use libcni::skel::{self, Call};
use libcni::{CniError, SUPPORTED, Verb};
use plan::{LogOptions, NetConf};

use crate::log::{ProcessLog, Rotation};

/// A netconf with all that a runtime hands over is some kilobytes; a pod's annotations are limited to 256 KiB.
const LARGEST_STDIN: u64 = 16 << 20;

const ABOUT: &str = "meta-plugin that delegates to other CNI plugins";

/// Runs the plugin and tells how the process ends: 0, or 1 with an error object printed (upstream §1.1).
pub(crate) fn run(arguments: &[String]) -> ExitCode {
    if let Some(argument) = arguments.first() {
        return flag(argument);
    }
    if std::env::var_os("CNI_COMMAND").is_none_or(|command| command.is_empty()) {
        // A person has called it. Upstream's texts.
        let _ = writeln!(io::stderr(), "{ABOUT}\nCNI protocol versions supported: {}", SUPPORTED.join(", "));
        return ExitCode::SUCCESS;
    }
    match answer() {
        Ok(output) => {
            if let Err(error) = io::stdout().write_all(&output) {
                let _ = writeln!(io::stderr(), "multus: cannot write the result: {error}");
                return ExitCode::FAILURE;
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            let _ = io::stdout().write_all(&skel::print_error(&error));
            ExitCode::FAILURE
        }
    }
}

fn flag(argument: &str) -> ExitCode {
    match argument.trim_start_matches('-') {
        "v" | "version" if argument.starts_with('-') => {
            let _ = writeln!(io::stdout(), "multus: {}", crate::version());
            ExitCode::SUCCESS
        }
        "h" | "help" if argument.starts_with('-') => {
            let _ = writeln!(
                io::stderr(),
                "multus: {ABOUT}\n\nA container runtime calls it with CNI_COMMAND and the other CNI_* variables set and a network\n\
                 configuration on standard input.\n\n  -v, -version   print the version"
            );
            ExitCode::SUCCESS
        }
        _ => {
            let _ = writeln!(io::stderr(), "multus: unknown argument {argument:?}; -h shows what there is");
            ExitCode::from(2)
        }
    }
}

fn answer() -> Result<Vec<u8>, CniError> {
    let mut stdin = Vec::new();
    // VERSION must answer without a configuration, and runtimes may leave the pipe open (C-57).
    if std::env::var("CNI_COMMAND").as_deref() != Ok("VERSION") {
        io::stdin()
            .take(LARGEST_STDIN + 1)
            .read_to_end(&mut stdin)
            .map_err(|error| CniError::new(CniError::IO, format!("error reading from stdin: {error}"), ""))?;
        if stdin.len() as u64 > LARGEST_STDIN {
            let limit = LARGEST_STDIN >> 20;
            return Err(CniError::new(
                CniError::DECODE,
                format!("the network configuration is larger than {limit} MiB"),
                "",
            ));
        }
    }
    let call = skel::parse_call(&|name| std::env::var(name).ok(), stdin)?;
    if call.command == Verb::Version {
        return Ok(skel::version_answer());
    }
    refuse_own_namespace(&call)?;
    let netconf = NetConf::parse(&call.stdin).map_err(|error| {
        let error = error.to_cni();
        // Upstream's DEL does not wrap this error.
        let wrapper = if call.command == Verb::Del { "" } else { "Multus: error loading netconf: " };
        CniError { msg: format!("{wrapper}{}", error.msg), ..error }
    })?;
    let log = log_of(&netconf);
    let engine = Engine {
        connect: &connect,
        log: &log,
        spool: PathBuf::from(spool::DEFAULT_DIR),
        drained_by: spool::DrainedBy::Calls,
        environment: std::env::vars_os().collect(),
    };
    engine.run(&call, &netconf)
}

/// A sandbox that is the host's own namespace would have the host's links made, moved and deleted. skel refuses it after the fact;
/// here it is refused before anything is touched.
fn refuse_own_namespace(call: &Call) -> Result<(), CniError> {
    use std::os::unix::fs::MetadataExt;
    if call.netns.is_empty() || call.netns_override {
        return Ok(());
    }
    let identity = |path: &str| std::fs::metadata(path).ok().map(|found| (found.dev(), found.ino()));
    let own = identity("/proc/self/ns/net");
    if own.is_some() && own == identity(&call.netns) {
        return Err(CniError::new(
            CniError::INVALID_NETNS,
            "plugin's netns and netns from CNI_NETNS should not be the same",
            "",
        ));
    }
    Ok(())
}

fn log_of(netconf: &NetConf) -> ProcessLog {
    let level = match netconf.log_level.as_str() {
        "" => Level::Panic,
        text => Level::parse(text).unwrap_or_else(|| {
            let _ = writeln!(io::stderr(), "multus logging: cannot set logging level to {text}");
            Level::Panic
        }),
    };
    let file = Some(netconf.log_file.as_str()).filter(|file| !file.is_empty()).map(Path::new);
    ProcessLog::new(level, netconf.log_to_stderr, file, rotation(netconf))
}

fn rotation(netconf: &NetConf) -> Rotation {
    let LogOptions { max_age, max_size, max_backups, compress } = netconf.log_options;
    Rotation { max_size, max_age, max_backups: usize::try_from(max_backups).unwrap_or(usize::MAX), compress }
}

/// Which cluster the netconf describes: a directory of manifests, a kubeconfig, the pod that this runs in, or none.
fn connect(netconf: &NetConf) -> Result<Option<Box<dyn Cluster>>, ClusterError> {
    if let Some(dir) = &netconf.manifests {
        return Ok(Some(Box::new(manifest_cluster::ManifestCluster::open(dir)?)));
    }
    Ok(kube_cluster::KubeCluster::connect(&netconf.kubeconfig)?
        .map(|cluster| Box::new(cluster) as Box<dyn Cluster>))
}
