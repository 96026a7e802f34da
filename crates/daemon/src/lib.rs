//! The daemon of thick mode: it answers the lookups of the shim and takes its records, over a unix socket.
//!
//! It runs no plugin and touches no namespace; whatever attaches happens in the shim, on the host. What it knows of the cluster
//! and where records go is behind one trait, [`Backend`]; the server in front of it knows nothing of Kubernetes.
//!
//! Start reading at [`Backend`], then at [`Kube`], which is the one over a Kubernetes API server.

mod backend;
mod bare;
mod cache;
mod config;
mod counts;
mod kube;
mod log;
mod metrics;
mod queue;
mod run;
mod server;
mod socket;

pub use backend::{Backend, Devices};
pub use config::{Config, ConfigError, LogConfig, PerNodeCertificate};
pub use kube::{Kube, Options, STALENESS_BOUND, SharedLog};
pub use log::{Format, Lines};
pub use queue::EventMode;
pub use run::{RunError, Running, Settings};
pub use server::{Server, ServerOptions, instance};
pub use socket::{Arriving, Lost, Socket, SocketError};
