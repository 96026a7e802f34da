//! What users and nodes go through, on real clusters, a module for each. One program, so that there is always another scenario to run
//! beside a slow one.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod certificates;
mod churn;
mod cluster;
mod delivery;
mod devices;
mod example_values;
mod faults;
mod k3s;
mod life_cycle;
mod main_chart;
mod moving;
mod unprivileged;
mod upstream_manifest;
mod watch;
