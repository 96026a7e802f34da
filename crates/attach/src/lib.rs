//! Executes a plan on the host, as a container runtime would: plugins, journal, locks, default routes, device-info files, rollback.
//!
//! What DEL will need lies in the journal before the first plugin runs, so [`del()`] needs nothing else. Everything is synchronous.
//! The crate leaves out what to attach (that is `plan`'s) and everything about a cluster.
//!
//! Start reading at [`add()`], then [`del()`]; `journal.rs` has the format.

mod add;
mod check;
mod del;
mod devinfo;
mod error;
mod gc;
mod held;
mod host;
mod housekeeping;
mod journal;
mod lock;
mod netns;
mod route;
mod step;
#[cfg(test)]
mod testing;
mod undo;
#[cfg(test)]
mod walk;

pub use add::{Attached, AttachedNetwork, add};
pub use check::{Checked, check, status};
pub use del::{DelRequest, Deleted, Detached, Outcome, del};
pub use error::{Error, Failure};
pub use gc::{GcReport, gc};
pub use held::{Held, held};
pub use host::Host;
pub use housekeeping::{Tidied, housekeeping};
pub use journal::parse_journal;
