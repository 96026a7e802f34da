//! GC: what belongs to no attachment that the runtime or a journal knows is freed.

use std::time::{Duration, Instant};

use libcni::Verb;
use libcni::skel::Call;
use plan::NetConf;

use crate::Engine;
use crate::error::EngineError;
use crate::log::Level;
use crate::node::LOOKUP_PATIENCE;

/// GC may use the time that the runtime gives a DEL; it is not urgent.
const HOUSEKEEPING: Duration = Duration::from_secs(10);

impl Engine<'_> {
    pub(crate) fn gc(&self, call: &Call, netconf: &NetConf) -> Result<(), EngineError> {
        let until = Instant::now() + netconf.delete_timeout;
        let plan = self.default_network(netconf, Verb::Gc, until.min(Instant::now() + LOOKUP_PATIENCE))?;
        let host = self.host(netconf, &call.path);
        let primary = plan.attachments.first().map(|planned| &planned.network);
        let report = attach::gc(&host, primary, netconf.valid_attachments.as_deref(), until)?;
        for line in &report.done {
            self.log.line(Level::Verbose, format_args!("GC: {line}"));
        }
        self.tidy(&host, HOUSEKEEPING.min(until.saturating_duration_since(Instant::now())));
        Ok(())
    }
}
