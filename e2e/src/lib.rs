//! End to end: the images and the charts on a real cluster, with real kubectl and Helm.
//!
//! `cargo xtask test e2e` makes the images and runs the tests; each test brings up a cluster of its own, so tests know
//! nothing of one another. A test that fails leaves the cluster's folder, `target/cluster/e2e-<name>`, with all logs.
//!
//! [`mod@soak`] is the life cycle under faults, for a test and for `cargo xtask soak`.
//!
//! Left out: what can be shown without a cluster, which the crates' own tests and the chart's golden renders do.
//! Start reading at [`World`], [`Pod`] and [`Churn`].

mod archive;
mod checks;
mod churn;
pub mod faults;
pub mod install;
mod leftovers;
pub mod networks;
mod pod;
pub mod soak;
mod world;

pub use archive::Archive;
pub use checks::Pair;
pub use churn::{Churn, Lacking, Load, Tally};
pub use leftovers::Leftovers;
pub use pod::{Interfaces, Pod};
pub use world::{NAMESPACE, World, workspace};
