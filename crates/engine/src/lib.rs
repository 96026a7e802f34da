//! Skeleton.
mod cluster;
pub use cluster::{Answer, Cluster, ClusterError, PodLookup, PodRef, Query, Record, Recorded};
