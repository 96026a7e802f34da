//! From a netconf to the folders of the node and the time that a call may take.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use attach::Host;
use libcni::CniError;
use plan::{NetConf, PodIdentity};

use crate::Engine;
use crate::error::{EngineError, prefix};
use crate::log::Level;

/// How long a lookup may take. Long enough for an API server that needs 5 s for each answer, asked twice in a row; short enough
/// that the runtime, which holds locks during an ADD, is answered well before it gives up.
pub(crate) const LOOKUP_PATIENCE: Duration = Duration::from_secs(20);

/// How long an ADD waits for its record to be written before it leaves it in the spool.
pub(crate) const RECORD_PATIENCE: Duration = Duration::from_secs(3);

/// How long an ADD may go on with records that earlier ones left.
pub(crate) const CATCH_UP: Duration = Duration::from_millis(500);

/// How long STATUS may take: containerd asks in every CRI status, and an error makes the node NotReady.
pub(crate) const STATUS_PATIENCE: Duration = Duration::from_secs(1);

/// How long after its own work a call may tidy up after others.
pub(crate) const HOUSEKEEPING: Duration = Duration::from_millis(200);

/// Upstream's wait for the readiness indicator file.
const READINESS_PATIENCE: Duration = Duration::from_secs(45);

/// Waits until the file exists that says that the default network is ready (N-95).
///
/// # Errors
/// The error that upstream words for it, when the file does not appear in time.
pub(crate) fn wait_for_readiness(netconf: &NetConf, until: Instant) -> Result<(), String> {
    let Some(file) = Some(&netconf.readiness_indicator_file).filter(|file| !file.is_empty()) else {
        return Ok(());
    };
    let until = until.min(Instant::now() + READINESS_PATIENCE);
    let pause = Duration::from_millis(100);
    while !Path::new(file).exists() {
        if Instant::now() >= until {
            return Err(format!(
                "have you checked that your default network is ready? still waiting for readinessindicatorfile @ {file}. \
                 pollimmediate error: timed out waiting for the condition"
            ));
        }
        // The file belongs to another program, which tells nobody when it writes it; its directory may not exist yet either.
        #[allow(clippy::disallowed_methods)]
        std::thread::sleep(pause);
    }
    Ok(())
}

/// The error for a default network that is not ready: the runtime tries again.
pub(crate) fn not_ready(identity: &PodIdentity, why: &str) -> EngineError {
    EngineError::Cni(CniError::new(CniError::TRY_AGAIN, format!("{}{why}", prefix(identity)), ""))
}

impl Engine<'_> {
    /// The node as `attach` sees it.
    pub(crate) fn host(&self, netconf: &NetConf, cni_path: &str) -> Host {
        Host {
            environment: self.environment.clone(),
            observer: self.observer.clone(),
            ..Host::new(&netconf.cni_dir, search(netconf, cni_path))
        }
    }

    /// Goes on with what earlier calls could not finish, for as long as `budget` allows.
    pub(crate) fn tidy(&self, host: &Host, budget: Duration) {
        for line in attach::housekeeping(host, budget).lines {
            self.log.line(Level::Verbose, format_args!("housekeeping: {line}"));
        }
    }
}

/// The directories in which plugins are searched: `binDir`, then the runtime's `CNI_PATH`.
pub(crate) fn search(netconf: &NetConf, cni_path: &str) -> libcni::Search {
    let own = std::iter::once(netconf.bin_dir.clone());
    let given = cni_path.split(':').filter(|dir| !dir.is_empty()).map(PathBuf::from);
    libcni::Search(own.chain(given).collect())
}
