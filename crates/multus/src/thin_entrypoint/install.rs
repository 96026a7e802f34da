//! What is installed, and whether it still is as it should be.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use node_config::{
    Choice, Directory, Error, Generated, LastGood, Origin, Place, Primary, Program, Removal, Setting, Turn,
    choose, file,
};

use super::definition::Definition;
use super::kubeconfig;
use super::options::Options;

/// How long a primary network that is there may be unreadable before there is a configuration: somebody may be writing it.
const UNUSABLE_LIMIT: Duration = Duration::from_secs(5);
/// How long the network that was the primary one until now may take to come back before another one takes its place.
const RETURN_LIMIT: Duration = Duration::from_secs(30);
/// How often it is told that somebody damages the configuration again and again.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// Why something could not be put right.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It may work the next time.
    Passing(String),
    /// It will not, before a person does something.
    Final(String),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::Owned { .. } | Error::Setting(_) => Self::Final(error.to_string()),
            _ => Self::Passing(error.to_string()),
        }
    }
}

/// Where the lines go that people read.
pub(crate) type Say<'a> = &'a (dyn Fn(&str) + Sync);

/// The files of one node.
pub(crate) struct Installation<'a> {
    options: Options,
    say: Say<'a>,
    place: Place,
    programs: Vec<Program>,
    last_good: LastGood,
    definition: Option<Definition>,
    /// `None` before anything is installed.
    turn: Option<Turn>,
    started: Instant,
    /// Where the primary comes from. Chosen once: another one that appears later does not take its place.
    primary: Option<Origin>,
    /// The configuration as it should be on disk.
    wanted: Option<Generated>,
    /// Since when nothing could be chosen because what is there cannot be used.
    unusable_since: Option<Instant>,
    /// What was last said, so as not to say it each second.
    trouble: Option<String>,
    told_of_damage: Option<Instant>,
}

impl<'a> Installation<'a> {
    /// Checks that what is needed is there, and that the node is not another install's.
    pub(crate) fn new(options: Options, say: Say<'a>) -> Result<Self, String> {
        options.check_files()?;
        let place = options.place();
        place.check_owner().map_err(|error| error.to_string())?;
        Ok(Self {
            place,
            programs: options.programs(),
            last_good: options.last_good(),
            options,
            say,
            definition: None,
            turn: None,
            started: Instant::now(),
            primary: None,
            wanted: None,
            unusable_since: None,
            trouble: None,
            told_of_damage: None,
        })
    }

    /// Directories in which a change has to be noticed at once.
    pub(crate) fn watched(&self) -> Vec<PathBuf> {
        let options = &self.options;
        let dirs = [&options.conf_dir, &options.autoconfig_dir].into_iter().chain(&options.bin_dirs);
        dirs.cloned().collect()
    }

    /// Installs the program, then the kubeconfig.
    pub(crate) fn install(&mut self) -> Result<(), Failure> {
        for program in &mut self.programs {
            program.keep()?;
        }
        // Not before the program could be installed: another pod of this install may do well on its own.
        self.turn = Some(Turn::take(self.options.own_dir().join("turn"))?);
        file::create_dir(&self.options.multus_conf_dir).map_err(|source| Error::Io {
            attempt: format!("create {}", self.options.multus_conf_dir.display()),
            source,
        })?;
        kubeconfig::follow(&self.options)?;
        (self.say)(&format!("kubeconfig is created in {}", self.options.kubeconfig_path().display()));
        (self.say)("kubeconfig file is created.");
        Ok(())
    }

    /// The primary network comes from the cluster where the wish is for a NetworkAttachmentDefinition.
    pub(crate) fn with_definition(&mut self, definition: Option<Definition>) {
        self.definition = definition;
    }

    /// The configuration, as far as there can be one now.
    pub(crate) fn configure_first(&mut self) -> Result<(), Failure> {
        if let Some(source) = self.options.conf_file.clone() {
            self.copy(&source)?;
            (self.say)(&format!("multus config file {} is copied.", source.display()));
            return Ok(());
        }
        self.follow_primary()
    }

    /// Puts right whatever has changed since the last look.
    pub(crate) fn look(&mut self) -> Result<(), Failure> {
        if !self.has_turn()? {
            self.tell(
                "a newer pod of this install keeps this node now; nothing is touched here meanwhile"
                    .to_owned(),
            );
            return Ok(());
        }
        for program in &mut self.programs {
            if program.keep()? {
                (self.say)(&format!(
                    "{} was missing or different and is installed again",
                    program.path().display()
                ));
            }
        }
        if kubeconfig::follow(&self.options)? {
            (self.say)("CA or SA token changed - recreating kubeconfig");
        }
        match self.options.conf_file.clone() {
            // The source may be a ConfigMap that is swapped at this moment; what is installed stays.
            Some(source) if source.exists() => self.copy(&source),
            Some(_) => Ok(()),
            None => self.follow_primary(),
        }
    }

    /// Whether this process, and no newer one, keeps the node.
    pub(crate) fn has_turn(&mut self) -> Result<bool, Failure> {
        match &mut self.turn {
            Some(turn) => Ok(turn.is_mine()?),
            None => Ok(false),
        }
    }

    /// Ends the turn: whoever else is there may have it.
    pub(crate) fn end(&mut self) {
        if let Some(turn) = self.turn.take() {
            turn.end();
        }
    }

    /// Removes the configuration where it is of this install; the runtime uses the primary network again.
    pub(crate) fn remove_configuration(&self) -> Result<Vec<Removal>, String> {
        let Some(source) = &self.options.conf_file else {
            return self.place.remove().map_err(|error| error.to_string());
        };
        let target = self.target_of(source).map_err(|error| error.to_string())?;
        match file::remove(&target) {
            Ok(true) => Ok(vec![Removal::Removed(target)]),
            Ok(false) => Ok(Vec::new()),
            Err(error) => Err(format!("cannot remove {}: {error}", target.display())),
        }
    }

    /// The options, and the programs that are installed.
    pub(crate) fn parts(&mut self) -> (&Options, &mut [Program]) {
        (&self.options, &mut self.programs)
    }

    fn target_of(&self, source: &Path) -> Result<PathBuf, Error> {
        let name = source.file_name();
        name.map(|name| self.options.conf_dir.join(name))
            .ok_or_else(|| Error::Setting(format!("multus-conf-file {} names no file", source.display())))
    }

    fn copy(&self, source: &Path) -> Result<(), Failure> {
        let target = self.target_of(source)?;
        let content = fs::read(source).map_err(|source_error| Error::Io {
            attempt: format!("read {}", source.display()),
            source: source_error,
        })?;
        if content.iter().all(u8::is_ascii_whitespace) {
            // A runtime that finds an empty file has no network at all.
            return Err(Failure::Passing(format!(
                "cannot copy {} to {}: it is empty",
                source.display(),
                target.display()
            )));
        }
        file::replace(&target, &content, 0o600).map_err(|source| Error::Write {
            path: target,
            setting: Setting::ConfDir,
            source,
        })?;
        Ok(())
    }

    fn follow_primary(&mut self) -> Result<(), Failure> {
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

    /// A node that boots may have the file of its network a little later than another one's. Nobody has named the other one.
    fn check_return(&self, directory: &Directory, choice: &Choice) -> Result<(), Error> {
        let wish = &self.options.wish;
        let is_named = !wish.file.is_empty() || (!wish.network.is_empty() && choice.warning.is_none());
        if is_named || self.options.skip_watch || self.started.elapsed() >= RETURN_LIMIT {
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
            self.place.put(&generated)?;
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
            self.place.put(&generated)?;
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
        let Some(wanted) = &self.wanted else { return Ok(()) };
        let renamed = self.place.renamed_to();
        if !self.place.put(wanted)? || self.told_of_damage.is_some_and(|told| told.elapsed() < TELL_EVERY) {
            return Ok(());
        }
        self.told_of_damage = Some(Instant::now());
        let path = self.place.path(wanted);
        let reason = match renamed {
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

    fn tell(&mut self, trouble: String) {
        if self.trouble.as_ref() != Some(&trouble) {
            (self.say)(&trouble);
            self.trouble = Some(trouble);
        }
    }
}
