//! The Helm charts seen from Rust, for tests and for `cargo xtask chart`. Not part of what is shipped.
//!
//! - [`helm`]: real Helm 3 and 4, kept from clusters and from the user's own settings;
//! - [`case`]: the golden renders below `charts/multus/tests/cases`;
//! - [`values`] and [`schema`]: `values.yaml` read with its comments, and `values.schema.json` made of them.
//!
//! It leaves out what needs a cluster. Start reading at [`case::Case`].

pub mod case;
pub mod helm;
pub mod schema;
pub mod values;

use std::path::PathBuf;

/// The folder of the chart called `name`.
#[must_use]
pub fn dir(name: &str) -> PathBuf {
    testbed::parts::workspace().join("charts").join(name)
}
