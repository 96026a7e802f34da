//! How many bytes all calls together may hold: a flood of large requests or answers must not cost the node's other pods theirs.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

const UNIT: usize = 1 << 10;

/// Bytes that are left.
pub(super) struct Budget(Arc<Semaphore>);

/// Bytes that were taken; they come back when it is dropped.
pub(super) type Taken = OwnedSemaphorePermit;

impl Budget {
    pub(super) fn new(bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new(bytes / UNIT)))
    }

    /// Takes so many bytes; none where there are not so many left.
    pub(super) fn take(&self, bytes: usize) -> Option<Taken> {
        let units = u32::try_from(bytes.div_ceil(UNIT)).ok()?;
        Arc::clone(&self.0).try_acquire_many_owned(units).ok()
    }
}
