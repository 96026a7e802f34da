//! Image archives that `cargo xtask test e2e` made.

use std::path::PathBuf;

use anyhow::{Result, bail};

/// The folder with the archives, where it is not the one that `cargo xtask test e2e` makes.
const FOLDER: &str = "E2E_IMAGES";
/// That one, in the workspace.
const MADE: &str = "target/e2e";

/// Images that can be loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Archive {
    /// Ours.
    Ours,
    /// The reference plugins, for nodes that lack them.
    Plugins,
    /// Upstream's in that version, thin and thick.
    Upstream(&'static str),
}

impl Archive {
    /// The file.
    ///
    /// # Errors
    /// When it was not made.
    pub fn path(self) -> Result<PathBuf> {
        let folder = std::env::var_os(FOLDER).map_or_else(|| crate::workspace().join(MADE), PathBuf::from);
        let file = match self {
            Self::Ours => "multus-rs.tar".to_owned(),
            Self::Plugins => "cni-plugins.tar".to_owned(),
            Self::Upstream(version) => format!("upstream-{version}.tar"),
        };
        let path = folder.join(file);
        if !path.is_file() {
            bail!("{} is missing: run the tests by `cargo xtask test e2e`, which makes it", path.display());
        }
        Ok(path)
    }
}
