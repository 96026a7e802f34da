//! What is installed, and whether it still is as it should be.

mod primary;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use node_config::{Error, Generated, LastGood, Origin, Place, Program, Removal, Setting, Turn, file};

use super::definition::Definition;
use super::kubeconfig;
use super::options::Options;

/// How long a call may still be on its way that was started by an earlier configuration: containers' runtimes give up before.
const CALL: Duration = Duration::from_secs(300);

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
    /// Since when this process has had the turn and changed nothing of the configuration.
    settled: Option<Instant>,
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
            settled: None,
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
        if !self.options.thin {
            return Ok(());
        }
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
        if self.options.thin && kubeconfig::follow(&self.options)? {
            (self.say)("CA or SA token changed - recreating kubeconfig");
        }
        match self.options.conf_file.clone() {
            // The source may be a ConfigMap that is swapped at this moment; what is installed stays.
            Some(source) if source.exists() => self.copy(&source)?,
            Some(_) => {}
            None => self.follow_primary()?,
        }
        self.settled.get_or_insert_with(Instant::now);
        Ok(())
    }

    /// Whether this process, and no newer one, keeps the node. One that has not come to keeping it does so where nobody else does: at
    /// the end it may have to remove what a pod before it left.
    pub(crate) fn has_turn(&mut self) -> Result<bool, Failure> {
        let has = match &mut self.turn {
            Some(turn) => turn.is_mine()?,
            None => {
                self.turn = Turn::take_where_free(self.options.own_dir().join("turn"))?;
                self.turn.is_some()
            }
        };
        if !has {
            self.settled = None;
        }
        Ok(has)
    }

    /// Comes to keeping the node, as the newest process does, whoever keeps it now. One that has kept it before is the older one
    /// where another does now, and waits for its turn. Returns whether it keeps the node.
    pub(crate) fn come(&mut self) -> Result<bool, Failure> {
        if self.turn.is_none() {
            self.install()?;
        }
        self.has_turn()
    }

    /// Ends the turn: whoever else is there may have it.
    pub(crate) fn end(&mut self) {
        if let Some(turn) = self.turn.take() {
            turn.end();
        }
    }

    /// Takes away the kubeconfig that thin mode left: where a daemon asks the API server, no token lies on the node. Not while a
    /// configuration may name it, nor while a call may be under way that was started by one which did; and it is a newer pod's of thin
    /// mode where this process has not the turn.
    pub(crate) fn forget_kubeconfig(&mut self, now: Instant) -> Result<(), Failure> {
        let path = self.options.kubeconfig_path();
        let is_settled = self.settled.is_some_and(|since| now.saturating_duration_since(since) > CALL);
        if self.options.thin || !is_settled || !path.exists() || self.place.trouble().is_some() {
            return Ok(());
        }
        if self.has_turn()? {
            file::remove(&path).map_err(|source| Error::Write { path, setting: Setting::ConfDir, source })?;
        }
        Ok(())
    }

    /// Removes the configuration where it is of this install; the runtime uses the primary network again.
    pub(crate) fn remove_configuration(&self) -> Result<Vec<Removal>, String> {
        let Some(source) = &self.options.conf_file else {
            return self.place.remove().map_err(|error| error.to_string());
        };
        let target = self.target_of(source).map_err(|error| error.to_string())?;
        if self.options.own.is_some() && fs::read(&target).ok() != fs::read(source).ok() {
            return Ok(vec![Removal::Kept(
                target,
                format!("it is not what was copied from {}", source.display()),
            )]);
        }
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

    fn copy(&mut self, source: &Path) -> Result<(), Failure> {
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
        let changed = file::replace(&target, &content, 0o600).map_err(|source| Error::Write {
            path: target,
            setting: Setting::ConfDir,
            source,
        })?;
        if changed {
            self.settled = None;
        }
        Ok(())
    }

    fn tell(&mut self, trouble: String) {
        if self.trouble.as_ref() != Some(&trouble) {
            (self.say)(&trouble);
            self.trouble = Some(trouble);
        }
    }
}
