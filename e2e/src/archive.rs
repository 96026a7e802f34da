//! Image archives that `cargo xtask test e2e` made.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

/// The folder with the archives; set by `cargo xtask test e2e`.
const FOLDER: &str = "E2E_IMAGES";

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
        let folder = std::env::var_os(FOLDER)
            .with_context(|| format!("{FOLDER} is not set: run the tests by `cargo xtask test e2e`"))?;
        let file = match self {
            Self::Ours => "multus-rs.tar".to_owned(),
            Self::Plugins => "cni-plugins.tar".to_owned(),
            Self::Upstream(version) => format!("upstream-{version}.tar"),
        };
        let path = PathBuf::from(folder).join(file);
        if !path.is_file() {
            bail!("{} is missing: run the tests by `cargo xtask test e2e`, which makes it", path.display());
        }
        Ok(path)
    }
}
