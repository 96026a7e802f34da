//! The configuration that is made of the primary network: waited for, followed, put back.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use node_config::{Choice, Directory, Error, Generated, Origin, Primary, Setting, choose};

use super::super::definition::Definition;
use super::{Failure, Installation};

/// How long a primary network that is there may be unreadable before there is a configuration: somebody may be writing it.
const UNUSABLE_LIMIT: Duration = Duration::from_secs(5);
/// How long the network that was the primary one until now may take to come back before another one takes its place.
const RETURN_LIMIT: Duration = Duration::from_secs(30);
/// How often it is told that somebody damages the configuration again and again.
const TELL_EVERY: Duration = Duration::from_secs(60);

impl Installation<'_> {
    /// The configuration is of the primary network as it is now, as far as that can be known.
    pub(super) fn follow_primary(&mut self) -> Result<(), Failure> {
        let Some(origin) = self.primary.clone() else { return self.choose() };
        if self.options.skip_watch {
            return self.put_into_place();
        }
        match self.reread(&origin).and_then(|primary| self.configure(&primary)) {
            // Renamed by ourselves, or about to come back. What is configured goes on working.
            Err(Error::Missing(_)) => self.tell(format!(
                "Master plugin @ {:?} has been deleted. waiting for its restoration...",
                origin.to_string()
            )),
            Err(error @ (Error::Unusable(_) | Error::Circular(_))) => {
                self.tell(format!("{error}; the configuration made of the previous one stays"));
            }
            other => return Ok(other?),
        }
        self.put_into_place()
    }

    fn reread(&self, origin: &Origin) -> Result<Primary, Error> {
        match origin {
            Origin::File(path) => Primary::read(path),
            Origin::Definition(..) => self.definition.as_ref().map_or_else(
                || Err(Error::Missing(format!("{origin} is not asked for"))),
                |definition| definition.now()?.map_err(Error::Missing),
            ),
        }
    }

    /// Waits for a primary network rather than to guess.
    fn choose(&mut self) -> Result<(), Failure> {
        let error = match self.pick() {
            Ok(choice) => {
                if let Some(warning) = choice.warning {
                    (self.say)(&format!("warning: {warning}"));
                }
                match self.configure(&choice.primary) {
                    Ok(()) => return Ok(()),
                    Err(error) => error,
                }
            }
            Err(error) => error,
        };
        match error {
            Error::Missing(_) => self.unusable_since = None,
            Error::Unusable(_) | Error::Circular(_) => {
                let since = *self.unusable_since.get_or_insert_with(Instant::now);
                if self.wanted.is_none() && since.elapsed() >= UNUSABLE_LIMIT {
                    return Err(Failure::Final(error.to_string()));
                }
            }
            other => return Err(other.into()),
        }
        if self.options.skip_watch {
            return Err(Failure::Final(error.to_string()));
        }
        self.tell(format!("waiting for the primary network: {error}"));
        self.hold()
    }

    fn pick(&self) -> Result<Choice, Error> {
        let directory = Directory::read(&self.options.autoconfig_dir, self.place.names())?;
        let definition = self.definition.as_ref().map(Definition::now).transpose()?;
        let choice = choose(&directory, &self.options.wish, definition)?;
        self.check_return(&directory, &choice)?;
        Ok(choice)
    }

    /// A node that boots may have the file of its network a little later than another one's. Nobody has named the other one, and the
    /// configuration that is in place goes on working. Where there is none, the runtime uses the other one already.
    fn check_return(&self, directory: &Directory, choice: &Choice) -> Result<(), Error> {
        let wish = &self.options.wish;
        let is_named = !wish.file.is_empty() || (!wish.network.is_empty() && choice.warning.is_none());
        let is_late = self.started.elapsed() >= RETURN_LIMIT;
        if is_named || is_late || self.options.skip_watch || !self.place.is_taken() {
            return Ok(());
        }
        let Some(last) = self.last_good.read(&self.options.autoconfig_dir) else { return Ok(()) };
        let name = last.origin.name();
        if matches!(last.origin, Origin::Definition(..)) || directory.has(&name) {
            return Ok(());
        }
        Err(Error::Missing(format!(
            "{name}, the primary network until now, is not there; {} takes its place if it does not come back",
            choice.primary.origin.name()
        )))
    }

    /// While there is nothing to choose, the configuration is made of what was there last: it is what is on the node, or was
    /// before somebody took it away.
    fn hold(&mut self) -> Result<(), Failure> {
        if self.wanted.is_none() {
            let Some(last) = self.last_good.read(&self.options.autoconfig_dir) else { return Ok(()) };
            let generated = self.options.template.generate(&last)?;
            self.put(&generated)?;
            self.wanted = Some(generated);
            (self.say)(&format!(
                "meanwhile the configuration is made of {} as it was last",
                last.origin.name()
            ));
        }
        self.put_into_place()
    }

    /// Generates the configuration and installs it where it differs.
    fn configure(&mut self, primary: &Primary) -> Result<(), Error> {
        let generated = self.options.template.generate(primary)?;
        let changed = self.wanted.as_ref() != Some(&generated);
        if changed {
            if self.wanted.is_some() {
                (self.say)("master config changed - recreating multus config");
            }
            generated.notes.iter().for_each(|note| (self.say)(note));
            self.put(&generated)?;
            self.last_good.keep(primary)?;
            (self.say)("multus config file is created.");
        } else if self.trouble.is_some() {
            (self.say)(&format!(
                "Master plugin @ {:?} was restored. Regenerating given configuration.",
                primary.origin.to_string()
            ));
        }
        self.wanted = Some(generated);
        self.primary = Some(primary.origin.clone());
        self.trouble = None;
        self.heal()?;
        self.rename(&primary.origin)
    }

    fn put_into_place(&mut self) -> Result<(), Failure> {
        Ok(self.heal()?)
    }

    /// The configuration on disk is as wanted, and the only one of ours.
    fn heal(&mut self) -> Result<(), Error> {
        let Some(wanted) = self.wanted.clone() else { return Ok(()) };
        if !self.put(&wanted)? || self.told_of_damage.is_some_and(|told| told.elapsed() < TELL_EVERY) {
            return Ok(());
        }
        self.told_of_damage = Some(Instant::now());
        let path = self.place.path(&wanted);
        // Looked for when the damage is known: before, it may not have been done yet.
        let reason = match self.place.renamed_to() {
            Some(name) if name.ends_with(".cilium_bak") => {
                format!(
                    "; there is {name}: Cilium takes other networks away unless it is installed with cni.exclusive=false"
                )
            }
            Some(name) => format!("; there is {name}"),
            None => String::new(),
        };
        (self.say)(&format!("{} was not as it was written and is put back{reason}", path.display()));
        Ok(())
    }

    /// Returns whether anything had to be done.
    fn put(&mut self, generated: &Generated) -> Result<bool, Error> {
        let changed = self.place.put(generated)?;
        if changed {
            self.settled = None;
        }
        Ok(changed)
    }

    /// `--rename-conf-file`: the primary's file is moved aside, for runtimes that read every file.
    fn rename(&self, primary: &Origin) -> Result<(), Error> {
        let Origin::File(path) = primary else { return Ok(()) };
        if !self.options.rename_primary {
            return Ok(());
        }
        let mut old = path.as_os_str().to_owned();
        old.push(".old");
        fs::rename(path, &old).map_err(|source| Error::Write {
            path: PathBuf::from(&old),
            setting: Setting::ConfDir,
            source,
        })?;
        (self.say)(&format!("Original master file moved to {:?}", Path::new(&old).display().to_string()));
        Ok(())
    }
}
