//! What the daemon knows of the cluster without asking: the NADs, and the pods of this node, as watches told of them.
//!
//! Only what lookups need is kept, in as few bytes as that takes. A cache never says that something does not exist: what it does not
//! hold is asked for live. It says how old it may be, and [`Freshness::usable`] whether that is still good enough.
//!
//! Start reading at [`Freshness`], then `nads.rs` and `pods.rs`.

mod nads;
mod pods;

use std::time::{Duration, Instant};

pub(crate) use nads::Nads;
pub(crate) use pods::Pods;

/// Whether a cache tells what the API server knows.
#[derive(Debug)]
pub(crate) struct Freshness {
    /// Whether a list was complete once.
    complete: bool,
    /// Since when, and why, it may be outdated.
    lost: Option<(Instant, String)>,
    /// Counts lists, so that what a new one does not name can be told.
    list: u32,
}

impl Default for Freshness {
    fn default() -> Self {
        Self { complete: false, lost: Some((Instant::now(), "not listed yet".to_owned())), list: 0 }
    }
}

impl Freshness {
    /// The number that what is found from now on is marked with.
    fn list(&self) -> u32 {
        self.list
    }

    /// A list begins.
    fn listing(&mut self) {
        self.list = self.list.wrapping_add(1);
    }

    /// The list is complete; what it says is what there is.
    fn complete(&mut self) {
        self.complete = true;
        self.lost = None;
    }

    /// The server says that nothing else happened.
    fn current(&mut self) {
        if self.complete {
            self.lost = None;
        }
    }

    /// The server cannot be asked any more.
    fn lost(&mut self, why: String) {
        let since = self.lost.take().map_or_else(Instant::now, |(since, _)| since);
        self.lost = Some((since, why));
    }

    /// How long ago what is told may have begun to be outdated; nothing while it is not.
    #[must_use]
    pub(crate) fn age(&self) -> Duration {
        self.lost.as_ref().map_or(Duration::ZERO, |(since, _)| since.elapsed())
    }

    /// Whether the objects that are held can be told to be what there is, having been so not longer than `bound` ago.
    #[must_use]
    pub(crate) fn usable(&self, bound: Duration) -> bool {
        self.complete && self.age() <= bound
    }

    /// Why it may be outdated.
    #[must_use]
    pub(crate) fn trouble(&self) -> Option<&str> {
        self.lost.as_ref().map(|(_, why)| why.as_str())
    }
}

#[cfg(test)]
mod tests;
