//! Ctrl-C ends the benchmark at its next step, as an error does: what it brought up is taken down.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, bail};

static ASKED: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// From now on signals that would end this process are only noted.
pub(super) fn catch() -> Result<()> {
    let asked = ASKED.get_or_init(Arc::default);
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM, signal_hook::consts::SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(asked)).context("listen for signals")?;
    }
    Ok(())
}

/// Whether there was one.
pub(super) fn asked() -> bool {
    ASKED.get().is_some_and(|asked| asked.load(Ordering::Relaxed))
}

/// An error if there was one.
pub(super) fn check() -> Result<()> {
    if asked() {
        bail!("interrupted");
    }
    Ok(())
}
