//! CHECK: are the attachments still as they were left?

use std::time::Instant;

use libcni::skel::Call;
use plan::NetConf;

use crate::Engine;
use crate::cluster::PodRef;
use crate::error::EngineError;
use crate::facts;
use crate::log::Level;

impl Engine<'_> {
    pub(crate) fn check(&self, call: &Call, netconf: &NetConf) -> Result<(), EngineError> {
        let (sandbox, identity) = facts::sandbox(call)?;
        let host = self.host(netconf, &call.path);
        let until = Instant::now() + netconf.add_timeout;
        let checked = attach::check(&host, &sandbox, netconf.spec_mode, until)?;
        if checked.differences.is_empty() || identity.name.is_empty() {
            return Ok(());
        }
        for event in &checked.differences {
            self.log.line(Level::Error, format_args!("Check: {}: {}", sandbox.container_id, event.message));
        }
        let uid = Some(identity.uid.clone()).filter(|uid| !uid.is_empty());
        let pod = PodRef { namespace: identity.namespace, name: identity.name, uid };
        self.post(&pod, checked.differences, &(self.connect)(netconf));
        Ok(())
    }
}
