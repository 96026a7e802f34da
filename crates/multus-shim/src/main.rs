//! The CNI plugin of thick mode. The container runtime starts it on the host; it attaches there, and asks the node's daemon for what
//! it has to know of the cluster.
//!
//! A pod that selects nothing is attached without the daemon, and its record is left in the spool. For the others the daemon is
//! waited for, a few seconds at most. DEL asks nobody. Behind the socket of upstream's daemon the whole ADD is handed over.
//!
//! Called as `passthru` it is that plugin, so that one small file serves a node for both.

mod notice;
mod upstream;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use engine::{Cluster, Engine, Level, Log, spool};
use libcni::skel::Call;
use libcni::{CniError, Verb};
use notice::Recording;
use plan::NetConf;
use plugin_process::{ProcessLog, Program, passthru};
use protocol::message::Caller;
use protocol::{SocketCluster, socket_path};

const PROGRAM: Program = Program { name: "multus-shim", logs_to_stderr: false };

/// Under which the pod of a daemon sees the host's folders; upstream writes paths so into its configurations.
const HOST_PREFIX: &str = "/host";

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().map(|argument| argument.to_string_lossy().into_owned());
    let called = arguments.next().unwrap_or_default();
    if Path::new(&called).file_name().is_some_and(|name| name == "passthru") {
        return passthru::run();
    }
    plugin_process::run(PROGRAM, &arguments.collect::<Vec<_>>(), &answer)
}

fn answer(call: &Call, netconf: &NetConf, log: &ProcessLog) -> Result<Vec<u8>, CniError> {
    let notice = Recording::begin(call);
    let netconf = on_the_host(netconf);
    let done = attach(call, &netconf, log, &notice);
    notice.send(&netconf.daemon_socket_dir, done.as_ref().err());
    done
}

fn attach(call: &Call, netconf: &NetConf, log: &ProcessLog, notice: &Recording) -> Result<Vec<u8>, CniError> {
    let until = Instant::now() + netconf.add_timeout;
    let socket = socket_path(&netconf.daemon_socket_dir);
    let cluster = SocketCluster::new(&socket, caller(call));
    let engine = Engine {
        connect: &|_| Ok(Some(Box::new(cluster.clone()) as Box<dyn Cluster>)),
        log,
        spool: spool_in(&netconf.daemon_socket_dir),
        drained_by: spool::DrainedBy::Daemon,
        environment: std::env::vars_os().collect(),
        observer: notice.observer(),
    };
    match engine.run(call, netconf) {
        Err(_) if call.command == Verb::Add && cluster.is_upstream() => {
            log.line(
                Level::Verbose,
                format_args!("ADD: handed to upstream's daemon at {}", socket.display()),
            );
            upstream::add(call, &socket, until)
        }
        answered => answered,
    }
}

/// What the daemon's log says about this call. Arguments that cannot be read are the engine's to refuse.
fn caller(call: &Call) -> Caller {
    let args = libcni::args::parse(&call.args).unwrap_or_default();
    let value = |key| args.iter().find(|(name, _)| name == key).map_or("", |(_, value)| value.as_str());
    Caller {
        program: protocol::program(PROGRAM.name),
        sandbox: call.container_id.clone(),
        pod: format!("{}/{}", value("K8S_POD_NAMESPACE"), value("K8S_POD_NAME")),
    }
}

/// The spool lies beside the socket: whoever serves the one drains the other.
fn spool_in(dir: &Path) -> PathBuf {
    dir.join("spool")
}

/// The configuration as the host has to read it: one that upstream's daemon generated names the primary network's file as the
/// daemon's container sees it.
fn on_the_host(netconf: &NetConf) -> NetConf {
    let mut netconf = netconf.clone();
    let inside = Path::new(&netconf.cluster_network);
    let Ok(outside) = inside.strip_prefix(HOST_PREFIX) else { return netconf };
    if !inside.exists() {
        netconf.cluster_network = format!("/{}", outside.display());
    }
    netconf
}
