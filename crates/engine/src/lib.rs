//! The CNI verbs: look up, plan, attach, record.
//!
//! [`Engine::run`] takes one call of a container runtime and answers it. What it needs of the outside is handed in: a
//! [`Cluster`] that is connected only when a call needs one, a [`Log`], and the folders of a node. The crate is synchronous and
//! knows no Kubernetes client; it leaves flags, environment and output to the binaries.
//!
//! Start reading at [`Engine::run`], then `add.rs`.

mod add;
mod check;
mod cluster;
mod del;
mod disk;
mod error;
mod facts;
mod gc;
mod log;
mod node;
mod record;
pub mod spool;
mod status;

use std::path::PathBuf;

use libcni::skel::Call;
use libcni::{CniError, Verb};
use plan::NetConf;

pub use cluster::{Answer, Cluster, ClusterError, PodLookup, PodRef, Query, Record, Recorded};
pub use error::EngineError;
pub use libcni::json::discreet;
pub use log::{About, LONGEST_LINE, Level, Log, Silent, bounded, printable};

/// Connects to the cluster that a netconf describes; `None` where it describes none.
pub type Connect<'a> = dyn Fn(&NetConf) -> Result<Option<Box<dyn Cluster>>, ClusterError> + 'a;

/// One CNI call's surroundings.
pub struct Engine<'a> {
    /// Connects to the cluster. Called only by what needs one: DEL never does.
    pub connect: &'a Connect<'a>,
    /// Where lines for an administrator go.
    pub log: &'a dyn Log,
    /// Where records wait that could not be made in time.
    pub spool: PathBuf,
    /// Who makes them later.
    pub drained_by: spool::DrainedBy,
    /// The environment that plugins inherit; `CNI_*` variables in it are replaced.
    pub environment: Vec<(std::ffi::OsString, std::ffi::OsString)>,
    /// Hears of every plugin that was run.
    pub observer: libcni::Observer,
}

impl Engine<'_> {
    /// Answers `call`, whose standard input was read as `netconf`. Returns what belongs on standard output.
    ///
    /// # Errors
    /// The error object for the runtime. What the call had changed is undone, or stays in the journal to be undone.
    pub fn run(&self, call: &Call, netconf: &NetConf) -> Result<Vec<u8>, CniError> {
        let done = match call.command {
            Verb::Add => self.add(call, netconf),
            Verb::Del => self.del(call, netconf).map(|()| Vec::new()),
            Verb::Check => self.check(call, netconf).map(|()| Vec::new()),
            Verb::Status => self.status(call, netconf).map(|()| Vec::new()),
            Verb::Gc => self.gc(call, netconf).map(|()| Vec::new()),
            Verb::Version => Ok(libcni::skel::version_answer()),
        };
        done.map_err(|error| {
            let error = error.to_cni();
            self.log.line(Level::Error, format_args!("{}: {error}", call.command));
            error
        })
    }
}
