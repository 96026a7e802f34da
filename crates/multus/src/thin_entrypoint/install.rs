//! What is installed, and whether it still is as it should be.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::netconf::{self, FILE_NAMES, Generated};
use super::options::Options;
use super::primary::{Error, Primary};
use super::stop::Stop;
use super::{files, kubeconfig};

/// How long a primary network may take to appear; as long as upstream's daemon waits for one.
const MISSING_LIMIT: Duration = Duration::from_secs(120);
/// How long one that is there may be unreadable: somebody may be writing it.
const UNUSABLE_LIMIT: Duration = Duration::from_secs(5);

/// The files of one node.
pub(crate) struct Installation<'a> {
    options: Options,
    say: &'a dyn Fn(&str),
    /// The primary's file. Chosen once: another one that appears later does not take its place.
    primary: Option<PathBuf>,
    /// The configuration as it should be on disk.
    wanted: Option<Generated>,
    /// What was last said about the primary, so as not to say it each second.
    trouble: Option<String>,
}

impl<'a> Installation<'a> {
    /// Checks that what is needed is there.
    pub(crate) fn new(options: Options, say: &'a dyn Fn(&str)) -> Result<Self, String> {
        options.check_files()?;
        Ok(Self { options, say, primary: None, wanted: None, trouble: None })
    }

    /// Installs the program, then the kubeconfig, then the configuration that makes the runtime use both.
    pub(crate) fn install(&mut self, stop: &Stop) -> Result<(), String> {
        if !self.options.skip_binary {
            let target = self.options.bin_dir.join("multus");
            files::install(&self.options.bin_file, &target)
                .map_err(|error| format!("failed at multus copy to {}: {error}", target.display()))?;
        }
        kubeconfig::create(&self.options.multus_conf_dir)
            .map_err(|error| format!("cannot create {}: {error}", self.options.multus_conf_dir.display()))?;
        kubeconfig::follow(&self.options)?;
        (self.say)(&format!("kubeconfig is created in {}", self.options.kubeconfig_path().display()));
        (self.say)("kubeconfig file is created.");
        if let Some(source) = self.options.conf_file.clone() {
            self.copy(&source)?;
            (self.say)(&format!("multus config file {} is copied.", source.display()));
            return Ok(());
        }
        self.first_configuration(stop)
    }

    /// Puts right whatever has changed since the last look.
    pub(crate) fn look(&mut self) -> Result<(), String> {
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

    /// With `--cleanup-config-on-exit`: the configuration goes, and the runtime uses the primary network again.
    pub(crate) fn clean_up(&self) {
        if !self.options.cleanup {
            return;
        }
        let copied = self.options.conf_file.as_deref().and_then(Path::file_name);
        let installed = match copied {
            Some(name) => vec![self.options.conf_dir.join(name)],
            None => FILE_NAMES.iter().map(|name| self.options.conf_dir.join(name)).collect(),
        };
        for path in installed {
            if let Err(error) = remove(&path) {
                (self.say)(&error);
            }
        }
    }

    fn copy(&self, source: &Path) -> Result<(), String> {
        let name = source.file_name().ok_or_else(|| format!("{} names no file", source.display()))?;
        let target = self.options.conf_dir.join(name);
        let copied = fs::read(source).and_then(|content| {
            if content.iter().all(u8::is_ascii_whitespace) {
                // A runtime that finds an empty file has no network at all.
                return Err(std::io::Error::other("it is empty"));
            }
            files::replace(&target, &content, 0o600)
        });
        copied
            .map(drop)
            .map_err(|error| format!("cannot copy {} to {}: {error}", source.display(), target.display()))
    }

    /// Waits for a primary network rather than to guess, but not for ever.
    fn first_configuration(&mut self, stop: &Stop) -> Result<(), String> {
        let started = Instant::now();
        loop {
            let error = match Primary::choose(&self.options).and_then(|primary| self.configure(&primary)) {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            let (limit, reason) = match error {
                Error::Missing(reason) => (MISSING_LIMIT, reason),
                Error::Unusable(reason) => (UNUSABLE_LIMIT, reason),
            };
            let limit = if self.options.skip_watch { Duration::ZERO } else { limit };
            if started.elapsed() >= limit {
                return Err(reason);
            }
            self.tell(format!("waiting for the primary network: {reason}"));
            if stop.within(Duration::from_secs(1)) {
                return Err(format!("ended while waiting for the primary network: {reason}"));
            }
        }
    }

    fn follow_primary(&mut self) -> Result<(), String> {
        let Some(path) = self.primary.clone() else { return Ok(()) };
        if !self.options.skip_watch {
            match Primary::read(&path).and_then(|primary| self.configure(&primary)) {
                Ok(()) => {}
                // Renamed by ourselves, or about to come back. What is configured goes on working.
                Err(Error::Missing(_)) => {
                    self.tell(format!(
                        "Master plugin @ {:?} has been deleted. waiting for its restoration...",
                        path.display().to_string()
                    ));
                }
                Err(Error::Unusable(reason)) => {
                    self.tell(format!("{reason}; the configuration made of the previous one stays"));
                }
            }
        }
        self.put_into_place()
    }

    /// Generates the configuration and installs it where it differs.
    fn configure(&mut self, primary: &Primary) -> Result<(), Error> {
        let generated = netconf::generate(&self.options, primary)?;
        let changed = self.wanted.as_ref() != Some(&generated);
        if changed {
            let again = self.wanted.is_some();
            if again {
                (self.say)("master config changed - recreating multus config");
            }
            generated.notes.iter().for_each(|note| (self.say)(note));
        } else if self.trouble.is_some() {
            (self.say)(&format!(
                "Master plugin @ {:?} was restored. Regenerating given configuration.",
                primary.path.display().to_string()
            ));
        }
        self.wanted = Some(generated);
        self.primary = Some(primary.path.clone());
        self.put_into_place().map_err(Error::Unusable)?;
        if changed {
            (self.say)("multus config file is created.");
        }
        self.trouble = None;
        self.rename(&primary.path).map_err(Error::Unusable)
    }

    /// The configuration on disk is as wanted, and the only one of ours.
    fn put_into_place(&self) -> Result<(), String> {
        let Some(wanted) = &self.wanted else { return Ok(()) };
        let path = self.options.conf_dir.join(wanted.file_name);
        files::replace(&path, wanted.text.as_bytes(), 0o600)
            .map_err(|error| format!("cannot write {}: {error}", path.display()))?;
        let others = FILE_NAMES.iter().filter(|name| **name != wanted.file_name);
        others.map(|name| self.options.conf_dir.join(name)).try_for_each(|other| remove(&other))
    }

    /// `--rename-conf-file`: the primary's file is moved aside, for runtimes that read every file.
    fn rename(&self, primary: &Path) -> Result<(), String> {
        if !self.options.rename_primary {
            return Ok(());
        }
        let mut old = primary.as_os_str().to_owned();
        old.push(".old");
        fs::rename(primary, &old)
            .map_err(|error| format!("cannot move {} aside: {error}", primary.display()))?;
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

fn remove(path: &Path) -> Result<(), String> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(format!("cannot remove {}: {error}", path.display()))
        }
        _ => Ok(()),
    }
}
