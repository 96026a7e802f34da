//! The CNI plugin with an API server, or a directory of manifests, behind it.

use std::path::PathBuf;
use std::process::ExitCode;

use engine::{Cluster, ClusterError, Engine, spool};
use plan::NetConf;
use plugin_process::Program;

const PROGRAM: Program = Program { name: "multus", logs_to_stderr: true };

/// Answers one call.
pub(crate) fn run(arguments: &[String]) -> ExitCode {
    plugin_process::run(PROGRAM, arguments, &|call, netconf, log| {
        let engine = Engine {
            connect: &connect,
            log,
            spool: PathBuf::from(spool::DEFAULT_DIR),
            drained_by: spool::DrainedBy::Calls,
            environment: std::env::vars_os().collect(),
            observer: libcni::Observer::default(),
        };
        engine.run(call, netconf)
    })
}

/// Which cluster the netconf describes: a directory of manifests, a kubeconfig, the pod that this runs in, or none.
fn connect(netconf: &NetConf) -> Result<Option<Box<dyn Cluster>>, ClusterError> {
    if let Some(dir) = &netconf.manifests {
        return Ok(Some(Box::new(manifest_cluster::ManifestCluster::open(dir)?)));
    }
    Ok(kube_cluster::KubeCluster::connect(&netconf.kubeconfig)?
        .map(|cluster| Box::new(cluster) as Box<dyn Cluster>))
}
