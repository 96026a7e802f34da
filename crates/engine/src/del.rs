//! DEL: from the journal alone. It opens no connection and reads no pod.

use std::time::Instant;

use attach::{DelRequest, Outcome};
use libcni::Verb;
use libcni::skel::Call;
use plan::{NetConf, Plan, PodIdentity, Sandbox};

use crate::Engine;
use crate::error::EngineError;
use crate::facts::{self, Gathered};
use crate::log::Level;
use crate::node::HOUSEKEEPING;
use crate::spool;

impl Engine<'_> {
    pub(crate) fn del(&self, call: &Call, netconf: &NetConf) -> Result<(), EngineError> {
        let until = Instant::now() + netconf.delete_timeout;
        let (sandbox, identity) = facts::sandbox(call)?;
        spool::forget(&self.spool, &sandbox.container_id);
        let host = self.host(netconf, &call.path);
        let request = DelRequest {
            sandbox: &sandbox,
            mode: netconf.spec_mode,
            runtime_config: &netconf.runtime_config,
            without_records: &|| default_plan(netconf, &sandbox, &identity),
            deadline: until,
        };
        let deleted = attach::del(&host, &request)?;
        let uid = if identity.uid.is_empty() { "unknownUID" } else { &identity.uid };
        for freed in &deleted.attachments {
            self.log.line(
                Level::Verbose,
                format_args!(
                    "Del: {}:{}:{uid}:{}:{}{}",
                    identity.namespace,
                    identity.name,
                    freed.network,
                    freed.if_name,
                    match &freed.outcome {
                        Outcome::Freed => String::new(),
                        Outcome::Parked(why) => format!(" set aside, to be tried again: {why}"),
                    }
                ),
            );
        }
        for note in &deleted.notes {
            self.log.line(Level::Error, format_args!("Del: {}: {note}", sandbox.container_id));
        }
        self.tidy(&host, HOUSEKEEPING.min(until.saturating_duration_since(Instant::now())));
        Ok(())
    }
}

/// The default network as the netconf describes it, for a sandbox of which nothing at all was recorded.
fn default_plan(netconf: &NetConf, sandbox: &Sandbox, identity: &PodIdentity) -> Option<Plan> {
    let gathered = Gathered::default_network(netconf, &Ok(None), Instant::now()).ok()?;
    gathered.plan(netconf, Verb::Del, sandbox, identity).ok()
}
