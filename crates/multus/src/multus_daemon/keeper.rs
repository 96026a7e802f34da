//! The node's CNI configuration, while the daemon runs and when it ends.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use daemon::{Config, Running};
use kube_cluster::{Session, Source};
use node_config::Changes;

use super::settings::{Environment, node_files};
use crate::thin_entrypoint::daemon_set::Watcher;
use crate::thin_entrypoint::health;
use crate::thin_entrypoint::install::{Failure, Installation, Say};
use crate::thin_entrypoint::options::Options;
use crate::thin_entrypoint::stop::Stop;
use crate::thin_entrypoint::{definition, finish};

/// How often everything is looked at, also where the kernel tells of no change.
const TICK: Duration = Duration::from_secs(1);
/// How long the configuration may be impossible to keep right: a full disk. What is there goes on working meanwhile.
const PATIENCE: Duration = Duration::from_secs(60);

/// Keeps it.
pub(super) struct Keeper<'a> {
    installation: Installation<'a>,
    options: Options,
    watcher: Option<Watcher>,
    /// Where the program may be seen that the runtime has to be able to start.
    shims: Vec<PathBuf>,
    indicator: Option<PathBuf>,
    say: Say<'a>,
    state: State,
}

/// How far the configuration is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    /// Nothing was done by this process yet.
    Waiting,
    /// It is in place, as far as this process can tell.
    Installed,
    /// It was taken away, for this reason.
    Withdrawn(String),
}

impl<'a> Keeper<'a> {
    pub(super) fn new(
        config: &Config,
        environment: &Environment,
        source: Source,
        say: Say<'a>,
    ) -> Result<Self, String> {
        let options = node_files(config, environment)?;
        let mut installation = Installation::new(options.clone(), say)?;
        let session = session(&options, source)?;
        installation.with_definition(definition(&options, session.as_ref()));
        let watcher = session.and_then(|session| Some(Watcher::start(session, options.own.clone()?)));
        Ok(Self {
            installation,
            options,
            watcher,
            shims: shims(config),
            indicator: config.readiness_indicator_file.clone(),
            say,
            state: State::Waiting,
        })
    }

    /// Keeps the configuration right until `stop`, or until the daemon has ended by itself. Returns whether the install went from the
    /// node.
    pub(super) fn keep(&mut self, running: &Running, stop: &Stop) -> Result<bool, String> {
        let mut changes = Changes::of(self.watched());
        let mut failing_since = None;
        loop {
            match self.look(running) {
                Ok(()) => failing_since = None,
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Passing(error)) => {
                    if failing_since.is_none() {
                        (self.say)(&error);
                    }
                    if failing_since.get_or_insert_with(Instant::now).elapsed() >= PATIENCE {
                        return Err(error);
                    }
                }
            }
            let stopped = changes.wait(stop.as_fd(), self.pause());
            self.watcher.iter().flat_map(Watcher::lines).for_each(|line| (self.say)(&line));
            if stopped.map_err(|error| format!("cannot wait for changes: {error}"))? {
                return Ok(self.end());
            }
            if running.has_ended() {
                return Ok(false);
            }
        }
    }

    fn watched(&self) -> Vec<PathBuf> {
        let indicator = self.indicator.as_ref().and_then(|file| file.parent());
        let others = self.shims.iter().filter_map(|shim| shim.parent()).filter(|dir| dir.is_dir());
        let others = others.chain(indicator).map(PathBuf::from);
        self.installation.watched().into_iter().chain(others).collect()
    }

    /// Until the first configuration is there the daemon's progress is looked at, of which no file tells.
    fn pause(&self) -> Duration {
        if self.state == State::Waiting { TICK / 10 } else { TICK }
    }

    /// What is to be done now.
    fn look(&mut self, running: &Running) -> Result<(), Failure> {
        match (self.obstacle(), &self.state) {
            (Some(reason), State::Withdrawn(told)) if reason == *told => Ok(()),
            (Some(reason), State::Installed) => self.withdraw(reason),
            // What an earlier daemon left would make the runtime call a program that is not there.
            (Some(reason), State::Waiting) if self.missing_shim().is_some() => {
                self.installation.come()?;
                self.withdraw(reason)
            }
            (Some(reason), _) => {
                (self.say)(&format!("no configuration yet: {reason}"));
                self.state = State::Withdrawn(reason);
                Ok(())
            }
            // Waiting, or withdrawn before it ever was there: installed when the first shim is answered.
            (None, state) if *state != State::Installed => match self.may_begin(running) {
                true => self.begin(),
                false => Ok(()),
            },
            (None, _) => {
                self.installation.look()?;
                self.installation.forget_kubeconfig(Instant::now())
            }
        }
    }

    /// Why the runtime must not be told to call the shim.
    fn obstacle(&self) -> Option<String> {
        if let Some(shim) = self.missing_shim() {
            return Some(missing(shim));
        }
        let indicator = self.indicator.as_ref().filter(|file| !file.exists())?;
        Some(format!("the default network is not ready: {} does not exist", indicator.display()))
    }

    fn missing_shim(&self) -> Option<&PathBuf> {
        missing_of(&self.shims)
    }

    /// Whether pods with networks can be served. A node that has had its configuration keeps it also while the API server is away:
    /// pods without networks start, and the others are told to wait.
    fn may_begin(&self, running: &Running) -> bool {
        running.is_serving() && (running.was_ready() || self.was_installed())
    }

    fn was_installed(&self) -> bool {
        let last_good = self.options.last_good().read(&self.options.autoconfig_dir);
        last_good.is_some() || self.options.place().trouble().is_none()
    }

    fn begin(&mut self) -> Result<(), Failure> {
        match (self.installation.come()?, &self.state) {
            (true, State::Waiting) => self.installation.configure_first()?,
            (true, _) => {
                self.installation.look()?;
                (self.say)("what was missing is there again, and so is the configuration");
            }
            (false, _) => {}
        }
        self.state = State::Installed;
        Ok(())
    }

    fn withdraw(&mut self, reason: String) -> Result<(), Failure> {
        if self.installation.has_turn()? {
            self.installation.remove_configuration().map_err(Failure::Passing)?;
            (self.say)(&format!(
                "the configuration is taken away, pods get the default network alone: {reason}"
            ));
        }
        self.state = State::Withdrawn(reason);
        Ok(())
    }

    /// What is on the node goes if the install does, and stays if only this process does.
    fn end(&mut self) -> bool {
        let watcher = self.watcher.as_ref();
        let gone = watcher.is_some_and(|watcher| finish(&mut self.installation, watcher, self.say));
        self.installation.end();
        gone
    }
}

/// What keeps the node from calling the shim, found out from its files alone, for a probe.
pub(super) fn trouble(config: &Config, environment: &Environment) -> Result<Option<String>, String> {
    if let Some(shim) = missing_of(&shims(config)) {
        return Ok(Some(missing(shim)));
    }
    Ok(health::configuration(&node_files(config, environment)?))
}

fn shims(config: &Config) -> Vec<PathBuf> {
    config.shim_dirs.iter().map(|dir| dir.join("multus-shim")).collect()
}

/// The shim that ought to be in a directory which this process sees. One that it does not see is the installer's alone.
fn missing_of(shims: &[PathBuf]) -> Option<&PathBuf> {
    let mut seen = shims.iter().filter(|shim| shim.parent().is_some_and(Path::is_dir)).peekable();
    let first = *seen.peek()?;
    (!seen.any(|shim| shim.exists())).then_some(first)
}

fn missing(shim: &Path) -> String {
    format!("{} is missing; install_multus puts it there, in a container beside this one", shim.display())
}

/// A connection to the API server, for those keys that need one.
fn session(options: &Options, source: Source) -> Result<Option<Arc<Session>>, String> {
    if options.own.is_none() && options.wish.definition().is_none() {
        return Ok(None);
    }
    let session = Session::start(source).map_err(|error| error.to_string())?;
    Ok(Some(Arc::new(session)))
}
