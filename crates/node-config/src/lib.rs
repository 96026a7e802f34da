//! What a node needs so that its container runtime calls multus, and how it is kept right: the primary network is chosen, a CNI
//! configuration is made of it, marked as ours and put into place, put back when it is damaged, and taken away at the end.
//!
//! `thin_entrypoint` and the daemon share it. It is synchronous and knows no Kubernetes client: what a cluster says comes in as
//! plain facts. It leaves out kubeconfigs, flags, logs and the decision when to look again.
//!
//! - [`Directory`], [`Wish`], [`choose()`]: which network is the primary;
//! - [`Template`], [`Generated`]: the configuration; [`Mark`]: whose it is, and whether it still is what was written;
//! - [`Place`]: the configuration on disk; [`LastGood`]: the primary as it was when it could last be read;
//! - [`Program`]: the plugin's executable; [`Turn`]: which of two processes keeps all that;
//! - [`Changes`]: waiting until somebody touches it;
//! - [`uninstall`]: whether what is on the node has to go; [`callers()`] and [`Usage`]: whether the executable may.
//!
//! Start reading at [`choose()`], then [`Template::generate`] and [`Place::put`].

mod callers;
mod changes;
mod choice;
mod elf;
mod error;
pub mod file;
mod json;
mod last_good;
mod mark;
mod netconf;
mod place;
mod primary;
mod program;
mod turn;
pub mod uninstall;
mod usage;

pub use callers::{Caller, callers};
pub use changes::Changes;
pub use choice::{Choice, Directory, Wish, choose, sorts_before};
pub use error::{Error, Setting};
pub use last_good::LastGood;
pub use mark::{Mark, Owner};
pub use netconf::{FILE_NAMES, Generated, Member, Template, merge_from};
pub use place::{Place, Removal};
pub use primary::{Origin, Primary};
pub use program::{Mended, Program};
pub use turn::Turn;
pub use usage::Usage;
