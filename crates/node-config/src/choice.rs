//! Which network of a node is the primary one.
//!
//! Whatever is said must never cost a node its network: what the runtime would use without us is what it goes on using, unless
//! somebody has named another network that is there.

use std::fs;
use std::path::Path;

use crate::{Error, Primary};

/// Our own files begin so; neither they nor copies of them are a primary.
const OWN_PREFIX: &str = "00-multus.";
/// What a runtime reads.
const EXTENSIONS: [&str; 3] = ["conf", "conflist", "json"];

/// What the administrator says about the primary network.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wish {
    /// This file and no other; empty for none.
    pub file: String,
    /// A network's name, a file's name, `namespace/name` of a NetworkAttachmentDefinition, or the plugin type that the runtime's
    /// present network is believed to have; empty for none.
    pub network: String,
    /// Rather no network of ours than another one than `network`.
    pub required: bool,
}

impl Wish {
    /// Namespace and name, where the wish is for a NetworkAttachmentDefinition.
    #[must_use]
    pub fn definition(&self) -> Option<(&str, &str)> {
        self.network
            .split_once('/')
            .filter(|(namespace, name)| !namespace.is_empty() && !name.is_empty() && !name.contains('/'))
    }

    /// Whether `primary` is what is wished for. Nothing wished is always fulfilled.
    #[must_use]
    pub fn is_fulfilled_by(&self, primary: &Primary) -> bool {
        if self.network.is_empty() {
            return true;
        }
        let named = self.network == primary.network() || self.network == primary.origin.name();
        named || primary.is_made_by(&self.network)
    }
}

/// What lies in the directory in which the runtime looks.
#[derive(Debug)]
pub struct Directory {
    shown: String,
    /// In the runtime's order.
    entries: Vec<(String, Found)>,
}

#[derive(Debug)]
enum Found {
    Eligible(Primary),
    /// With whose it is.
    Foreign(Primary, &'static str),
    /// Ours, by name or content.
    Own,
    Unreadable(String),
}

/// A primary, and what there is to say about it.
#[derive(Debug)]
pub struct Choice {
    /// The network.
    pub primary: Primary,
    /// Why it is not what was wished for.
    pub warning: Option<String>,
}

impl Directory {
    /// Looks at `dir`, where `own` are names of ours.
    ///
    /// # Errors
    /// [`Error::Missing`] when it cannot be read.
    pub fn read(dir: &Path, own: &[String]) -> Result<Self, Error> {
        let shown = dir.display().to_string();
        fs::read_dir(dir).map_err(|error| Error::Missing(format!("{}: {error}", none_in(&shown))))?;
        let mut entries = Vec::new();
        for name in candidates(dir) {
            let found = match Primary::read(&dir.join(&name)) {
                _ if own.contains(&name) || name.starts_with(OWN_PREFIX) => Found::Own,
                Ok(primary) => match primary.belongs_to() {
                    Some(whose) => Found::Foreign(primary, whose),
                    None => Found::Eligible(primary),
                },
                Err(Error::Circular(_)) => Found::Own,
                // Removed since the directory was read.
                Err(Error::Missing(_)) => continue,
                Err(error) => Found::Unreadable(error.to_string()),
            };
            entries.push((name, found));
        }
        Ok(Self { shown, entries })
    }

    /// Whether a file of this name is there.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.entries.iter().any(|(found, _)| found == name)
    }

    /// The network that the runtime uses without us. One that cannot be read now is waited for: it may become it.
    fn first(&self) -> Result<&Primary, Error> {
        for (_, found) in &self.entries {
            match found {
                Found::Eligible(primary) => return Ok(primary),
                Found::Unreadable(reason) => return Err(Error::Unusable(reason.clone())),
                Found::Foreign(..) | Found::Own => {}
            }
        }
        Err(Error::Missing(format!("{} ({})", none_in(&self.shown), self.looked_at())))
    }

    /// Another program's network is not found by its name: nerdctl's is called `bridge`.
    fn network(&self, name: &str) -> Option<&Primary> {
        self.entries.iter().find_map(|(_, found)| match found {
            Found::Eligible(primary) if primary.network() == name => Some(primary),
            _ => None,
        })
    }

    /// A file that is named is taken at its word, whosever it is; but not ours.
    fn file(&self, name: &str) -> Option<Result<&Primary, Error>> {
        let (_, found) = self.entries.iter().find(|(found, _)| found == name)?;
        Some(match found {
            Found::Eligible(primary) | Found::Foreign(primary, _) => Ok(primary),
            Found::Own => Err(Error::Circular(format!("{}/{name}", self.shown))),
            Found::Unreadable(reason) => Err(Error::Unusable(reason.clone())),
        })
    }

    /// The files, and why each is no primary.
    #[must_use]
    pub fn looked_at(&self) -> String {
        if self.entries.is_empty() {
            return "there is no .conf, .conflist or .json file".to_owned();
        }
        let shown = self.entries.iter().map(|(name, found)| match found {
            Found::Eligible(primary) => {
                format!("{name}: network {:?}, type {:?}", primary.network(), primary.plugin_type())
            }
            Found::Foreign(_, whose) => format!("{name}: of {whose}"),
            Found::Own => format!("{name}: of multus"),
            Found::Unreadable(reason) => format!("{name}: {reason}"),
        });
        format!("looked at {}", shown.collect::<Vec<_>>().join("; "))
    }
}

/// Chooses the primary network. `definition` is what the cluster has for [`Wish::definition`], or why it has nothing.
///
/// # Errors
/// [`Error::Missing`] when there is none yet, [`Error::Unusable`] or [`Error::Circular`] when the one that is meant
/// cannot be used now. All may pass.
pub fn choose(
    directory: &Directory,
    wish: &Wish,
    definition: Option<Result<Primary, String>>,
) -> Result<Choice, Error> {
    if !wish.file.is_empty() {
        let named = directory.file(&wish.file).unwrap_or_else(|| {
            Err(Error::Missing(format!(
                "cannot find the primary network's file {}/{} ({})",
                directory.shown,
                wish.file,
                directory.looked_at()
            )))
        });
        return named.map(plain);
    }
    if wish.network.is_empty() {
        return directory.first().map(plain);
    }
    let why_not = match definition {
        Some(Ok(primary)) => return Ok(Choice { primary, warning: None }),
        Some(Err(reason)) => reason,
        None => "no network and no file is called so, and the runtime's present network is not made by such a plugin"
            .to_owned(),
    };
    if let Some(primary) = directory.network(&wish.network) {
        return Ok(plain(primary));
    }
    if let Some(found) = directory.file(&wish.network) {
        return found.map(plain);
    }
    let missing =
        format!("the default network {:?} is not there: {why_not} ({})", wish.network, directory.looked_at());
    match directory.first() {
        Ok(primary) if primary.is_made_by(&wish.network) => Ok(plain(primary)),
        Ok(primary) if !wish.required => {
            let warning = format!("{missing}. Going on with {}, as the runtime does", primary.origin.name());
            Ok(Choice { primary: primary.clone(), warning: Some(warning) })
        }
        Err(error) if !wish.required => Err(error),
        _ => Err(Error::Missing(missing)),
    }
}

fn plain(primary: &Primary) -> Choice {
    Choice { primary: primary.clone(), warning: None }
}

/// Upstream's text.
fn none_in(dir: &str) -> String {
    format!("cannot find valid master CNI config in {dir:?}")
}

fn is_candidate(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    extension.is_some_and(|extension| EXTENSIONS.contains(&extension)) && path.is_file()
}

/// The files of `dir` that a runtime reads, in its order.
pub(crate) fn candidates(dir: &Path) -> Vec<String> {
    let listed = fs::read_dir(dir).into_iter().flatten().flatten();
    let files = listed.filter(|entry| is_candidate(&entry.path()));
    let mut names: Vec<String> =
        files.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// The file that a runtime reads before `name`, if any.
#[must_use]
pub fn sorts_before(dir: &Path, name: &str) -> Option<String> {
    candidates(dir).into_iter().next().filter(|first| first.as_str() < name)
}

#[cfg(test)]
mod tests;
