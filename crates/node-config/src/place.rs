//! The configuration in its place on disk.

use std::fs;
use std::path::{Path, PathBuf};

use crate::choice::sorts_before;
use crate::{Error, FILE_NAMES, Generated, Owner, Setting, file};

const MODE: u32 = 0o600;

/// The directory of CNI configurations, and in whose name it is written.
#[derive(Debug, Clone)]
pub struct Place {
    dir: PathBuf,
    owner: Option<String>,
    take_over_from: Vec<String>,
}

/// What became of a file that was to be removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removal {
    /// There is none.
    Absent,
    /// It is gone.
    Removed(PathBuf),
    /// It stays, for this reason.
    Kept(PathBuf, String),
}

impl Place {
    /// `dir`, for the install `owner`, which may replace what `take_over_from` left. An install without a name leaves no mark, and
    /// replaces what has none.
    #[must_use]
    pub fn new(dir: PathBuf, owner: Option<String>, take_over_from: Vec<String>) -> Self {
        Self { dir, owner, take_over_from }
    }

    /// Whether another install's configuration is there.
    ///
    /// # Errors
    /// [`Error::Owned`] if so.
    pub fn check_owner(&self) -> Result<(), Error> {
        for name in FILE_NAMES {
            let path = self.dir.join(name);
            let Ok(text) = fs::read(&path) else { continue };
            let Owner::Marked { mark, .. } = Owner::of(&text) else { continue };
            let is_ours =
                self.owner.as_ref() == Some(&mark.owner) || self.take_over_from.contains(&mark.owner);
            if !is_ours {
                return Err(Error::Owned { path, owner: mark.owner });
            }
        }
        Ok(())
    }

    /// Puts `generated` into place, as the only configuration of ours. Returns whether anything had to be done.
    ///
    /// # Errors
    /// [`Error::Owned`] when another install's is there, [`Error::Write`] when it cannot be written. What was there stays.
    pub fn put(&self, generated: &Generated) -> Result<bool, Error> {
        let path = self.path(generated);
        if !file::holds(&path, generated.text.as_bytes(), MODE) {
            self.check_owner()?;
        }
        let failed = |path: &Path| {
            let path = path.to_owned();
            |source| Error::Write { path, setting: Setting::ConfDir, source }
        };
        let written = file::replace(&path, generated.text.as_bytes(), MODE).map_err(failed(&path))?;
        let mut changed = written;
        for other in FILE_NAMES.iter().filter(|name| **name != generated.file_name) {
            let other = self.dir.join(other);
            if other.symlink_metadata().is_ok() {
                self.check_owner()?;
                changed |= file::remove(&other).map_err(failed(&other))?;
            }
        }
        Ok(changed)
    }

    /// Where `generated` is put.
    #[must_use]
    pub fn path(&self, generated: &Generated) -> PathBuf {
        self.dir.join(generated.file_name)
    }

    /// Why the configuration is not in use, if so: not there, not ours, changed, or not the first that a runtime reads. `None` when
    /// all is well.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        let found: Vec<(&str, Vec<u8>)> = FILE_NAMES
            .into_iter()
            .filter_map(|name| Some((name, fs::read(self.dir.join(name)).ok()?)))
            .collect();
        let (name, text) = match found.as_slice() {
            [] => return Some(format!("there is no configuration of multus in {}", self.dir.display())),
            [one] => one,
            _ => {
                return Some(format!("there are both {} in {}", FILE_NAMES.join(" and "), self.dir.display()));
            }
        };
        let path = self.dir.join(name);
        let path = path.display();
        match (Owner::of(text), &self.owner) {
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

    /// Removes the configuration where it is this install's.
    ///
    /// # Errors
    /// When it is and cannot be removed.
    pub fn remove(&self) -> Result<Vec<Removal>, Error> {
        FILE_NAMES.into_iter().map(|name| self.remove_one(self.dir.join(name))).collect()
    }

    fn remove_one(&self, path: PathBuf) -> Result<Removal, Error> {
        let Ok(text) = fs::read(&path) else { return Ok(Removal::Absent) };
        let kept = match (Owner::of(&text), &self.owner) {
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
        let renamed =
            |name: &String| FILE_NAMES.iter().any(|ours| name.len() > ours.len() && name.starts_with(ours));
        names.filter(|name| renamed(name) && !FILE_NAMES.contains(&name.as_str())).min()
    }
}

#[cfg(test)]
mod tests;
