//! ADD: look up, plan, attach, record, in that order; each step's failure leaves nothing of the earlier ones behind.

use std::time::Instant;

use attach::Attached;
use libcni::Verb;
use libcni::skel::{self, Call};
use plan::{NetConf, Plan, PlanEvent, PodIdentity, Sandbox, events, status};

use crate::Engine;
use crate::cluster::Record;
use crate::error::{EngineError, prefix};
use crate::facts::{self, Connected, Gathered};
use crate::log::Level;
use crate::node::{self, HOUSEKEEPING, LOOKUP_PATIENCE};

impl Engine<'_> {
    pub(crate) fn add(&self, call: &Call, netconf: &NetConf) -> Result<Vec<u8>, EngineError> {
        let until = Instant::now() + netconf.add_timeout;
        let (sandbox, identity) = facts::sandbox(call)?;
        node::wait_for_readiness(netconf, until).map_err(|why| node::not_ready(&identity, &why))?;

        let cluster = (self.connect)(netconf);
        let patience = until.min(Instant::now() + LOOKUP_PATIENCE);
        let gathered = Gathered::gather(netconf, &sandbox, &identity, &cluster, patience)?;
        let plan = self.plan(netconf, &sandbox, &identity, &gathered, &cluster)?;

        let host = self.host(netconf, &call.path);
        let attached = attach::add(&host, &plan, &sandbox, &identity, until)?;
        self.log_attached(&plan, &identity, &attached);
        let warnings = attached.attachments.iter().flat_map(|done| &done.warnings).chain(&plan.warnings);
        for note in warnings.map(|event| &event.message).chain(&attached.notes) {
            self.log.line(Level::Error, format_args!("Add: {}: {note}", sandbox.container_id));
        }
        if let Some(pod) = &gathered.pod {
            let record = Record {
                pod: facts::pod_ref(pod),
                status: Some(status_text(&plan, &attached)),
                events: events_of(&plan, &attached),
            };
            match gathered.needed_cluster {
                true => self.record(&sandbox.container_id, &record, &cluster),
                false => self.record_plain(&sandbox.container_id, &record, &cluster),
            }
        }
        self.tidy(&host, HOUSEKEEPING);
        result_of(&call.cni_version, &identity, &attached)
    }

    /// Plans; a network that does not exist is told to the pod too, as upstream does.
    fn plan(
        &self,
        netconf: &NetConf,
        sandbox: &Sandbox,
        identity: &PodIdentity,
        gathered: &Gathered,
        cluster: &Connected,
    ) -> Result<Plan, EngineError> {
        gathered.plan(netconf, Verb::Add, sandbox, identity).map_err(|source| {
            if let (Some(event), Some(pod)) = (source.event(), &gathered.pod) {
                self.post(&facts::pod_ref(pod), vec![event.clone()], cluster);
            }
            EngineError::Plan { at: String::new(), source }
        })
    }

    fn log_attached(&self, plan: &Plan, identity: &PodIdentity, attached: &Attached) {
        let uid = if identity.uid.is_empty() { "unknownUID" } else { &identity.uid };
        for done in &attached.attachments {
            let planned = &plan.attachments[done.index];
            self.log.line(
                Level::Verbose,
                format_args!(
                    "Add: {}:{}:{uid}:{}({}):{} {}",
                    identity.namespace,
                    identity.name,
                    planned.name,
                    planned.network.name,
                    planned.if_name,
                    String::from_utf8_lossy(done.result.bytes()),
                ),
            );
        }
    }
}

fn status_text(plan: &Plan, attached: &Attached) -> String {
    let entries: Vec<_> = attached
        .attachments
        .iter()
        .flat_map(|done| {
            let planned = &plan.attachments[done.index];
            status::entries(planned, &done.result, done.device_info.as_deref(), plan.spec_mode)
        })
        .collect();
    status::text(&entries, plan.spec_mode)
}

fn events_of(plan: &Plan, attached: &Attached) -> Vec<PlanEvent> {
    let added = attached
        .attachments
        .iter()
        .filter_map(|done| events::added_interface(&plan.attachments[done.index], &done.result));
    let told = attached.attachments.iter().flat_map(|done| &done.warnings);
    plan.warnings.iter().chain(told).cloned().chain(added).collect()
}

/// The default network's result, in the version that the runtime speaks (Q24).
fn result_of(version: &str, identity: &PodIdentity, attached: &Attached) -> Result<Vec<u8>, EngineError> {
    let primary = attached.attachments.first().map(|done| done.result.as_version(version));
    match primary {
        Some(Ok(bytes)) => Ok(skel::pretty_result(&bytes)),
        Some(Err(error)) => Err(EngineError::result(format!(
            "{}the default network's result cannot be given as CNI {version}: {error}",
            prefix(identity)
        ))),
        None => Err(EngineError::result(format!("{}no network was attached", prefix(identity)))),
    }
}
