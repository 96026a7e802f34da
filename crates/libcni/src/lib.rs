//! CNI as a container runtime sees it: what a caller of CNI plugins needs, and nothing of Kubernetes.
//!
//! - configurations, single and list, with the exact bytes that reproduce them: [`Network`], [`load`];
//! - results of CNI 0.1.0 to 1.1.0 and every conversion between them: [`CniResult`];
//! - plugin search, execution with deadlines, chains, and the verbs: [`Runtime`], [`Search`];
//! - the result cache, readable and writable by Go's libcni: [`Cache`], [`Entry`];
//! - the other side, what a plugin checks before it does anything: [`skel`].
//!
//! It leaves out the creation of network namespaces, the choice of networks and everything asynchronous.
//! [`json`], [`args`], [`skel`], [`CniResult`], [`Network`] and [`Version`] are pure; [`load`], [`Runtime`],
//! [`Search`] and [`Cache`] touch the machine.
//!
//! Start reading at [`Runtime::add`]: it shows the order in which the parts are used.

pub mod args;
mod cache;
mod config;
mod error;
mod exec;
pub mod json;
pub mod load;
mod net;
mod result;
mod runtime;
mod search;
pub mod skel;
#[cfg(test)]
mod testing;
mod validate;
mod version;

pub use cache::{Cache, Entry, Listing};
pub use config::{ConfigError, Form, Network, Plugin};
pub use error::{CniError, Error, Step, Verb};
pub use json::Object;
pub use result::{CniResult, Dns, Interface, Ip, ResultError, Route};
pub use runtime::{Attachment, GcAttachment, Observer, Ran, Runtime, plugin_versions};
pub use search::Search;
pub use validate::{container_id, interface_name, network_name};
pub use version::{SUPPORTED, Version, VersionError};
