//! From a pod's annotations, and the networks they name, to what has to be attached.
//!
//! [`plan()`] is a pure function: no files, sockets, clock or environment. Whoever calls it gathers the facts
//! first ([`wanted()`] says which) and carries out the [`Plan`] afterwards; a dry run, an explanation and a lint
//! are the same code with other facts. It leaves out execution, journals and everything that is written to the
//! cluster, but it words the status annotation ([`status`]) and the events ([`events`]).
//!
//! Foreign text enters at [`NetConf::parse`], [`selection::parse`] and [`status::parse`]; each of them answers
//! any input with a value or with an error, in time and memory linear in the input.
//!
//! Start reading at [`plan()`], which lists the steps in their order.

mod address;
mod arguments;
mod assemble;
mod capability;
mod confirm;
mod devices;
mod error;
pub mod events;
mod facts;
mod naming;
pub mod netconf;
mod network;
mod resolve;
mod routes;
pub mod selection;
pub mod status;
#[cfg(test)]
mod testing;
mod wanted;

pub use assemble::{Device, Origin, Plan, Planned, Request, plan};
pub use confirm::{Undeclared, confirm};
pub use devices::{DEVINFO_CNI, DEVINFO_DP, needs_devices};
pub use error::PlanError;
pub use events::{EventKind, PlanEvent};
pub use facts::{
    DEFAULT_NETWORK_ANNOTATION, Facts, NETWORKS_ANNOTATION, Nad, NadLookup, NadRef, OnDisk,
    PARALLEL_ANNOTATION, Pod, PodIdentity, RESOURCE_NAME_ANNOTATION, STATUS_ANNOTATION, Sandbox,
};
pub use netconf::{LogOptions, NetConf, SpecMode};
pub use selection::{Bandwidth, PortMapping, Selection};
pub use wanted::{AuxiliaryChain, Wanted, wanted};
