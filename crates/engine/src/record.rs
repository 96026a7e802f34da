//! Record: what happened is written on the pod, or left in the spool.

use std::time::Instant;

use plan::PlanEvent;

use crate::Engine;
use crate::cluster::{Cluster, PodRef, Record, Recorded};
use crate::facts::Connected;
use crate::log::Level;
use crate::node::{CATCH_UP, RECORD_PATIENCE};
use crate::spool::{self, DrainedBy};

impl Engine<'_> {
    /// Writes the record of a pod that needed nothing of the cluster: a daemon finds it in the spool, without a daemon it is written
    /// like any other.
    pub(crate) fn record_plain(&self, container_id: &str, record: &Record, cluster: &Connected) {
        let in_spool = matches!(cluster, Ok(Some(_)) | Err(_))
            && self.drained_by == DrainedBy::Daemon
            && spool::leave(&self.spool, container_id, record).is_ok();
        if !in_spool {
            self.record(container_id, record, cluster);
        }
    }

    /// Writes `record` within the ADD's patience. An ADD does not fail for it: what cannot be written waits in the spool.
    pub(crate) fn record(&self, container_id: &str, record: &Record, cluster: &Connected) {
        let pod = format!("{}/{}", record.pod.namespace, record.pod.name);
        let why = match cluster {
            Ok(None) => return,
            Err(error) => error.to_string(),
            Ok(Some(cluster)) => match cluster.record(record, Instant::now() + RECORD_PATIENCE) {
                Ok(Recorded::Written) => return self.catch_up(cluster.as_ref()),
                Ok(Recorded::PodGone) => {
                    let text = "warning: tolerated failure writing network status (pod not found)";
                    return self.log.line(Level::Error, format_args!("{pod}: {text}"));
                }
                Ok(Recorded::PodReplaced) => {
                    let text = "network status not written: another pod of this name has taken its place";
                    return self.log.line(Level::Error, format_args!("{pod}: {text}"));
                }
                Err(error) => error.to_string(),
            },
        };
        match spool::leave(&self.spool, container_id, record) {
            Ok(()) => self.log.line(
                Level::Error,
                format_args!("{pod}: network status waits in {}: {why}", self.spool.display()),
            ),
            Err(error) => self.log.line(
                Level::Error,
                format_args!("{pod}: network status is lost: {why}; {}: {error}", self.spool.display()),
            ),
        }
    }

    /// The API server takes records again: so do those that wait, for a moment. On a node where nobody else drains the spool
    /// (upstream's manifest does not mount it) this is what makes them.
    fn catch_up(&self, cluster: &dyn Cluster) {
        if self.drained_by == DrainedBy::Daemon {
            return;
        }
        match spool::drain(&self.spool, cluster, Instant::now() + CATCH_UP) {
            Ok(drained) => {
                for (path, why) in drained.unreadable {
                    self.log.line(Level::Error, format_args!("spool: removed {}: {why}", path.display()));
                }
                for (path, why) in drained.unread {
                    self.log.line(Level::Error, format_args!("spool: cannot read {}: {why}", path.display()));
                }
            }
            Err(error) => {
                self.log.line(Level::Error, format_args!("spool {}: {error}", self.spool.display()))
            }
        }
    }

    /// Posts events on `pod`; for calls that have no status to write. Best effort, and never spooled: the runtime tries the call
    /// again, which says the same again.
    pub(crate) fn post(&self, pod: &PodRef, events: Vec<PlanEvent>, cluster: &Connected) {
        let (Ok(Some(cluster)), false) = (cluster, events.is_empty()) else { return };
        let record = Record { pod: pod.clone(), status: None, events };
        if let Err(error) = cluster.record(&record, Instant::now() + RECORD_PATIENCE) {
            self.log.line(
                Level::Error,
                format_args!("{}/{}: events not posted: {error}", pod.namespace, pod.name),
            );
        }
    }
}
