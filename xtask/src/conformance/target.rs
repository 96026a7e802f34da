//! What is put under the cases: a meta-plugin, and the programs that come with it where it has them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;

/// Programs beside the plugin itself.
const OTHERS: [&str; 4] = ["thin_entrypoint", "install_multus", "kubeconfig_generator", "passthru"];

/// A meta-plugin under test.
#[derive(Debug, Clone)]
pub(super) struct Target {
    /// As cases and the matrix name it.
    pub(super) name: String,
    /// Heading in the matrix.
    pub(super) title: String,
    /// Its folder of programs, laid out as in upstream's image.
    pub(super) dir: PathBuf,
    programs: BTreeMap<String, PathBuf>,
}

impl Target {
    /// A target whose programs are separate files.
    pub(super) fn separate(name: &str, title: &str, plugin: &Path, dir: &Path, into: &Path) -> Result<Self> {
        let others = OTHERS.iter().map(|other| (*other, dir.join(other))).filter(|(_, path)| path.is_file());
        Self::lay_out(name, title, plugin, others, into)
    }

    /// A target that is one file called by several names.
    pub(super) fn multi_call(name: &str, title: &str, plugin: &Path, into: &Path) -> Result<Self> {
        Self::lay_out(name, title, plugin, OTHERS.iter().map(|other| (*other, plugin.to_owned())), into)
    }

    fn lay_out<'a>(
        name: &str,
        title: &str,
        plugin: &Path,
        others: impl Iterator<Item = (&'a str, PathBuf)>,
        into: &Path,
    ) -> Result<Self> {
        let dir = into.join(name);
        fs::create_dir_all(&dir)?;
        let mut programs = BTreeMap::new();
        for (program, from) in std::iter::once(("multus", plugin.to_owned())).chain(others) {
            let to = dir.join(program);
            testbed::programs::copy(&from, &to)?;
            programs.insert(program.to_owned(), to);
        }
        Ok(Self { name: name.to_owned(), title: title.to_owned(), dir, programs })
    }

    pub(super) fn program(&self, name: &str) -> Option<&Path> {
        self.programs.get(name).map(PathBuf::as_path)
    }
}
