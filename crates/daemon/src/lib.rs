//! The daemon of thick mode: it answers the lookups of the shim and takes its records, over a unix socket.
//!
//! It runs no plugin and touches no namespace; whatever attaches happens in the shim, on the host. What it knows of the cluster
//! and where records go is behind one trait, [`Backend`]; the server in front of it knows nothing of Kubernetes.
//!
//! Start reading at [`Backend`].

mod backend;

pub use backend::{Backend, Devices};
