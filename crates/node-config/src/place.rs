//! The configuration in its place on disk.

use std::fs;
use std::path::{Path, PathBuf};

use crate::choice::{candidates, sorts_before};
use crate::{Error, FILE_NAMES, Generated, Owner, Setting, file};

const MODE: u32 = 0o600;

/// The directory of CNI configurations, and in whose name it is written.
#[derive(Debug, Clone)]
pub struct Place {
    dir: PathBuf,
    /// Where a configuration of ours may be: the name that was given, and upstream's two.
    names: Vec<String>,
    owner: Option<String>,
    take_over_from: Vec<String>,
}

/// What became of a file that was to be removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removal {
    /// It is gone.
    Removed(PathBuf),
    /// It stays, for this reason.
    Kept(PathBuf, String),
}

impl Place {
    /// `dir`, for the install `owner`, which may replace what `take_over_from` left. An install without a name leaves no mark, and
    /// replaces what has none. `file_name` is [`Template::file_name`](crate::Template::file_name).
    #[must_use]
    pub fn new(dir: PathBuf, file_name: &str, owner: Option<String>, take_over_from: Vec<String>) -> Self {
        let given = Some(file_name).filter(|name| !name.is_empty() && !FILE_NAMES.contains(name));
        let names = given.into_iter().chain(FILE_NAMES).map(str::to_owned).collect();
        Self { dir, names, owner, take_over_from }
    }

    /// Names that are ours whatever is in the file.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Whether there is a configuration of multus, whosever and in whatever state.
    #[must_use]
    pub fn is_taken(&self) -> bool {
        !self.files().is_empty()
    }

    /// What is of multus in the directory: marked, whatever it is called, or called as ours is.
    fn files(&self) -> Vec<(String, Owner)> {
        let candidates = candidates(&self.dir).into_iter().filter_map(|name| {
            let owner = Owner::of(&fs::read(self.dir.join(&name)).ok()?);
            let is_ours = matches!(owner, Owner::Marked { .. }) || self.names.contains(&name);
            is_ours.then_some((name, owner))
        });
        candidates.collect()
    }

    /// Whether another install's configuration is there.
    ///
    /// # Errors
    /// [`Error::Owned`] if so.
    pub fn check_owner(&self) -> Result<(), Error> {
        for (name, owner) in self.files() {
            let Owner::Marked { mark, .. } = owner else { continue };
            let is_ours =
                self.owner.as_ref() == Some(&mark.owner) || self.take_over_from.contains(&mark.owner);
            if !is_ours {
                return Err(Error::Owned { path: self.dir.join(name), owner: mark.owner });
            }
        }
        Ok(())
    }

    /// Puts `generated` into place, as the only configuration of ours. Returns whether anything had to be done.
    ///
    /// # Errors
    /// [`Error::Owned`] when another install's is there, [`Error::Write`] when it cannot be written. What was there stays.
    pub fn put(&self, generated: &Generated) -> Result<bool, Error> {
        self.check_owner()?;
        let failed = |path: &Path| {
            let path = path.to_owned();
            |source| Error::Write { path, setting: Setting::ConfDir, source }
        };
        let path = self.path(generated);
        let mut changed = file::replace(&path, generated.text.as_bytes(), MODE).map_err(failed(&path))?;
        // A link that leads nowhere is no file of ours, but would be one for a runtime.
        let named = self.names.iter().filter(|name| self.dir.join(name).is_symlink()).cloned();
        for other in self.files().into_iter().map(|(name, _)| name).chain(named) {
            if other != generated.file_name {
                let other = self.dir.join(other);
                changed |= file::remove(&other).map_err(failed(&other))?;
            }
        }
        Ok(changed)
    }

    /// Where `generated` is put.
    #[must_use]
    pub fn path(&self, generated: &Generated) -> PathBuf {
        self.dir.join(&generated.file_name)
    }

    /// Why the configuration is not in use, if so: not there, not ours, changed, or not the first that a runtime reads. `None` when
    /// all is well.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        let files = self.files();
        let (name, owner) = match files.as_slice() {
            [] => return Some(self.nothing()),
            [one] => one,
            several => {
                let names: Vec<&str> = several.iter().map(|(name, _)| name.as_str()).collect();
                return Some(format!("{} has several of multus: {}", self.dir.display(), names.join(", ")));
            }
        };
        let path = self.dir.join(name);
        let path = path.display();
        match (owner, &self.owner) {
            (Owner::Damaged, _) => return Some(format!("{path} is empty or damaged")),
            (Owner::Unmarked, Some(owner)) => {
                return Some(format!("{path} is not the one of {owner:?}: it has no mark"));
            }
            (Owner::Marked { mark, .. }, owner) if owner.as_ref() != Some(&mark.owner) => {
                return Some(format!("{path} is the one of another install, {:?}", mark.owner));
            }
            (Owner::Marked { intact: false, .. }, _) => return Some(format!("{path} has been changed")),
            (Owner::Marked { .. } | Owner::Unmarked, _) => {}
        }
        let before = sorts_before(&self.dir, name)?;
        Some(format!("the runtime reads {before} before {name} and does not use multus"))
    }

    fn nothing(&self) -> String {
        let dir = self.dir.display();
        if candidates(&self.dir).is_empty() {
            return format!(
                "there is no CNI configuration in {dir}: multus waits for that of the cluster's own network. If it does not \
                 come, this is not the folder that the node's container runtime reads (chart value {})",
                Setting::ConfDir.value()
            );
        }
        format!("there is no configuration of multus in {dir}")
    }

    /// Removes the configuration where it is this install's.
    ///
    /// # Errors
    /// When it is and cannot be removed.
    pub fn remove(&self) -> Result<Vec<Removal>, Error> {
        self.files().into_iter().map(|(name, owner)| self.remove_one(self.dir.join(name), owner)).collect()
    }

    fn remove_one(&self, path: PathBuf, owner: Owner) -> Result<Removal, Error> {
        let kept = match (owner, &self.owner) {
            (Owner::Marked { mark, .. }, Some(owner)) if mark.owner == *owner => None,
            (Owner::Marked { mark, .. }, _) => {
                Some(format!("it is the one of another install, {:?}", mark.owner))
            }
            // What an install without a name wrote cannot be told from what it found.
            (Owner::Unmarked | Owner::Damaged, None) => None,
            (Owner::Unmarked, Some(_)) => Some("it has no mark of this install".to_owned()),
            (Owner::Damaged, Some(_)) => Some("it is damaged and has no mark of this install".to_owned()),
        };
        if let Some(reason) = kept {
            return Ok(Removal::Kept(path, reason));
        }
        file::remove(&path).map_err(|error| Error::io(format!("remove {}", path.display()), error))?;
        Ok(Removal::Removed(path))
    }

    /// What somebody made of our file by renaming it, as Cilium does.
    #[must_use]
    pub fn renamed_to(&self) -> Option<String> {
        let listed = fs::read_dir(&self.dir).ok()?;
        let names = listed.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
        let was_ours = |name: &String| {
            self.names.iter().any(|ours| name.starts_with(ours) && !self.names.contains(name))
        };
        names.filter(was_ours).min()
    }
}

#[cfg(test)]
mod tests;
