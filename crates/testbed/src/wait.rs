//! Waiting for what sends no event, within a bound.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Calls `look` every few milliseconds until it finds something; an error that names `what` after `limit`.
///
/// # Errors
/// When `limit` is over.
pub fn until<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Option<T>) -> Result<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(found) = look() {
            return Ok(found);
        }
        if Instant::now() >= deadline {
            bail!("waited {limit:?} in vain for {what}");
        }
        pause(Duration::from_millis(5));
    }
}

/// The one place where the testbed sleeps: between two looks of [`until`], and where a fault is slowness itself, or lasts a time.
#[allow(clippy::disallowed_methods)]
pub fn pause(duration: Duration) {
    std::thread::sleep(duration);
}
