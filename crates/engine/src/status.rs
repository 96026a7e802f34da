//! STATUS: can the default network serve an ADD? The others do not decide whether a node is ready.

use std::path::Path;
use std::time::Instant;

use libcni::skel::Call;
use libcni::{CniError, Verb};
use plan::{NetConf, Plan, PodIdentity, Sandbox};

use crate::Engine;
use crate::error::EngineError;
use crate::facts::Gathered;
use crate::log::Level;
use crate::node::STATUS_PATIENCE;

impl Engine<'_> {
    pub(crate) fn status(&self, call: &Call, netconf: &NetConf) -> Result<(), EngineError> {
        let until = Instant::now() + STATUS_PATIENCE;
        let file = &netconf.readiness_indicator_file;
        if !file.is_empty() && !Path::new(file).exists() {
            return Err(EngineError::Cni(CniError::new(
                CniError::PLUGIN_NOT_AVAILABLE,
                format!("the default network is not ready: readinessindicatorfile {file} does not exist"),
                "",
            )));
        }
        let plan = match self.default_network(netconf, Verb::Status, until) {
            Ok(plan) => plan,
            // Who cannot be asked says nothing about the default network, and an error would make the node NotReady.
            Err(EngineError::Cluster { source, .. }) => {
                self.log.line(Level::Error, format_args!("STATUS: not asked: {source}"));
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let host = self.host(netconf, &call.path);
        match plan.attachments.first() {
            Some(primary) => Ok(attach::status(&host, &primary.network, until)?),
            None => Ok(()),
        }
    }

    /// The default network as the netconf describes it, without a pod.
    pub(crate) fn default_network(
        &self,
        netconf: &NetConf,
        verb: Verb,
        until: Instant,
    ) -> Result<Plan, EngineError> {
        let failed =
            |source| EngineError::Plan { at: "Multus: failed to get clusterNetwork: ".to_owned(), source };
        // Only a network that is named and not written out needs the cluster.
        let named = !netconf.cluster_network.is_empty() && !NetConf::is_path(&netconf.cluster_network);
        let cluster = if named { (self.connect)(netconf) } else { Ok(None) };
        let gathered = Gathered::default_network(netconf, &cluster, until)?;
        gathered.plan(netconf, verb, &Sandbox::default(), &PodIdentity::default()).map_err(failed)
    }
}
