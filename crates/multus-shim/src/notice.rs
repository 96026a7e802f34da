//! What a call came to, for the daemon's metrics.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use libcni::skel::Call;
use libcni::{CniError, Observer, Ran};
use protocol::Versions;
use protocol::message::{Notice, PluginCall};

/// A call that goes on, and the plugins that ran in it.
pub(crate) struct Recording {
    began: Instant,
    verb: String,
    plugins: Arc<Mutex<Vec<PluginCall>>>,
}

impl Recording {
    pub(crate) fn begin(call: &Call) -> Self {
        Self { began: Instant::now(), verb: call.command.to_string(), plugins: Arc::default() }
    }

    /// Hears of the plugins.
    pub(crate) fn observer(&self) -> Observer {
        let plugins = Arc::clone(&self.plugins);
        Observer(Some(Arc::new(move |ran: &Ran<'_>| {
            plugins.lock().unwrap_or_else(PoisonError::into_inner).push(PluginCall {
                verb: ran.verb.to_string(),
                network: ran.network.to_owned(),
                plugin_type: ran.plugin_type.to_owned(),
                micros: micros(ran.took),
                code: ran.code,
            });
        })))
    }

    /// Tells the daemon of `dir`.
    pub(crate) fn send(self, dir: &Path, error: Option<&CniError>) {
        let plugins = std::mem::take(&mut *self.plugins.lock().unwrap_or_else(PoisonError::into_inner));
        let notice = Notice {
            version: Versions::OURS.newest,
            verb: self.verb,
            micros: micros(self.began.elapsed()),
            code: error.map(|error| error.code),
            plugins,
        };
        protocol::notify(dir, &notice);
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
