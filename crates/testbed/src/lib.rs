//! What the tests, the demo, the benchmark and the conformance run stand on: real network namespaces, the real CNI
//! reference plugins and upstream's Multus built from their Go modules, a CNI plugin that records how it was called,
//! a small API server with faults, and a real Kubernetes cluster of several nodes.
//!
//! Left out: anything that the product itself needs; no crate of the product depends on this one except for its tests.
//! Start reading at [`parts`], [`Netns`], [`plugin::Recorder`], [`apiserver::FakeApi`] and [`mod@cluster`].

pub mod apiserver;
pub mod cluster;
pub mod device_plugin;
pub mod enter;
pub mod images;
pub mod mounts;
pub mod netns;
pub mod parts;
pub mod peer;
pub mod plugin;
pub mod programs;
pub mod registry;
pub mod wait;

pub use enter::enter;
pub use netns::{Netns, require_namespace};
